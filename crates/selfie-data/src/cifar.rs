//! CIFAR-10 and CIFAR-100: their binary and their Python version, in a folder or in the archive they come in, of which
//! nothing is written to the disk. Both hold the planes of red, green and blue; images come out channels-last.

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use crate::formats::{Rows, pickle};
use crate::{DataError, DataSet, Images, N_CHANNELS};

mod archive;
#[cfg(test)]
mod tests;
mod version;

#[cfg(test)]
pub(crate) use version::CLASS_NAMES;
pub use version::Cifar;
use version::{Content, Version};

const SIDE: usize = 32;
const PLANE_BYTES: usize = SIDE * SIDE;
const IMAGE_BYTES: usize = PLANE_BYTES * N_CHANNELS;
/// Ten times the size of CIFAR-10's files, twice that of CIFAR-100's: no wrong file fills the memory.
const MAX_FILE_BYTES: u64 = 100_000 * (2 + IMAGE_BYTES) as u64;
const MAX_CLASS_NAMES_BYTES: u64 = 4096;

/// Reads CIFAR-10 or CIFAR-100 (its fine labels).
///
/// `path` is a folder with the files of the binary or the Python version, or with the folder or the archive in it that
/// they come in; or it is such an archive itself. The files may hold any number of images.
///
/// # Errors
///
/// If there is no such thing at `path`, a file is missing or cannot be read, a file does not consist of whole records,
/// a label is no class, or the archive is damaged.
pub fn open(set: Cifar, path: &Path) -> Result<DataSet, DataError> {
    let (version, place) = find(set, path)?;
    match place {
        Place::Folder(folder) => read(set, version, |name, limit| read_file(&folder.join(name), limit)),
        Place::Archive(archive) => {
            // An archive given by itself may be of either version: what is in it decides.
            let mut entries = archive::read(&archive, set)?;
            let version = set.versions().iter().find(|v| entries.contains_key(v.test[0])).unwrap_or(version);
            read(set, version, |name, _| {
                let path = archive.join(version.folder).join(name);
                entries.remove(name).map(|bytes| (path.clone(), bytes)).ok_or(DataError::MissingFile { path })
            })
        }
    }
}

/// What the fuzzer feeds: an archive.
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(mut entries) = archive::unpack(Path::new("fuzz"), Cifar::Ten, bytes, 1 << 26) else { return };
    for version in Cifar::Ten.versions() {
        // Whatever it answers: it must answer.
        let _ = read(Cifar::Ten, version, |name, _| {
            entries.remove(name).map(|bytes| (name.into(), bytes)).ok_or(DataError::MissingFile { path: name.into() })
        });
    }
}

/// Whether a path is something that [`open`] would try to read.
pub(crate) fn is_at(set: Cifar, path: &Path) -> bool {
    path.is_dir() && find(set, path).is_ok()
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Folder(PathBuf),
    Archive(PathBuf),
}

fn find(set: Cifar, path: &Path) -> Result<(&'static Version, Place), DataError> {
    let metadata = fs::metadata(path).map_err(|source| DataError::io("looking", path, source))?;
    let versions = set.versions();
    if metadata.is_file() {
        return Ok((&versions[0], Place::Archive(path.to_path_buf())));
    }
    let here = |version: &&Version| version.files().any(|name| path.join(name).is_file());
    if let Some(version) = versions.iter().find(here) {
        return Ok((version, Place::Folder(path.to_path_buf())));
    }
    for version in versions {
        let (folder, archive) = (path.join(version.folder), path.join(version.archive));
        if folder.is_dir() {
            return Ok((version, Place::Folder(folder)));
        }
        if archive.is_file() {
            return Ok((version, Place::Archive(archive)));
        }
    }
    let places = versions.iter().flat_map(|version| [version.test[0], version.folder, version.archive]);
    let looked_in = places.map(|name| path.join(name)).collect();
    Err(DataError::MissingSet { set: set.name().to_owned(), looked_in })
}

/// `get`: from a file's name and size limit to where it lies and what it holds.
fn read(
    set: Cifar,
    version: &Version,
    mut get: impl FnMut(&str, u64) -> Result<(PathBuf, Vec<u8>), DataError>,
) -> Result<DataSet, DataError> {
    let class_names = match get(version.class_names, MAX_CLASS_NAMES_BYTES) {
        Ok((path, bytes)) => class_names(set, version, &path, &bytes)?,
        Err(DataError::MissingFile { .. }) => set.class_names(),
        Err(error) => return Err(error),
    };
    let mut split = |names: &[&str]| {
        let mut images = Parsed { n_classes: set.n_classes(), ..Parsed::default() };
        for name in names {
            let (path, bytes) = get(name, MAX_FILE_BYTES)?;
            match version.content {
                Content::Records { label_bytes } => images.add_records(&path, &bytes, label_bytes)?,
                Content::Pickle { labels } => images.add_pickle(&path, &bytes, labels)?,
            }
        }
        Images::new(SIDE, images.pixels, images.labels, class_names.clone()).map(Arc::new)
    };
    Ok(DataSet { name: set.name().to_owned(), train: split(version.train)?, test: split(version.test)?, beside: None })
}

