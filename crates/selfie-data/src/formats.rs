//! Readers of what other programs write: each is strict, bounded and streams, and knows nothing of data sets.
//!
//! None of them asks for memory or recursion that a file's content demands: sizes are compared with the file's own
//! before anything is reserved, nesting lives in an arena, and what is not needed is refused by name.

use std::io::{self, Read};
use std::path::Path;

use crate::DataError;

pub(crate) mod array;
pub(crate) mod npz;
pub(crate) mod parquet;
pub(crate) mod pickle;
mod thrift;

/// Why a file was refused, before it is known which file it is.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The system refused, or the file ended.
    Io(io::Error),
    /// The content is not what it must be.
    Wrong {
        /// Which part of the file.
        part: String,
        expected: String,
        got: String,
    },
}

impl Fault {
    pub(crate) fn wrong(part: impl Into<String>, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Wrong { part: part.into(), expected: expected.into(), got: got.to_string() }
    }

    /// The error of a file. An answer of the system is about the disk; any other is about the content.
    pub(crate) fn at(self, path: &Path) -> DataError {
        match self {
            Self::Io(source) if source.raw_os_error().is_some() => DataError::io("reading", path, source),
            Self::Io(source) => DataError::malformed(path, "the content", "a whole file", source.to_string()),
            Self::Wrong { part, expected, got } => DataError::malformed(path, part, expected, got),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(source: io::Error) -> Self {
        Self::Io(source)
    }
}

/// The rows of a two-dimensional u8 array and one integer for each, as data sets in files of arrays are kept.
pub(crate) struct Rows<'a> {
    /// Bytes of a row.
    pub(crate) row_bytes: usize,
    /// One for each row.
    pub(crate) labels: Vec<i64>,
    reader: Box<dyn Read + 'a>,
}

impl<'a> Rows<'a> {
    /// Rows of an array whose bytes come from `reader`.
    pub(crate) fn new(shape: &[u64], labels: Vec<i64>, reader: Box<dyn Read + 'a>) -> Result<Self, Fault> {
        let &[n_rows, row_bytes] = shape else {
            return Err(Fault::wrong("data", "an array of 2 dimensions", format!("{} dimensions", shape.len())));
        };
        if n_rows != labels.len() as u64 {
            return Err(Fault::wrong("labels", format!("{n_rows}, one a row of the data"), labels.len()));
        }
        if !(1..=MAX_ROW_BYTES).contains(&row_bytes) {
            return Err(Fault::wrong("data", format!("rows of 1 to {MAX_ROW_BYTES} bytes"), row_bytes));
        }
        Ok(Self { row_bytes: row_bytes as usize, labels, reader })
    }

    /// Reads the next row, which must be there.
    pub(crate) fn read(&mut self, row: &mut [u8]) -> Result<(), Fault> {
        Ok(self.reader.read_exact(row)?)
    }

    /// Reads what follows the last row, so that checksums at the end are compared.
    pub(crate) fn finish(mut self) -> Result<(), Fault> {
        match io::copy(&mut self.reader, &mut io::sink())? {
            0 => Ok(()),
            n => Err(Fault::wrong("data", "nothing after the last row", format!("{n} bytes"))),
        }
    }
}

/// An RGB image of 256 × 256 pixels: no published set of rows has larger ones.
const MAX_ROW_BYTES: u64 = 3 * 256 * 256;
/// Labels that are held while rows are read; ImageNet has 1,281,167.
pub(crate) const MAX_LABELS: u64 = 4_000_000;

/// What the fuzzer feeds to each reader.
#[doc(hidden)]
pub mod fuzz {
    use super::{Rows, npz, pickle};
    use std::io::Cursor;

    fn drain(rows: Result<Rows<'_>, super::Fault>) {
        let Ok(mut rows) = rows else { return };
        let mut row = vec![0; rows.row_bytes];
        while rows.read(&mut row).is_ok() {}
    }

    /// A pickle of rows and labels.
    pub fn pickle(bytes: &[u8]) {
        drain(pickle::rows(Cursor::new(bytes), bytes.len() as u64, &["data"], &["labels"]));
    }

    /// An archive of CIFAR-10.
    pub fn cifar(bytes: &[u8]) {
        crate::cifar::fuzz(bytes);
    }

    /// A parquet file of images and labels.
    pub fn parquet(bytes: &[u8]) {
        super::parquet::fuzz(bytes);
    }

    /// A tar shard.
    pub fn shard(bytes: &[u8]) {
        crate::listing::fuzz_shards(bytes);
    }

    /// An image file.
    pub fn image(bytes: &[u8]) {
        let _ = crate::decode::decode(bytes, std::path::Path::new("fuzz"));
    }

    /// An npz archive of rows and labels.
    pub fn npz(bytes: &[u8]) {
        drain(npz::rows(Cursor::new(bytes), bytes.len() as u64));
    }
}
