//! The run folder: `run.json`, `metrics.jsonl`, `events.jsonl`, TensorBoard's events, `train.log`,
//! `checkpoints/`, `faults/`, `weights.safetensors`, `result.json`.
//!
//! One process at a time trains in a folder: it holds an advisory lock, which the system releases when the process
//! ends, however it ends.

use std::cmp::Reverse;
use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use selfie_data::BAD_SAMPLES;
use selfie_eval::record::{Arm, Outcome, ResultRecord, RunRecord, Task, from_json, to_pretty_json, utc};

use crate::TrainError;
use crate::checkpoint::{CheckpointStore, WEIGHTS, require_finite_tensors};
use crate::files::{Files, TEMPORARY_PREFIX, require_no_file};
use crate::finetune::SUBSET;
use crate::machine;
use crate::resume::{self, Difference};

mod append;
mod command;
mod lines;
mod tensorboard;

#[cfg(test)]
mod tests;

pub(crate) use tensorboard::TensorBoardLog;

pub use command::goes_on_with;
pub(crate) use lines::read_last_metrics;
pub use lines::{LineLog, read_events, read_metrics};
pub use tensorboard::{event_files, write_events};

/// The run's record.
pub const RECORD: &str = "run.json";
/// One object a step.
pub const METRICS: &str = "metrics.jsonl";
/// One object for each step at which something happened.
pub const EVENTS: &str = "events.jsonl";
/// The folder of what replays numbers that were not finite.
pub const CAPTURES: &str = "faults";
/// Captures kept of a run: each is as large as the weights.
const MAX_CAPTURES: usize = 3;
/// What was printed.
pub const LOG: &str = "train.log";
/// The folder of checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// The result; a run that has one is finished.
pub const RESULT: &str = "result.json";
/// The file that the lock is taken on.
const LOCK: &str = ".lock";

/// What names a run folder.
#[derive(Clone, Debug, PartialEq)]
pub struct RunName {
    /// Pretraining or fine-tuning.
    pub task: Task,
    /// The recipe's name, and that of the images where they are the user's own.
    pub title: String,
    /// Of fine-tuning: share of the labels, in 0–1, and the arm.
    pub finetune: Option<(f64, Arm)>,
    /// Seed of every draw.
    pub seed: u64,
}

impl RunName {
    /// `runs/<task>-<title>[-<fraction>-<arm>]-s<seed>`
    #[must_use]
    pub fn default_path(&self) -> PathBuf {
        let middle = self.finetune.map_or_else(String::new, |(fraction, arm)| format!("-{fraction}-{}", arm.name()));
        Path::new("runs").join(format!("{}-{}{middle}-s{}", self.task, self.title, self.seed))
    }
}

/// Whether [`RunFolder::begin`] found a run to go on with.
#[derive(Clone, Debug, PartialEq)]
pub enum Begin {
    /// The run starts now.
    Fresh,
    /// The run starts now, in the place of one with other values, which had saved nothing and is removed.
    Replaced(Vec<Difference>),
    /// The run was started before, with the same values; this is its record.
    Resumed(RunRecord),
    /// The run was started before, with other values, whose change is allowed. The record on disk is still the old one.
    Changed {
        /// That record.
        was: RunRecord,
        /// What differs.
        differences: Vec<Difference>,
    },
}

/// What [`RunFolder::finish`] cannot work out itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// Updates made.
    pub steps: u64,
    /// What came out.
    pub outcome: Outcome,
    /// Wall time of all steps, over all resumptions, s.
    pub wall_s: f64,
    /// Training images over that time.
    pub images_per_s: f64,
}

/// A run folder that this process alone trains in.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    files: Files,
    /// Dropped last: closing the file releases the lock.
    _lock: File,
}

impl RunFolder {
    /// Opens or creates a run folder, takes its lock and removes what interrupted writes left.
    ///
    /// # Errors
    ///
    /// If the folder cannot be created or written to, belongs to something else, or another process trains in it.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let files = Files::disk();
        files.create_folder(path)?;
        require_ours(path, &files)?;
        let lock = lock(path)?;
        files.remove_temporaries(path)?;
        files.remove_temporaries(&path.join(CHECKPOINTS))?;
        Ok(Self { path: path.to_owned(), files, _lock: lock })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `run.json`, or checks that this run is the one that is there, but for the keys in `allowed`: then the record
    /// stays as it is. A run that has neither checkpoint nor result gives its place to any other.
    ///
    /// # Errors
    ///
    /// [`TrainError::ConfigChanged`] with every difference that is not allowed, or if the record cannot be read or written.
    pub fn begin(&self, record: &RunRecord, allowed: &[String]) -> Result<Begin, TrainError> {
        let begin = find(&self.path, record, allowed)?;
        if let Begin::Replaced(_) = &begin {
            // Before the record: with the new one, what is here would be the new run's.
            for name in
                self.files.names(&self.path)?.iter().filter(|name| [BAD_SAMPLES, SUBSET].contains(&name.as_str()))
            {
                self.files.remove(&self.path.join(name))?;
            }
            for capture in self.files.names(&self.path.join(CAPTURES))? {
                self.files.remove(&self.path.join(CAPTURES).join(capture))?;
            }
        }
        if matches!(begin, Begin::Fresh | Begin::Replaced(_)) {
            self.write_record(record)?;
        }
        Ok(begin)
    }

