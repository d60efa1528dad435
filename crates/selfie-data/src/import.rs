//! What is at a path, read into memory or made into the prepared form.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use crate::bad::require_few;
use crate::cifar::{self, Cifar};
use crate::decode::decode;
use crate::downsampled::Downsampled;
use crate::images::{Bytes, Encoded, Moments, Names, Samples};
use crate::listing::{Entry, Listing};
use crate::prepared::{self, SplitWriter};
use crate::{BadSample, DataError, DataSet, Images, N_CHANNELS, SetName};

mod recognise;
#[cfg(test)]
mod tests;

pub use recognise::{Recognised, recognise};

/// The most that is held in memory of a set that was not prepared.
pub const MAX_MEMORY_BYTES: u64 = 2 << 30;
/// Up to this side a prepared set holds pixels, beyond it files: pixels of 64 × 64 are as large as a small JPEG.
const MAX_PIXELS_SIDE: usize = 64;
/// Files that are decoded at a time.
const CHUNK: usize = 256;
const SPLITS: [&str; 2] = ["train", "test"];

/// What an import reads and where it writes.
#[derive(Clone, Debug)]
pub struct ImportSettings {
    /// The set that it is to be.
    pub set: SetName,
    /// A folder, a list or a shard.
    pub source: PathBuf,
    /// The folder to be made.
    pub out: PathBuf,
    /// Height and width that image files are made or decoded to.
    pub side: usize,
    /// The share of unusable files above which nothing is made.
    pub max_bad_share: f64,
}

/// What an import made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImportReport {
    /// Images of the training split.
    pub n_train: usize,
    /// Images of the test split.
    pub n_test: usize,
    /// Classes.
    pub n_classes: usize,
    /// Height and width.
    pub side: usize,
    /// Files that are no images by their names.
    pub n_ignored: usize,
    /// Files that were left out.
    pub bad: Vec<BadSample>,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportProgress {
    /// `train` or `test`.
    pub split: &'static str,
    /// Images so far.
    pub n_done: u64,
    /// Images in all.
    pub n_total: u64,
}

/// What is at a path.
#[derive(Debug)]
enum Found {
    Prepared,
    Cifar(Cifar),
    Downsampled(Downsampled),
    Files(Listing),
}

impl Found {
    fn at(set: SetName, path: &Path) -> Result<Self, DataError> {
        if prepared::is_at(path) {
            return Ok(Self::Prepared);
        }
        if let Some(downsampled) = Downsampled::find(path) {
            return Ok(Self::Downsampled(downsampled?));
        }
        let Some(cifar) = set.cifar() else { return Ok(Self::Files(Listing::find(path)?)) };
        match Listing::find(path) {
            // CIFAR's images as files are taken too, where its own files are not there.
            Ok(listing) if !cifar::is_at(cifar, path) && path.is_dir() => Ok(Self::Files(listing)),
            _ => Ok(Self::Cifar(cifar)),
        }
    }
}

/// Reads what is at a path: maps the prepared form, holds everything else in memory.
pub(crate) fn read(set: SetName, path: &Path) -> Result<DataSet, DataError> {
    match Found::at(set, path)? {
        Found::Prepared => prepared::open(set.as_str(), path),
        Found::Cifar(cifar) => cifar::open(cifar, path),
        Found::Downsampled(downsampled) => {
            let split = |is_train| rows_in_memory(&downsampled, path, is_train).map(Arc::new);
            Ok(DataSet { name: set.to_string(), train: split(true)?, test: split(false)? })
        }
        Found::Files(listing) => {
            let n_bytes = listing.train.par_iter().chain(&listing.test).map(Entry::n_bytes).sum();
            require_memory(path, n_bytes)?;
            let split = |entries: &[Entry]| {
                let samples = Samples::Encoded(in_memory(entries));
                let labels = entries.iter().map(|entry| entry.label).collect();
                Images::of_samples(set.side(), samples, labels, listing.class_names.clone()).map(Arc::new)
            };
            Ok(DataSet { name: set.to_string(), train: split(&listing.train)?, test: split(&listing.test)? })
        }
    }
}

