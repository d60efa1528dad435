//! From common options to what the libraries take: device, threads, session, configuration.

use std::path::{Path, PathBuf};

use candle_core::Device;
use selfie_data::{DataSet, Recognised, SetName};
use selfie_eval::record::Task;
use selfie_train::TrainError;
use selfie_train::checkpoint::WEIGHTS;
use selfie_train::config::{Base, FlagValue, Overrides, Resolved, resolve};
use selfie_train::machine;
use selfie_train::progress::Mode;
use selfie_train::run_folder::{RECORD, read_record};
use selfie_train::session::Session;
use selfie_train::signals::Signals;
use selfie_train::study::STUDY;

use crate::arguments::{Compute, Train};
use crate::output::{self, Usage};

/// Checks the instruction set that was asked for and sizes the pool of CPU threads. Before everything else: the first use of the pool, say by a data set, fixes its size.
pub(crate) fn threads(compute: &Compute) -> anyhow::Result<()> {
    machine::check_instruction_set()?;
    if let Some(threads) = compute.threads {
        rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads)).build_global()?;
    }
    Ok(())
}

/// Opens the device.
pub(crate) fn device(compute: &Compute) -> anyhow::Result<Device> {
    let parsed: Option<(&str, usize)> = match compute.device.split_once(':') {
        None => Some((compute.device.as_str(), 0)),
        Some((name, index)) => index.parse().ok().map(|index| (name, index)),
    };
    let missing = |feature: &str| {
        let hint = format!("build with the feature `{feature}`, or choose --device cpu");
        anyhow::Error::from(TrainError::Missing { path: PathBuf::from(&compute.device), hint })
    };
    match parsed {
        Some(("auto", 0)) if cfg!(feature = "cuda") => Ok(Device::cuda_if_available(0)?),
        Some(("auto", 0)) if cfg!(feature = "metal") => Ok(Device::metal_if_available(0)?),
        Some(("auto" | "cpu", 0)) => Ok(Device::Cpu),
        Some(("cuda", index)) if cfg!(feature = "cuda") => Ok(Device::new_cuda(index)?),
        Some(("metal", index)) if cfg!(feature = "metal") => Ok(Device::new_metal(index)?),
        Some((name @ ("cuda" | "metal"), _)) => Err(missing(name)),
        _ => Err(Usage(format!("--device: expected auto, cpu, cuda, cuda:N or metal, got {}", compute.device)).into()),
    }
}

/// The configuration of a training command, of another data set than the recipe's where `set` names one.
pub(crate) fn configuration(task: Task, base: &Base, train: &Train, set: Option<SetName>) -> anyhow::Result<Resolved> {
    let mut overrides = overrides(&train.set, train.steps);
    if let Some(set) = set {
        let (flag, key, value) = ("--data".to_owned(), "data.set".to_owned(), set.to_string());
        overrides.flags.push(FlagValue { flag, key, value });
    }
    Ok(resolve(task, base, &overrides)?)
}

/// What the environment, `--set` and `--steps` lay upon a recipe.
pub(crate) fn overrides(set: &[String], steps: Option<u64>) -> Overrides {
    let steps =
        steps.map(|steps| FlagValue { flag: "--steps".to_owned(), key: "steps".to_owned(), value: steps.to_string() });
    Overrides { environment: std::env::vars_os().collect(), set: set.to_vec(), flags: steps.into_iter().collect() }
}

/// The weights file that a run folder or the path of a file stands for.
pub(crate) fn weights_file(path: &Path) -> anyhow::Result<PathBuf> {
    let (file, hint) = if path.join(RECORD).exists() {
        let hint = "the run is not finished; finish it with its own command, or give a checkpoint's weights file";
        (path.join(WEIGHTS), hint)
    } else if path.join(STUDY).exists() {
        (path.join(WEIGHTS), "this is a study; give one of the runs in it, such as its pretrain-s1")
    } else if path.is_dir() {
        (path.join(WEIGHTS), "this is no run folder; expected a finished run's folder or a weights file")
    } else {
        (path.to_owned(), "expected a finished run's folder or a weights file")
    };
    if file.exists() {
        return Ok(file);
    }
    Err(TrainError::Missing { path: file, hint: hint.to_owned() }.into())
}

/// Opens the data set of a name.
pub(crate) fn data_set(name: &str, dir: Option<&Path>) -> anyhow::Result<DataSet> {
    name.parse().and_then(|name: SetName| selfie_data::open(name, dir)).map_err(output::data)
}

/// What is in a folder of images.
pub(crate) fn recognise(dir: &Path) -> anyhow::Result<Recognised> {
    selfie_data::recognise(dir).map_err(output::data)
}

/// The folder of the data set: the one named, else the one that an earlier run was given.
pub(crate) fn data_dir(named: Option<&Path>, run: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    if let Some(dir) = named {
        return Ok(Some(dir.to_owned()));
    }
    let record = run.map(read_record).transpose()?.flatten();
    Ok(record.and_then(|record| record.data_dir).map(PathBuf::from))
}

/// The data set's folder as a record keeps it. `hub:` is no path.
pub(crate) fn recorded(data_dir: Option<PathBuf>) -> Option<PathBuf> {
    data_dir.map(|dir| if dir.exists() { std::path::absolute(&dir).unwrap_or(dir) } else { dir })
}

/// Where and how a training command runs, on the data in `data_dir`.
pub(crate) fn session(train: &Train, data_dir: Option<PathBuf>, out: PathBuf) -> anyhow::Result<Session> {
    Ok(Session {
        out: train.out.clone().unwrap_or(out),
        data_dir: recorded(data_dir),
        seed: train.seed,
        stop_after: train.stop_after,
        device: device(&train.compute)?,
        number_type: train.dtype.number_type(),
        progress: Mode::detect(train.quiet),
        signals: Some(Signals::install()?),
        allow_change: train.allow_change.clone(),
        inject: Vec::new(),
    })
}
