//! A file that grows by whole pieces, and is cut back where a resume goes on.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::TrainError;

/// A file that this process alone appends to.
///
/// A piece that could not be written, say because the disk is full, is kept and tried again with the next one.
#[derive(Debug)]
pub(super) struct AppendFile {
    path: PathBuf,
    file: File,
    /// Bytes of whole pieces in the file.
    len: u64,
    /// Pieces that are not in the file yet.
    pending: Vec<u8>,
}

impl AppendFile {
    /// Opens the file, of which the first `len` bytes are whole pieces. What follows them stays until [`Self::cut`].
    pub(super) fn open(path: &Path, len: u64) -> Result<Self, TrainError> {
        let opened = File::options().create(true).truncate(false).read(true).write(true).open(path);
        let file = opened.map_err(|source| TrainError::creating(path, source))?;
        let found = file.metadata().map_err(|source| TrainError::reading(path, source, "the run's metrics"))?.len();
        if found < len {
            let reason = format!("the checkpoint expects at least {len} bytes, got {found}");
            return Err(TrainError::Corrupt { path: path.to_owned(), reason });
        }
        Ok(Self { path: path.to_owned(), file, len, pending: Vec::new() })
    }

    /// Bytes of whole pieces in the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The last byte of the whole pieces; `None` of none.
    pub(super) fn last_byte(&mut self) -> Result<Option<u8>, TrainError> {
        if self.len == 0 {
            return Ok(None);
        }
        let mut last = [0];
        let read = self.file.seek(SeekFrom::Start(self.len - 1)).and_then(|_| self.file.read_exact(&mut last));
        read.map_err(|source| TrainError::reading(&self.path, source, "the run's metrics"))?;
        Ok(Some(last[0]))
    }

    /// Appends a piece.
    pub(super) fn append(&mut self, piece: &[u8]) -> Result<(), TrainError> {
        self.pending.extend_from_slice(piece);
        self.write_pending()
    }

    /// Makes every piece durable.
    pub(super) fn sync(&mut self) -> Result<(), TrainError> {
        self.write_pending()?;
        self.file.sync_all().map_err(|source| TrainError::writing(&self.path, source))
    }

    fn write_pending(&mut self) -> Result<(), TrainError> {
        // A lock is not always seen from another machine; a file that grew by itself is.
        let found = self.file.metadata().map_err(|source| TrainError::writing(&self.path, source))?.len();
        if found > self.len {
            return Err(TrainError::Locked { path: self.path.clone(), holder: String::new() });
        }
        let sought = self.file.seek(SeekFrom::Start(self.len));
        if let Err(source) = sought.and_then(|_| self.file.write_all(&self.pending)) {
            // Half a piece may have been written.
            self.cut()?;
            return Err(TrainError::writing(&self.path, source));
        }
        self.len += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Cuts off what follows the whole pieces.
    pub(super) fn cut(&mut self) -> Result<(), TrainError> {
        self.file.set_len(self.len).map_err(|source| TrainError::writing(&self.path, source))
    }
}
