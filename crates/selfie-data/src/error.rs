//! Everything that can go wrong with data, and which kind of failure each is. The exit codes are the program's.

use std::io;
use std::path::{Path, PathBuf};

use crate::SetName;
use crate::listing::TEST_ONE_OF;

#[cfg(test)]
mod tests;

/// What went wrong: each message says where, what was expected, what was there and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A data set is in none of the places it may be in.
    #[error("data set {set}: expected it in {}, found nothing there; give its folder or archive with --data, or get it with `data fetch {set}`", list(.looked_in))]
    MissingSet {
        /// The set's name.
        set: String,
        /// The folders and files that were tried.
        looked_in: Vec<PathBuf>,
    },
    /// One file of a data set is not there.
    #[error("{}: found nothing there; check the path, or unpack the data set again", .path.display())]
    MissingFile {
        /// The file.
        path: PathBuf,
    },
    /// Nothing is where a user's images should be.
    #[error("{}: expected an image, a folder of images, a list or a shard, found nothing there; check the path", .path.display())]
    MissingPictures {
        /// The path given.
        path: PathBuf,
    },
    /// A name that is no data set's.
    #[error("data set `{got}`: expected one of {}", names())]
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
         file is cut off or is no CIFAR binary file: fetch it again", .path.display()
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
        /// The label found.
        got: i64,
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
    /// A file of another format than it should be, or a damaged one.
    #[error("{}: {part}: expected {expected}, got {got}; fetch or make the file again", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which part of it.
        part: String,
        /// What it must be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// A file where a data set should be.
    #[error(
        "{}: expected a folder, a list file (.txt, .tsv), a shard (.tar, .tar.gz, .tgz) or a .parquet file, got {got}; {}",
        .path.display(), instead_of(.path)
    )]
    NoDataSet {
        /// The file.
        path: PathBuf,
        /// What the file is.
        got: &'static str,
    },
    /// Folders of images that do not fit each other.
    #[error("{}: expected {expected}, got {got}; rename or move it", .path.display())]
    Layout {
        /// The folder or file.
        path: PathBuf,
        /// What may be there.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A file that is no image that can be used.
    #[error("{}: expected an image, got {reason}; replace or remove it (`data check` lists all such files)", .path.display())]
    Image {
        /// The file, or the data set's file and the image's number.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// More unusable samples than may be replaced.
    #[error(
        "{n_bad} of {n_samples} images cannot be read, expected {}; the first is {first}; `data check` lists them all",
        at_most(*.max_share)
    )]
    TooManyBad {
        /// Unusable samples found so far.
        n_bad: usize,
        /// Samples of the split.
        n_samples: usize,
        /// The share that may be unusable.
        max_share: f64,
        /// The first one and why.
        first: String,
    },
    /// A folder in which there is nothing to read.
    #[error("{}: expected {expected}, found none{}", .path.display(), among(*.n_other))]
    NoImages {
        /// The folder or file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// Files that are something else.
        n_other: usize,
    },
    /// A set whose images have no classes, where classes are needed.
    #[error(
        "data set {set}: expected images of at least two classes, got {got}; {}, or \
         pretrain, which needs no labels", into_classes(beside.as_deref())
    )]
    Unlabelled {
        /// The set.
        set: String,
        /// Its only class, or that it has none.
        got: String,
        /// An image beside folders that are no classes because of it.
        beside: Option<PathBuf>,
    },
    /// A set without a test split, and with too few images to hold some out.
    #[error(
        "data set {set}: expected test images, got none, for no class has {} images, of which a tenth would be held out; put images of every class \
         into `val`, beside a folder `train` with the others", TEST_ONE_OF / 2
    )]
    NoTestImages {
        /// The set.
        set: String,
    },
    /// What this program was built without.
    #[error(
        "feature `{feature}`: expected a program built with it, got one without; build it: cargo build --release \
         -p selfie-cli --features {feature}"
    )]
    MissingFeature {
        /// A feature of selfie-cli.
        feature: &'static str,
    },
    /// A set that does not fit into memory as it is.
    #[error(
        "{}: expected at most {limit} bytes of images to hold in memory, got {got}; make the prepared form once with \
         `data import`, and train from that", .path.display()
    )]
    TooLargeForMemory {
        /// The folder or file.
        path: PathBuf,
        /// The most that is held in memory.
        limit: u64,
        /// At least its size.
        got: u64,
    },
    /// Something is where a prepared data set would be written.
    #[error("{}: expected a place for the prepared data set, found {found}; remove it, or choose another --out", .path.display())]
    Occupied {
        /// The place.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// A file of a prepared data set cannot be written.
    #[error("{}: writing failed: {source}; check the disk and its permissions, or choose another place", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file that a server does not give.
    #[error(
        "{url}: expected a file, the server answered {status}; check the address, and whether the file needs a login"
    )]
    Unavailable {
        /// Where it should be.
        url: String,
        /// The answer.
        status: String,
    },
    /// A download that did not come to its end.
    #[error("{url}: downloading failed: {reason}; what arrived is kept, and the same command goes on from there")]
    Fetch {
        /// Where the file is.
        url: String,
        /// What the last attempt ended with.
        reason: String,
    },
    /// A downloaded file of other bytes than were published.
    #[error("{}: expected {expected}, got {got}; this is not the published file: remove it and fetch it again", .path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The checksum it must have.
        expected: String,
        /// The one it has.
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
    /// The hub did not take or give a model.
    #[error(
        "hub model {repository}: {action} failed: {reason}; check the name, the network and the token (HF_TOKEN), then \
         give the same command again"
    )]
    HubModel {
        /// The repository.
        repository: String,
        /// What was tried.
        action: &'static str,
        /// The hub client's message.
        reason: String,
    },
    /// The hub does not give a set to everybody.
    #[error(
        "hub data set {set}: expected to be let in, got: {reason}; accept its terms on its page, make a token in your \
         settings there, and give it as HF_TOKEN"
    )]
    HubAccess {
        /// The set on the hub.
        set: String,
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
    /// The system could not read or write it (74).
    Io,
    /// What was to be written cannot be created (73).
    CannotCreate,
    /// What was asked for cannot be (78).
    Configuration,
}

