//! From common options to what the libraries take: device, threads, session, configuration.

use std::path::{Path, PathBuf};

use candle_core::Device;
use selfie_eval::record::{Task, from_json};
#[cfg(feature = "cuda")]
use selfie_model::new_cuda as open_cuda;
use selfie_train::checkpoint::{EXPORTED_WEIGHTS, WEIGHTS, instead_of_weights, require_intact};
use selfie_train::config::{FlagValue, Overrides, Resolved, resolve};
use selfie_train::estimate::Conditions;
use selfie_train::machine;
use selfie_train::progress::Mode;
use selfie_train::run_folder::{finished_runs, goes_on_with, read_record, read_result};
use selfie_train::session::Session;
use selfie_train::signals::Signals;
use selfie_train::study::{STUDY, StudyRecord};
use selfie_train::{TrainError, make_folder};

use crate::arguments::{Compute, Train};
use crate::choice::{self, Chosen};
use crate::output::{self, Usage};

/// Checks the instruction set that was asked for and sizes the pool of CPU threads. Before everything else: the first use of the pool, say by a data set, fixes its size.
pub(crate) fn threads(compute: &Compute) -> anyhow::Result<()> {
    machine::check_instruction_set()?;
    if let Some(threads) = compute.threads {
        rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads)).build_global()?;
    }
    Ok(())
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(index: usize) -> candle_core::Result<Device> {
    Device::new_cuda(index)
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
        Some(("auto", 0)) if cfg!(feature = "cuda") => Ok(open_cuda(0).unwrap_or_else(|error| {
            output::note(&format!("no CUDA device, computing on the CPU: {error}"));
            Device::Cpu
        })),
        Some(("cuda", index)) if cfg!(feature = "cuda") => open_cuda(index).map_err(|error| {
            let hint = format!("CUDA says {error}; see `nvidia-smi`, or choose --device cpu");
            TrainError::Missing { path: PathBuf::from(&compute.device), hint }.into()
        }),
        Some(("auto", 0)) if cfg!(feature = "metal") => Ok(Device::metal_if_available(0)?),
        Some(("auto" | "cpu", 0)) => Ok(Device::Cpu),
        Some(("metal", index)) if cfg!(feature = "metal") => Ok(Device::new_metal(index)?),
        Some((name @ ("cuda" | "metal"), _)) => Err(missing(name)),
        _ => {
            let argument = output::flag_or_variable("--device", "SELFIE_DEVICE");
            Err(Usage(format!("{argument}: expected auto, cpu, cuda, cuda:N or metal, got {}", compute.device)).into())
        }
    }
}

/// The configuration of a training command.
pub(crate) fn configuration(task: Task, chosen: &Chosen, train: &Train) -> anyhow::Result<Resolved> {
    Ok(resolve(task, &chosen.base, &overrides(&train.set, train.steps, chosen))?)
}

/// What starting weights, the environment, `--set`, `--steps` and a data set that is not the recipe's lay upon a recipe.
pub(crate) fn overrides(set: &[String], steps: Option<u64>, chosen: &Chosen) -> Overrides {
    let flag = |flag: &str, key: &str, value: String| FlagValue { flag: flag.to_owned(), key: key.to_owned(), value };
    let steps = steps.map(|steps| flag("--steps", "steps", steps.to_string()));
    let data_set = chosen.set.map(|set| flag("--data", "data.set", set.to_string()));
    Overrides {
        start: chosen.model.clone(),
        environment: std::env::vars_os().collect(),
        set: set.to_vec(),
        flags: steps.into_iter().chain(data_set).collect(),
    }
}

/// The weights file that a run folder, an exported folder or the path of a file stands for; of a finished run those that
/// its result names.
pub(crate) fn weights_file(path: &Path) -> anyhow::Result<PathBuf> {
    let file = weights_path(path, Task::Pretrain)?;
    require_intact(&file)?;
    Ok(file)
}

/// As [`weights_file`], for a command that works on classifiers alone.
pub(crate) fn classifier_file(path: &Path) -> anyhow::Result<PathBuf> {
    let file = weights_path(path, Task::Finetune)?;
    require_intact(&file)?;
    Ok(file)
}

