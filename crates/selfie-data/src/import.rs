//! What is at a path, read into memory or made into the prepared form.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use crate::bad::require_few;
use crate::cifar::{self, Cifar};
use crate::decode::decode;
use crate::downsampled::Downsampled;
use crate::images::{Bytes, Encoded, Moments, Names, Samples};
use crate::listing::{Entry, Listing, chunks, is_image};
use crate::prepared::{self, SplitWriter};
use crate::tables::{Image, Tables};
use crate::{BadSample, DataError, DataSet, Images, N_CHANNELS, SetName};

mod recognise;
#[cfg(test)]
pub(crate) mod tests;

pub use recognise::{Recognised, passed_over, recognise};

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
    /// An image beside several folders of images, which are no classes because of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<PathBuf>,
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
    Tables(Tables),
    Files(Listing),
}

impl Found {
    fn at(set: SetName, path: &Path) -> Result<Self, DataError> {
        if path.is_file() && is_image(path) {
            return Err(DataError::NoDataSet { path: path.to_owned(), got: "one image" });
        }
        if prepared::is_at(path) {
            return Ok(Self::Prepared);
        }
        if let Some(downsampled) = Downsampled::find(path) {
            return Ok(Self::Downsampled(downsampled?));
        }
        if let Some(tables) = Tables::find(path) {
            return Ok(Self::Tables(tables?));
        }
        let Some(cifar) = set.cifar() else { return Ok(Self::Files(Listing::find(path)?)) };
        if !path.is_dir() || cifar::is_at(cifar, path) {
            return Ok(Self::Cifar(cifar));
        }
        // CIFAR's images as files are taken too, where its own files are not there.
        Ok(Listing::find(path).map_or(Self::Cifar(cifar), Self::Files))
    }

    fn read(self, set: SetName, path: &Path) -> Result<DataSet, DataError> {
        let name = name_at(set, path);
        let beside = if let Self::Files(listing) = &self { listing.beside.clone() } else { None };
        let (train, test) = match self {
            Self::Prepared => return prepared::open(&name, path),
            Self::Cifar(cifar) => return cifar::open(cifar, path),
            Self::Downsampled(downsampled) => {
                let split = |is_train| rows_in_memory(&downsampled, path, is_train).map(Arc::new);
                (split(true)?, split(false)?)
            }
            Self::Tables(tables) => {
                tables.require_memory(path)?;
                let split = |is_train| table_in_memory(set.side(), &tables, is_train).map(Arc::new);
                (split(true)?, split(false)?)
            }
            Self::Files(listing) => {
                let n_bytes = listing.train.par_iter().chain(&listing.test).map(Entry::n_bytes).sum();
                require_memory(path, n_bytes)?;
                let split = |entries: &[Entry]| {
                    let samples = Samples::Encoded(in_memory(entries));
                    let labels = entries.iter().map(|entry| entry.label).collect();
                    Images::of_samples(set.side(), samples, labels, listing.class_names.clone()).map(Arc::new)
                };
                (split(&listing.train)?, split(&listing.test)?)
            }
        };
        Ok(DataSet { name, train, test, beside })
    }
}

/// Reads what is at a path: maps the prepared form, holds everything else in memory.
pub(crate) fn read(set: SetName, path: &Path) -> Result<DataSet, DataError> {
    Found::at(set, path)?.read(set, path)
}

/// What a set at a path is called: a published set in its own form by its name, anything else after its folder or file.
#[must_use]
pub fn name_at(set: SetName, path: &Path) -> String {
    // A file is an archive to a CIFAR: see `Found::at`.
    let is_cifar = set.cifar().is_some_and(|cifar| path.is_file() || cifar::is_at(cifar, path));
    if is_cifar || Downsampled::is_at(path) {
        return set.to_string();
    }
    // The path may be `.`.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.map_or_else(|| set.to_string(), |name| name.to_string_lossy().into_owned())
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
    Images::new(downsampled.side, pixels, labels, downsampled.class_names())
}

/// The image files of a split one behind the other, as [`in_memory`].
fn table_in_memory(side: usize, tables: &Tables, is_train: bool) -> Result<Images, DataError> {
    let (mut bytes, mut ends, mut labels, mut names) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    tables.read(is_train, |images| {
        for image in images {
            bytes.extend_from_slice(&image.file.unwrap_or_default());
            ends.push(bytes.len() as u64);
            labels.push(image.label);
            names.push(image.path);
        }
        Ok(())
    })?;
    let samples = Samples::Encoded(Encoded {
        bytes: Bytes::Memory(bytes),
        ends,
        names: Names::Each(names),
        unread: BTreeMap::new(),
    });
    Images::of_samples(side, samples, labels, tables.class_names.clone())
}

/// All files one behind the other. One that cannot be read is refused, and counted, when it is used.
fn in_memory(entries: &[Entry]) -> Encoded {
    let n_bytes: u64 = entries.par_iter().map(Entry::n_bytes).sum();
    let (mut bytes, mut ends) = (Vec::with_capacity(n_bytes as usize), Vec::with_capacity(entries.len()));
    let mut unread = BTreeMap::new();
    for chunk in chunks(entries, CHUNK) {
        let read: Vec<Result<Vec<u8>, String>> = chunk.par_iter().map(Entry::read).collect();
        for file in read {
            match file {
                Ok(file) => bytes.extend_from_slice(&file),
                Err(reason) => {
                    unread.insert(ends.len(), reason);
                }
            }
            ends.push(bytes.len() as u64);
        }
    }
    let names = Names::Each(entries.iter().map(Entry::path).collect());
    Encoded { bytes: Bytes::Memory(bytes), ends, names, unread }
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
        Found::Tables(tables) => made.tables(tables, &mut progress)?,
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
    beside: Option<PathBuf>,
    bad: Vec<BadSample>,
}

