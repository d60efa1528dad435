//! `manifest.json`: what a checkpoint holds, with hashes of its files and of itself.

use std::collections::BTreeMap;
use std::path::Path;

use selfie_eval::record::to_pretty_json;
use serde::{Deserialize, Serialize};

use super::{MANIFEST, OPTIMIZER, Snapshot, WEIGHTS};
use crate::TrainError;

/// The layout this version writes and reads.
const FORMAT: u32 = 1;
/// A manifest larger than this is no manifest, B.
const LARGEST: u64 = 1 << 20;

/// What a checkpoint holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout of the checkpoint.
    pub format: u32,
    /// Updates made.
    pub step: u64,
    /// Bytes of `metrics.jsonl` up to this step.
    pub metrics_len: u64,
    /// Hash of what decides the run's bytes.
    pub config_hash: String,
    /// The checkpoint's other files, by name.
    pub files: BTreeMap<String, FileEntry>,
    /// BLAKE3 of this manifest's text with this value empty, hexadecimal.
    pub manifest_hash: String,
}

/// Size and hash of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Size, B.
    pub bytes: u64,
    /// BLAKE3, hexadecimal.
    pub blake3: String,
}

impl FileEntry {
    fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() }
    }
}

impl Manifest {
    pub(super) fn of(snapshot: &Snapshot) -> Result<Self, TrainError> {
        let files = [(WEIGHTS, &snapshot.weights), (OPTIMIZER, &snapshot.optimizer)];
        let mut manifest = Self {
            format: FORMAT,
            step: snapshot.step,
            metrics_len: snapshot.metrics_len,
            config_hash: snapshot.config_hash.clone(),
            files: files.into_iter().map(|(name, bytes)| (name.to_owned(), FileEntry::of(bytes))).collect(),
            manifest_hash: String::new(),
        };
        manifest.manifest_hash = manifest.own_hash()?;
        Ok(manifest)
    }

    pub(super) fn to_text(&self) -> Result<String, TrainError> {
        Ok(to_pretty_json(MANIFEST, self)?)
    }

    fn own_hash(&self) -> Result<String, TrainError> {
        let unsigned = Self { manifest_hash: String::new(), ..self.clone() };
        Ok(blake3::hash(unsigned.to_text()?.as_bytes()).to_hex().to_string())
    }

    /// Reads a checkpoint's manifest and checks it against its own hash.
    pub(super) fn read(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join(MANIFEST);
        let corrupt = |reason: String| TrainError::Corrupt { path: path.clone(), reason };
        let reading = |source| TrainError::reading(&path, source, "a checkpoint has a manifest.json");
        let bytes = std::fs::metadata(&path).map_err(reading)?.len();
        if bytes > LARGEST {
            return Err(corrupt(format!("expected at most {LARGEST} bytes, got {bytes}")));
        }
        let text = std::fs::read(&path).map_err(reading)?;
        let manifest: Self =
            serde_json::from_slice(&text).map_err(|error| corrupt(format!("not a manifest: {error}")))?;
        if manifest.format != FORMAT {
            return Err(corrupt(format!("expected format {FORMAT}, got {}", manifest.format)));
        }
        let expected = manifest.own_hash()?;
        // The text itself is compared too: a change that JSON does not see is a change.
        if manifest.manifest_hash != expected || manifest.to_text()?.as_bytes() != text {
            return Err(corrupt(format!("its hash should be {expected}, got {}", manifest.manifest_hash)));
        }
        Ok(manifest)
    }

    /// Reads one of the checkpoint's files and checks its size and hash.
    pub(super) fn read_file(&self, folder: &Path, name: &str) -> Result<Vec<u8>, TrainError> {
        let path = folder.join(name);
        let corrupt = |reason: String| TrainError::Corrupt { path: path.clone(), reason };
        let Some(expected) = self.files.get(name) else {
            return Err(corrupt("the manifest does not name it".to_owned()));
        };
        let reading = |source| TrainError::reading(&path, source, "the checkpoint's manifest names it");
        let n_bytes = std::fs::metadata(&path).map_err(reading)?.len();
        if n_bytes != expected.bytes {
            return Err(corrupt(format!("expected {} bytes, got {n_bytes}", expected.bytes)));
        }
        let bytes = std::fs::read(&path).map_err(reading)?;
        let got = FileEntry::of(&bytes);
        if got != *expected {
            return Err(corrupt(format!("expected BLAKE3 {}, got {}", expected.blake3, got.blake3)));
        }
        Ok(bytes)
    }
}
