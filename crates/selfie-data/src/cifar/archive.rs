//! The files inside the gzip'd tar archive. They are read into memory; their names are compared, never used as paths.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::{Cifar, MAX_CLASS_NAMES_BYTES, MAX_FILE_BYTES};
use crate::DataError;

/// About three times the official archive's unpacked size: an archive that unpacks to more is not read to its end.
const MAX_UNPACKED_BYTES: u64 = 600_000_000;

/// Contents by file name.
pub(super) type Entries = BTreeMap<&'static str, Vec<u8>>;

/// The wanted entries of the set's folder (or of the archive's root), by name.
pub(super) fn read(path: &Path, set: Cifar) -> Result<Entries, DataError> {
    read_at_most(path, set, MAX_UNPACKED_BYTES)
}

/// [`read`] of an archive that unpacks to less than `max_bytes`.
pub(super) fn read_at_most(path: &Path, set: Cifar, max_bytes: u64) -> Result<Entries, DataError> {
    let file = File::open(path).map_err(|source| DataError::io("opening", path, source))?;
    unpack(path, set, BufReader::new(file), max_bytes)
}

/// [`read_at_most`] of a file that is open already.
pub(super) fn unpack(path: &Path, set: Cifar, packed: impl BufRead, max_bytes: u64) -> Result<Entries, DataError> {
    let mut unpacked = MultiGzDecoder::new(packed).take(max_bytes);
    let entries = read_entries(path, set, &mut unpacked);
    if unpacked.limit() == 0 {
        let (path, limit) = (path.to_path_buf(), max_bytes);
        return Err(DataError::TooLarge { path, limit, got: max_bytes });
    }
    entries
}

fn read_entries(path: &Path, set: Cifar, unpacked: &mut impl Read) -> Result<Entries, DataError> {
    let failed = |entry: &str, source: io::Error| damaged(path, entry, source);
    let in_list = |source| failed("the list of files", source);
    let mut archive = tar::Archive::new(unpacked);
    let mut found = Entries::new();
    // Raw: the names of these files are short, and a long name elsewhere may be as long as the archive.
    for entry in archive.entries().map_err(in_list)?.raw(true) {
        let mut entry = entry.map_err(in_list)?;
        let entry_path = entry.path().map_err(in_list)?.into_owned();
        let Some((name, limit)) = wanted(set, &entry_path) else {
            continue;
        };
        if !entry.header().entry_type().is_file() {
            return Err(failed(name, io::Error::other("not a regular file")));
        }
        let size = entry.size();
        if size > limit {
            return Err(DataError::TooLarge { path: path.join(entry_path), limit, got: size });
        }
        let mut bytes = Vec::with_capacity(size as usize);
        entry.read_to_end(&mut bytes).map_err(|source| failed(name, source))?;
        if bytes.len() as u64 != size {
            return Err(failed(name, io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
        if found.insert(name, bytes).is_some() {
            return Err(failed(name, io::Error::other("the file is there twice")));
        }
    }
    // The checksum stands at the end of the stream, behind the last entry.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|source| failed("the end", source))?;
    Ok(found)
}

/// The name and the largest size of an entry that is read.
fn wanted(set: Cifar, entry: &Path) -> Option<(&'static str, u64)> {
    let entry = entry.strip_prefix(".").unwrap_or(entry);
    set.versions().iter().find_map(|version| {
        let entry = entry.strip_prefix(version.folder).unwrap_or(entry);
        if entry == Path::new(version.class_names) {
            return Some((version.class_names, MAX_CLASS_NAMES_BYTES));
        }
        version.files().find(|name| entry == Path::new(name)).map(|name| (name, MAX_FILE_BYTES))
    })
}

/// An error with a code of the system is about the disk; any other is about the archive's content.
fn damaged(path: &Path, entry: &str, source: io::Error) -> DataError {
    match source.raw_os_error() {
        Some(_) => DataError::io("reading", path, source),
        None => DataError::Archive { path: path.into(), entry: entry.to_owned(), reason: source.to_string() },
    }
}
