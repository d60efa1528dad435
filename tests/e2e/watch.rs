//! `watch` in a real terminal: tmux's.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::program::Folder;

#[test]
fn watch_needs_a_terminal_and_a_run() {
    let folder = Folder::new();
    folder.run("watch nothing").ends_with(2).says(&["expected a terminal", "report"]);
}

/// A terminal in which `watch run` was started; it goes away with its tmux when the test ends.
struct Terminal {
    name: String,
}

impl Terminal {
    /// `None` where there is no tmux. The name is the test's own.
    fn watching(folder: &Folder, name: &str) -> Option<Self> {
        let terminal = Self { name: format!("selfie-{name}-{}", std::process::id()) };
        if terminal.try_tmux(&["-V"]).is_err() {
            println!("skipped: tmux is not installed");
            return None;
        }
        let (program, folder) = (env!("CARGO_BIN_EXE_selfie"), folder.path("."));
        let watch = format!("cd {} && {program} watch run; echo ended with $?; sleep 60", folder.display());
        terminal.tmux(&["new-session", "-d", "-s", "watch", "-x", "100", "-y", "30", &watch]);
        Some(terminal)
    }

    fn try_tmux(&self, arguments: &[&str]) -> std::io::Result<Output> {
        Command::new("tmux").args(["-L", &self.name, "-f", "/dev/null"]).args(arguments).output()
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = self.try_tmux(arguments).unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-t", "watch"])
    }

    /// The first screen of which `of` has something to say.
    #[track_caller]
    fn wait_until<T>(&self, what: &str, of: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let screen = self.screen();
            if let Some(said) = of(&screen) {
                return said;
            }
            assert!(Instant::now() < deadline, "no {what} in\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    fn wait_for(&self, part: &str) {
        self.wait_until(part, |screen| screen.contains(part).then_some(()));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.try_tmux(&["kill-server"]).ok();
    }
}

/// The step that a screen says the run is at.
fn step(screen: &str) -> Option<u64> {
    let (_, after) = screen.split_once("step ")?;
    let (step, _) = after.split_once(" of ")?;
    step.parse().ok()
}

#[test]
fn watch_draws_in_tmux_and_quits_by_q() {
    let folder = Folder::new();
    folder.run("pretrain tiny.toml --data cifar --out run").ends_with(0);
    let Some(terminal) = Terminal::watching(&folder, "quits") else { return };
    terminal.wait_for("step 20 of 20");
    terminal.wait_for("finished: pretext accuracy");
    terminal.tmux(&["send-keys", "-t", "watch", "q"]);
    terminal.wait_for("ended with 0");
}

/// The run is stopped while the screen is read, and asked to end once the screen has moved.
#[test]
fn watch_follows_a_run_that_goes_on_until_it_stops() {
    let folder = Folder::new();
    let mut run =
        folder.start("pretrain tiny.toml --data cifar --steps 40000 --set checkpoint.every_steps=20000 --out run");
    run.wait_for_steps(&folder.path("run"), 3);
    run.send(Signal::STOP);
    let Some(terminal) = Terminal::watching(&folder, "follows") else { return };
    let first = terminal.wait_until("step", step);
    assert!(first >= 3, "step {first}");
    assert!(!terminal.screen().contains("stopped"), "{}", terminal.screen());
    run.send(Signal::CONT);
    terminal.wait_until("later step", |screen| step(screen).filter(|step| *step > first));
    run.send(Signal::TERM);
    run.wait().ends_with(143);
    terminal.wait_for("stopped after step ");
}
