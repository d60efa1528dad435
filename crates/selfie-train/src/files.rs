//! Files that are either whole or not there: temporary name, fsync, rename, fsync of the folder.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::TrainError;

mod new_file;
mod operations;

#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
mod tests;

pub use new_file::NewFile;
use operations::{Disk, FileOperations};

/// Every temporary name begins with this; nothing reads such a name.
pub(crate) const TEMPORARY_PREFIX: &str = ".tmp-";

/// What this crate does with files, each action made of [`FileOperations`] in an order that a crash at any of them
/// survives.
#[derive(Clone, Debug)]
pub(crate) struct Files(Arc<dyn FileOperations>);

impl Files {
    /// The files of the machine.
    pub(crate) fn disk() -> Self {
        Self(Arc::new(Disk))
    }

    /// Writes a file under a temporary name, makes it durable and gives it its name. On an error nothing is left behind.
    pub(crate) fn write_atomic(&self, path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
        self.write_through(path, "", bytes)
    }

    /// As [`Self::write_atomic`], in a folder that several processes write to, also of other machines: the last one's file
    /// stays.
    pub(crate) fn write_shared(&self, path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.write_through(path, &format!("-{}-{}", std::process::id(), since.as_nanos()), bytes)
    }

    fn write_through(&self, path: &Path, suffix: &str, bytes: &[u8]) -> Result<(), TrainError> {
        let (folder, name) = split(path)?;
        let temporary = folder.join(format!("{TEMPORARY_PREFIX}{name}{suffix}"));
        let written = self.write_durable(&temporary, bytes).and_then(|()| self.rename(&temporary, path));
        if written.is_err() {
            // The write's own error says more than a failed clean-up would.
            let _ = self.0.remove(&temporary);
        }
        written?;
        self.sync_folder(folder)
    }

    /// Creates a file with these bytes and makes its content durable.
    pub(crate) fn write_durable(&self, path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
        let mut file = self.0.create_file(path).map_err(|source| TrainError::creating(path, source))?;
        file.write_all(bytes).and_then(|()| file.sync()).map_err(|source| TrainError::writing(path, source))
    }

    /// Makes the names in a folder durable.
    pub(crate) fn sync_folder(&self, path: &Path) -> Result<(), TrainError> {
        self.0.sync_folder(path).map_err(|source| TrainError::writing(path, source))
    }

    /// Creates a folder and those above it, and makes their names durable: also the name of one that is there, because the
    /// process that created it may have died before.
    pub(crate) fn create_folder(&self, path: &Path) -> Result<(), TrainError> {
        let above = match path.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        };
        if !self.0.exists(path) && path.parent().is_some() && above != Path::new(".") {
            self.create_folder(above)?;
        }
        require_no_file(path)?;
        self.0.create_folder(path).map_err(|source| TrainError::creating(path, source))?;
        self.sync_folder(above)
    }

    /// Refuses to write a file where a folder is, and makes the folder that the file is to lie in.
    fn make_place(&self, path: &Path) -> Result<(), TrainError> {
        if path.is_dir() {
            let (expected, found) = ("the name of a file", "a folder");
            return Err(TrainError::WrongKind { path: path.to_owned(), expected, found });
        }
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => self.create_folder(folder),
            _ => Ok(()),
        }
    }

    /// Gives a file or folder another name in the same folder, in the place of a file that has it.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), TrainError> {
        self.0.rename(from, to).map_err(|source| TrainError::writing(to, source))
    }

    /// Whether there is a file or folder at `path`.
    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.0.exists(path)
    }

    /// Size of a file, B.
    pub(crate) fn n_bytes(&self, path: &Path) -> io::Result<u64> {
        self.0.n_bytes(path)
    }

    /// The bytes of a file.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }

    /// Names in a folder, sorted; none if the folder is not there.
    pub(crate) fn names(&self, path: &Path) -> Result<Vec<String>, TrainError> {
        match self.0.names(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => {
                let mut names = names.map_err(|source| TrainError::reading(path, source, "expected a folder"))?;
                names.sort();
                Ok(names)
            }
        }
    }

    /// Removes what an interrupted write left in a folder.
    pub(crate) fn remove_temporaries(&self, folder: &Path) -> Result<(), TrainError> {
        for name in self.names(folder)?.iter().filter(|name| name.starts_with(TEMPORARY_PREFIX)) {
            self.remove(&folder.join(name))?;
        }
        Ok(())
    }

    /// Removes a file or a folder with its content.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), TrainError> {
        self.0.remove(path).map_err(|source| TrainError::Io { action: "remove", path: path.to_owned(), source })
    }
}

/// Writes a file that is either whole or not there, in a folder that is made if it is not there.
///
/// # Errors
///
/// If it cannot be created or written.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let files = Files::disk();
    files.make_place(path)?;
    files.write_atomic(path, bytes)
}

/// Makes a folder and those above it, unless it is there.
///
/// # Errors
///
/// If it cannot be made, or is a file.
pub fn make_folder(path: &Path) -> Result<(), TrainError> {
    Files::disk().create_folder(path)
}

/// Refuses a file where a folder is to be.
pub(crate) fn require_no_file(path: &Path) -> Result<(), TrainError> {
    if path.is_file() {
        let (expected, found) = ("a folder, or nothing yet", "a file");
        return Err(TrainError::WrongKind { path: path.to_owned(), expected, found });
    }
    Ok(())
}

/// BLAKE3 of a file's bytes, hexadecimal.
///
/// # Errors
///
/// If it cannot be read.
pub fn hash_file(path: &Path) -> Result<String, TrainError> {
    let reading = |source| TrainError::reading(path, source, "expected a file to read");
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path).map_err(reading)?).map_err(reading)?;
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

/// BLAKE3 of some bytes, hexadecimal.
#[must_use]
pub fn hash_bytes(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}
