//! Files that are too long to be written in one piece, and still either whole or not there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{Files, TEMPORARY_PREFIX, split};
use crate::TrainError;

/// A file that gets its name when it is whole; one that is dropped before that is removed.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    published: bool,
}

impl NewFile {
    /// Creates the file under a temporary name beside `path`, in a folder that is made if it is not there.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn create(path: &Path) -> Result<Self, TrainError> {
        Files::disk().make_place(path)?;
        let (folder, name) = split(path)?;
        let temporary = folder.join(format!("{TEMPORARY_PREFIX}{name}"));
        let file = File::create(&temporary).map_err(|source| TrainError::creating(path, source))?;
        Ok(Self { path: path.to_owned(), temporary, file, published: false })
    }

    /// What to write to.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The error of writing to it.
    #[must_use]
    pub fn error(&self, source: io::Error) -> TrainError {
        TrainError::writing(&self.path, source)
    }

    /// Makes the content durable and gives the file its name.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn publish(mut self) -> Result<(), TrainError> {
        self.file.sync_all().map_err(|source| self.error(source))?;
        let files = Files::disk();
        files.rename(&self.temporary, &self.path)?;
        self.published = true;
        files.sync_folder(split(&self.path)?.0)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
