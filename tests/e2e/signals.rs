//! Signals save and stop; a second process is kept out.

use rustix::process::Signal;

use crate::program::{ENDLESS, Folder};

#[test]
fn each_stop_signal_saves_a_checkpoint_and_has_its_exit_code() {
    let folder = Folder::new();
    let signals = [("SIGTERM", Signal::TERM, 143), ("SIGINT", Signal::INT, 130), ("SIGUSR1", Signal::USR1, 75)];
    let hangup = ("SIGHUP", Signal::HUP, 129);
    for (name, signal, code) in signals.into_iter().chain((!ignores_hangup()).then_some(hangup)) {
        // So rare a checkpoint that only the signal's is there.
        let command =
            format!("pretrain tiny.toml --data cifar --steps {ENDLESS} --set every_steps=100000 --out {name}");
        let mut started = folder.start(&command);
        started.wait_for_steps(&folder.path(name), 3);
        started.send(signal);
        let ran = started.wait().ends_with(code);
        let step = folder.metrics(name).len();
        ran.prints(&[&format!("stopped by {name} after step {step}; the same command goes on")]);
        assert_eq!(folder.names(&format!("{name}/checkpoints")), [format!("step-{step:08}")]);
        folder.require_nothing_half_written(name);

        let next = folder.run(&format!("{command} --stop-after {}", step + 1)).ends_with(0);
        next.says(&[&format!("resuming {name} after step {step}")]);
        assert_eq!(folder.metrics(name).len(), step + 1);
    }
}

#[test]
fn a_fine_tuning_stops_on_a_signal_too() {
    let folder = Folder::new();
    let command = format!("finetune tiny.toml --data cifar --fraction 0.5 --from scratch --steps {ENDLESS} --out run");
    let mut started = folder.start(&format!("{command} --json"));
    started.wait_for_steps(&folder.path("run"), 2);
    started.send(Signal::TERM);
    let ran = started.wait().ends_with(143);
    assert_eq!(ran.json()["signal"], "SIGTERM");
    assert_eq!(ran.json()["stopped_after"], folder.metrics("run").len());
}

#[test]
fn a_second_process_is_refused_and_the_first_goes_on() {
    let folder = Folder::new();
    let command = format!("pretrain tiny.toml --data cifar --steps {ENDLESS} --out run");
    let mut started = folder.start(&command);
    started.wait_for_steps(&folder.path("run"), 2);
    let process = format!("(process {} on ", started.id());
    folder.run(&command).ends_with(73).says(&["run is in use by another process", &process, "choose another --out"]);
    let n_steps = folder.metrics("run").len();
    started.wait_for_steps(&folder.path("run"), n_steps + 2);
    started.send(Signal::TERM);
    started.wait().ends_with(143);
}

/// Whether these tests run under `nohup`, which the program respects.
pub(crate) fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}
