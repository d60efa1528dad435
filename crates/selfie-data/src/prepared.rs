//! The prepared form of a data set: a folder with one packed file a split, its labels, and a manifest. Images of a small
//! side lie there as pixels, so that training decodes nothing; others as the files they were, packed.
//!
//! | file | holds |
//! |---|---|
//! | `selfie-data.json` | side, class names, for each split number of images, bytes, sums, content hash; and its own hash |
//! | `train.pixels` | u8 `[n, H, W, C]`, or in its place |
//! | `train.files`, `train.ends` | image files one behind the other, and where each ends, as little-endian u64 |
//! | `train.labels` | little-endian u16 |
//!
//! and the same for `test`. The bytes follow from the images alone: no time, no path. The content hash is checked by
//! [`Images::require_intact`], not whenever the set is opened, which would read all of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::images::{Bytes, Encoded, Names, Samples};
use crate::map::Map;
use crate::{DataError, DataSet, Images};

mod manifest;
mod writer;

use manifest::{Kind, Manifest, SplitManifest};
pub(crate) use writer::{SplitWriter, publish, start};

/// Names the folder as a prepared data set.
pub(crate) const MANIFEST: &str = "selfie-data.json";
/// A thousand class names of a hundred bytes, ten times.
const MAX_MANIFEST_BYTES: u64 = 16 << 20;
/// Number of images that labels are read for.
const MAX_IMAGES: u64 = u32::MAX as u64;

/// Whether a folder holds a prepared data set.
pub(crate) fn is_at(folder: &Path) -> bool {
    folder.join(MANIFEST).is_file()
}

/// Height and width of the images of a prepared set.
pub(crate) fn side(folder: &Path) -> Result<usize, DataError> {
    Ok(manifest(folder)?.side)
}

/// Opens a prepared set: labels are read, images mapped.
pub(crate) fn open(name: &str, folder: &Path) -> Result<DataSet, DataError> {
    let manifest = manifest(folder)?;
    let split = |split: &str, of: &SplitManifest| images(folder, split, &manifest, of).map(Arc::new);
    Ok(DataSet {
        name: name.to_owned(),
        train: split("train", &manifest.train)?,
        test: split("test", &manifest.test)?,
        beside: None,
    })
}

fn manifest(folder: &Path) -> Result<Manifest, DataError> {
    let path = folder.join(MANIFEST);
    let bytes = read(&path, MAX_MANIFEST_BYTES)?;
    let mut manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| DataError::malformed(&path, "the manifest", "what `data import` writes", error.to_string()))?;
    manifest.check(&path)?;
    Ok(manifest)
}

/// A split by its manifest.
fn images(folder: &Path, split: &str, manifest: &Manifest, of: &SplitManifest) -> Result<Images, DataError> {
    let path = |end: &str| folder.join(format!("{split}.{end}"));
    let labels = numbers(&path("labels"), of.n_images, u16::from_le_bytes)?;
    let samples = match of.kind {
        Kind::Pixels => Samples::Raw(bytes(&path("pixels"), of.n_bytes)?),
        Kind::Files => Samples::Encoded(Encoded {
            bytes: bytes(&path("files"), of.n_bytes)?,
            ends: numbers(&path("ends"), of.n_images, u64::from_le_bytes)?,
            names: Names::Numbered(path("files")),
            unread: BTreeMap::new(),
        }),
    };
    let images = Images::of_samples(manifest.side, samples, labels, manifest.class_names.clone())?;
    Ok(images.knowing(of.moments, of.content_hash.clone()))
}

/// An empty file cannot be mapped.
fn bytes(path: &Path, n_bytes: u64) -> Result<Bytes, DataError> {
    if n_bytes == 0 {
        return Ok(Bytes::Memory(Vec::new()));
    }
    let got = fs::metadata(path).map_err(|source| DataError::io("looking", path, source))?.len();
    if got != n_bytes {
        let (expected, got) = (format!("{n_bytes} bytes as in its manifest"), format!("{got} bytes"));
        return Err(DataError::malformed(path, "the size", expected, got));
    }
    Ok(Bytes::Mapped(Map::open(path)?))
}

/// A file of exactly `n` numbers.
fn numbers<T, const N: usize>(path: &Path, n: u64, of: fn([u8; N]) -> T) -> Result<Vec<T>, DataError> {
    let limit = n * N as u64;
    let bytes = read(path, limit)?;
    if bytes.len() as u64 != limit {
        let (expected, got) = (format!("{limit} bytes as in its manifest"), format!("{} bytes", bytes.len()));
        return Err(DataError::malformed(path, "the size", expected, got));
    }
    Ok(bytes.as_chunks::<N>().0.iter().map(|&number| of(number)).collect())
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, DataError> {
    let failed = |source| DataError::io("reading", path, source);
    let file = File::open(path).map_err(failed)?;
    let got = file.metadata().map_err(failed)?.len();
    if got > limit {
        return Err(DataError::TooLarge { path: path.to_owned(), limit, got });
    }
    let mut bytes = Vec::with_capacity(got as usize);
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Refuses a place where something is already.
pub(crate) fn require_free(out: &Path) -> Result<(), DataError> {
    let occupied = |found| Err(DataError::Occupied { path: PathBuf::from(out), found });
    match fs::read_dir(out).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(_) if is_at(out) => occupied("a prepared data set"),
        Ok(_) => occupied("other files"),
        Err(_) if out.exists() => occupied("a file"),
        Err(_) => Ok(()),
    }
}
