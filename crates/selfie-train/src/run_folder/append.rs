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
    /// Half a piece is behind the whole ones, and could not be cut off.
    torn: bool,
}

impl AppendFile {
    /// Opens the file, of which the first `len` bytes are whole pieces. What follows them stays until [`Self::cut`].
    pub(super) fn open(path: &Path, len: u64) -> Result<Self, TrainError> {
        let opened = File::options().create(true).truncate(false).read(true).write(true).open(path);
        let file = opened.map_err(|source| TrainError::creating(path, source))?;
        let found =
            file.metadata().map_err(|source| TrainError::reading(path, source, "expected the run's metrics"))?.len();
        if found < len {
            let reason = format!("the checkpoint expects at least {len} bytes, got {found}");
            return Err(TrainError::Corrupt { path: path.to_owned(), reason });
        }
        Ok(Self { path: path.to_owned(), file, len, pending: Vec::new(), torn: false })
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
        read.map_err(|source| TrainError::reading(&self.path, source, "expected the run's metrics"))?;
        Ok(Some(last[0]))
    }

    /// Appends a piece.
    pub(super) fn append(&mut self, piece: &[u8]) -> Result<(), TrainError> {
        self.pending.extend_from_slice(piece);
        self.write_pending()
    }

    /// Cuts the file back to its first `len` bytes, which are whole pieces.
    pub(super) fn cut_to(&mut self, len: u64) -> Result<(), TrainError> {
        self.pending.clear();
        self.len = self.len.min(len);
        self.cut()
    }

    /// Writes every piece; they are durable once the mark is synced, which another thread can do.
    pub(super) fn mark(&mut self) -> Result<Mark, TrainError> {
        self.write_pending()?;
        let file = self.file.try_clone().map_err(|source| TrainError::writing(&self.path, source))?;
        Ok(Mark { path: self.path.clone(), file, len: self.len })
    }

    fn write_pending(&mut self) -> Result<(), TrainError> {
        // A lock is not always seen from another machine; a file that grew by itself is.
        let found = self.file.metadata().map_err(|source| TrainError::writing(&self.path, source))?.len();
        if found > self.len && !self.torn {
            return Err(TrainError::Locked { path: self.path.clone(), holder: String::new() });
        }
        let sought = self.file.seek(SeekFrom::Start(self.len));
        if let Err(source) = sought.and_then(|_| self.file.write_all(&self.pending)) {
            // Half a piece may have been written; the write's own error says more than a failed clean-up would.
            self.torn = self.cut().is_err();
            return Err(TrainError::writing(&self.path, source));
        }
        self.len += self.pending.len() as u64;
        self.pending.clear();
        self.torn = false;
        Ok(())
    }

    /// Cuts off what follows the whole pieces.
    pub(super) fn cut(&mut self) -> Result<(), TrainError> {
        self.file.set_len(self.len).map_err(|source| TrainError::writing(&self.path, source))
    }
}

/// A length of such a file.
pub(crate) struct Mark {
    path: PathBuf,
    file: File,
    /// B.
    pub(crate) len: u64,
}

impl Mark {
    /// Makes at least the pieces up to here durable.
    pub(crate) fn sync(&self) -> Result<(), TrainError> {
        self.file.sync_all().map_err(|source| TrainError::writing(&self.path, source))
    }
}
