//! Scratch memory of the kernels, handed from one piece of work to the next.

use super::memory::Aligned;
use super::product::Panels;
use crate::Real;
use std::sync::{Mutex, PoisonError};

/// What one piece of work needs besides its operands.
#[derive(Debug, Default)]
pub(crate) struct Scratch<T> {
    /// The input, normalised and rectified.
    pub(crate) activated: Aligned<T>,
    /// The input unfolded to columns.
    pub(crate) columns: Aligned<T>,
    /// A result that is kept in another type.
    pub(crate) sums: Aligned<T>,
    /// A packed left operand.
    pub(crate) left: Panels<T>,
    /// A packed right operand.
    pub(crate) right: Panels<T>,
    /// Where packed rows come from.
    pub(crate) at: Vec<u32>,
}

/// Scratch that no piece of work has in hand; one for each thread at most.
pub(crate) type Pool<T> = Mutex<Vec<Scratch<T>>>;

/// Runs `work` with scratch from the pool.
pub(crate) fn with_scratch<T: Real, R>(work: impl FnOnce(&mut Scratch<T>) -> R) -> R {
    let pool = T::scratch_pool();
    let idle = pool.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut scratch = idle.unwrap_or_default();
    let result = work(&mut scratch);
    pool.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    result
}
