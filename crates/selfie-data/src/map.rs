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
pub struct Map(Arc<Mmap>);

impl Map {
    /// Maps a file that is not empty.
    ///
    /// Only files that this program writes once are mapped, those of a prepared data set and of embeddings: they are
    /// written under another name and never changed once they have their own.
    ///
    /// # Errors
    ///
    /// If it cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let failed = |source| DataError::io("mapping", path, source);
        let file = File::open(path).map_err(failed)?;
        // SAFETY: nobody changes the file (see above); a process that cuts it off regardless makes this one end with
        // SIGBUS, which reads no other memory.
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
