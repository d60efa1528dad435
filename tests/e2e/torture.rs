//! Killing, signalling and repeating runs, over and over: the short forms are part of the tests, `cargo xtask torture`
//! runs the long ones.
//!
//! A kill "inside a checkpoint write" is one that left a temporary checkpoint behind: no hook in the program is needed to
//! know.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::program::{ENDLESS, Folder, names};
use crate::signals::ignores_hangup;

/// How often a test repeats: `SELFIE_TORTURE`, or the short form's count.
fn rounds(short: usize) -> usize {
    std::env::var("SELFIE_TORTURE").ok().map_or(short, |rounds| rounds.parse().unwrap())
}

/// Numerical Recipes' generator: moments that look random and are the same every time.
struct Draws(u32);

impl Draws {
    /// A number in 0–1, 1 excluded.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.0 >> 8) / f64::from(1u32 << 24)
    }

    fn duration(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.unit())
    }
}

const RUNS: [&str; 4] = [
    "pretrain tiny.toml --data cifar --steps 60 --set every_steps=3",
    "pretrain tiny.toml --data cifar --steps 60 --set every_steps=3 --dtype bf16",
    "finetune tiny.toml --data cifar --fraction 0.5 --from scratch --steps 45 --set every_steps=3",
    "finetune tiny.toml --data cifar --fraction 0.5 --from scratch --steps 45 --set every_steps=3 --dtype bf16",
];

/// Whether a killed process left a checkpoint half-written.
fn is_half_written(run: &Path) -> bool {
    names(&run.join("checkpoints")).iter().any(|name| name.starts_with(".tmp-"))
}

/// Waits until the run begins to write a checkpoint, if it does before the deadline.
fn wait_for_a_write(run: &Path, deadline: Instant) {
    while !is_half_written(run) && Instant::now() < deadline {
        std::hint::spin_loop();
    }
}

/// What a kill met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    InsideAWrite,
    Elsewhere,
    /// The run had ended.
    TooLate,
}

/// Starts `command`, whose run folder is `run`, and kills it: at a random moment, or inside a random one of its checkpoint
/// writes.
fn start_and_kill(folder: &Folder, command: &str, takes: Duration, aim: bool, draws: &mut Draws) -> Killed {
    let started = folder.start(command);
    let begun = Instant::now();
    std::thread::sleep(draws.duration(takes));
    if aim {
        wait_for_a_write(&folder.path("run"), begun + 2 * takes);
        // A write of a tiny network takes a few milliseconds, most of them for the disk.
        std::thread::sleep(draws.duration(Duration::from_millis(3)));
    }
    started.send(Signal::KILL);
    match started.wait().code {
        Some(code) => {
            assert_eq!(code, 0, "{command} failed");
            Killed::TooLate
        }
        None if is_half_written(&folder.path("run")) => Killed::InsideAWrite,
        None => Killed::Elsewhere,
    }
}

#[test]
fn a_run_killed_anywhere_ends_with_the_bytes_of_one_that_was_not() {
    let folder = Folder::new();
    let mut takes = Vec::new();
    for (i, command) in RUNS.iter().enumerate() {
        let begun = Instant::now();
        folder.run(&format!("{command} --out twin-{i}")).ends_with(0);
        takes.push(begun.elapsed());
    }
    let (wanted, mut draws) = (rounds(12), Draws(1));
    let (mut n_kills, mut n_inside, mut n_too_late) = (0, 0, 0);
    while n_kills < wanted {
        let i = n_kills % RUNS.len();
        // Half of the kills aim at a checkpoint's write.
        let aim = (n_kills / RUNS.len()).is_multiple_of(2);
        let command = format!("{} --out run", RUNS[i]);
        match start_and_kill(&folder, &command, takes[i], aim, &mut draws) {
            Killed::InsideAWrite => (n_kills, n_inside) = (n_kills + 1, n_inside + 1),
            Killed::Elsewhere => n_kills += 1,
            Killed::TooLate => n_too_late += 1,
        }
        folder.run(&command).ends_with(0);
        folder.require_same("run", &format!("twin-{i}"));
        folder.require_nothing_half_written("run");
        std::fs::remove_dir_all(folder.path("run")).unwrap();
    }
    println!(
        "killed anywhere: {n_kills} of {wanted} runs as their twins; {n_inside} kills inside a checkpoint's write"
    );
    println!("({n_too_late} more came after the run's end)");
    assert!(n_inside * 5 >= wanted, "only {n_inside} of {wanted} kills were inside a checkpoint's write");
}

#[test]
fn a_run_killed_twenty_times_ends_with_the_bytes_of_one_that_was_not() {
    let folder = Folder::new();
    let runs = RUNS.len().min(rounds(1));
    for (i, command) in RUNS.iter().take(runs).enumerate() {
        let (command, mut draws) = (command.replace("--steps 60", "--steps 240"), Draws(i as u32 + 20));
        let begun = Instant::now();
        folder.run(&format!("{command} --out twin")).ends_with(0);
        // So short that twenty such lives do not reach the end, unless the machine has become faster since.
        let mut life = begun.elapsed().mul_f64(0.08);
        let (mut n_kills, mut n_inside, mut n_after_a_step) = (0, 0, 0);
        while n_kills < 20 {
            let killed = start_and_kill(&folder, &format!("{command} --out run"), life, n_kills % 2 == 1, &mut draws);
            n_kills += 1;
            n_inside += usize::from(killed == Killed::InsideAWrite);
            let metrics = std::fs::metadata(folder.path("run/metrics.jsonl"));
            n_after_a_step += usize::from(metrics.is_ok_and(|file| file.len() > 0));
            if killed == Killed::TooLate {
                folder.require_same("run", "twin");
                std::fs::remove_dir_all(folder.path("run")).unwrap();
                life = life.mul_f64(0.7);
                (n_kills, n_inside, n_after_a_step) = (0, 0, 0);
            }
        }
        folder.run(&format!("{command} --out run")).ends_with(0);
        folder.require_same("run", "twin");
        folder.require_nothing_half_written("run");
        assert!(n_after_a_step > 0, "no kill came after a step");
        println!("killed twenty times: as its twin; {n_inside} kills inside a checkpoint's write");
        ["run", "twin"].iter().for_each(|name| std::fs::remove_dir_all(folder.path(name)).unwrap());
    }
}

