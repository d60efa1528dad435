//! What to compare: the arguments of `cargo xtask bench peer`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

pub(super) const HELP: &str = "\
Measures selfie and PyTorch in turns (ours, PyTorch, ours, PyTorch …), each run in a process of its own.

Usage: cargo xtask bench peer [OPTIONS]

      --task TASK        pretrain, finetune or embed [default: pretrain]
      --image-size PX    32 or 224 [default: 32]
      --width N          channels of the stem [default: 64]
      --batch N          images a step [default: 64; 16 at 224 px]
      --suite            instead of these four: every step that docs/performance.md follows; on CUDA with four times the batch
      --dtype TYPE       f32, bf16 or both; tf32 on CUDA [default: f32]
      --device DEVICE    cpu or cuda [default: cpu]
      --peer PEER        PyTorch as it is (eager), through torch.compile (compiled), or both [default: both]
      --threads N        threads of either [default: 2]
      --steps N          measured steps of a run, after two that are not [default: 5]
      --pairs N          runs of each [default: 5]
      --busy N           threads of another process that compute beside every run [default: 0]
      --peer-env DIR     a Python environment with torch; without it one is made from PyPI, once, in the target folder
      --selfie FILE      a selfie binary; without it one is built
      --append           append the table to docs/performance.md

`cargo xtask bench peer loader --help`: the same of loading.
";

/// A step to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) task: &'static str,
    pub(super) image_size: &'static str,
    pub(super) width: u32,
    pub(super) batch: u32,
    pub(super) dtype: &'static str,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, image_size, width, batch, dtype } = self;
        write!(f, "{task} {image_size} px, width {width}, batch {batch}, {dtype}")
    }
}

/// How PyTorch runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Eager,
    Compiled,
}

impl Peer {
    pub(super) const ALL: [Self; 2] = [Self::Eager, Self::Compiled];
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eager => "eager",
            Self::Compiled => "compiled",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) rows: Vec<Row>,
    pub(super) peers: Vec<Peer>,
    pub(super) device: &'static str,
    pub(super) threads: u32,
    pub(super) steps: u32,
    pub(super) pairs: u32,
    pub(super) busy: u32,
    pub(super) peer_env: Option<PathBuf>,
    pub(super) selfie: Option<PathBuf>,
    pub(super) appends: bool,
    /// The arguments, as far as they say what is measured: no paths.
    pub(super) command: String,
}

impl Options {
    /// The number types of the rows, each once.
    pub(super) fn dtypes(&self) -> Vec<&'static str> {
        DTYPES.into_iter().filter(|dtype| self.rows.iter().any(|row| row.dtype == *dtype)).collect()
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Help,
    Options(Options),
}

const TASKS: [&str; 3] = ["pretrain", "finetune", "embed"];
const IMAGE_SIZES: [&str; 2] = ["32", "224"];
const DTYPES: [&str; 3] = ["f32", "tf32", "bf16"];
/// What `--dtype both` stands for.
const BOTH: [&str; 2] = ["f32", "bf16"];
const DEVICES: [&str; 2] = ["cpu", "cuda"];

/// Task, image size, width, batch.
const SUITE: [(&str, &str, u32, u32); 5] = [
    ("pretrain", "32", 64, 64),
    ("finetune", "32", 64, 64),
    ("finetune", "224", 64, 16),
    ("embed", "32", 64, 64),
    ("pretrain", "32", 16, 128),
];

/// A GPU has room for batches of the suite this many times as large.
const GPU_BATCHES: u32 = 4;

/// The arguments as they were given.
#[derive(Default)]
struct Given {
    task: Option<&'static str>,
    image_size: Option<&'static str>,
    width: Option<u32>,
    batch: Option<u32>,
    suite: bool,
    dtypes: Option<Vec<&'static str>>,
    device: Option<&'static str>,
    peers: Option<Vec<Peer>>,
    threads: Option<u32>,
    steps: Option<u32>,
    pairs: Option<u32>,
    busy: Option<u32>,
    peer_env: Option<PathBuf>,
    selfie: Option<PathBuf>,
    appends: bool,
}

