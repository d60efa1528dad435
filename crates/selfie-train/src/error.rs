//! The crate's one error type and its exit codes.

use std::io;
use std::path::{Path, PathBuf};

use selfie_data::{DataError, DataErrorKind};
use selfie_eval::EvalError;
use selfie_model::ModelError;

use crate::config::Source;
use crate::fault::Fault;
use crate::resume::Difference;

/// What can stop a command. [`TrainError::exit_code`] is the code the program ends with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// An argument outside the configuration that cannot be used.
    #[error("{argument}: expected {expected}, got {got}")]
    Usage {
        /// The argument, as typed: `--fraction`.
        argument: String,
        /// What it may be.
        expected: String,
        /// What it was.
        got: String,
    },
    /// A configuration key that does not exist.
    #[error("{origin}: there is no key `{key}`; {hint}")]
    UnknownKey {
        /// Where it was set.
        origin: Source,
        /// The key, as written.
        key: String,
        /// The nearest keys there are.
        hint: String,
    },
    /// A configuration value that cannot be used.
    #[error("{key} ({origin}): expected {expected}, got {got}")]
    BadValue {
        /// The key, with its table.
        key: String,
        /// Where the value came from.
        origin: Source,
        /// What it may be.
        expected: String,
        /// What it was.
        got: String,
    },
    /// A value whose type or spelling is wrong.
    #[error("{key} ({origin}): got {got}: {reason}")]
    WrongType {
        /// The key, with its table.
        key: String,
        /// Where the value came from.
        origin: Source,
        /// What it was.
        got: String,
        /// What the parser said, with what it expected.
        reason: String,
    },
    /// A configuration file that is not TOML.
    #[error("{origin} is not valid TOML: {reason}")]
    Toml {
        /// The file or recipe.
        origin: Source,
        /// What the parser said, with its line.
        reason: String,
    },
    /// A run folder that was started with other values.
    #[error(
        "{folder} was started with other values:\n{}\nresume it with the values it was started with, {}",
        Difference::lines(differences),
        allow_or_choose(differences, beside(folder))
    )]
    ConfigChanged {
        /// The run folder.
        folder: PathBuf,
        /// What differs.
        differences: Vec<Difference>,
    },
    /// A run that is finished cannot go on with other values.
    #[error(
        "{folder} is finished, with other values:\n{}\nthere is nothing left to go on with: choose another --out, say {}",
        Difference::lines(differences),
        beside(folder)
    )]
    FinishedOtherwise {
        /// The run folder.
        folder: PathBuf,
        /// What differs.
        differences: Vec<Difference>,
    },
    /// A study's folder whose runs were made with other settings.
    #[error(
        "{folder} is a study with other settings:\n{}\ngive those it was begun with, or choose another --out",
        Difference::lines(differences)
    )]
    StudyChanged {
        /// The study's folder.
        folder: PathBuf,
        /// What differs.
        differences: Vec<Difference>,
    },
    /// A stored file whose content is not what was written.
    #[error("{path} is corrupt: {reason}")]
    Corrupt {
        /// The file or folder.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// Starting weights of another network than the one to be trained.
    #[error(
        "{path}: {source}; give the recipe and the --set values it was pretrained with, or other weights with --from"
    )]
    Misfit {
        /// The weights file.
        path: PathBuf,
        /// Which tensors do not fit.
        source: ModelError,
    },
    /// A pretraining network where a classifier is asked for.
    #[error("{source}; fine-tune it first: selfie finetune --from {given} --fraction 0.1")]
    NotFinetuned {
        /// The run or weights file, as it was given.
        given: PathBuf,
        /// Which network the file holds.
        source: ModelError,
    },
    /// A checkpoint of another network or optimizer than the one that the configuration, in which a change was allowed, asks
    /// for.
    #[error(
        "{path}: {reason}; a run goes on with the network and the optimizer it was started with: take the change back, or choose another --out"
    )]
    OtherState {
        /// The checkpoint.
        path: PathBuf,
        /// Which tensors do not fit.
        reason: String,
    },
    /// An input that is not there, or is something else.
    #[error("{path} {}: {hint}", if .path.exists() { "does not fit" } else { "is missing" })]
    Missing {
        /// The path looked for.
        path: PathBuf,
        /// What it is for and how to get it.
        hint: String,
    },
    /// A number that stopped being finite.
    #[error("{what} is not finite{}; lower the learning rate or set clip_norm, with another --out", at_step(*step))]
    NonFinite {
        /// Which number.
        what: String,
        /// The step that produced it, if known.
        step: Option<u64>,
    },
    /// A step whose loss, gradient or statistics are not finite.
    #[error("{fault}; {}{}", what_to_do_about(*refused), replay_with(captured.as_deref()))]
    Fault {
        /// The step, the layer and the examples.
        fault: Fault,
        /// Why a policy did not go on past it.
        refused: Option<&'static str>,
        /// What replays it.
        captured: Option<PathBuf>,
    },
    /// A file or folder that cannot be created.
    #[error("cannot create {path}: {source}; choose a writable --out")]
    CannotCreate {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that a flag names, or that lies in the folder that it names, and that cannot be written.
    #[error("cannot write {path}: {source}{}", what_to_do_or_choose(source, flag))]
    CannotWrite {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file where a folder is to be made, or a folder where a file is to be written.
    #[error("cannot write to {path}: expected {expected}, found {found}; choose another --out")]
    WrongKind {
        /// The path.
        path: PathBuf,
        /// What may be there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A folder that is not empty and holds nothing of ours.
    #[error("{path} holds other files ({found}); choose another --out")]
    NotARunFolder {
        /// The folder.
        path: PathBuf,
        /// One of the files.
        found: String,
    },
    /// A file that would be replaced and may be wanted.
    #[error("{path} {why}; choose another --out, or replace it with --replace")]
    WouldReplace {
        /// The file.
        path: PathBuf,
        /// What it is.
        why: &'static str,
    },
    /// A run folder that another process is training in.
    #[error("{path} is in use by another process{holder}; wait for it, or choose another --out")]
    Locked {
        /// The run folder.
        path: PathBuf,
        /// ` (process 123)`, or nothing.
        holder: String,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {path}: {source}{}", what_to_do(source))]
    Io {
        /// `read`, `write`, …
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The data is missing, wrong or cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A network or its weights.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A measurement or record that is not valid.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A tensor operation failed.
    #[error("{0}{hint}", hint = hint_of_memory(.0))]
    Tensor(#[from] candle_core::Error),
    /// The program contradicted itself.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl TrainError {
    /// The exit code: 2 usage, 65 bad data, 66 missing input, 70 internal, 73 cannot create output, 74 I/O, 78 bad
    /// configuration.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Data(error) => match error.kind() {
                DataErrorKind::BadData => 65,
                DataErrorKind::MissingInput => 66,
                DataErrorKind::Io => 74,
                DataErrorKind::CannotCreate => 73,
                DataErrorKind::Configuration => 78,
                _ => 70,
            },
            Self::Model(error) | Self::Misfit { source: error, .. } | Self::NotFinetuned { source: error, .. } => {
                model_exit_code(error)
            }
            Self::Eval(EvalError::Model(error)) => model_exit_code(error),
            Self::Corrupt { .. } | Self::Eval(EvalError::Json { .. } | EvalError::Embeddings { .. }) => 65,
            Self::Missing { .. } => 66,
            Self::NonFinite { .. } | Self::Fault { .. } | Self::Eval(_) | Self::Tensor(_) | Self::Internal(_) => 70,
            Self::CannotCreate { .. }
            | Self::WrongKind { .. }
            | Self::NotARunFolder { .. }
            | Self::WouldReplace { .. }
            | Self::Locked { .. } => 73,
            Self::CannotWrite { source, .. } if !is_full(source) => 73,
            Self::CannotWrite { .. } | Self::Io { .. } => 74,
            Self::UnknownKey { .. }
            | Self::BadValue { .. }
            | Self::WrongType { .. }
            | Self::Toml { .. }
            | Self::ConfigChanged { .. }
            | Self::FinishedOtherwise { .. }
            | Self::StudyChanged { .. }
            | Self::OtherState { .. } => 78,
        }
    }

    /// The path that was looked for and is not there.
    #[must_use]
    pub fn missing_path(&self) -> Option<&Path> {
        let path = match self {
            Self::Missing { path, .. }
            | Self::Data(DataError::MissingFile { path } | DataError::MissingPictures { path })
            | Self::Model(ModelError::Read { path, .. }) => path,
            Self::Data(DataError::MissingSet { looked_in, .. }) => looked_in.first()?,
            _ => return None,
        };
        (!path.exists()).then_some(path)
    }

    /// A value of the flag `--option` that cannot be used.
    pub(crate) fn bad_flag(option: &str, expected: &str, got: &str) -> Self {
        Self::BadValue {
            key: option.replace('-', "_"),
            origin: Source::Flag(format!("--{option}")),
            expected: expected.to_owned(),
            got: got.to_owned(),
        }
    }

    /// An error of reading the file `path`: [`TrainError::Missing`] if it is not there, or is a folder.
    pub(crate) fn reading(path: &Path, source: io::Error, hint: &str) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => {
                Self::Missing { path: path.to_owned(), hint: hint.to_owned() }
            }
            _ => Self::Io { action: "read", path: path.to_owned(), source },
        }
    }

    /// An error of creating `path`: [`TrainError::Io`] if the disk is full, else [`TrainError::CannotCreate`].
    pub(crate) fn creating(path: &Path, source: io::Error) -> Self {
        match is_full(&source) {
            true => Self::writing(path, source),
            false => Self::CannotCreate { path: path.to_owned(), source },
        }
    }

    /// An error of writing to `path`, which exists.
    pub(crate) fn writing(path: &Path, source: io::Error) -> Self {
        Self::Io { action: "write", path: path.to_owned(), source }
    }
}