fn require_memory(path: &Path, got: u64) -> Result<(), DataError> {
    if got > MAX_MEMORY_BYTES {
        return Err(DataError::TooLargeForMemory { path: path.to_owned(), limit: MAX_MEMORY_BYTES, got });
    }
    Ok(())
}

fn rows_in_memory(downsampled: &Downsampled, path: &Path, is_train: bool) -> Result<Images, DataError> {
    let n_images = downsampled.n_images(is_train)?;
    let image_bytes = downsampled.side * downsampled.side * N_CHANNELS;
    require_memory(path, n_images.saturating_mul(image_bytes as u64))?;
    let mut pixels = Vec::with_capacity(n_images as usize * image_bytes);
    let mut labels = Vec::with_capacity(n_images as usize);
    downsampled.read(is_train, |image, label| {
        pixels.extend_from_slice(image);
        labels.push(label);
        Ok(())
    })?;
    Images::new(downsampled.side, pixels, labels, Downsampled::class_names())
}

/// All files one behind the other. One that cannot be read has no bytes: it is refused, and counted, when it is used.
fn in_memory(entries: &[Entry]) -> Encoded {
    let n_bytes: u64 = entries.par_iter().map(Entry::n_bytes).sum();
    let (mut bytes, mut ends) = (Vec::with_capacity(n_bytes as usize), Vec::with_capacity(entries.len()));
    for chunk in entries.chunks(CHUNK) {
        let read: Vec<Vec<u8>> = chunk.par_iter().map(|entry| entry.read().unwrap_or_default()).collect();
        for file in read {
            bytes.extend_from_slice(&file);
            ends.push(bytes.len() as u64);
        }
    }
    let names = Names::Each(entries.iter().map(Entry::path).collect());
    Encoded { bytes: Bytes::Memory(bytes), ends, names }
}

/// Makes the prepared form of what is at `settings.source`. Files are decoded to find those that are no images, which are
/// left out and listed.
///
/// # Errors
///
/// If the source is missing, wrong or already prepared, if too many of its files are no images, or if the prepared form
/// cannot be written. What was begun keeps its temporary name.
pub fn import(settings: &ImportSettings, mut progress: impl FnMut(ImportProgress)) -> Result<ImportReport, DataError> {
    let found = Found::at(settings.set, &settings.source)?;
    if let Found::Prepared = found {
        return Err(DataError::Occupied { path: settings.source.clone(), found: "a set that is prepared already" });
    }
    let partial = prepared::start(&settings.out)?;
    let mut made = Made::new(settings, &partial);
    match found {
        Found::Prepared => {}
        Found::Cifar(cifar) => made.data_set(&cifar::open(cifar, &settings.source)?, &mut progress)?,
        Found::Downsampled(downsampled) => made.rows(&downsampled, &mut progress)?,
        Found::Files(listing) => made.files(listing, &mut progress)?,
    }
    made.publish()
}

/// A prepared set while it is made.
struct Made<'a> {
    settings: &'a ImportSettings,
    partial: &'a Path,
    side: usize,
    class_names: Vec<String>,
    splits: Vec<SplitWriter>,
    n_ignored: usize,
    bad: Vec<BadSample>,
}

impl<'a> Made<'a> {
    fn new(settings: &'a ImportSettings, partial: &'a Path) -> Self {
        let (class_names, splits, bad) = (Vec::new(), Vec::new(), Vec::new());
        Self { settings, partial, side: settings.side, class_names, splits, n_ignored: 0, bad }
    }

