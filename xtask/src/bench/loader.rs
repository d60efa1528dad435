//! `cargo xtask bench peer loader`: the loader and torchvision's in turns, on the same images.

mod options;
mod table;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use serde_json::Value;

use super::measure::{json, number};
use super::{RECORD, append, environment, machine};
use crate::process::{print, say, target_dir};
use options::{Options, Parsed};

/// Threads of ours; torchvision has as many processes, the first of which is its only one.
const CORES: [u32; 2] = [1, 2];

/// The batches to make: fine-tuning's of JPEG files at 224 px, pretraining's of pixels at 32 px.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batches {
    Files224,
    Patches32,
}

impl Batches {
    fn name(self) -> &'static str {
        match self {
            Self::Files224 => "224 px: JPEG files, resized crop, flip",
            Self::Patches32 => "32 px: padded crop, flip, patches, masks",
        }
    }
}

/// What one process measured.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    images_per_s: f64,
    images_per_cpu_s: f64,
}

/// Samples of one kind of batches on so many cores; those of one place in each list were measured one after the other.
#[derive(Debug, PartialEq)]
struct Measured {
    batches: Batches,
    cores: u32,
    ours: Vec<Sample>,
    torchvision: Vec<Sample>,
}

/// Measures what the arguments after `bench peer loader` ask for.
pub(super) fn run(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let options = match options::parse(arguments) {
        Ok(Parsed::Help) => {
            print(options::HELP)?;
            return Ok(ExitCode::SUCCESS);
        }
        Ok(Parsed::Options(options)) => options,
        Err(error) => {
            say(&format!("error: {error:#}; see `cargo xtask bench peer loader --help`"));
            return Ok(ExitCode::from(crate::USAGE));
        }
    };
    let selfie = match super::selfie(root, options.selfie.as_deref(), "")? {
        Ok(selfie) => selfie,
        Err(code) => return Ok(code),
    };
    let python = environment::python(options.peer_env.as_deref(), &target_dir(root))?;
    let bench = Bench { selfie, python, script: root.join("xtask/peer/loader_torchvision.py"), options };
    let (peer, measured) = bench.run()?;
    let section = table::section(&machine::today(), &machine::describe(), &bench.options, &peer, &measured);
    print(&section)?;
    if bench.options.appends {
        append(&root.join(RECORD), &section)?;
        say(&format!("xtask: appended to {RECORD}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What runs, and what is asked of it.
struct Bench {
    selfie: PathBuf,
    python: PathBuf,
    script: PathBuf,
    options: Options,
}

impl Bench {
    /// Measures every row turn by turn; returns the peer's name and version, and the rows.
    fn run(&self) -> Result<(String, Vec<Measured>)> {
        let kinds = if self.options.data.is_some() {
            vec![Batches::Files224, Batches::Patches32]
        } else {
            vec![Batches::Patches32]
        };
        let row = |(batches, cores)| Measured { batches, cores, ours: Vec::new(), torchvision: Vec::new() };
        let rows = kinds.into_iter().flat_map(|batches| CORES.map(|cores| row((batches, cores))));
        let (mut peer, mut measured) = (String::new(), rows.collect::<Vec<_>>());
        for turn in 1..=self.options.turns {
            for row in &mut measured {
                let ours = sample(&json(self.ours(row.batches, row.cores)).context("selfie bench loader")?)?;
                let answer = json(self.torchvision(row.batches, row.cores)).context("torchvision")?;
                let theirs = sample(&answer)?;
                answer["peer"].as_str().unwrap_or("torchvision").clone_into(&mut peer);
                let ratio = ours.images_per_cpu_s / theirs.images_per_cpu_s;
                say(&format!(
                    "xtask: {}, {} cores, turn {turn}: ours {:.0} images/s, torchvision {:.0}; by processor time {ratio:.2}",
                    row.batches.name(),
                    row.cores,
                    ours.images_per_s,
                    theirs.images_per_s
                ));
                row.ours.push(ours);
                row.torchvision.push(theirs);
            }
        }
        Ok((peer, measured))
    }

    fn ours(&self, batches: Batches, cores: u32) -> Command {
        let mut command = Command::new(&self.selfie);
        command.args(["bench", "loader", "--json", "--workers", &cores.to_string()]);
        command.args(["--batch", &self.options.batch.to_string()]);
        match (batches, &self.options.data) {
            (Batches::Files224, Some(data)) => {
                command.args(["imagenet224", "--task", "finetune", "--set", "crop=resized"]);
                command.args(["--set", "crop_scale_min=0.08"]).arg("--data").arg(data);
            }
            _ => {
                command.arg("shapes32");
            }
        }
        // The same time for both, about: ours has to make many more.
        command.args(["--batches", &(self.options.batches * ours_more(batches)).to_string()]);
        command
    }

    fn torchvision(&self, batches: Batches, cores: u32) -> Command {
        let workers = if cores == 1 { 0 } else { cores };
        let mut command = Command::new(&self.python);
        command.arg(&self.script).args(["--workers", &workers.to_string()]);
        command.args(["--batch", &self.options.batch.to_string()]);
        match (batches, &self.options.data) {
            (Batches::Files224, Some(data)) => command.args(["--images", "224"]).arg("--data").arg(data),
            _ => command.args(["--images", "32"]),
        };
        command.args(["--batches", &(self.options.batches * peer_more(batches)).to_string()]);
        command
    }
}

/// How many times as many batches as were asked for ours makes.
fn ours_more(batches: Batches) -> u32 {
    match batches {
        Batches::Files224 => 4,
        Batches::Patches32 => 500,
    }
}

/// How many times as many torchvision makes.
fn peer_more(batches: Batches) -> u32 {
    match batches {
        Batches::Files224 => 1,
        Batches::Patches32 => 10,
    }
}

fn sample(answer: &Value) -> Result<Sample> {
    let images_per_cpu_s = number(answer, "images_per_cpu_s")?;
    Ok(Sample { images_per_s: number(answer, "images_per_s")?, images_per_cpu_s })
}
