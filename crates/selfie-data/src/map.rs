//! Files mapped into memory.
#![expect(unsafe_code, reason = "a mapped file is memory that the system fills; see `Map::open` for what must hold")]

use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::DataError;

/// A file's bytes, read by the system when they are touched. Its clones share the map.
#[derive(Clone, Debug)]
pub(crate) struct Map(Arc<Mmap>);

impl Map {
    /// Maps a file of exactly `len` bytes.
    ///
    /// Only the files of a prepared data set are mapped: they are written under another name, made read-only, and never
    /// changed after their folder has its own name.
    pub(crate) fn open(path: &Path, len: u64) -> Result<Self, DataError> {
        let failed = |source| DataError::io("mapping", path, source);
        let file = File::open(path).map_err(failed)?;
        let got = file.metadata().map_err(failed)?.len();
        if got != len {
            let (expected, got) = (format!("{len} bytes as in its manifest"), format!("{got} bytes"));
            return Err(DataError::malformed(path, "the size", expected, got));
        }
        // SAFETY: the file is read-only and nobody changes it (see above); a process that cuts it off regardless makes
        // this one end with SIGBUS, which reads no other memory.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Ok(Self(Arc::new(map)))
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