    /// Writes `run.json`, whole or not at all.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write_record(&self, record: &RunRecord) -> Result<(), TrainError> {
        self.files.write_atomic(&self.path.join(RECORD), to_pretty_json(RECORD, record)?.as_bytes())
    }

    /// The folder's checkpoints, of which the last `keep` are kept.
    #[must_use]
    pub fn checkpoints(&self, keep: usize) -> CheckpointStore {
        CheckpointStore::new(self.path.join(CHECKPOINTS), keep)
    }

    /// Opens `metrics.jsonl` cut to its first `metrics_len` bytes: those of the checkpoint the run goes on from, or 0.
    ///
    /// # Errors
    ///
    /// If the file is shorter than that, does not end in a whole line there, or cannot be opened.
    pub fn metrics(&self, metrics_len: u64) -> Result<LineLog, TrainError> {
        LineLog::open(&self.path.join(METRICS), metrics_len)
    }

    /// Opens `events.jsonl`, as [`Self::metrics`].
    ///
    /// # Errors
    ///
    /// As [`Self::metrics`].
    pub fn events(&self, events_len: u64) -> Result<LineLog, TrainError> {
        LineLog::open(&self.path.join(EVENTS), events_len)
    }

    /// Keeps what replays a fault at `step`, and returns where. The folder is small: only the first few are kept.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn keep_capture(&self, step: u64, bytes: &[u8]) -> Result<Option<PathBuf>, TrainError> {
        let folder = self.path.join(CAPTURES);
        let path = folder.join(format!("step-{step:08}.safetensors"));
        if !path.exists() && self.files.names(&folder)?.len() >= MAX_CAPTURES {
            return Ok(None);
        }
        self.files.create_folder(&folder)?;
        self.files.write_atomic(&path, bytes)?;
        Ok(Some(path))
    }

    /// Opens `train.log` for appending.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn train_log(&self) -> Result<File, TrainError> {
        let path = self.path.join(LOG);
        File::options().create(true).append(true).open(&path).map_err(|source| TrainError::creating(&path, source))
    }

    /// Writes the weights, then the result: a run is finished once its result is there.
    ///
    /// # Errors
    ///
    /// If a number is not finite or a file cannot be written.
    pub fn finish(&self, weights: &[u8], finish: Finish) -> Result<ResultRecord, TrainError> {
        let Finish { steps, outcome, wall_s, images_per_s } = finish;
        require_finite_tensors("the weights", weights, Some(steps))?;
        let weights_hash = blake3::hash(weights).to_hex().to_string();
        let finished = utc(SystemTime::now());
        let result = ResultRecord { steps, outcome, weights_hash, wall_s, images_per_s, finished };
        let text = result.to_json()?;
        self.files.write_atomic(&self.path.join(WEIGHTS), weights)?;
        self.files.write_atomic(&self.path.join(RESULT), text.as_bytes())?;
        Ok(result)
    }
}

/// The run folder's record; `None` if it has none. Takes no lock.
///
/// # Errors
///
/// If the file cannot be read or is damaged.
pub fn read_record(folder: &Path) -> Result<Option<RunRecord>, TrainError> {
    read_json(&folder.join(RECORD))
}

/// The run folder's result; `None` if the run is not finished. Takes no lock.
///
/// # Errors
///
/// If the file cannot be read or is damaged.
pub fn read_result(folder: &Path) -> Result<Option<ResultRecord>, TrainError> {
    read_json(&folder.join(RESULT))
}

/// A finished run.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedRun {
    /// Its folder.
    pub path: PathBuf,
    /// How it was started.
    pub record: RunRecord,
    /// What came out.
    pub result: ResultRecord,
}

