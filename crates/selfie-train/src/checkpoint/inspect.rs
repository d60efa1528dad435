//! `checkpoint verify` and `checkpoint show`: of a run folder, its `checkpoints` folder, one checkpoint or a weights
//! file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::manifest::Manifest;
use super::tensors::{self, TensorInfo};
use super::{MANIFEST, OPTIMIZER, WEIGHTS, read_folder, step_folders};
use crate::TrainError;
use crate::files;
use crate::run_folder;

/// One verified thing: a checkpoint or the weights of a finished run.
#[derive(Debug)]
pub struct Verified {
    /// The checkpoint's folder, or the weights file.
    pub path: PathBuf,
    /// What was found intact, or what is wrong.
    pub result: Result<VerifiedContent, TrainError>,
}

/// What [`verify`] found intact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifiedContent {
    /// A checkpoint whose every byte is as written.
    Checkpoint {
        /// Updates made.
        step: u64,
        /// Size of its tensors' files, B.
        bytes: u64,
    },
    /// The weights of a finished run, as its result says.
    Weights {
        /// BLAKE3, hexadecimal.
        blake3: String,
    },
}

/// The content of one checkpoint, or of a weights file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The checkpoint's folder, or the weights file.
    pub path: PathBuf,
    /// A checkpoint's manifest.
    pub manifest: Option<Manifest>,
    /// Its tensors by file name.
    pub tensors: BTreeMap<String, Vec<TensorInfo>>,
}

/// Checks every byte of a checkpoint, or of all checkpoints and the final weights of a run folder.
///
/// # Errors
///
/// If there is no checkpoint at `path`. What is wrong with one that is there is in its [`Verified::result`].
pub fn verify(path: &Path) -> Result<Vec<Verified>, TrainError> {
    if path.is_file() {
        return verify_file(path).map(|verified| vec![verified]);
    }
    let mut verified: Vec<Verified> = folders(path)?
        .into_iter()
        .map(|folder| Verified { result: read_folder(&folder).map(content_of), path: folder })
        .collect();
    match run_folder::read_result(path) {
        Ok(None) => {}
        Ok(Some(result)) => verified.push(verify_weights(&path.join(WEIGHTS), &result.weights_hash)),
        Err(error) => verified.push(Verified { path: path.join(run_folder::RESULT), result: Err(error) }),
    }
    if verified.is_empty() {
        return Err(nothing_at(path));
    }
    Ok(verified)
}

/// The tensors of one checkpoint, of a run folder's newest one, or of a weights file. A checkpoint's hashes are checked
/// first.
///
/// # Errors
///
/// If there is none at `path` or it is corrupt.
pub fn show(path: &Path) -> Result<Content, TrainError> {
    if path.is_file() {
        let bytes = std::fs::read(path).map_err(|source| TrainError::reading(path, source, "a weights file"))?;
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let tensors = tensors::list(&name, &bytes)
            .map_err(|error| TrainError::Corrupt { path: path.to_owned(), reason: error.to_string() })?;
        return Ok(Content { path: path.to_owned(), manifest: None, tensors: BTreeMap::from([(name, tensors)]) });
    }
    let Some(folder) = folders(path)?.pop() else {
        return Err(nothing_at(path));
    };
    let snapshot = read_folder(&folder)?;
    let tensors = BTreeMap::from([
        (WEIGHTS.to_owned(), tensors::list("the weights", &snapshot.weights)?),
        (OPTIMIZER.to_owned(), tensors::list("the optimizer state", &snapshot.optimizer)?),
    ]);
    Ok(Content { manifest: Some(Manifest::read(&folder)?), path: folder, tensors })
}

/// The checkpoint folders that `path` stands for, by step.
fn folders(path: &Path) -> Result<Vec<PathBuf>, TrainError> {
    if !path.exists() {
        return Err(nothing_at(path));
    }
    if path.join(MANIFEST).exists() {
        return Ok(vec![path.to_owned()]);
    }
    let inside = path.join(run_folder::CHECKPOINTS);
    let folders = step_folders(if inside.is_dir() { &inside } else { path })?;
    Ok(folders.into_iter().map(|(_, folder)| folder).collect())
}

fn content_of(snapshot: super::Snapshot) -> VerifiedContent {
    let bytes = (snapshot.weights.len() + snapshot.optimizer.len()) as u64;
    VerifiedContent::Checkpoint { step: snapshot.step, bytes }
}

/// A run's weights file, against the result beside it.
fn verify_file(path: &Path) -> Result<Verified, TrainError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    match run_folder::read_result(folder)? {
        Some(result) => Ok(verify_weights(path, &result.weights_hash)),
        None => {
            let hint = "the record of a finished run beside the weights file, which holds its hash".to_owned();
            Err(TrainError::Missing { path: folder.join(run_folder::RESULT), hint })
        }
    }
}

fn verify_weights(path: &Path, expected: &str) -> Verified {
    let result = files::hash_file(path).and_then(|got| {
        if got == expected {
            return Ok(VerifiedContent::Weights { blake3: got });
        }
        let reason = format!("expected BLAKE3 {expected}, got {got}");
        Err(TrainError::Corrupt { path: path.to_owned(), reason })
    });
    Verified { path: path.to_owned(), result }
}

fn nothing_at(path: &Path) -> TrainError {
    let hint = "expected a run folder, its checkpoints folder, one checkpoint or a weights file".to_owned();
    TrainError::Missing { path: path.to_owned(), hint }
}
