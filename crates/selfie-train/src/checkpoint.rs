//! Checkpoints: everything a resume needs, whole or not there.
//!
//! A checkpoint is a folder `step-00012000` of two safetensors files and a manifest with their hashes and its own. It
//! is written under a temporary name, made durable and renamed; the last ones are kept. This layer knows bytes: what
//! the tensors mean is the loops' business.

use std::fs;
use std::path::{Path, PathBuf};

use crate::TrainError;
use crate::files::{self, TEMPORARY_PREFIX};

mod inspect;
mod manifest;
mod tensors;

#[cfg(test)]
mod tests;

pub use inspect::{Content, Verified, VerifiedContent, show, verify};
pub use manifest::{FileEntry, Manifest};
pub use tensors::{TensorInfo, require_finite_tensors};

/// The weights' file in a checkpoint.
pub const WEIGHTS: &str = "weights.safetensors";
/// The optimizer state's file in a checkpoint.
pub const OPTIMIZER: &str = "optimizer.safetensors";
/// The manifest's file in a checkpoint.
pub const MANIFEST: &str = "manifest.json";

const STEP_PREFIX: &str = "step-";

/// Everything a resume needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Updates made.
    pub step: u64,
    /// Bytes of `metrics.jsonl` up to this step; a resume cuts the file there.
    pub metrics_len: u64,
    /// Hash of what decides the run's bytes: [`crate::resume::identity_hash`].
    pub config_hash: String,
    /// A safetensors file.
    pub weights: Vec<u8>,
    /// A safetensors file.
    pub optimizer: Vec<u8>,
}

/// A checkpoint read back.
#[derive(Debug)]
pub struct Loaded {
    /// What it holds.
    pub snapshot: Snapshot,
    /// Its folder.
    pub path: PathBuf,
    /// Newer checkpoints that were passed over, each with what is wrong with it: to be shown as a warning.
    pub rejected: Vec<TrainError>,
}

/// The `checkpoints` folder of a run.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    folder: PathBuf,
    keep: usize,
}

impl CheckpointStore {
    /// The checkpoints in `folder`, of which the last `keep`, at least two, are kept. The folder need not be there yet.
    #[must_use]
    pub fn new(folder: PathBuf, keep: usize) -> Self {
        Self { folder, keep: keep.max(2) }
    }

    /// Writes a checkpoint and removes those that are not to be kept. Returns its folder.
    ///
    /// A checkpoint of the same step is replaced. Those of later steps are removed: they are left from a timeline that
    /// a resume gave up because they were corrupt.
    ///
    /// # Errors
    ///
    /// If a tensor is not finite or the files cannot be written; nothing is left behind then and older checkpoints are
    /// untouched.
    pub fn save(&self, snapshot: &Snapshot) -> Result<PathBuf, TrainError> {
        require_finite_tensors("the weights", &snapshot.weights, Some(snapshot.step))?;
        require_finite_tensors("the optimizer state", &snapshot.optimizer, Some(snapshot.step))?;
        files::create_folder(&self.folder)?;
        let name = step_name(snapshot.step);
        let temporary = self.folder.join(format!("{TEMPORARY_PREFIX}{name}"));
        if temporary.exists() {
            files::remove(&temporary)?;
        }
        let target = self.folder.join(&name);
        let written = write_folder(&temporary, snapshot).and_then(|()| self.put_in_place(&temporary, &target));
        if let Err(error) = written {
            // The write's own error says more than a failed clean-up would.
            let _ = fs::remove_dir_all(&temporary);
            return Err(error);
        }
        self.prune(snapshot.step)?;
        Ok(target)
    }

    fn put_in_place(&self, temporary: &Path, target: &Path) -> Result<(), TrainError> {
        let rename = |from: &Path, to: &Path| fs::rename(from, to).map_err(|source| TrainError::writing(to, source));
        if target.exists() {
            let replaced = self.folder.join(format!("{TEMPORARY_PREFIX}replaced"));
            if replaced.exists() {
                files::remove(&replaced)?;
            }
            rename(target, &replaced)?;
            rename(temporary, target)?;
            files::sync_folder(&self.folder)?;
            return files::remove(&replaced);
        }
        rename(temporary, target)?;
        files::sync_folder(&self.folder)
    }

