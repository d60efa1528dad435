//! Scratch memory of the kernels, handed from one piece of work to the next.

use super::memory::Aligned;
use super::numbers::Numbers;
use super::product::Panels;
use std::sync::{Mutex, PoisonError};

/// What one piece of work needs besides its operands.
#[derive(Debug)]
pub(crate) struct Scratch<M: Numbers> {
    /// The input, normalised and rectified.
    pub(crate) activated: Aligned<M::Stored>,
    /// The input unfolded to columns.
    pub(crate) columns: Aligned<M::Stored>,
    /// The input in transformed tiles.
    pub(crate) tiles: Aligned<M::Stored>,
    /// The output's gradient in transformed tiles.
    pub(crate) gradient_tiles: Aligned<M::Stored>,
    /// Products of tiles.
    pub(crate) sums: Aligned<M::Sum>,
    /// What a transform keeps between its two halves.
    pub(crate) combined: Aligned<M::Sum>,
    /// Left rows of a product, side by side.
    pub(crate) gathered: Aligned<M::Stored>,
    /// A packed left operand.
    pub(crate) left: Panels<M::Stored>,
    /// A packed right operand.
    pub(crate) right: Panels<M::Stored>,
}

impl<M: Numbers> Default for Scratch<M> {
    fn default() -> Self {
        Self {
            activated: Aligned::default(),
            columns: Aligned::default(),
            tiles: Aligned::default(),
            gradient_tiles: Aligned::default(),
            sums: Aligned::default(),
            combined: Aligned::default(),
            gathered: Aligned::default(),
            left: Panels::default(),
            right: Panels::default(),
        }
    }
}

/// Scratch that no piece of work has in hand; one for each thread at most.
pub(crate) type Pool<M> = Mutex<Vec<Scratch<M>>>;

/// Runs `work` with scratch from the pool.
pub(crate) fn with_scratch<M: Numbers, R>(work: impl FnOnce(&mut Scratch<M>) -> R) -> R {
    let pool = M::scratch_pool();
    let idle = pool.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut scratch = idle.unwrap_or_default();
    let result = work(&mut scratch);
    pool.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    result
}
