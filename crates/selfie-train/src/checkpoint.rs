//! Checkpoints: everything a resume needs, whole or not there.
//!
//! A checkpoint is a folder `step-00012000` of two safetensors files and a manifest with their hashes and its own. It
//! is written under a temporary name, made durable, read back and renamed; only then do older ones go, and the last ones
//! are kept. This layer knows bytes: what the tensors mean is the loops' business.

use std::path::{Path, PathBuf};

use crate::TrainError;
use crate::files::{Files, TEMPORARY_PREFIX};

mod diff;
mod inspect;
mod manifest;
mod saver;
mod tensors;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

pub use diff::{Diff, TensorDiff, TensorDifference, diff};
pub use inspect::{Content, Verified, VerifiedContent, instead_of_weights, require_intact, show, verify};
pub use manifest::{FileEntry, Manifest, TensorEntry};
pub(crate) use saver::{Saved, Saver};
pub use tensors::{TensorInfo, require_finite_tensors};

/// The weights' file in a checkpoint.
pub const WEIGHTS: &str = "weights.safetensors";
/// The same file in a folder that was exported.
pub const EXPORTED_WEIGHTS: &str = "model.safetensors";
/// Every file of such a folder; no other is sent to the hub or fetched from it.
pub const EXPORTED_FILES: [&str; 5] =
    ["config.json", EXPORTED_WEIGHTS, "resnet.safetensors", "model.onnx", "README.md"];
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
    /// Bytes of `events.jsonl`, likewise.
    pub events_len: u64,
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
    files: Files,
}

impl CheckpointStore {
    /// The checkpoints in `folder`, of which the last `keep`, at least two, are kept. The folder need not be there yet.
    #[must_use]
    pub fn new(folder: PathBuf, keep: usize) -> Self {
        Self::on(Files::disk(), folder, keep)
    }

    fn on(files: Files, folder: PathBuf, keep: usize) -> Self {
        Self { folder, keep: keep.max(2), files }
    }

    /// Writes a checkpoint, reads it back, and removes those that are not to be kept. Returns what hindered a removal: the
    /// new checkpoint is in its place all the same.
    ///
    /// A checkpoint of the same step is replaced. Those of later steps are removed: they are left from a timeline that
    /// a resume gave up because they were corrupt.
    ///
    /// # Errors
    ///
    /// If a tensor is not finite, the files cannot be written or do not read as they were written; nothing is left behind
    /// then and older checkpoints are untouched.
    pub fn save(&self, snapshot: &Snapshot) -> Result<Option<TrainError>, TrainError> {
        require_finite_tensors("the weights", &snapshot.weights, Some(snapshot.step))?;
        require_finite_tensors("the optimizer state", &snapshot.optimizer, Some(snapshot.step))?;
        self.files.create_folder(&self.folder)?;
        let name = step_name(snapshot.step);
        let temporary = self.folder.join(format!("{TEMPORARY_PREFIX}{name}"));
        if self.files.exists(&temporary) {
            self.files.remove(&temporary)?;
        }
        let written = self
            .write_folder(&temporary, snapshot)
            .and_then(|()| self.require_readable(&temporary, snapshot))
            .and_then(|()| self.put_in_place(&temporary, &self.folder.join(&name)));
        if let Err(error) = written {
            // The write's own error says more than a failed clean-up would.
            let _ = self.files.remove(&temporary);
            return Err(error);
        }
        Ok(self.prune(snapshot.step).err())
    }

    fn write_folder(&self, folder: &Path, snapshot: &Snapshot) -> Result<(), TrainError> {
        self.files.create_folder(folder)?;
        let manifest = Manifest::of(snapshot)?;
        self.files.write_durable(&folder.join(WEIGHTS), &snapshot.weights)?;
        self.files.write_durable(&folder.join(OPTIMIZER), &snapshot.optimizer)?;
        self.files.write_durable(&folder.join(MANIFEST), manifest.to_text()?.as_bytes())?;
        self.files.sync_folder(folder)
    }

