//! What to compare: the arguments of `cargo xtask bench peer loader`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::bench::options::positive;

pub(super) const HELP: &str = "\
Measures selfie's loader and torchvision's in turns, each run in a process of its own, on one core and on two.

Usage: cargo xtask bench peer loader [OPTIONS]

      --data DIR         a folder with train/ of class folders of JPEG files: batches at 224 px, beside those at 32 px
      --batch N          images a batch [default: 64]
      --batches N        batches of torchvision's at 224 px; where either is faster it makes more [default: 20]
      --turns N          runs of each [default: 5]
      --peer-env DIR     a Python environment with torch and torchvision; without it one is made from PyPI, once, in the target folder
      --selfie FILE      a selfie binary; without it one is built
      --append           append the table to docs/performance.md
";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) data: Option<PathBuf>,
    pub(super) batch: u32,
    pub(super) batches: u32,
    pub(super) turns: u32,
    pub(super) peer_env: Option<PathBuf>,
    pub(super) selfie: Option<PathBuf>,
    pub(super) appends: bool,
    /// The arguments, as far as they say what is measured: no paths.
    pub(super) command: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Help,
    Options(Options),
}

/// # Errors
///
/// If an argument is unknown, lacks its value, or has one that it cannot have.
pub(super) fn parse(arguments: &[String]) -> Result<Parsed> {
    let mut options = Options {
        data: None,
        batch: 64,
        batches: 20,
        turns: 5,
        peer_env: None,
        selfie: None,
        appends: false,
        command: String::from("cargo xtask bench peer loader"),
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        match name {
            "--help" | "-h" => return Ok(Parsed::Help),
            "--append" if inline.is_none() => {
                options.appends = true;
                continue;
            }
            _ => {}
        }
        let value = inline.or_else(|| rest.next().cloned()).with_context(|| format!("{name}: no value"))?;
        options.set(name, &value).with_context(|| format!("{name} {value}"))?;
        match name {
            "--data" => options.command.push_str(" --data DIR"),
            "--peer-env" | "--selfie" => {}
            _ => options.command.push_str(&format!(" {name} {value}")),
        }
    }
    Ok(Parsed::Options(options))
}

impl Options {
    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "--data" => self.data = Some(value.into()),
            "--batch" => self.batch = positive(value)?,
            "--batches" => self.batches = positive(value)?,
            "--turns" => self.turns = positive(value)?,
            "--peer-env" => self.peer_env = Some(value.into()),
            "--selfie" => self.selfie = Some(value.into()),
            _ => bail!("there is no such option"),
        }
        Ok(())
    }
}
