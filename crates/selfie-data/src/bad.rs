//! Samples that cannot be used: what is known of each.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::DataError;

/// The file that lists them: a line of JSON each.
pub const BAD_SAMPLES: &str = "bad_samples.jsonl";

/// An image that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BadSample {
    /// `train` or `test`.
    pub split: String,
    /// Its number in the split.
    pub example: u32,
    /// Where it lies.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

impl BadSample {
    pub(crate) fn new(split: &str, idx: usize, error: &DataError) -> Self {
        let (path, reason) = match error {
            DataError::Image { path, reason } => (path.clone(), reason.clone()),
            other => (PathBuf::new(), other.to_string()),
        };
        Self::of(split, idx, &path, reason)
    }

    pub(crate) fn of(split: &str, idx: usize, path: &Path, reason: String) -> Self {
        // Paths that are no Unicode are shown as well as can be; JSON has no other text.
        Self { split: split.to_owned(), example: idx as u32, path: path.to_string_lossy().into_owned(), reason }
    }
}

/// Refuses more unusable samples than a share of the split, of which one is always allowed unless the share is 0.
///
/// # Errors
///
/// [`DataError::TooManyBad`] if `n_bad` of `n_samples` are more.
pub fn require_few(n_bad: usize, n_samples: usize, max_share: f64, first: &BadSample) -> Result<(), DataError> {
    let allowed = if max_share > 0.0 { (max_share * n_samples as f64).max(1.0) } else { 0.0 };
    if n_bad as f64 <= allowed {
        return Ok(());
    }
    let first = format!("{}: {}", first.path, first.reason);
    Err(DataError::TooManyBad { n_bad, n_samples, max_share, first })
}