/// # Errors
///
/// If an argument is unknown, lacks its value, or has one that it cannot have.
pub(super) fn parse(arguments: &[String]) -> Result<Parsed> {
    let mut given = Given::default();
    let mut command = String::from("cargo xtask bench peer");
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        if matches!(name, "--help" | "-h") {
            return Ok(Parsed::Help);
        }
        if given.flag(name) && inline.is_none() {
            if name == "--suite" {
                command.push_str(" --suite");
            }
            continue;
        }
        let value = inline.or_else(|| rest.next().cloned()).with_context(|| format!("{name}: no value"))?;
        given.set(name, &value).with_context(|| format!("{name} {value}"))?;
        if !matches!(name, "--peer-env" | "--selfie") {
            command.push_str(&format!(" {name} {value}"));
        }
    }
    given.options(command).map(Parsed::Options)
}

impl Given {
    /// Whether `name` is an option without a value; it is then taken note of.
    fn flag(&mut self, name: &str) -> bool {
        match name {
            "--suite" => self.suite = true,
            "--append" => self.appends = true,
            _ => return false,
        }
        true
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "--task" => self.task = Some(one_of(&TASKS, value)?),
            "--image-size" => self.image_size = Some(one_of(&IMAGE_SIZES, value)?),
            "--width" => self.width = Some(positive(value)?),
            "--batch" => self.batch = Some(positive(value)?),
            "--dtype" if value == "both" => self.dtypes = Some(BOTH.to_vec()),
            "--dtype" => self.dtypes = Some(vec![one_of(&DTYPES, value).context("or both")?]),
            "--device" => self.device = Some(one_of(&DEVICES, value)?),
            "--peer" => {
                self.peers = Some(match value {
                    "eager" => vec![Peer::Eager],
                    "compiled" => vec![Peer::Compiled],
                    "both" => Peer::ALL.to_vec(),
                    _ => bail!("expected eager, compiled or both"),
                });
            }
            "--threads" => self.threads = Some(positive(value)?),
            "--steps" => self.steps = Some(positive(value)?),
            "--pairs" => self.pairs = Some(positive(value)?),
            "--busy" => self.busy = Some(number(value)?),
            "--peer-env" => self.peer_env = Some(value.into()),
            "--selfie" => self.selfie = Some(value.into()),
            _ => bail!("there is no such option"),
        }
        Ok(())
    }

    fn options(self, command: String) -> Result<Options> {
        let dtypes = self.dtypes.clone().unwrap_or_else(|| vec![DTYPES[0]]);
        let device = self.device.unwrap_or(DEVICES[0]);
        if device == "cpu" && dtypes.contains(&"tf32") {
            bail!("--dtype tf32 is CUDA's alone: expected --device cuda beside it");
        }
        let mut steps = self.steps_to_measure()?;
        if self.suite && device == "cuda" {
            steps.iter_mut().for_each(|(_, _, _, batch)| *batch *= GPU_BATCHES);
        }
        let row = |dtype, (task, image_size, width, batch)| Row { task, image_size, width, batch, dtype };
        let rows = dtypes.iter().flat_map(|dtype| steps.iter().map(|step| row(*dtype, *step))).collect();
        Ok(Options {
            rows,
            peers: self.peers.unwrap_or_else(|| Peer::ALL.to_vec()),
            device,
            threads: self.threads.unwrap_or(2),
            steps: self.steps.unwrap_or(5),
            pairs: self.pairs.unwrap_or(5),
            busy: self.busy.unwrap_or(0),
            peer_env: self.peer_env,
            selfie: self.selfie,
            appends: self.appends,
            command,
        })
    }

    fn steps_to_measure(&self) -> Result<Vec<(&'static str, &'static str, u32, u32)>> {
        let one = self.task.is_some() || self.image_size.is_some() || self.width.is_some() || self.batch.is_some();
        if self.suite && one {
            bail!("--suite takes the place of --task, --image-size, --width and --batch: leave one or the others out");
        }
        if self.suite {
            return Ok(SUITE.to_vec());
        }
        let image_size = self.image_size.unwrap_or("32");
        let batch = self.batch.unwrap_or(if image_size == "32" { 64 } else { 16 });
        Ok(vec![(self.task.unwrap_or("pretrain"), image_size, self.width.unwrap_or(64), batch)])
    }
}

fn one_of<const N: usize>(choices: &[&'static str; N], value: &str) -> Result<&'static str> {
    let found = choices.iter().find(|choice| **choice == value);
    found.copied().with_context(|| format!("expected {}", choices.join(" or ")))
}

fn number<T: FromStr>(value: &str) -> Result<T> {
    value.parse().ok().context("expected a whole number")
}

pub(super) fn positive(value: &str) -> Result<u32> {
    let number = number(value)?;
    if number == 0 {
        bail!("expected a number above 0");
    }
    Ok(number)
}
