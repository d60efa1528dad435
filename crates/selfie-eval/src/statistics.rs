//! Statistics over runs: mean, sample standard deviation, paired differences with Student's t.
//!
//! The runs of the two arms share seed and labelled subset, so differences are taken pair by pair.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::EvalError;

#[cfg(test)]
mod tests;

/// Coverage of every interval this crate prints.
pub const CONFIDENCE: f64 = 0.95;

/// Arithmetic mean; `None` of no values.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation, with the divisor n − 1; `None` of fewer than two values.
#[must_use]
pub fn sample_std(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// What a table says of one arm: how many runs, their mean and their spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Runs.
    pub n_runs: usize,
    /// Their mean.
    pub mean: f64,
    /// Their sample standard deviation; `None` of one run.
    pub std: Option<f64>,
}

impl Summary {
    /// The summary of some runs; `None` of none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        Some(Self { n_runs: values.len(), mean: mean(values)?, std: sample_std(values) })
    }
}

/// Most pairs whose every flip of signs is counted: 2²⁴ of them take a moment.
const MAX_FLIPPED_PAIRS: usize = 24;

/// The mean of paired differences with its interval and the two-sided p-value of "no difference".
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedDifference {
    /// Pairs.
    pub n_pairs: usize,
    /// Mean of treated − control.
    pub mean: f64,
    /// Sample standard deviation of the differences.
    pub std: f64,
    /// Lower end of the 95 % interval of the mean.
    pub low: f64,
    /// Upper end of the 95 % interval of the mean.
    pub high: f64,
    /// Two-sided p-value, in 0–1.
    pub p_value: f64,
}

/// Compares two arms run by run: `treated[i]` and `control[i]` share a seed.
///
/// When every difference is the same, the interval is that one point and the p-value is 0, or 1 if the differences are
/// 0.
///
/// # Errors
///
/// If the two lengths differ, there are fewer than two pairs or a value is not finite.
pub fn paired_difference(treated: &[f64], control: &[f64]) -> Result<PairedDifference, EvalError> {
    let differences = differences(treated, control)?;
    let n_pairs = differences.len();
    let too_few = EvalError::TooFew { what: "a paired difference", expected: 2, got: n_pairs };
    let (Some(mean), Some(std)) = (mean(&differences), sample_std(&differences)) else {
        return Err(too_few);
    };
    let Ok(student) = StudentsT::new(0.0, 1.0, (n_pairs - 1) as f64) else {
        return Err(too_few);
    };

    let standard_error = std / (n_pairs as f64).sqrt();
    let half_width = student.inverse_cdf(0.5 + CONFIDENCE / 2.0) * standard_error;
    let p_value = match (standard_error == 0.0, mean == 0.0) {
        (true, true) => 1.0,
        (true, false) => 0.0,
        // The lower tail: 1 − cdf would cancel for large differences.
        (false, _) => 2.0 * student.cdf(-(mean / standard_error).abs()),
    };
    Ok(PairedDifference { n_pairs, mean, std, low: mean - half_width, high: mean + half_width, p_value })
}

/// The exact two-sided p-value of "no difference" when the sign of every paired difference may as well be the other one: the
/// share of the 2ⁿ flips of signs whose mean is at least as far from 0 as the one observed. With n pairs it is never below
/// 2/2ⁿ.
///
/// `None` above 24 pairs, where there are too many flips to count.
///
/// # Errors
///
/// As [`paired_difference`].
pub fn sign_flip_p_value(treated: &[f64], control: &[f64]) -> Result<Option<f64>, EvalError> {
    let differences = differences(treated, control)?;
    if differences.len() > MAX_FLIPPED_PAIRS {
        return Ok(None);
    }
    let observed = differences.iter().sum::<f64>().abs();
    // Each difference is rounded by the size of what it is of, and so is each step of a sum: flips that are as far as the
    // one observed may come out a little below it, however small that is.
    let largest = treated.iter().chain(control).fold(0.0f64, |largest, value| largest.max(value.abs()));
    let n_pairs = differences.len() as f64;
    let least = observed - n_pairs * (n_pairs + 1.0) * f64::EPSILON * largest;
    let n_as_far = n_flips_as_far(&differences, 0.0, least);
    Ok(Some(n_as_far as f64 / (1u64 << differences.len()) as f64))
}

/// How many choices of signs bring `sum` and the differences together to at least `least`, in either direction.
fn n_flips_as_far(differences: &[f64], sum: f64, least: f64) -> u64 {
    match differences {
        [] => u64::from(sum.abs() >= least),
        [first, rest @ ..] => n_flips_as_far(rest, sum + first, least) + n_flips_as_far(rest, sum - first, least),
    }
}

/// Treated − control, pair by pair; at least two of them, all finite.
fn differences(treated: &[f64], control: &[f64]) -> Result<Vec<f64>, EvalError> {
    if treated.len() != control.len() {
        return Err(EvalError::Unpaired { treated: treated.len(), control: control.len() });
    }
    let differences: Vec<f64> = treated.iter().zip(control).map(|(treated, control)| treated - control).collect();
    if let Some(&value) = differences.iter().find(|difference| !difference.is_finite()) {
        return Err(EvalError::NonFinite { what: "a paired difference".into(), value });
    }
    if differences.len() < 2 {
        return Err(EvalError::TooFew { what: "a paired difference", expected: 2, got: differences.len() });
    }
    Ok(differences)
}