impl DataError {
    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> DataErrorKind {
        match self {
            Self::MissingSet { .. }
            | Self::MissingFile { .. }
            | Self::MissingPictures { .. }
            | Self::NoImages { .. }
            | Self::Unavailable { .. }
            | Self::MissingFeature { .. }
            | Self::HubAccess { .. } => DataErrorKind::MissingInput,
            Self::Write { source, .. } if is_refused(source) => DataErrorKind::CannotCreate,
            Self::Io { .. } | Self::Hub { .. } | Self::HubModel { .. } | Self::Fetch { .. } | Self::Write { .. } => {
                DataErrorKind::Io
            }
            Self::Occupied { .. } => DataErrorKind::CannotCreate,
            Self::CifarLength { .. }
            | Self::CifarLabel { .. }
            | Self::TooLarge { .. }
            | Self::ClassNames { .. }
            | Self::Archive { .. }
            | Self::Malformed { .. }
            | Self::NoDataSet { .. }
            | Self::Layout { .. }
            | Self::Image { .. }
            | Self::TooManyBad { .. }
            | Self::Checksum { .. }
            | Self::Unlabelled { .. }
            | Self::NoTestImages { .. }
            | Self::Inconsistent { .. } => DataErrorKind::BadData,
            Self::UnknownSet { .. } | Self::Setting { .. } | Self::TooLargeForMemory { .. } => {
                DataErrorKind::Configuration
            }
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

    pub(crate) fn malformed(
        path: &Path,
        part: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Malformed { path: path.to_path_buf(), part: part.into(), expected: expected.into(), got: got.into() }
    }

    pub(crate) fn image(path: &Path, reason: impl Into<String>) -> Self {
        Self::Image { path: path.to_path_buf(), reason: reason.into() }
    }

    pub(crate) fn setting(setting: &'static str, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Setting { setting, expected: expected.into(), got: got.to_string() }
    }
}

/// Whether the system refused to create a file, rather than failed while it wrote one.
fn is_refused(source: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(
        source.kind(),
        AlreadyExists | IsADirectory | NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem
    )
}

/// What to give in the place of a file that is no data set.
fn instead_of(path: &Path) -> &'static str {
    let is = |known: &str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(known));
    if is("csv") {
        "make a list of it: a .txt or .tsv file with a line `path<TAB>class` for each image"
    } else if is("zip") {
        "unpack it and give the folder"
    } else {
        "give the folder that it lies in"
    }
}

fn names() -> String {
    SetName::ALL.map(SetName::as_str).join(", ")
}

fn among(n_other: usize) -> String {
    if n_other == 0 { String::new() } else { format!(" among {n_other} other files") }
}

fn at_most(share: f64) -> String {
    if share > 0.0 { format!("at most {:.1} %", 100.0 * share) } else { "none".to_owned() }
}

fn list(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    shown.join(", ")
}

fn into_classes(beside: Option<&Path>) -> String {
    match beside {
        None => "put them into one folder a class".to_owned(),
        Some(image) => format!("{}: move it away or into one of them", lies_beside(image)),
    }
}

/// Why folders of images are no classes.
#[must_use]
pub fn lies_beside(image: &Path) -> String {
    format!("{} lies beside the folders, which are no classes therefore", image.display())
}
