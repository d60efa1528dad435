//! `cargo xtask fuzz`: the readers of files, fed with what a fuzzer makes of the seeds.
//!
//! What `cargo fuzz run` does, with the compiler of `rust-toolchain.toml`, and with the limits that a reader promises.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, exit_code, say, target_dir};

/// What a reader may take for any input: memory, seconds.
const LIMITS: [&str; 2] = ["-rss_limit_mb=512", "-timeout=5"];
/// Coverage that libFuzzer reads, as cargo-fuzz sets it; overflow checks as in a debug build.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Ccodegen-units=1";
/// Seeds that the repository has anyway.
const ELSEWHERE: [(&str, &str); 2] = [("parquet", "crates/selfie-data/tests/parquet"), ("config", "configs")];

const HELP: &str = "\
Usage: cargo xtask fuzz [TARGET…] [--minutes N]

Feeds one reader after the other with mutated files, each for N minutes (10), and stops at the first input that makes it
panic, take more than 512 MB or more than 5 s. What is found stays in fuzz/corpus and fuzz/artifacts. Targets:";

pub(crate) fn run(root: &Path, arguments: &[OsString]) -> Result<ExitCode> {
    let all = targets(root)?;
    let (mut chosen, mut minutes) = (Vec::new(), 10.0);
    let mut arguments = arguments.iter().map(|argument| argument.to_string_lossy());
    while let Some(argument) = arguments.next() {
        match argument.as_ref() {
            "--help" | "-h" => {
                say(&format!("{HELP} {}", all.join(", ")));
                return Ok(ExitCode::SUCCESS);
            }
            "--minutes" => {
                let n = arguments.next().context("--minutes needs a number")?;
                minutes = n.parse::<f64>().with_context(|| format!("--minutes: expected a number, got {n}"))?;
            }
            known if all.iter().any(|target| target == known) => chosen.push(known.to_owned()),
            other => bail!("expected one of {}, got {other}", all.join(", ")),
        }
    }
    let built = build(root)?;
    for target in if chosen.is_empty() { &all } else { &chosen } {
        let code = fuzz(root, &built.join(target), target, minutes)?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Builds every target; the folder they lie in.
fn build(root: &Path) -> Result<PathBuf> {
    let folder = target_dir(root).join("fuzz");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    // With `--target`, or the flags would reach build scripts and macros.
    let mut command = cargo();
    command.args(["build", "--release", "--locked", "--target", &triple, "--target-dir"]).arg(&folder);
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS).current_dir(root.join("fuzz"));
    let status = command.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the fuzz targets did not build");
    }
    Ok(folder.join(triple).join("release"))
}

fn fuzz(root: &Path, program: &Path, target: &str, minutes: f64) -> Result<ExitCode> {
    let (corpus, artifacts) = (root.join("fuzz/corpus").join(target), root.join("fuzz/artifacts").join(target));
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let elsewhere = ELSEWHERE.iter().find(|(name, _)| *name == target);
    let seeds = elsewhere.map_or_else(|| root.join("fuzz/seeds").join(target), |(_, folder)| root.join(folder));
    say(&format!("\n==> {target}: {minutes} minutes"));
    let started = Instant::now();
    let mut command = std::process::Command::new(program);
    command.arg(&corpus).arg(&seeds).args(LIMITS).args(["-verbosity=0", "-print_final_stats=1"]);
    command.arg(format!("-max_total_time={:.0}", 60.0 * minutes));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    let status = command.status().with_context(|| format!("cannot start {}", program.display()))?;
    say(&format!("<== {target}: {status} after {:.0} s", started.elapsed().as_secs_f64()));
    Ok(exit_code(status))
}