/// What to do where a GPU has no memory left.
fn hint_of_memory(error: &candle_core::Error) -> &'static str {
    if error.to_string().contains("OUT_OF_MEMORY") {
        "; the GPU's memory is too small for this: make micro_batch smaller, or free it of other programs"
    } else {
        ""
    }
}

/// The exit code of an error of a network or its weights.
fn model_exit_code(error: &ModelError) -> u8 {
    match error {
        ModelError::Place { .. } => 2,
        ModelError::Config { .. } => 78,
        ModelError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => 66,
        ModelError::Read { .. } | ModelError::Write { .. } => 74,
        ModelError::Format { .. } | ModelError::Tensors { .. } | ModelError::Kind { .. } | ModelError::Image { .. } => {
            65
        }
        _ => 70,
    }
}

fn is_full(source: &io::Error) -> bool {
    matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn what_to_do_or_choose(source: &io::Error, flag: &str) -> String {
    match what_to_do(source) {
        "" => format!("; choose another {flag}"),
        what_to_do => format!("{what_to_do}, or choose another {flag}"),
    }
}

fn what_to_do(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space, then run the same command again"
        }
        io::ErrorKind::PermissionDenied => "; check its owner and permissions",
        _ => "",
    }
}

fn what_to_do_about(refused: Option<&'static str>) -> &'static str {
    refused.unwrap_or(
        "lower the learning rate or set clip_norm, with another --out, or go on past it: \
         --set on_non_finite=skip --allow-change on_non_finite",
    )
}

fn replay_with(captured: Option<&Path>) -> String {
    captured.map_or_else(String::new, |path| format!("; `selfie replay {}` repeats it", path.display()))
}

/// What to do beside taking values back: allow those that a checkpoint can go on with, or begin beside it.
fn allow_or_choose(differences: &[Difference], beside: String) -> String {
    let (fixed, free): (Vec<_>, Vec<_>) = differences.iter().partition(|difference| difference.changes_tensors());
    if free.is_empty() {
        return format!("or choose another --out, say {beside}");
    }
    let fixed: Vec<&str> = fixed.into_iter().map(|difference| difference.key.as_str()).collect();
    let but = if fixed.is_empty() { String::new() } else { format!(" (but not of {})", fixed.join(", ")) };
    format!("choose another --out, say {beside}, or allow a change{but} with --allow-change KEY")
}

/// A name for a run beside another one.
fn beside(folder: &Path) -> String {
    let free = |n: &usize| !PathBuf::from(format!("{}-{n}", folder.display())).exists();
    format!("{}-{}", folder.display(), (2..100).find(free).unwrap_or(100))
}

fn at_step(step: Option<u64>) -> String {
    step.map_or_else(String::new, |step| format!(" at step {step}"))
}
