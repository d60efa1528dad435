//! Which patches of an image are targets. Every image of every epoch has its own mask.

use selfie_random::{Purpose, Stream};

use crate::DataError;

#[cfg(test)]
mod tests;

/// Draws T target patches of N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskSampler {
    n_patches: usize,
    n_targets: usize,
}

impl MaskSampler {
    /// Masks of `n_targets` of `n_patches` patches.
    ///
    /// # Errors
    ///
    /// If there is no choice between targets (fewer than two) or no context patch left.
    pub fn new(n_patches: usize, n_targets: usize) -> Result<Self, DataError> {
        if n_targets < 2 || n_targets >= n_patches || u32::try_from(n_patches).is_err() {
            let expected = format!("2 to {} of {n_patches} patches", n_patches.saturating_sub(1));
            return Err(DataError::setting("number of target patches", expected, n_targets));
        }
        Ok(Self { n_patches, n_targets })
    }

    /// N.
    #[must_use]
    pub fn n_patches(&self) -> usize {
        self.n_patches
    }

    /// T.
    #[must_use]
    pub fn n_targets(&self) -> usize {
        self.n_targets
    }

    /// The patches of one image in random order: the first T are the targets, the others the context.
    ///
    /// # Shapes
    ///
    /// Returns `[N]`, a permutation of `0..N`.
    #[must_use]
    pub fn order(&self, seed: u64, epoch: u32, example: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.n_patches as u32).collect();
        Stream::new(seed, Purpose::Mask, epoch, example).shuffle(&mut order);
        order
    }
}