#[test]
fn a_signal_at_any_moment_saves_a_checkpoint_within_one_step() {
    let folder = Folder::new();
    let mut signals = vec![(Signal::TERM, 143), (Signal::INT, 130), (Signal::USR1, 75), (Signal::HUP, 129)];
    if ignores_hangup() {
        signals.pop();
    }
    let (wanted, mut draws) = (rounds(8), Draws(3));
    let mut longest = Duration::ZERO;
    for i in 0..wanted {
        let (signal, code) = signals[i % signals.len()];
        let task = RUNS[i % RUNS.len()].split(" --steps").next().unwrap();
        let command = format!("{task} --steps {ENDLESS} --set every_steps=7 --out run");
        let mut started = folder.start(&command);
        started.wait_for_steps(&folder.path("run"), 1);
        std::thread::sleep(draws.duration(Duration::from_millis(100)));
        let before = folder.metrics("run").len();
        let sent = Instant::now();
        started.send(signal);
        started.wait().ends_with(code);
        longest = longest.max(sent.elapsed());
        let after = folder.metrics("run").len();
        // Reading the file took a step or two; then one may be ending and one be under way.
        assert!(after <= before + 20, "{} steps after the signal", after - before);
        let last = names(&folder.path("run/checkpoints")).pop().unwrap();
        assert_eq!(last, format!("step-{after:08}"), "the last checkpoint is of the last step");
        folder.require_nothing_half_written("run");
        std::fs::remove_dir_all(folder.path("run")).unwrap();
    }
    println!("signals: {wanted} of {wanted} saved and left with their codes; the longest took {longest:.1?}");
}

#[test]
fn a_second_interrupt_leaves_at_once() {
    let folder = Folder::new();
    let wanted = rounds(2);
    for _ in 0..wanted {
        // Steps that take seconds in any build: the first signal's checkpoint would have to wait for one.
        let command =
            "pretrain tiny.toml --data cifar --set model.width=32 --set batch=100 --set depths=[3,4,6,3] --out run";
        let started = folder.start(command);
        let deadline = Instant::now() + Duration::from_secs(60);
        // The record is written when the handlers are installed and the first step begins.
        while !folder.exists("run/train.log") && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(50));
        started.send(Signal::INT);
        // Time to be answered.
        std::thread::sleep(Duration::from_millis(300));
        let sent = Instant::now();
        started.send(Signal::INT);
        let ran = started.wait().ends_with(130);
        assert_eq!(ran.stdout, "", "it did not stop by itself");
        ran.says(&["SIGINT: ending after this step, with a checkpoint; a second SIGINT leaves at once, and loses"]);
        assert!(sent.elapsed() < Duration::from_secs(2), "{:?}", sent.elapsed());
        assert!(!folder.exists("run/result.json") && names(&folder.path("run/checkpoints")).is_empty());
        std::fs::remove_dir_all(folder.path("run")).unwrap();
    }
    println!("second interrupt: {wanted} of {wanted} left at once");
}

#[test]
fn hangup_ends_a_run_unless_nohup_ignores_it() {
    let folder = Folder::new();
    let command = format!("pretrain tiny.toml --data cifar --steps {ENDLESS} --out run");
    let plain = folder.command(&command);
    let mut nohup = std::process::Command::new("nohup");
    nohup.arg(plain.get_program()).args(plain.get_args()).current_dir(plain.get_current_dir().unwrap());
    nohup.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let Ok(mut started) = folder.start_command(&command, nohup) else {
        println!("skipped: there is no nohup");
        return;
    };
    started.wait_for_steps(&folder.path("run"), 2);
    started.send(Signal::HUP);
    let n_steps = folder.metrics("run").len();
    started.wait_for_steps(&folder.path("run"), n_steps + 20);
    started.send(Signal::TERM);
    started.wait().ends_with(143);
}

#[test]
fn one_seed_gives_the_same_bytes_on_any_number_of_threads_and_workers() {
    let folder = Folder::new();
    let all: Vec<(usize, usize)> = (1..=4).flat_map(|threads| [0, 1, 4].map(|workers| (threads, workers))).collect();
    // In the short form each number of threads and of workers once.
    let chosen = if rounds(1) > 1 { all } else { vec![(1, 0), (2, 1), (3, 4), (4, 0)] };
    let mut n_runs = 0;
    for command in ["pretrain tiny.toml --data cifar", "finetune tiny.toml --data cifar --fraction 0.5 --from scratch"]
    {
        folder.run(&format!("{command} --threads 1 --set loader.workers=0 --out first -q")).ends_with(0);
        for (threads, workers) in chosen.iter().cycle().take(chosen.len() * rounds(1)) {
            folder
                .run(&format!("{command} --threads {threads} --set loader.workers={workers} --out other -q"))
                .ends_with(0);
            folder.require_same("first", "other");
            std::fs::remove_dir_all(folder.path("other")).unwrap();
            n_runs += 1;
        }
        std::fs::remove_dir_all(folder.path("first")).unwrap();
    }
    println!("same bytes: {n_runs} runs on 1 to 4 threads and 0, 1 or 4 workers, as the first of their task");
}
