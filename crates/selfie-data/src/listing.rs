//! Lists of image files: where each lies and which class it has, before any is read. A folder of images, a list in a
//! file and tar shards all become one.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use selfie_random::{Purpose, Stream};

use crate::DataError;

mod folder;
mod lines;
mod packed;
mod shards;
#[cfg(test)]
mod tests;

pub use lines::is_list;
use packed::Packed;
pub(crate) use shards::fuzz as fuzz_shards;

/// The class of images that have no labels.
pub const UNLABELLED: &str = "unlabelled";
/// No image file is as large; what is larger is not read.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// One of so many images of a class is held out where a folder has no test split of its own.
pub(crate) const TEST_ONE_OF: usize = 10;
/// The seed of that split, which belongs to the data and not to a run. Not the validation split's.
const TEST_SEED: u64 = 1;

/// Every image file of a data set, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// In the order of the labels.
    pub(crate) class_names: Vec<String>,
    pub(crate) train: Vec<Entry>,
    pub(crate) test: Vec<Entry>,
    /// Files that are no images by their names, and links that lead in a circle.
    pub(crate) n_ignored: usize,
    /// An image beside several folders of images, which are no classes because of it.
    pub(crate) beside: Option<PathBuf>,
}

/// Where an image file lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) label: u16,
    file: Arc<Path>,
    /// In a shard: its name, first byte and length.
    member: Option<(Box<str>, u64, u64)>,
    /// Where the shard is compressed: its bytes are those of the unpacked shard.
    packed: Option<Arc<Packed>>,
}

impl Entry {
    fn file(path: PathBuf, label: u16) -> Self {
        Self { label, file: path.into(), member: None, packed: None }
    }

    /// What messages call it.
    pub(crate) fn path(&self) -> PathBuf {
        match &self.member {
            Some((name, _, _)) => self.file.join(&**name),
            None => self.file.to_path_buf(),
        }
    }

    /// Its size as far as the system says; nothing if it says nothing.
    pub(crate) fn n_bytes(&self) -> u64 {
        match self.member {
            Some((_, _, len)) => len,
            None => std::fs::metadata(&self.file).map_or(0, |metadata| metadata.len()),
        }
    }

    /// Reads the file; the error says why it cannot be used.
    pub(crate) fn read(&self) -> Result<Vec<u8>, String> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => "nothing there".to_owned(),
            _ => format!("a file that cannot be read ({error})"),
        };
        if let (Some(packed), Some((_, start, len))) = (&self.packed, &self.member) {
            return packed.read(&self.file, *start, *len).map_err(failed);
        }
        let metadata = std::fs::metadata(&self.file).map_err(failed)?;
        if !metadata.is_file() {
            return Err("no regular file".to_owned());
        }
        let mut file = File::open(&self.file).map_err(failed)?;
        let len = match self.member {
            Some((_, start, len)) => {
                file.seek(SeekFrom::Start(start)).map_err(failed)?;
                len
            }
            None => metadata.len(),
        };
        if len > MAX_FILE_BYTES {
            return Err(format!("a file of {len} bytes, above {MAX_FILE_BYTES}"));
        }
        let mut bytes = Vec::with_capacity(len as usize);
        file.take(len).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

/// Entries in order, at most `n` at a time. Those of a compressed shard come without others, so that reading them at once
/// unpacks it once.
pub(crate) fn chunks(entries: &[Entry], n: usize) -> impl Iterator<Item = &[Entry]> {
    let together = |a: &Entry, b: &Entry| a.packed.is_none() && b.packed.is_none() || a.file == b.file;
    entries.chunk_by(together).flat_map(move |entries| entries.chunks(n))
}

/// All entries, or those of the first shard if that is compressed: looking into every one would unpack every one.
pub(crate) fn one_shard_if_packed(entries: &[Entry]) -> &[Entry] {
    match entries.first() {
        Some(first) if first.packed.is_some() => entries.chunk_by(|a, b| a.file == b.file).next().unwrap_or_default(),
        _ => entries,
    }
}

