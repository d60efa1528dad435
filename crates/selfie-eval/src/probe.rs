//! Probes: how well classes can be told apart by embeddings that are left as they are.
//!
//! [`knn`] asks the nearest neighbours, [`linear`] fits a linear layer. Neither draws a random number.

pub mod knn;
pub mod linear;
pub mod report;

use crate::{EvalError, Matrix};

/// Embeddings with their classes.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// `[n, D]`
    pub rows: Matrix<'a>,
    /// `[n]`
    pub labels: &'a [u32],
}

impl<'a> Labelled<'a> {
    /// Rows and as many labels.
    ///
    /// # Errors
    ///
    /// If there is not one label for each row, a label is not below `n_classes`, or there is none.
    pub fn new(rows: Matrix<'a>, labels: &'a [u32], n_classes: usize) -> Result<Self, EvalError> {
        if rows.n_rows() != labels.len() || labels.is_empty() {
            return Err(EvalError::Labels { n_rows: rows.n_rows(), got: labels.len() });
        }
        if let Some((example_idx, &label)) = labels.iter().enumerate().find(|(_, label)| **label as usize >= n_classes)
        {
            return Err(EvalError::Label { example_idx, label, n_classes });
        }
        Ok(Self { rows, labels })
    }
}

/// The accuracy of naming the most frequent of some labels every time, in 0–1.
#[must_use]
pub fn chance(labels: &[u32]) -> f64 {
    let mut counts = std::collections::BTreeMap::new();
    labels.iter().for_each(|label| *counts.entry(label).or_insert(0usize) += 1);
    counts.values().max().map_or(0.0, |&most| most as f64 / labels.len() as f64)
}

#[cfg(test)]
mod tests;