/// Where the weights lie; `wanted` is the kind of run to name to someone who gives a study.
pub(crate) fn weights_path(path: &Path, wanted: Task) -> anyhow::Result<PathBuf> {
    if let Some(record) = read_record(path)? {
        let file = path.join(WEIGHTS);
        if file.exists() {
            return Ok(file);
        }
        let hint = match read_result(path)? {
            Some(_) => format!("the run is finished, and its weights are gone; {}", instead_of_weights(path)),
            None => {
                let command = goes_on_with(path, &record);
                format!("the run is not finished; go on with {command}, or give a checkpoint's weights file")
            }
        };
        return Err(TrainError::Missing { path: file, hint }.into());
    }
    let (file, hint) = if path.join(STUDY).exists() {
        (path.join(WEIGHTS), of_study(path, wanted)?)
    } else if path.join(EXPORTED_WEIGHTS).exists() {
        (path.join(EXPORTED_WEIGHTS), String::new())
    } else if path.is_dir() {
        let hint = "this is no run folder; expected a finished run's folder, an exported one or a weights file";
        (path.join(WEIGHTS), hint.to_owned())
    } else {
        (path.to_owned(), "expected a finished run's folder or a weights file".to_owned())
    };
    if file.exists() {
        return Ok(file);
    }
    Err(TrainError::Missing { path: file, hint }.into())
}

/// Which run of a study to give in its place.
fn of_study(study: &Path, wanted: Task) -> anyhow::Result<String> {
    let kind = match wanted {
        Task::Pretrain => "pretraining",
        Task::Finetune => "fine-tuned run",
    };
    let first =
        |task| Ok::<_, TrainError>(finished_runs(study, task)?.first().map(|run| run.path.display().to_string()));
    if let Some(run) = first(wanted)? {
        return Ok(format!("this is a study; give one of the runs in it, such as {run}"));
    }
    if let (Task::Pretrain, Some(from)) = (wanted, pretrained_elsewhere(study)) {
        let tuned = first(Task::Finetune)?;
        let tuned = tuned.map_or_else(String::new, |run| format!(", or a fine-tuned run of it, such as {run}"));
        return Ok(format!("this is a study of the pretraining {from}, and has none of its own; give that{tuned}"));
    }
    Ok(format!("this is a study, and no {kind} in it is finished; run its command again"))
}

/// The pretraining that a study was begun with, if it makes none.
fn pretrained_elsewhere(study: &Path) -> Option<String> {
    let text = std::fs::read_to_string(study.join(STUDY)).ok()?;
    let record: StudyRecord = from_json(STUDY, &text).ok()?;
    record.pretrained_from.map(|from| from.path)
}

/// Makes the folder of a file that is to be written. Where that fails, writing says why.
pub(crate) fn folder_of(file: &Path) {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let _ = make_folder(folder);
    }
}

/// Where and how a training command would compute.
pub(crate) fn conditions<'a>(train: &Train, device: &'a Device) -> Conditions<'a> {
    Conditions { seed: train.seed, number_type: train.dtype.number_type(), device }
}

/// Where and how a training command runs, on the data in `data_dir`.
pub(crate) fn session(train: &Train, data_dir: Option<PathBuf>, out: PathBuf) -> anyhow::Result<Session> {
    Ok(Session { signals: Some(Signals::install()?), ..place(train, data_dir, out, device(&train.compute)?) })
}

/// The same without hearing signals: for looking.
pub(crate) fn place(train: &Train, data_dir: Option<PathBuf>, out: PathBuf, device: Device) -> Session {
    Session {
        out: train.out.clone().unwrap_or(out),
        data_dir: choice::recorded(data_dir),
        seed: train.seed,
        stop_after: train.stop_after,
        device,
        number_type: train.dtype.number_type(),
        progress: Mode::detect(train.quiet),
        signals: None,
        allow_change: train.allow_change.clone(),
        inject: Vec::new(),
    }
}