impl Listing {
    /// Lists what is at a path: a list file, a shard, a folder with either, or a folder of images.
    pub(crate) fn find(path: &Path) -> Result<Self, DataError> {
        let metadata = std::fs::metadata(path).map_err(|source| DataError::io("looking", path, source))?;
        let listing = match (metadata.is_dir(), shards::find(path)?, lines::find(path)) {
            (_, Some(shards), _) => shards::list(&shards)?,
            (_, None, Some(files)) => lines::list(&files)?,
            (true, None, None) => folder::list(path)?,
            (false, None, None) => {
                let got = if is_image(path) { "one image" } else { "another file" };
                return Err(DataError::NoDataSet { path: path.to_owned(), got });
            }
        };
        if listing.train.is_empty() {
            let (path, n_other) = (path.to_path_buf(), listing.n_ignored);
            return Err(DataError::NoImages { path, expected: "images (JPEG, PNG, WebP, BMP)", n_other });
        }
        listing.with_test_split()
    }

    /// With a test split: a tenth of every class, where there is none and there are classes.
    fn with_test_split(mut self) -> Result<Self, DataError> {
        let n_classes = self.class_names.len();
        if n_classes > usize::from(u16::MAX) {
            let (expected, got) = (format!("at most {} classes", u16::MAX), n_classes.to_string());
            return Err(DataError::Inconsistent { what: "classes", expected, got });
        }
        if !self.test.is_empty() || n_classes < 2 {
            return Ok(self);
        }
        let labels: Vec<u16> = self.train.iter().map(|entry| entry.label).collect();
        let is_test = held_out(&labels, n_classes);
        let mut held = is_test.iter();
        (self.test, self.train) = self.train.into_iter().partition(|_| held.next() == Some(&true));
        Ok(self)
    }
}

/// Of every image, whether it is of the tenth of its class that is held out. It does not depend on a run's seed.
pub(crate) fn held_out(labels: &[u16], n_classes: usize) -> Vec<bool> {
    let mut classes = vec![Vec::new(); n_classes];
    for (idx, &label) in labels.iter().enumerate() {
        classes[usize::from(label)].push(idx);
    }
    let mut is_test = vec![false; labels.len()];
    for (class, mut members) in classes.into_iter().enumerate() {
        Stream::new(TEST_SEED, Purpose::Validation, class as u32, 0).shuffle(&mut members);
        let n_test = (members.len() + TEST_ONE_OF / 2) / TEST_ONE_OF;
        members.iter().take(n_test).for_each(|&idx| is_test[idx] = true);
    }
    is_test
}

/// Every image at a path in the order it has there: one file, a list's lines, a shard's members, or all images below a
/// folder by path; and how many files were passed over. Classes are left aside.
pub(crate) fn entries_in_order(path: &Path) -> Result<(Vec<Entry>, usize), DataError> {
    let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => DataError::MissingPictures { path: path.to_owned() },
        _ => DataError::io("looking", path, source),
    })?;
    if metadata.is_dir() {
        return folder::all(path);
    }
    if let Some(shards) = shards::find(path)? {
        let Listing { train, n_ignored, .. } = shards::list(&shards)?;
        return Ok((train, n_ignored));
    }
    match lines::find(path) {
        Some(list) => Ok((lines::entries_in_order(&list)?, 0)),
        None => Ok((vec![Entry::file(path.to_owned(), 0)], 0)),
    }
}

/// What a folder holds under a name, in capitals or not: `Train` is `train`. The name as it is spelt comes first.
fn named(folder: &Path, name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = entries.filter(|entry| entry.eq_ignore_ascii_case(name)).collect();
    names.sort_by_key(|entry| (entry != name, entry.clone()));
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// Whether a file is an image by its name.
pub(crate) fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["jpg", "jpeg", "png", "webp", "bmp"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Sorted names, each once, and the class of each image by its name.
fn classes(names: Vec<&str>) -> Vec<String> {
    let mut sorted: Vec<String> = names.into_iter().map(str::to_owned).collect();
    sorted.sort();
    sorted.dedup();
    sorted
}

/// The label of a class name, which must be one of `names`, sorted.
fn label(names: &[String], name: &str) -> Option<u16> {
    names.binary_search_by(|other| other.as_str().cmp(name)).ok().and_then(|label| u16::try_from(label).ok())
}
