//! `cargo xtask bench peer`: ours and PyTorch in turns on this machine, in the same minutes; `loader.rs` has its loading.

mod environment;
mod loader;
mod machine;
mod measure;
mod options;
mod table;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::launch;
use crate::process::{exit_code, print, say, target_dir};
use measure::Bench;
use options::Parsed;

const RECORD: &str = "docs/performance.md";

/// Measures what the arguments after `bench peer` ask for.
pub(crate) fn run(root: &Path, arguments: &[OsString]) -> Result<ExitCode> {
    let arguments: Vec<String> = arguments.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    if arguments.first().is_some_and(|first| first == "loader") {
        return loader::run(root, &arguments[1..]);
    }
    let options = match options::parse(&arguments) {
        Ok(Parsed::Help) => {
            print(options::HELP)?;
            return Ok(ExitCode::SUCCESS);
        }
        Ok(Parsed::Options(options)) => options,
        Err(error) => {
            say(&format!("error: {error:#}; see `cargo xtask bench peer --help`"));
            return Ok(ExitCode::from(crate::USAGE));
        }
    };
    let selfie = match selfie(root, options.selfie.as_deref(), features_for(options.device))? {
        Ok(selfie) => selfie,
        Err(code) => return Ok(code),
    };
    let target = target_dir(root);
    let python = environment::python(options.peer_env.as_deref(), &target)?;
    let bench = Bench { selfie, python, script: root.join("xtask/peer/selfie_torch.py"), cache: target, options };
    let report = bench.run()?;
    let machine = machine::describe_with(bench.options.device);
    let section = table::section(&machine::today(), &machine, &bench.options, &report);
    print(&section)?;
    if bench.options.appends {
        append(&root.join(RECORD), &section)?;
        say(&format!("xtask: appended to {RECORD}"));
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The binary that was named, or the one that is built; the exit code of a build that failed.
fn selfie(root: &Path, named: Option<&Path>, features: &str) -> Result<std::result::Result<PathBuf, ExitCode>> {
    if let Some(named) = named {
        return Ok(Ok(named.to_owned()));
    }
    Ok(launch::build(root, features)?.map_err(exit_code))
}

/// The features that a binary for `device` is built with.
fn features_for(device: &str) -> &'static str {
    if device == "cuda" { "cuda" } else { "" }
}

fn append(path: &Path, section: &str) -> Result<()> {
    let before = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = format!("{}\n\n{section}", before.trim_end());
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
