//! CIFAR-10's binary version: a folder of its files, or the archive they come in, of which nothing is written to the
//! disk. A record is a label byte and the planes of red, green and blue; images come out channels-last.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use crate::{DataError, DataSet, Images, N_CHANNELS};

mod archive;
#[cfg(test)]
mod tests;

const SIDE: usize = 32;
const PLANE_BYTES: usize = SIDE * SIDE;
const IMAGE_BYTES: usize = PLANE_BYTES * N_CHANNELS;
const RECORD_BYTES: usize = 1 + IMAGE_BYTES;
const TRAIN_FILES: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST_FILE: &str = "test_batch.bin";
const CLASS_NAMES_FILE: &str = "batches.meta.txt";
const FOLDER: &str = "cifar-10-batches-bin";
const ARCHIVE: &str = "cifar-10-binary.tar.gz";
/// The classes in the order of the labels, as in the official file; used where that file is missing.
pub(crate) const CLASS_NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
/// Ten times the size of an official file: no wrong file fills the memory.
const MAX_FILE_BYTES: u64 = 100_000 * RECORD_BYTES as u64;
const MAX_CLASS_NAMES_BYTES: u64 = 4096;

/// Reads CIFAR-10.
///
/// `path` is a folder with the six `.bin` files, or with `cifar-10-batches-bin/` or `cifar-10-binary.tar.gz` in it; or it
/// is such an archive itself. The files may hold any number of records (the official ones hold 10,000).
///
/// # Errors
///
/// If there is no such thing at `path`, a file is missing or cannot be read, a file does not consist of whole records,
/// a label is not below 10, or the archive is damaged.
pub fn open(path: &Path) -> Result<DataSet, DataError> {
    match find(path)? {
        Layout::Folder(folder) => read(|name, limit| read_file(&folder.join(name), limit)),
        Layout::Archive(archive) => {
            let mut entries = archive::read(&archive)?;
            read(|name, _| {
                let path = archive.join(FOLDER).join(name);
                entries.remove(name).map(|bytes| (path.clone(), bytes)).ok_or(DataError::MissingFile { path })
            })
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Layout {
    Folder(PathBuf),
    Archive(PathBuf),
}

fn find(path: &Path) -> Result<Layout, DataError> {
    let metadata = fs::metadata(path).map_err(|source| DataError::io("looking", path, source))?;
    if metadata.is_file() {
        return Ok(Layout::Archive(path.to_path_buf()));
    }
    let (folder, archive) = (path.join(FOLDER), path.join(ARCHIVE));
    let is_one_of_ours = |name: &&str| path.join(name).is_file();
    if TRAIN_FILES.iter().chain([&TEST_FILE]).any(is_one_of_ours) {
        Ok(Layout::Folder(path.to_path_buf()))
    } else if folder.is_dir() {
        Ok(Layout::Folder(folder))
    } else if archive.is_file() {
        Ok(Layout::Archive(archive))
    } else {
        Err(DataError::MissingSet { set: "cifar10".to_owned(), looked_in: vec![path.join(TEST_FILE), folder, archive] })
    }
}

/// `get`: from a file's name and size limit to where it lies and what it holds.
fn read(mut get: impl FnMut(&str, u64) -> Result<(PathBuf, Vec<u8>), DataError>) -> Result<DataSet, DataError> {
    let class_names = match get(CLASS_NAMES_FILE, MAX_CLASS_NAMES_BYTES) {
        Ok((path, bytes)) => parse_class_names(&path, &bytes)?,
        Err(DataError::MissingFile { .. }) => CLASS_NAMES.map(str::to_owned).to_vec(),
        Err(error) => return Err(error),
    };
    let mut split = |names: &[&str]| {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for name in names {
            let (path, bytes) = get(name, MAX_FILE_BYTES)?;
            parse_records(&path, &bytes, &mut pixels, &mut labels)?;
        }
        Images::new(SIDE, pixels, labels, class_names.clone()).map(Arc::new)
    };
    Ok(DataSet { name: "cifar10".to_owned(), train: split(&TRAIN_FILES)?, test: split(&[TEST_FILE])? })
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

fn parse_class_names(path: &Path, bytes: &[u8]) -> Result<Vec<String>, DataError> {
    let text = String::from_utf8_lossy(bytes);
    let names: Vec<String> = text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.len() != CLASS_NAMES.len() {
        let path = path.to_path_buf();
        return Err(DataError::ClassNames { path, expected: CLASS_NAMES.len(), got: names.len() });
    }
    Ok(names)
}

/// Adds a file's images, `[n, H, W, C]`, and labels.
fn parse_records(path: &Path, bytes: &[u8], pixels: &mut Vec<u8>, labels: &mut Vec<u16>) -> Result<(), DataError> {
    let (n_records, n_left) = (bytes.len() / RECORD_BYTES, bytes.len() % RECORD_BYTES);
    if n_left != 0 || n_records == 0 {
        let path = path.to_path_buf();
        return Err(DataError::CifarLength { path, record_idx: n_records, expected: RECORD_BYTES, got: n_left });
    }
    for (record_idx, record) in bytes.chunks_exact(RECORD_BYTES).enumerate() {
        if usize::from(record[0]) >= CLASS_NAMES.len() {
            let path = path.to_path_buf();
            return Err(DataError::CifarLabel { path, record_idx, n_classes: CLASS_NAMES.len(), got: record[0] });
        }
        labels.push(u16::from(record[0]));
    }
    let start = pixels.len();
    pixels.resize(start + n_records * IMAGE_BYTES, 0);
    let images = pixels[start..].par_chunks_exact_mut(IMAGE_BYTES);
    images.zip(bytes.par_chunks_exact(RECORD_BYTES)).for_each(|(image, record)| interleave(&record[1..], image));
    Ok(())
}

/// `planes`: `[C, H, W]`; `image`: `[H, W, C]`.
fn interleave(planes: &[u8], image: &mut [u8]) {
    let (red, rest) = planes.split_at(PLANE_BYTES);
    let (green, blue) = rest.split_at(PLANE_BYTES);
    for (pixel, ((&red, &green), &blue)) in image.chunks_exact_mut(N_CHANNELS).zip(red.iter().zip(green).zip(blue)) {
        pixel.copy_from_slice(&[red, green, blue]);
    }
}