fn read_file(path: &Path, limit: u64) -> Result<(PathBuf, Vec<u8>), DataError> {
    let failed = |source| DataError::io("reading", path, source);
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut bytes = Vec::with_capacity(size.min(limit) as usize);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(DataError::TooLarge { path: path.to_path_buf(), limit, got: size });
    }
    Ok((path.to_path_buf(), bytes))
}

fn class_names(set: Cifar, version: &Version, path: &Path, bytes: &[u8]) -> Result<Vec<String>, DataError> {
    let names = match version.content {
        Content::Records { .. } => {
            let text = String::from_utf8_lossy(bytes);
            text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
        }
        Content::Pickle { .. } => {
            pickle::texts(Cursor::new(bytes), bytes.len() as u64, set.names_key()).map_err(|fault| fault.at(path))?
        }
    };
    let (expected, got, path) = (set.n_classes(), names.len(), path.to_path_buf());
    if expected == got { Ok(names) } else { Err(DataError::ClassNames { path, expected, got }) }
}

/// A split while its files are read.
#[derive(Default)]
struct Parsed {
    n_classes: usize,
    /// `[n, H, W, C]`
    pixels: Vec<u8>,
    labels: Vec<u16>,
}

impl Parsed {
    /// Adds the records of a binary file; of two label bytes, the second counts.
    fn add_records(&mut self, path: &Path, bytes: &[u8], label_bytes: usize) -> Result<(), DataError> {
        let record_bytes = label_bytes + IMAGE_BYTES;
        let (n_records, n_left) = (bytes.len() / record_bytes, bytes.len() % record_bytes);
        if n_left != 0 || n_records == 0 {
            let path = path.to_path_buf();
            return Err(DataError::CifarLength { path, record_idx: n_records, expected: record_bytes, got: n_left });
        }
        for (record_idx, record) in bytes.chunks_exact(record_bytes).enumerate() {
            self.add_label(path, record_idx, i64::from(record[label_bytes - 1]))?;
        }
        let start = self.pixels.len();
        self.pixels.resize(start + n_records * IMAGE_BYTES, 0);
        let images = self.pixels[start..].par_chunks_exact_mut(IMAGE_BYTES);
        let records = bytes.par_chunks_exact(record_bytes);
        images.zip(records).for_each(|(image, record)| interleave(&record[label_bytes..], image));
        Ok(())
    }

    fn add_pickle(&mut self, path: &Path, bytes: &[u8], labels: &[&str]) -> Result<(), DataError> {
        let rows = pickle::rows(Cursor::new(bytes), bytes.len() as u64, &["data"], labels);
        let mut rows: Rows<'_> = rows.map_err(|fault| fault.at(path))?;
        if rows.row_bytes != IMAGE_BYTES || rows.labels.is_empty() {
            let got = format!("{} rows of {}", rows.labels.len(), rows.row_bytes);
            return Err(DataError::malformed(path, "data", format!("rows of {IMAGE_BYTES} bytes"), got));
        }
        for (record_idx, label) in std::mem::take(&mut rows.labels).into_iter().enumerate() {
            self.add_label(path, record_idx, label)?;
            let mut planes = [0; IMAGE_BYTES];
            rows.read(&mut planes).map_err(|fault| fault.at(path))?;
            let start = self.pixels.len();
            self.pixels.resize(start + IMAGE_BYTES, 0);
            interleave(&planes, &mut self.pixels[start..]);
        }
        rows.finish().map_err(|fault| fault.at(path))
    }

    fn add_label(&mut self, path: &Path, record_idx: usize, label: i64) -> Result<(), DataError> {
        match u16::try_from(label) {
            Ok(class) if usize::from(class) < self.n_classes => self.labels.push(class),
            _ => {
                let (path, n_classes) = (path.to_path_buf(), self.n_classes);
                return Err(DataError::CifarLabel { path, record_idx, n_classes, got: label });
            }
        }
        Ok(())
    }
}

/// `planes`: `[C, H, W]`; `image`: `[H, W, C]`; of any size.
pub(crate) fn interleave(planes: &[u8], image: &mut [u8]) {
    let plane_bytes = planes.len() / N_CHANNELS;
    let (red, rest) = planes.split_at(plane_bytes);
    let (green, blue) = rest.split_at(plane_bytes);
    for (pixel, ((&red, &green), &blue)) in image.chunks_exact_mut(N_CHANNELS).zip(red.iter().zip(green).zip(blue)) {
        pixel.copy_from_slice(&[red, green, blue]);
    }
}
