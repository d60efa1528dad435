//! `cargo xtask ci`: every check, cheap ones first, the tests last.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::process::{cargo, exit_code, say};
use crate::tidy;

/// One cargo command with the environment it adds.
struct Step {
    name: &'static str,
    arguments: &'static [&'static str],
    environment: Option<(&'static str, &'static str)>,
}

/// After fmt, tidy and deny; the order is from cheap to dear.
const CARGO_STEPS: [Step; 8] = [
    Step {
        name: "clippy",
        arguments: &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        environment: None,
    },
    Step {
        name: "doc",
        arguments: &["doc", "--workspace", "--no-deps"],
        environment: Some(("RUSTDOCFLAGS", "-D warnings")),
    },
    Step {
        name: "the feature hub",
        arguments: &["check", "--workspace", "--features", "selfie-cli/hub"],
        environment: None,
    },
    // selfie-data alone, which needs no candle, and as little optimised as can be, because all of it is compiled for this step
    // only; but for the two libraries in C, which the step before has compiled.
    Step {
        name: "downloads and the hub, against stand-ins",
        arguments: &[
            "test",
            "--config",
            "profile.dev.package.selfie-data.opt-level=0",
            "--config",
            "profile.dev.package.\"*\".opt-level=0",
            "--config",
            "profile.dev.package.aws-lc-sys.opt-level=3",
            "--config",
            "profile.dev.package.ring.opt-level=3",
            "-p",
            "selfie-data",
            "--lib",
            "--features",
            "hub",
            "--",
            "fetch",
            "hub",
        ],
        environment: None,
    },
    // The whole workspace each time: a part of it would unify other features and compile candle again.
    Step {
        name: "composed operations",
        arguments: &["test", "--workspace", "--test", "ops", "--test", "model"],
        environment: Some(("SELFIE_OPS", "composed")),
    },
    Step {
        name: "products in plain Rust",
        arguments: &["test", "--workspace", "--test", "ops", "--test", "model"],
        environment: Some(("SELFIE_ISA", "portable")),
    },
    Step { name: "documentation tests", arguments: &["test", "--workspace", "--doc"], environment: None },
    Step { name: "test", arguments: &["test", "--workspace", "--lib", "--bins", "--tests"], environment: None },
];

const FMT: Step = Step { name: "fmt", arguments: &["fmt", "--all", "--check"], environment: None };

// Without `advisories`: that list comes from the network, and a new entry must not turn an old commit red.
const DENY: Step =
    Step { name: "deny", arguments: &["deny", "check", "licenses", "bans", "sources"], environment: None };

/// Runs every step in the repository's root; the first failure's exit code is the result.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    if let Some(failure) = FMT.run(root)? {
        return Ok(failure);
    }
    let started = header("tidy");
    if tidy::run(root)? != ExitCode::SUCCESS {
        return Ok(ExitCode::FAILURE);
    }
    done("tidy", started);
    if has_deny(root) {
        if let Some(failure) = DENY.run(root)? {
            return Ok(failure);
        }
    } else {
        say("\ndeny: skipped, cargo-deny is not installed");
    }
    for step in &CARGO_STEPS {
        if let Some(failure) = step.run(root)? {
            return Ok(failure);
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Step {
    /// `None` when it passed.
    fn run(&self, root: &Path) -> Result<Option<ExitCode>> {
        let started = header(self.name);
        let mut command = cargo();
        command.args(self.arguments).envs(self.environment).current_dir(root);
        let status = command.status().with_context(|| format!("cannot start {}", self.name))?;
        if !status.success() {
            return Ok(Some(exit_code(status)));
        }
        // The last lines of the output are the test runner's own summary.
        if self.name != "test" {
            done(self.name, started);
        }
        Ok(None)
    }
}

fn header(name: &str) -> Instant {
    say(&format!("\n==> {name}"));
    Instant::now()
}

fn done(name: &str, started: Instant) {
    say(&format!("<== {name}: passed in {:.1} s", started.elapsed().as_secs_f64()));
}

fn has_deny(root: &Path) -> bool {
    let mut command: Command = cargo();
    command.args(["deny", "--version"]).current_dir(root);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