    fn data_set(&mut self, data: &DataSet, progress: &mut impl FnMut(ImportProgress)) -> Result<(), DataError> {
        (self.side, self.class_names) = (data.train.side(), data.train.class_names().to_vec());
        for (split, images) in SPLITS.into_iter().zip([&data.train, &data.test]) {
            let mut writer = SplitWriter::new(self.partial, split, false)?;
            for idx in 0..images.len() {
                let image = images.stored(idx);
                writer.add(image, images.label(idx), Moments::default().with(image))?;
            }
            let n = images.len() as u64;
            progress(ImportProgress { split, n_done: n, n_total: n });
            self.splits.push(writer);
        }
        Ok(())
    }

    fn rows(&mut self, rows: &Downsampled, progress: &mut impl FnMut(ImportProgress)) -> Result<(), DataError> {
        (self.side, self.class_names) = (rows.side, Downsampled::class_names());
        for (split, is_train) in SPLITS.into_iter().zip([true, false]) {
            let n_total = rows.n_images(is_train)?;
            let mut writer = SplitWriter::new(self.partial, split, false)?;
            rows.read(is_train, |image, label| {
                writer.add(image, label, Moments::default().with(image))?;
                let n_done = writer.n_images() as u64;
                if n_done.is_multiple_of(CHUNK as u64) || n_done == n_total {
                    progress(ImportProgress { split, n_done, n_total });
                }
                Ok(())
            })?;
            self.splits.push(writer);
        }
        Ok(())
    }

    fn files(&mut self, listing: Listing, progress: &mut impl FnMut(ImportProgress)) -> Result<(), DataError> {
        let as_pixels = self.side <= MAX_PIXELS_SIDE;
        for (split, entries) in SPLITS.into_iter().zip([&listing.train, &listing.test]) {
            let mut writer = SplitWriter::new(self.partial, split, !as_pixels)?;
            let n_bad_before = self.bad.len();
            for (chunk_idx, chunk) in entries.chunks(CHUNK).enumerate() {
                let read: Vec<_> = chunk.par_iter().map(|entry| stored(entry, self.side, as_pixels)).collect();
                for (i, (entry, read)) in chunk.iter().zip(read).enumerate() {
                    let idx = chunk_idx * CHUNK + i;
                    match read {
                        Ok((bytes, moments)) => writer.add(&bytes, entry.label, moments)?,
                        Err(reason) => self.bad.push(BadSample::of(split, idx, &entry.path(), reason)),
                    }
                }
                let n_done = (chunk_idx * CHUNK + chunk.len()) as u64;
                progress(ImportProgress { split, n_done, n_total: entries.len() as u64 });
                let bad = &self.bad[n_bad_before..];
                if let Some(first) = bad.first() {
                    require_few(bad.len(), entries.len(), self.settings.max_bad_share, first)?;
                }
            }
            self.splits.push(writer);
        }
        (self.class_names, self.n_ignored) = (listing.class_names, listing.n_ignored);
        Ok(())
    }

    fn publish(self) -> Result<ImportReport, DataError> {
        let Ok::<[SplitWriter; 2], _>(splits) = self.splits.try_into() else {
            return Err(DataError::Inconsistent { what: "splits", expected: "2".into(), got: "others".into() });
        };
        let (n_train, n_test) = (splits[0].n_images(), splits[1].n_images());
        let (n_classes, side) = (self.class_names.len(), self.side);
        prepared::publish((self.partial, &self.settings.out), side, self.class_names, splits, &self.bad)?;
        Ok(ImportReport { n_train, n_test, n_classes, side, n_ignored: self.n_ignored, bad: self.bad })
    }
}

/// A file as it is stored, and the sums over its pixels; the error says why it cannot be used.
fn stored(entry: &Entry, side: usize, as_pixels: bool) -> Result<(Vec<u8>, Moments), String> {
    let bytes = entry.read()?;
    let reason = |error| match error {
        DataError::Image { reason, .. } => reason,
        other => other.to_string(),
    };
    let mut pixels = vec![0; side * side * N_CHANNELS];
    decode(&bytes, &entry.path()).and_then(|image| image.square(side, &mut pixels)).map_err(reason)?;
    let moments = Moments::default().with(&pixels);
    Ok((if as_pixels { pixels } else { bytes }, moments))
}
