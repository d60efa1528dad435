//! `manifest.json`: what a checkpoint holds, with hashes of its files and of itself.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use selfie_eval::record::to_pretty_json;
use serde::{Deserialize, Serialize};

use super::{MANIFEST, OPTIMIZER, Snapshot, WEIGHTS};
use crate::TrainError;
use crate::files::Files;

/// The layout this version writes and reads.
const FORMAT: u32 = 1;
/// A manifest larger than this is no manifest, B.
const LARGEST: u64 = 4 << 20;

/// What a checkpoint holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout of the checkpoint.
    pub format: u32,
    /// Updates made.
    pub step: u64,
    /// Bytes of `metrics.jsonl` up to this step.
    pub metrics_len: u64,
    /// Bytes of `events.jsonl`, likewise.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub events_len: u64,
    /// Hash of what decides the run's bytes.
    pub config_hash: String,
    /// The checkpoint's other files, by name.
    pub files: BTreeMap<String, FileEntry>,
    /// BLAKE3 of this manifest's text with this value empty, hexadecimal.
    pub manifest_hash: String,
}

/// Size and hashes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Size, B.
    pub bytes: u64,
    /// BLAKE3, hexadecimal.
    pub blake3: String,
    /// Each tensor by name: where the file's hash differs, these say which tensors do. Version 0.1.0 wrote none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tensors: BTreeMap<String, TensorEntry>,
}

/// Place and hash of a tensor's numbers in their file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// First byte.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
    /// BLAKE3, hexadecimal.
    pub blake3: String,
}

impl FileEntry {
    fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, blake3: hash(bytes), tensors: tensor_entries(bytes) }
    }

    /// What is wrong with `bytes`, which are not those of this entry.
    fn difference(&self, bytes: &[u8]) -> String {
        let intact = |entry: &TensorEntry| {
            let range = usize::try_from(entry.start).ok().zip(usize::try_from(entry.end).ok());
            let part = range.and_then(|(start, end)| bytes.get(start..end));
            part.is_some_and(|part| hash(part) == entry.blake3)
        };
        let damaged: Vec<String> =
            self.tensors.iter().filter(|(_, entry)| !intact(entry)).map(|(name, _)| format!("`{name}`")).collect();
        let place = match &damaged[..] {
            [] if self.tensors.is_empty() => String::new(),
            [] => ": its header differs, its tensors do not".to_owned(),
            [name] => format!(": tensor {name} differs"),
            names => format!(": tensors {} differ", names.join(", ")),
        };
        format!("expected BLAKE3 {}, got {}{place}", self.blake3, hash(bytes))
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The tensors of a safetensors file; none of other bytes.
fn tensor_entries(bytes: &[u8]) -> BTreeMap<String, TensorEntry> {
    let Ok((header_bytes, header)) = SafeTensors::read_metadata(bytes) else { return BTreeMap::new() };
    /// Before the header stands its length.
    const LENGTH_BYTES: usize = 8;
    let data = LENGTH_BYTES + header_bytes;
    let entry = |(start, end): (usize, usize)| {
        let (start, end) = (data + start, data + end);
        let part = bytes.get(start..end)?;
        Some(TensorEntry { start: start as u64, end: end as u64, blake3: hash(part) })
    };
    let tensors = header.tensors().into_iter();
    tensors.filter_map(|(name, tensor)| Some((name, entry(tensor.data_offsets)?))).collect()
}

impl Manifest {
    pub(super) fn of(snapshot: &Snapshot) -> Result<Self, TrainError> {
        let files = [(WEIGHTS, &snapshot.weights), (OPTIMIZER, &snapshot.optimizer)];
        let mut manifest = Self {
            format: FORMAT,
            step: snapshot.step,
            metrics_len: snapshot.metrics_len,
            events_len: snapshot.events_len,
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
        Ok(hash(unsigned.to_text()?.as_bytes()))
    }

    /// Reads a checkpoint's manifest and checks it against its own hash.
    pub(super) fn read(files: &Files, folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join(MANIFEST);
        let corrupt = |reason: String| TrainError::Corrupt { path: path.clone(), reason };
        let reading = |source| TrainError::reading(&path, source, "a checkpoint has a manifest.json");
        let bytes = files.n_bytes(&path).map_err(reading)?;
        if bytes > LARGEST {
            return Err(corrupt(format!("expected at most {LARGEST} bytes, got {bytes}")));
        }
        Self::parse(&files.read(&path).map_err(reading)?, &path)
    }

    /// A manifest of this text, checked against its own hash; `path` is for messages.
    ///
    /// # Errors
    ///
    /// [`TrainError::Corrupt`] if it is not as it was written.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, TrainError> {
        let corrupt = |reason: String| TrainError::Corrupt { path: path.to_owned(), reason };
        let manifest: Self =
            serde_json::from_slice(text).map_err(|error| corrupt(format!("not a manifest: {error}")))?;
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
    pub(super) fn read_file(&self, files: &Files, folder: &Path, name: &str) -> Result<Vec<u8>, TrainError> {
        let path = folder.join(name);
        let corrupt = |reason: String| TrainError::Corrupt { path: path.clone(), reason };
        let Some(expected) = self.files.get(name) else {
            return Err(corrupt("the manifest does not name it".to_owned()));
        };
        let reading = |source| TrainError::reading(&path, source, "the checkpoint's manifest names it");
        let n_bytes = files.n_bytes(&path).map_err(reading)?;
        if n_bytes != expected.bytes {
            return Err(corrupt(format!("expected {} bytes, got {n_bytes}", expected.bytes)));
        }
        let bytes = files.read(&path).map_err(reading)?;
        if hash(&bytes) != expected.blake3 {
            return Err(corrupt(expected.difference(&bytes)));
        }
        Ok(bytes)
    }
}
