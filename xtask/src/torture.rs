//! `cargo xtask torture`: the long forms of the tests that kill, signal and repeat. `cargo xtask renew`: golden files.
//!
//! The tests themselves are in `tests/e2e/` and `crates/selfie-train/tests/loops/`, where their short forms run with all others; here is how often they repeat.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, exit_code, say};

/// The tests of the program, as `cargo test` chooses them.
const PROGRAM: [&str; 4] = ["-p", "selfie-cli", "--test", "e2e"];
/// Those of the two loops.
const LOOPS: [&str; 4] = ["-p", "selfie-train", "--test", "loops"];

/// One long form.
struct Torture {
    name: &'static str,
    suite: [&'static str; 4],
    test: &'static str,
    rounds: u32,
    what: &'static str,
}

const ALL: [Torture; 9] = [
    Torture {
        name: "kill",
        suite: PROGRAM,
        test: "torture::a_run_killed_anywhere",
        rounds: 500,
        what: "runs killed at random moments, half of them inside a checkpoint's write, each against its twin",
    },
    Torture {
        name: "kill-twenty",
        suite: PROGRAM,
        test: "torture::a_run_killed_twenty_times",
        rounds: 4,
        what: "of pretraining and fine-tuning, f32 and bf16, killed twenty times",
    },
    Torture {
        name: "signals",
        suite: PROGRAM,
        test: "torture::a_signal_at_any_moment",
        rounds: 100,
        what: "signals at random moments",
    },
    Torture {
        name: "interrupt",
        suite: PROGRAM,
        test: "torture::a_second_interrupt",
        rounds: 20,
        what: "second interrupts",
    },
    Torture {
        name: "bytes",
        suite: PROGRAM,
        test: "torture::one_seed_gives_the_same_bytes",
        rounds: 10,
        what: "times the same run on 1 to 4 threads and 0, 1 and 4 workers",
    },
    Torture {
        name: "soak",
        suite: PROGRAM,
        test: "soak::",
        rounds: 120,
        what: "minutes of one run in eight processes: memory, open files, threads",
    },
    Torture {
        name: "faults",
        suite: LOOPS,
        test: "faults::faults_at_random_steps",
        rounds: 100,
        what: "numbers that are not finite, put into loss, gradient or batch",
    },
    Torture {
        name: "flips",
        suite: LOOPS,
        test: "flips::any_changed_byte",
        rounds: 1,
        what: "byte between those of a checkpoint that are changed",
    },
    Torture {
        name: "network",
        suite: PROGRAM,
        test: "network::",
        rounds: 1,
        what: "demo whose system calls are traced",
    },
];

const HELP: &str = "\
Usage: cargo xtask torture [NAME] [--rounds N]

Runs the long form of one test, or of all:
";

/// Runs the long form of the test that the arguments name, or of all.
pub(crate) fn run(root: &Path, arguments: &[OsString]) -> Result<ExitCode> {
    let (mut name, mut rounds) = (None, None);
    let mut arguments = arguments.iter().map(|argument| argument.to_string_lossy());
    while let Some(argument) = arguments.next() {
        match argument.as_ref() {
            "--help" | "-h" => {
                say(HELP.trim_end());
                ALL.iter()
                    .for_each(|torture| say(&format!("  {:12} {} {}", torture.name, torture.rounds, torture.what)));
                return Ok(ExitCode::SUCCESS);
            }
            "--rounds" => {
                let n = arguments.next().context("--rounds needs a number")?;
                rounds = Some(n.parse().with_context(|| format!("--rounds: expected a number, got {n}"))?);
            }
            known if ALL.iter().any(|torture| torture.name == known) => name = Some(known.to_owned()),
            other => bail!("expected one of {}, got {other}", ALL.map(|torture| torture.name).join(", ")),
        }
    }
    for torture in ALL.iter().filter(|torture| name.as_deref().is_none_or(|name| name == torture.name)) {
        let rounds = rounds.unwrap_or(torture.rounds);
        say(&format!("\n==> {}: {rounds} {}", torture.name, torture.what));
        let started = Instant::now();
        let code = test(root, torture.suite, torture.test, ("SELFIE_TORTURE", &rounds.to_string()))?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
        say(&format!("<== {}: passed in {:.0} s", torture.name, started.elapsed().as_secs_f64()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the golden losses and error messages anew.
pub(crate) fn renew(root: &Path) -> Result<ExitCode> {
    for tests in ["golden::", "errors::"] {
        let code = test(root, PROGRAM, tests, ("SELFIE_RENEW", "1"))?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn test(root: &Path, suite: [&str; 4], filter: &str, environment: (&str, &str)) -> Result<ExitCode> {
    let mut command = cargo();
    command.arg("test").args(suite).args(["--", filter, "--nocapture", "--test-threads", "1"]);
    let status = command.env(environment.0, environment.1).current_dir(root).status();
    Ok(exit_code(status.context("cannot start cargo")?))
}
