//! Files that are either whole or not there: temporary name, fsync, rename, fsync of the folder.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::TrainError;

#[cfg(test)]
mod tests;

/// Every temporary name begins with this; nothing reads such a name.
pub(crate) const TEMPORARY_PREFIX: &str = ".tmp-";

/// Writes a file under a temporary name, makes it durable and gives it its name. On an error nothing is left behind.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    write_through(path, "", bytes)
}

/// As [`write_atomic`], in a folder that several processes write to, also of other machines: the last one's file stays.
pub(crate) fn write_shared(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    write_through(path, &format!("-{}-{}", std::process::id(), since.as_nanos()), bytes)
}

fn write_through(path: &Path, suffix: &str, bytes: &[u8]) -> Result<(), TrainError> {
    let (folder, name) = split(path)?;
    let temporary = folder.join(format!("{TEMPORARY_PREFIX}{name}{suffix}"));
    let written = write_durable(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path).map_err(|source| TrainError::writing(path, source)))
        .and_then(|()| sync_folder(folder));
    if written.is_err() {
        // The write's own error says more than a failed clean-up would.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Creates a file with these bytes and makes its content durable.
pub(crate) fn write_durable(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let mut file = File::create(path).map_err(|source| TrainError::creating(path, source))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|source| TrainError::writing(path, source))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), TrainError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|source| TrainError::writing(path, source))
}

/// Creates a folder and those above it.
pub(crate) fn create_folder(path: &Path) -> Result<(), TrainError> {
    fs::create_dir_all(path).map_err(|source| TrainError::creating(path, source))
}

/// Names in a folder, sorted; none if the folder is not there.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, TrainError> {
    let reading = |source| TrainError::reading(path, source, "a folder");
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(reading)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(reading)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Removes what an interrupted write left in a folder.
pub(crate) fn remove_temporaries(folder: &Path) -> Result<(), TrainError> {
    for name in names(folder)?.iter().filter(|name| name.starts_with(TEMPORARY_PREFIX)) {
        remove(&folder.join(name))?;
    }
    Ok(())
}

/// Removes a file or a folder with its content.
pub(crate) fn remove(path: &Path) -> Result<(), TrainError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|source| TrainError::Io { action: "remove", path: path.to_owned(), source })
}

/// BLAKE3 of a file's bytes, hexadecimal.
pub(crate) fn hash_file(path: &Path) -> Result<String, TrainError> {
    let reading = |source| TrainError::reading(path, source, "a file to hash");
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).map_err(reading)?).map_err(reading)?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn split(path: &Path) -> Result<(&Path, String), TrainError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    match (path.parent(), name) {
        (Some(folder), Some(name)) if folder.as_os_str().is_empty() => Ok((Path::new("."), name)),
        (Some(folder), Some(name)) => Ok((folder, name)),
        _ => Err(TrainError::Internal(format!("{} is no file name", PathBuf::from(path).display()))),
    }
}