/// The finished runs of a task among the folders in `runs`, the newest first; of those that finished in the same second,
/// the one whose result was written last. A folder whose records are damaged is passed over.
///
/// # Errors
///
/// If `runs` cannot be read; that it is not there is no error.
pub fn finished_runs(runs: &Path, task: Task) -> Result<Vec<FinishedRun>, TrainError> {
    let finished = |name: &String| {
        let path = runs.join(name);
        let record = read_record(&path).ok()??;
        let result = read_result(&path).ok()??;
        (record.task == task).then_some(FinishedRun { path, record, result })
    };
    let mut runs: Vec<FinishedRun> = Files::disk().names(runs)?.iter().filter_map(finished).collect();
    runs.sort_by_cached_key(|run| Reverse((run.result.finished.clone(), modified(&run.path.join(RESULT)))));
    Ok(runs)
}

/// When a file was last written to, as far as the disk says.
fn modified(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|found| found.modified()).ok()
}

/// The folders in `runs` of a task's runs that are not finished, of one recipe or of any, the one written to last at the end.
///
/// # Errors
///
/// As [`finished_runs`].
pub fn begun_runs(runs: &Path, task: Task, recipe: Option<&str>) -> Result<Vec<PathBuf>, TrainError> {
    let begun = |name: &String| {
        let path = runs.join(name);
        let record = read_record(&path).ok()??;
        let is_it = record.task == task && recipe.is_none_or(|recipe| record.recipe == recipe);
        (is_it && !path.join(RESULT).exists()).then(|| (modified(&path.join(LOG)), path))
    };
    let mut runs: Vec<_> = Files::disk().names(runs)?.iter().filter_map(begun).collect();
    runs.sort();
    Ok(runs.into_iter().map(|(_, path)| path).collect())
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, TrainError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(from_json(&path.display().to_string(), &text)?)),
        // A path that goes through a file holds no record either.
        Err(error) if [std::io::ErrorKind::NotFound, std::io::ErrorKind::NotADirectory].contains(&error.kind()) => {
            Ok(None)
        }
        Err(source) => Err(TrainError::reading(path, source, "expected a record")),
    }
}

/// What a run finds in a folder, but for the keys in `allowed` the one that is there or none.
pub(crate) fn find(folder: &Path, record: &RunRecord, allowed: &[String]) -> Result<Begin, TrainError> {
    let Some(was) = read_record(folder)? else { return Ok(Begin::Fresh) };
    let differences = resume::differences(&was, record)?;
    if differences.is_empty() {
        return Ok(Begin::Resumed(was));
    }
    if differences.iter().all(|difference| resume::is_allowed(difference, allowed)) {
        return Ok(Begin::Changed { was, differences });
    }
    let is_whole = |name: &String| !name.starts_with(TEMPORARY_PREFIX);
    if !folder.join(RESULT).exists() && !Files::disk().names(&folder.join(CHECKPOINTS))?.iter().any(is_whole) {
        return Ok(Begin::Replaced(differences));
    }
    let differences = differences.into_iter().filter(|difference| !resume::is_allowed(difference, allowed)).collect();
    Err(TrainError::ConfigChanged { folder: folder.to_owned(), differences })
}

/// Refuses what [`RunFolder::open`] would, as far as that shows without writing.
pub(crate) fn require_free(folder: &Path) -> Result<(), TrainError> {
    require_no_file(folder)?;
    require_ours(folder, &Files::disk())?;
    match File::open(folder.join(LOCK)) {
        Ok(mut file) => try_lock(&mut file, folder),
        Err(_) => Ok(()),
    }
}

fn require_ours(folder: &Path, files: &Files) -> Result<(), TrainError> {
    let names = files.names(folder)?;
    let ours = |name: &String| name.starts_with(TEMPORARY_PREFIX) || [LOCK, LOG].contains(&name.as_str());
    match names.iter().find(|name| !ours(name)).filter(|_| !folder.join(RECORD).exists()) {
        Some(found) => Err(TrainError::NotARunFolder { path: folder.to_owned(), found: found.clone() }),
        None => Ok(()),
    }
}

/// Takes the folder's lock and notes this process in it.
fn lock(folder: &Path) -> Result<File, TrainError> {
    let path = folder.join(LOCK);
    let opened = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = opened.map_err(|source| TrainError::creating(&path, source))?;
    try_lock(&mut file, folder)?;
    // Only the message of a second process reads this: a full disk may lose it.
    let holder = format!("process {} on {}, since {}", std::process::id(), machine::host(), utc(SystemTime::now()));
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{holder}"));
    Ok(file)
}

fn try_lock(file: &mut File, folder: &Path) -> Result<(), TrainError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let read = file.read_to_string(&mut holder).is_ok();
            let holder = if read && !holder.is_empty() { format!(" ({})", holder.trim()) } else { String::new() };
            Err(TrainError::Locked { path: folder.to_owned(), holder })
        }
        Err(TryLockError::Error(source)) => Err(TrainError::Io { action: "lock", path: folder.join(LOCK), source }),
    }
}
