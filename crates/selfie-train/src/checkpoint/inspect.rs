//! `checkpoint verify` and `checkpoint show`: of a run folder, its `checkpoints` folder, one checkpoint or a weights
//! file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::manifest::Manifest;
use super::tensors::{self, TensorInfo};
use super::{MANIFEST, OPTIMIZER, Snapshot, WEIGHTS, read_folder, step_folders};
use crate::TrainError;
use crate::files::{self, Files};
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
        .map(|folder| Verified { result: read_folder(&Files::disk(), &folder).map(content_of), path: folder })
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
    let Stored { path, manifest, files } = stored(path)?;
    let list = |(name, bytes): (String, Vec<u8>)| Ok((name, tensors::list(&path, &bytes)?));
    let tensors = files.into_iter().map(list).collect::<Result<_, TrainError>>()?;
    Ok(Content { path, manifest, tensors })
}

/// The bytes of one checkpoint or weights file.
pub(super) struct Stored {
    /// The checkpoint's folder, or the weights file.
    pub(super) path: PathBuf,
    /// A checkpoint's manifest.
    pub(super) manifest: Option<Manifest>,
    /// The safetensors files by name: a weights file goes by the name it has in a checkpoint.
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

/// Reads a weights file, a checkpoint, or a run folder's newest one. A checkpoint's hashes are checked.
pub(super) fn stored(path: &Path) -> Result<Stored, TrainError> {
    if path.is_file() {
        let bytes =
            std::fs::read(path).map_err(|source| TrainError::reading(path, source, "expected a weights file"))?;
        let files = BTreeMap::from([(WEIGHTS.to_owned(), bytes)]);
        return Ok(Stored { path: path.to_owned(), manifest: None, files });
    }
    let Some(path) = folders(path)?.pop() else {
        return Err(nothing_at(path));
    };
    let Snapshot { weights, optimizer, .. } = read_folder(&Files::disk(), &path)?;
    let manifest = Some(Manifest::read(&Files::disk(), &path)?);
    let files = BTreeMap::from([(WEIGHTS.to_owned(), weights), (OPTIMIZER.to_owned(), optimizer)]);
    Ok(Stored { path, manifest, files })
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
    let folders = step_folders(&Files::disk(), if inside.is_dir() { &inside } else { path })?;
    Ok(folders.into_iter().map(|(_, folder)| folder).collect())
}

fn content_of(snapshot: Snapshot) -> VerifiedContent {
    let bytes = (snapshot.weights.len() + snapshot.optimizer.len()) as u64;
    VerifiedContent::Checkpoint { step: snapshot.step, bytes }
}

/// A run's weights file, against the result beside it.
fn verify_file(path: &Path) -> Result<Verified, TrainError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    match run_folder::read_result(folder)? {
        Some(result) => Ok(verify_weights(path, &result.weights_hash)),
        None => {
            let hint = "expected the record of a finished run beside the weights file, which holds its hash".to_owned();
            Err(TrainError::Missing { path: folder.join(run_folder::RESULT), hint })
        }
    }
}

/// Refuses a finished run's weights that are not those its result names. What lies elsewhere has nothing to be compared with.
///
/// # Errors
///
/// [`TrainError::Corrupt`] if the hashes differ, or if a file cannot be read.
pub fn require_intact(weights: &Path) -> Result<(), TrainError> {
    let folder = weights.parent().unwrap_or(Path::new(""));
    if weights.file_name().is_none_or(|name| name != WEIGHTS) {
        return Ok(());
    }
    let Some(result) = run_folder::read_result(folder)? else { return Ok(()) };
    match verify_weights(weights, &result.weights_hash).result {
        Err(TrainError::Corrupt { path, reason }) => {
            let instead = instead_of_weights(folder);
            Err(TrainError::Corrupt {
                path,
                reason: format!("{reason}; {} names the first: {instead}", run_folder::RESULT),
            })
        }
        other => other.map(|_| ()),
    }
}

/// What to do about a finished run whose weights are gone or damaged.
#[must_use]
pub fn instead_of_weights(run: &Path) -> String {
    let folders = step_folders(&Files::disk(), &run.join(run_folder::CHECKPOINTS)).unwrap_or_default();
    let weights = folders.into_iter().rev().map(|(_, folder)| folder.join(WEIGHTS)).find(|weights| weights.is_file());
    match weights {
        Some(weights) => format!("give the last checkpoint's weights, {}", weights.display()),
        None => "restore the file from a copy, or train again with another --out".to_owned(),
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
