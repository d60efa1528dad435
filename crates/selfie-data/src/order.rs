//! Which example stands where in an endless run of epochs.

use selfie_random::{Permutation, Purpose};

use crate::DataError;

#[cfg(test)]
mod tests;

/// Which part of every step's examples one of several processes takes, each `batch` of `world_size * batch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    rank: u32,
    world_size: u32,
}

impl Shard {
    /// The part of process `rank` of `world_size`.
    ///
    /// # Errors
    ///
    /// If there is no such process.
    pub fn new(rank: u32, world_size: u32) -> Result<Self, DataError> {
        if rank >= world_size {
            return Err(DataError::setting("rank", format!("less than the world size, {world_size}"), rank));
        }
        Ok(Self { rank, world_size })
    }

    /// Numbers the batches of all processes in the order in which they stand in the endless run.
    pub(crate) fn batch_idx(self, step: u64) -> u64 {
        step.wrapping_mul(u64::from(self.world_size)).wrapping_add(u64::from(self.rank))
    }
}

impl Default for Shard {
    /// Everything.
    fn default() -> Self {
        Self { rank: 0, world_size: 1 }
    }
}

/// The endless concatenation of epochs, each of them all examples in its own random order.
///
/// A batch is a stretch of it, so that batches are always full, may cross epochs, and may be larger than an epoch. The
/// batches of all processes at one step, in the order of their ranks, are the batch that one process alone would make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExampleOrder {
    seed: u64,
    n_examples: u32,
    shard: Shard,
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
        Ok(Self { seed, n_examples, shard: Shard::default() })
    }

    /// The same order, of which one of several processes takes its part.
    #[must_use]
    pub fn sharded(self, shard: Shard) -> Self {
        Self { shard, ..self }
    }

    /// The epoch (modulo 2³²) and the example, in `0..n_examples`, at each of `batch` positions from `step * batch` on; of
    /// several processes, from `(step * world_size + rank) * batch` on.
    pub fn batch(&self, step: u64, batch: usize) -> impl Iterator<Item = (u32, u32)> {
        let first = self.shard.batch_idx(step).wrapping_mul(batch as u64);
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
