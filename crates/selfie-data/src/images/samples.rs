//! Where the pixels of a split lie: in memory or on a map, as pixels or as image files.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::DataError;
use crate::decode::{Rgb, decode};
use crate::map::Map;

/// Bytes that are read only.
#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    /// In memory.
    Memory(Vec<u8>),
    /// On a map.
    Mapped(Map),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

/// The content of a split's images, one after the other.
#[derive(Clone, Debug)]
pub(crate) enum Samples {
    /// `[n, H, W, C]`
    Raw(Bytes),
    /// Image files.
    Encoded(Encoded),
}

/// Image files, one behind the other.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    /// Where each file ends; it begins where the one before it ends.
    pub(crate) ends: Vec<u64>,
    pub(crate) names: Names,
    /// Why files could not be read, which have no bytes here.
    pub(crate) unread: BTreeMap<usize, String>,
}

/// What messages call image files.
#[derive(Clone, Debug)]
pub(crate) enum Names {
    /// Each has its own path.
    Each(Vec<PathBuf>),
    /// A packed file and a number.
    Numbered(PathBuf),
}

impl Encoded {
    /// One file.
    pub(crate) fn file(&self, idx: usize) -> &[u8] {
        let start = if idx == 0 { 0 } else { self.ends[idx - 1] };
        &self.bytes[start as usize..self.ends[idx] as usize]
    }

    /// One file, decoded.
    pub(crate) fn picture(&self, idx: usize) -> Result<Rgb<'_>, DataError> {
        match self.unread.get(&idx) {
            Some(reason) => Err(DataError::image(&self.name(idx), reason.clone())),
            None => decode(self.file(idx), &self.name(idx)),
        }
    }

    pub(crate) fn name(&self, idx: usize) -> PathBuf {
        match &self.names {
            Names::Each(names) => names[idx].clone(),
            Names::Numbered(file) => numbered(file, idx),
        }
    }
}

/// An image of a packed file.
pub(crate) fn numbered(file: &Path, idx: usize) -> PathBuf {
    file.join(format!("image {idx}"))
}