impl<'a> Made<'a> {
    fn new(settings: &'a ImportSettings, partial: &'a Path) -> Self {
        let (class_names, splits, bad) = (Vec::new(), Vec::new(), Vec::new());
        Self { settings, partial, side: settings.side, class_names, splits, n_ignored: 0, beside: None, bad }
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
        (self.side, self.class_names) = (rows.side, rows.class_names());
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
        let side = self.side;
        for (split, entries) in SPLITS.into_iter().zip([&listing.train, &listing.test]) {
            let mut encoded = EncodedSplit::new(self, split, entries.len() as u64)?;
            for chunk in chunks(entries, CHUNK) {
                let image = |entry: &Entry| Image { file: entry.read(), label: entry.label, path: entry.path() };
                let images = chunk.par_iter().map(|entry| Decoded::of(image(entry), side)).collect();
                encoded.add(images, progress)?;
            }
            encoded.finish();
        }
        (self.class_names, self.n_ignored) = (listing.class_names, listing.n_ignored);
        self.beside = listing.beside;
        Ok(())
    }

    fn tables(&mut self, tables: Tables, progress: &mut impl FnMut(ImportProgress)) -> Result<(), DataError> {
        let side = self.side;
        for ((split, is_train), n_images) in SPLITS.into_iter().zip([true, false]).zip(tables.n_images) {
            let mut encoded = EncodedSplit::new(self, split, n_images)?;
            tables.read(is_train, |images| {
                let images = images.into_par_iter().map(|image| Decoded::of(image, side)).collect();
                encoded.add(images, progress)
            })?;
            encoded.finish();
        }
        self.class_names = tables.class_names;
        Ok(())
    }

    fn publish(self) -> Result<ImportReport, DataError> {
        let Ok::<[SplitWriter; 2], _>(splits) = self.splits.try_into() else {
            return Err(DataError::Inconsistent { what: "splits", expected: "2".into(), got: "others".into() });
        };
        let (n_train, n_test) = (splits[0].n_images(), splits[1].n_images());
        let (n_classes, side) = (self.class_names.len(), self.side);
        prepared::publish((self.partial, &self.settings.out), side, self.class_names, splits, &self.bad)?;
        Ok(ImportReport {
            n_train,
            n_test,
            n_classes,
            side,
            n_ignored: self.n_ignored,
            beside: self.beside,
            bad: self.bad,
        })
    }
}

/// A split of image files while it is made.
struct EncodedSplit<'a, 'b> {
    made: &'a mut Made<'b>,
    writer: SplitWriter,
    split: &'static str,
    n_total: u64,
    n_done: usize,
    /// Unusable files of the splits before.
    n_bad_before: usize,
}

impl<'a, 'b> EncodedSplit<'a, 'b> {
    fn new(made: &'a mut Made<'b>, split: &'static str, n_total: u64) -> Result<Self, DataError> {
        let writer = SplitWriter::new(made.partial, split, made.side > MAX_PIXELS_SIDE)?;
        let n_bad_before = made.bad.len();
        Ok(Self { made, writer, split, n_total, n_done: 0, n_bad_before })
    }

    /// Adds what can be used and lists the rest, unless that is too much.
    fn add(&mut self, images: Vec<Decoded>, progress: &mut impl FnMut(ImportProgress)) -> Result<(), DataError> {
        for Decoded { label, path, stored } in images {
            match stored {
                Ok((bytes, moments)) => self.writer.add(&bytes, label, moments)?,
                Err(reason) => self.made.bad.push(BadSample::of(self.split, self.n_done, &path, reason)),
            }
            self.n_done += 1;
        }
        progress(ImportProgress { split: self.split, n_done: self.n_done as u64, n_total: self.n_total });
        match &self.made.bad[self.n_bad_before..] {
            [] => Ok(()),
            bad => require_few(bad.len(), self.n_total as usize, self.made.settings.max_bad_share, &bad[0]),
        }
    }

    fn finish(self) {
        self.made.splits.push(self.writer);
    }
}

/// An image as it is stored and the sums over its pixels, or why it cannot be used.
struct Decoded {
    label: u16,
    path: PathBuf,
    stored: Result<(Vec<u8>, Moments), String>,
}

impl Decoded {
    fn of(image: Image, side: usize) -> Self {
        let Image { file, label, path } = image;
        let stored = file.and_then(|file| stored(file, &path, side));
        Self { label, path, stored }
    }
}

fn stored(file: Vec<u8>, path: &Path, side: usize) -> Result<(Vec<u8>, Moments), String> {
    let reason = |error| match error {
        DataError::Image { reason, .. } => reason,
        other => other.to_string(),
    };
    let mut pixels = vec![0; side * side * N_CHANNELS];
    decode(&file, path).and_then(|image| image.square(side, &mut pixels)).map_err(reason)?;
    let moments = Moments::default().with(&pixels);
    Ok((if side <= MAX_PIXELS_SIDE { pixels } else { file }, moments))
}
