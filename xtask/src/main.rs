//! Launches `selfie` on the right backend; `ci`, `tidy`, `torture`, `fuzz`, `renew`, `dist` and `bench peer`. Run it as `cargo xtask`.
//!
//! Links no candle, so that it builds in seconds; what trains, evaluates and draws lives in the other crates.

mod backend;
mod bench;
mod ci;
mod dist;
mod fuzz;
mod launch;
mod process;
mod tidy;
mod torture;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

const HELP: &str = "\
Launches selfie on the right backend, and checks this repository.

Usage: cargo xtask COMMAND…

  cargo xtask demo             pretrain, fine-tune and compare on a data set drawn by a program: minutes, no network
  cargo xtask pretrain RECIPE  and every other command of selfie: `cargo xtask help` lists them,
                               `cargo xtask COMMAND --help` explains one
  cargo xtask ci               fmt, tidy, deny, clippy, doc, the feature hub, all tests: stops at the first failure
  cargo xtask tidy             the rules no compiler checks: crate arrows, ARCHITECTURE.md's paths, file sizes
  cargo xtask torture          kill, signal and repeat runs some hundred times: `cargo xtask torture --help`
  cargo xtask fuzz             feed the readers of files with mutated ones: `cargo xtask fuzz --help`
  cargo xtask renew            write the golden losses and error messages anew, on purpose
  cargo xtask dist             the program for publishing, the same bytes in any target folder: `cargo xtask dist --help`
  cargo xtask bench peer       ours and PyTorch in turns on this CPU, and how they compare: `cargo xtask bench peer --help`
  cargo xtask bench peer loader  the same of loading, against torchvision
  cargo xtask --help           this page

A command of selfie is built with `cargo build --release -p selfie-cli` and then replaces this process: signals and exit
codes are selfie's own. Which features it is built with:

  --device cpu                 none
  --device cuda                cuda; an error where nvcc is missing
  --device metal               metal; an error anywhere but on macOS
  neither                      cuda where there are an NVIDIA device and nvcc, metal on macOS, else none
  data fetch                   also fetch, which is all network code there is beside hub
  --data hub:, --hub, push, pull
                               also hub

Environment:

  SELFIE_FEATURES=cuda,hub     exactly these features; empty: none
  SELFIE_DEVICE=cpu            as --device, which goes first
  CARGO_TARGET_DIR             where to build, as for every cargo command
";

/// The exit code for arguments that make no sense.
pub(crate) const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            process::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let root = process::repository_root()?;
    let command = arguments.first().map(|a| a.to_string_lossy());
    match command.as_deref() {
        None => {
            process::say(HELP.trim_end());
            Ok(ExitCode::from(USAGE))
        }
        Some("--help" | "-h") => {
            process::print(HELP)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(own @ ("ci" | "tidy" | "renew")) if arguments.len() > 1 => {
            process::say(&format!("error: `cargo xtask {own}` takes no arguments"));
            Ok(ExitCode::from(USAGE))
        }
        Some("bench") if arguments.get(1).is_some_and(|a| a == "peer") => bench::run(&root, &arguments[2..]),
        Some("torture") => torture::run(&root, &arguments[1..]),
        Some("fuzz") => fuzz::run(&root, &arguments[1..]),
        Some("dist") => dist::run(&root, &arguments[1..]),
        Some("renew") => torture::renew(&root),
        Some("ci") => ci::run(&root),
        Some("tidy") => tidy::run(&root),
        Some(_) => launch::run(&root, arguments),
    }
}