    /// Refuses a disk that took a checkpoint without an error and gives another one back.
    fn require_readable(&self, folder: &Path, written: &Snapshot) -> Result<(), TrainError> {
        if read_folder(&self.files, folder)? == *written {
            return Ok(());
        }
        let reason = "what was read back is not what was written".to_owned();
        Err(TrainError::Corrupt { path: folder.to_owned(), reason })
    }

    fn put_in_place(&self, temporary: &Path, target: &Path) -> Result<(), TrainError> {
        if !self.files.exists(target) {
            self.files.rename(temporary, target)?;
            return self.files.sync_folder(&self.folder);
        }
        let replaced = self.folder.join(format!("{TEMPORARY_PREFIX}replaced"));
        if self.files.exists(&replaced) {
            self.files.remove(&replaced)?;
        }
        self.files.rename(target, &replaced)?;
        self.files.rename(temporary, target)?;
        self.files.sync_folder(&self.folder)?;
        // Whether it goes does not change that the new one is in its place; the next start removes it.
        let _ = self.files.remove(&replaced);
        Ok(())
    }

    /// The newest checkpoint whose every byte is as written; `None` if there is no checkpoint at all.
    ///
    /// # Errors
    ///
    /// If there are checkpoints but none is intact, or the intact one has none of `config_hashes`: it is of another run.
    pub fn load_latest(&self, config_hashes: &[String]) -> Result<Option<Loaded>, TrainError> {
        let mut rejected = Vec::new();
        for (_, path) in step_folders(&self.files, &self.folder)?.into_iter().rev() {
            match read_folder(&self.files, &path) {
                Err(error) => rejected.push(error),
                Ok(snapshot) if !config_hashes.contains(&snapshot.config_hash) => {
                    let expected = config_hashes.join(" or ");
                    let reason = format!("config hash: expected {expected}, got {}", snapshot.config_hash);
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
        self.files.remove_temporaries(&self.folder)
    }

    fn prune(&self, saved_step: u64) -> Result<(), TrainError> {
        let folders = step_folders(&self.files, &self.folder)?;
        let n_current = folders.iter().filter(|(step, _)| *step <= saved_step).count();
        for (position, (step, path)) in folders.iter().enumerate() {
            if *step > saved_step || position + self.keep < n_current {
                // Renamed first: an interrupted removal must not leave half a checkpoint under a checkpoint's name.
                let removed = self.folder.join(format!("{TEMPORARY_PREFIX}removed-{}", step_name(*step)));
                if self.files.exists(&removed) {
                    self.files.remove(&removed)?;
                }
                self.files.rename(path, &removed)?;
                self.files.remove(&removed)?;
            }
        }
        Ok(())
    }
}

fn step_name(step: u64) -> String {
    format!("{STEP_PREFIX}{step:08}")
}

/// The checkpoints in a folder, by step; temporary names and everything else are passed over.
fn step_folders(files: &Files, folder: &Path) -> Result<Vec<(u64, PathBuf)>, TrainError> {
    let step = |name: &String| {
        let step = name.strip_prefix(STEP_PREFIX)?.parse::<u64>().ok()?;
        (step_name(step) == *name).then(|| (step, folder.join(name)))
    };
    let mut folders: Vec<(u64, PathBuf)> = files.names(folder)?.iter().filter_map(step).collect();
    folders.sort();
    Ok(folders)
}

/// Reads a checkpoint and checks every byte of it against the manifest.
fn read_folder(files: &Files, folder: &Path) -> Result<Snapshot, TrainError> {
    let manifest = Manifest::read(files, folder)?;
    let weights = manifest.read_file(files, folder, WEIGHTS)?;
    let optimizer = manifest.read_file(files, folder, OPTIMIZER)?;
    let Manifest { step, metrics_len, events_len, config_hash, .. } = manifest;
    if folder
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(STEP_PREFIX) && *name != *step_name(step))
    {
        let reason = format!("the folder's name and the manifest disagree: the manifest says step {step}");
        return Err(TrainError::Corrupt { path: folder.to_owned(), reason });
    }
    Ok(Snapshot { step, metrics_len, events_len, config_hash, weights, optimizer })
}
