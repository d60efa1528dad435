//! Everything that can go wrong with data, and which kind of failure each is. The exit codes are the program's.

use std::io;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// What went wrong: each message says where, what was expected, what was there and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A data set is in none of the places it may be in.
    #[error("data set {set}: expected it in {}, found none of them; give its folder or archive with --data, or download it with --data hub:", list(.looked_in))]
    MissingSet {
        /// The set's name.
        set: String,
        /// The folders and files that were tried.
        looked_in: Vec<PathBuf>,
    },
    /// One file of a data set is not there.
    #[error("{}: expected a file, found none; unpack the data set again", .path.display())]
    MissingFile {
        /// The file.
        path: PathBuf,
    },
    /// A set this version knows by name only.
    #[error("data set {set}: reading it arrives in a later version; cifar10 and shapes32 can be read now")]
    NotYet {
        /// The set's name.
        set: String,
    },
    /// A name that is no data set's.
    #[error("data set `{got}`: expected one of shapes32, cifar10, imagenet32, imagenet224")]
    UnknownSet {
        /// The name given.
        got: String,
    },
    /// The operating system refused.
    #[error("{}: {action} failed; check the path, its permissions and the disk", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A CIFAR file does not end with a whole record.
    #[error(
        "{}: record {record_idx}: expected records of {expected} bytes to the end of the file, got {got} bytes; the \
         file is cut off or is no CIFAR-10 binary file: fetch it again", .path.display()
    )]
    CifarLength {
        /// The file, or the archive and its entry.
        path: PathBuf,
        /// The first record that is not whole.
        record_idx: usize,
        /// Bytes of a record.
        expected: usize,
        /// Bytes this record has.
        got: usize,
    },
    /// A CIFAR record's first byte is no class.
    #[error(
        "{}: record {record_idx}: expected a label of 0 to {}, got {got}; the file is damaged: fetch it again",
        .path.display(), .n_classes - 1
    )]
    CifarLabel {
        /// The file, or the archive and its entry.
        path: PathBuf,
        /// Which record, from 0.
        record_idx: usize,
        /// How many classes there are.
        n_classes: usize,
        /// The byte found.
        got: u8,
    },
    /// A file is larger than any file of this kind.
    #[error("{}: expected at most {limit} bytes, got {got}; this is not the file it is named after", .path.display())]
    TooLarge {
        /// The file, or the archive and its entry.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
        /// Its size; for an archive, at least its unpacked size.
        got: u64,
    },
    /// The list of class names is not one name a class.
    #[error("{}: expected {expected} class names, one a line, got {got}; fetch the file again", .path.display())]
    ClassNames {
        /// The file.
        path: PathBuf,
        /// How many classes there are.
        expected: usize,
        /// How many names it holds.
        got: usize,
    },
    /// An archive cannot be read to its end.
    #[error(
        "{}: reading {entry}: expected a whole gzip'd tar archive, got `{reason}`; it is cut off or damaged: fetch it \
         again", .path.display()
    )]
    Archive {
        /// The archive.
        path: PathBuf,
        /// The entry, as far as known.
        entry: String,
        /// What the decoder said.
        reason: String,
    },
    /// A row of a parquet file is not an image with a label.
    #[error("{file}: row {row_idx}: expected {expected}, got {got}; fetch the file again")]
    ParquetRow {
        /// The file.
        file: String,
        /// Which row, from 0.
        row_idx: usize,
        /// What a row must be.
        expected: String,
        /// What this one is.
        got: String,
    },
    /// The hub gave no data.
    #[error(
        "hub data set {set}: {action} failed: {reason}; check the network, or fetch the files by hand and use --data"
    )]
    Hub {
        /// The set on the hub.
        set: String,
        /// What was tried.
        action: &'static str,
        /// The hub client's message.
        reason: String,
    },
    /// Parts of one data set contradict each other.
    #[error("{what}: expected {expected}, got {got}")]
    Inconsistent {
        /// Which part.
        what: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// A setting that cannot be.
    #[error("{setting}: expected {expected}, got {got}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// What is allowed.
        expected: String,
        /// What was given.
        got: String,
    },
    /// The program failed while it made a batch.
    #[error("step {step}: expected a batch, the loader's worker panicked: {message}; this is a bug, please report it")]
    WorkerPanic {
        /// Which step's batch.
        step: u64,
        /// The panic's message.
        message: String,
    },
}

/// The kinds of failure a caller tells apart, for example as exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataErrorKind {
    /// The data is there and wrong (exit code 65).
    BadData,
    /// The data is not there (66).
    MissingInput,
    /// A defect of this program (70).
    Internal,
    /// The system could not read it (74).
    Io,
    /// What was asked for cannot be (78).
    Configuration,
}

impl DataError {
    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> DataErrorKind {
        match self {
            Self::MissingSet { .. } | Self::MissingFile { .. } | Self::NotYet { .. } => DataErrorKind::MissingInput,
            Self::Io { .. } | Self::Hub { .. } => DataErrorKind::Io,
            Self::CifarLength { .. }
            | Self::CifarLabel { .. }
            | Self::TooLarge { .. }
            | Self::ClassNames { .. }
            | Self::Archive { .. }
            | Self::ParquetRow { .. }
            | Self::Inconsistent { .. } => DataErrorKind::BadData,
            Self::UnknownSet { .. } | Self::Setting { .. } => DataErrorKind::Configuration,
            Self::WorkerPanic { .. } => DataErrorKind::Internal,
        }
    }

    /// The system's error about a file: a missing one is [`DataError::MissingFile`].
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => Self::MissingFile { path },
            _ => Self::Io { action, path, source },
        }
    }

    pub(crate) fn setting(setting: &'static str, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Setting { setting, expected: expected.into(), got: got.to_string() }
    }
}

fn list(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    shown.join(", ")
}
