//! How a forward pass treats batch statistics and dropout.

use candle_core::{DType, Tensor};
use std::sync::{Mutex, PoisonError};

/// How a forward pass treats batch statistics and dropout.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Running statistics, no dropout, no gradients.
    Inference,
    /// Batch statistics, which `Training` collects, and dropout.
    Training(&'a Training),
}

/// One training pass: what its dropout is keyed by, and the batch statistics it took.
///
/// The network's running statistics follow only when told to, after the loss is known to be finite.
#[derive(Debug)]
pub struct Training {
    seed: u64,
    pass: u32,
    statistics: Mutex<Vec<(String, Tensor)>>,
}

impl Training {
    /// `pass` numbers the forward passes of a run: no two share their dropout.
    #[must_use]
    pub fn new(seed: u64, pass: u32) -> Self {
        Self { seed, pass, statistics: Mutex::new(Vec::new()) }
    }

    pub(crate) fn key(&self) -> (u64, u32) {
        (self.seed, self.pass)
    }

    pub(crate) fn record(&self, unit: &str, statistics: Option<Tensor>) {
        let mut all = self.statistics.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(statistics.map(|statistics| (unit.to_owned(), statistics)));
    }

    /// Of the units whose batch statistics are not finite, the one whose operation came first.
    ///
    /// # Errors
    ///
    /// If a tensor cannot be read.
    pub fn first_non_finite(&self) -> candle_core::Result<Option<String>> {
        let all = self.statistics.lock().unwrap_or_else(PoisonError::into_inner);
        for (unit, statistics) in all.iter() {
            if !is_finite(statistics)? {
                return Ok(Some(unit.clone()));
            }
        }
        Ok(None)
    }

    pub(crate) fn statistics_of(&self, unit: &str) -> Option<Tensor> {
        let all = self.statistics.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(name, _)| name == unit).map(|(_, statistics)| statistics.clone())
    }
}

/// Whether every number of a tensor is finite.
///
/// # Errors
///
/// If the tensor cannot be read.
pub fn is_finite(tensor: &Tensor) -> candle_core::Result<bool> {
    let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.iter().all(|value| value.is_finite()))
}