    /// The newest checkpoint whose every byte is as written; `None` if there is no checkpoint at all.
    ///
    /// # Errors
    ///
    /// If there are checkpoints but none is intact, or the intact one belongs to a run with another `config_hash`.
    pub fn load_latest(&self, config_hash: &str) -> Result<Option<Loaded>, TrainError> {
        let mut rejected = Vec::new();
        for (_, path) in step_folders(&self.folder)?.into_iter().rev() {
            match read_folder(&path) {
                Err(error) => rejected.push(error),
                Ok(snapshot) if snapshot.config_hash != config_hash => {
                    let reason = format!("config hash: expected {config_hash}, got {}", snapshot.config_hash);
                    return Err(TrainError::Corrupt { path: path.join(MANIFEST), reason });
                }
                Ok(snapshot) => {
                    return Ok(Some(Loaded { snapshot, path, rejected }));
                }
            }
        }
        if rejected.is_empty() {
            return Ok(None);
        }
        let reasons: Vec<String> = rejected.iter().map(|error| format!("\n  {error}")).collect();
        let reason = format!("no checkpoint is intact; remove the folder to start anew{}", reasons.concat());
        Err(TrainError::Corrupt { path: self.folder.clone(), reason })
    }

    /// Removes what interrupted writes left. Only for the process that holds the run folder's lock.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read or a leftover not removed.
    pub fn remove_temporaries(&self) -> Result<(), TrainError> {
        files::remove_temporaries(&self.folder)
    }

    fn prune(&self, saved_step: u64) -> Result<(), TrainError> {
        let folders = step_folders(&self.folder)?;
        let n_current = folders.iter().filter(|(step, _)| *step <= saved_step).count();
        for (position, (step, path)) in folders.iter().enumerate() {
            if *step > saved_step || position + self.keep < n_current {
                // Renamed first: an interrupted removal must not leave half a checkpoint under a checkpoint's name.
                let removed = self.folder.join(format!("{TEMPORARY_PREFIX}removed-{}", step_name(*step)));
                fs::rename(path, &removed).map_err(|source| TrainError::Io {
                    action: "remove",
                    path: path.clone(),
                    source,
                })?;
                files::remove(&removed)?;
            }
        }
        Ok(())
    }
}

fn step_name(step: u64) -> String {
    format!("{STEP_PREFIX}{step:08}")
}

/// The checkpoints in a folder, by step; temporary names and everything else are passed over.
fn step_folders(folder: &Path) -> Result<Vec<(u64, PathBuf)>, TrainError> {
    let step = |name: &String| {
        let step = name.strip_prefix(STEP_PREFIX)?.parse::<u64>().ok()?;
        (step_name(step) == *name).then(|| (step, folder.join(name)))
    };
    let mut folders: Vec<(u64, PathBuf)> = files::names(folder)?.iter().filter_map(step).collect();
    folders.sort();
    Ok(folders)
}

fn write_folder(folder: &Path, snapshot: &Snapshot) -> Result<(), TrainError> {
    files::create_folder(folder)?;
    let manifest = Manifest::of(snapshot)?;
    files::write_durable(&folder.join(WEIGHTS), &snapshot.weights)?;
    files::write_durable(&folder.join(OPTIMIZER), &snapshot.optimizer)?;
    files::write_durable(&folder.join(MANIFEST), manifest.to_text()?.as_bytes())?;
    files::sync_folder(folder)
}

/// Reads a checkpoint and checks every byte of it against the manifest.
fn read_folder(folder: &Path) -> Result<Snapshot, TrainError> {
    let manifest = Manifest::read(folder)?;
    let weights = manifest.read_file(folder, WEIGHTS)?;
    let optimizer = manifest.read_file(folder, OPTIMIZER)?;
    let (step, metrics_len, config_hash) = (manifest.step, manifest.metrics_len, manifest.config_hash);
    if folder
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(STEP_PREFIX) && *name != *step_name(step))
    {
        let reason = format!("the folder's name and the manifest disagree: the manifest says step {step}");
        return Err(TrainError::Corrupt { path: folder.to_owned(), reason });
    }
    Ok(Snapshot { step, metrics_len, config_hash, weights, optimizer })
}
