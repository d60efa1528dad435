//! Which example stands where in an endless run of epochs.

use selfie_random::{Permutation, Purpose};

use crate::DataError;

#[cfg(test)]
mod tests;

/// The endless concatenation of epochs, each of them all examples in its own random order.
///
/// A batch is a stretch of it, so that batches are always full, may cross epochs, and may be larger than an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExampleOrder {
    seed: u64,
    n_examples: u32,
}

impl ExampleOrder {
    /// The order of `n_examples` examples.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn new(seed: u64, n_examples: u32) -> Result<Self, DataError> {
        if n_examples == 0 {
            return Err(DataError::setting("examples", "at least 1", 0));
        }
        Ok(Self { seed, n_examples })
    }

    /// The epoch (modulo 2³²) and the example, in `0..n_examples`, at each of `batch` positions from `step * batch` on.
    pub fn batch(&self, step: u64, batch: usize) -> impl Iterator<Item = (u32, u32)> {
        let first = step.wrapping_mul(batch as u64);
        let mut permutation = None;
        (0..batch as u64).map(move |i| {
            let position = first.wrapping_add(i);
            let n = u64::from(self.n_examples);
            let epoch = (position / n) as u32;
            let order = match permutation {
                Some((of, order)) if of == epoch => order,
                _ => Permutation::new(self.seed, Purpose::Shuffle, epoch, self.n_examples),
            };
            permutation = Some((epoch, order));
            (epoch, order.at((position % n) as u32))
        })
    }
}
