//! One violated condition becomes one error that names the key, its source, what was expected and what was found.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::TrainError;
use crate::config::{Resolved, Source};

/// Conditions on one key.
pub(super) struct Check {
    key: String,
    origin: Source,
}

impl Check {
    pub(super) fn new(resolved: &Resolved, key: &str) -> Self {
        Self { key: key.to_owned(), origin: resolved.source(key) }
    }

    pub(super) fn require(self, holds: bool, expected: impl Into<String>, got: impl Display) -> Result<(), TrainError> {
        if holds {
            return Ok(());
        }
        let (expected, got) = (expected.into(), got.to_string());
        Err(TrainError::BadValue { key: self.key, origin: self.origin, expected, got })
    }

    pub(super) fn within<T: PartialOrd + Display>(self, value: T, range: RangeInclusive<T>) -> Result<(), TrainError> {
        let expected = format!("{} to {}", range.start(), range.end());
        self.require(range.contains(&value), expected, value)
    }

    pub(super) fn positive(self, value: f64) -> Result<(), TrainError> {
        self.require(value.is_finite() && value > 0.0, "a finite number above 0", value)
    }

    pub(super) fn not_negative(self, value: f64) -> Result<(), TrainError> {
        self.require(value.is_finite() && value >= 0.0, "a finite number of at least 0", value)
    }

    pub(super) fn share(self, value: f64) -> Result<(), TrainError> {
        self.require((0.0..1.0).contains(&value), "at least 0 and less than 1", value)
    }
}
