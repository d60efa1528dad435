//! What can go wrong with a network and its weights.

use crate::embedding_at::EmbeddingAt;
use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A value of the configuration is outside its range.
    #[error("model configuration: `{key}`: expected {expected}, got {got}")]
    Config {
        /// The key.
        key: &'static str,
        /// Its range.
        expected: String,
        /// What was there.
        got: String,
    },
    /// A weights file cannot be opened or read.
    #[error("cannot read weights {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A weights file cannot be written.
    #[error("cannot write weights {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no weights file of this program.
    #[error("{path} is not a weights file: {reason}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The tensors of a file are not those of the network.
    #[error("weights do not fit the network {network}: {}", list(keys, problems))]
    Tensors {
        /// The network, in words.
        network: String,
        /// What the configuration and the file's own metadata say differently, as far as both are known.
        keys: Vec<String>,
        /// A line for each tensor that is missing, extra or misshapen.
        problems: Vec<String>,
    },
    /// A number that is not finite was to be written.
    #[error("tensor `{tensor}` holds a number that is not finite: not written")]
    NonFinite {
        /// The tensor's name.
        tensor: String,
    },
    /// A network computed a number that is not finite.
    #[error("{path}: {what} is not finite: expected numbers, got NaN or an infinity; give intact weights", path = path.display())]
    NotANumber {
        /// The weights file.
        path: PathBuf,
        /// Which number.
        what: &'static str,
    },
    /// Another kind of network is asked for than the file holds.
    #[error("{path} holds {got}, expected {expected}", path = path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        expected: &'static str,
        /// What it holds.
        got: &'static str,
    },
    /// An embedding is asked for at a place that the network has not.
    #[error("{path}: expected one of {}, got {got}", list_places(has), path = path.display())]
    Place {
        /// The weights file.
        path: PathBuf,
        /// The places it has.
        has: Vec<EmbeddingAt>,
        /// What was asked for.
        got: EmbeddingAt,
    },
    /// An image that cannot be decoded, or whose pixels do not fill its sides.
    #[error("image{}: {reason}", path.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default())]
    Image {
        /// The file, if it came from one.
        path: Option<PathBuf>,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// The keys, the first few problems, and how many more there are.
fn list(keys: &[String], problems: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text = keys.iter().chain(problems.iter().take(SHOWN)).cloned().collect::<Vec<_>>().join("; ");
    if problems.len() > SHOWN {
        text.push_str(&format!("; and {} more", problems.len() - SHOWN));
    }
    text
}

fn list_places(places: &[EmbeddingAt]) -> String {
    places.iter().map(|at| at.as_str()).collect::<Vec<_>>().join(", ")
}

/// Tensor code returns candle's error unless it says otherwise.
pub(crate) type Result<T, E = candle_core::Error> = std::result::Result<T, E>;
