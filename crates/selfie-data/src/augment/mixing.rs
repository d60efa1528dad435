//! Mixup and CutMix: every image of a batch is mixed with the one before it, and its label with that one's.

use selfie_random::{Purpose, Stream};

use crate::{DataError, LabelledBatch, N_CHANNELS};

#[cfg(test)]
mod tests;

/// How the batches of a fine-tuning are mixed. If both are on, each has half of the batches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mixing {
    /// Mixup (Zhang et al. 2017): α of the share's distribution Beta(α, α); 0 switches it off.
    pub mixup: f64,
    /// CutMix (Yun et al. 2019): α of the share's distribution Beta(α, α); 0 switches it off.
    pub cutmix: f64,
}

/// How one batch is mixed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mix {
    /// Every pixel is a mean of two images, the first one's share being this.
    Blend(f64),
    /// A rectangle comes from the other image: its first column and row, and the column and row it ends before.
    Paste([usize; 4]),
}

/// The second label of every image of a mixed batch.
#[derive(Clone, Debug, PartialEq)]
pub struct MixedLabels {
    /// `[B]`, the labels of the images mixed in.
    pub labels: Vec<u32>,
    /// Share of the first labels, in 0–1; the second ones have the rest.
    pub share: f64,
}

impl Mixing {
    /// Whether batches can be mixed so.
    ///
    /// # Errors
    ///
    /// If an α is no finite number of at least 0.
    pub fn check(&self) -> Result<(), DataError> {
        for (setting, alpha) in [("α of mixup", self.mixup), ("α of CutMix", self.cutmix)] {
            if !(alpha.is_finite() && alpha >= 0.0) {
                return Err(DataError::setting(setting, "a finite number of at least 0", alpha));
            }
        }
        Ok(())
    }

    /// What happens to the batch of a step, of images of this side; none if both are off.
    #[must_use]
    pub fn draw(&self, seed: u64, step: u64, side: usize) -> Option<Mix> {
        let mut draws = Stream::new(seed, Purpose::Mixing, step as u32, (step >> 32) as u32);
        let cuts = draws.chance(0.5);
        let cuts = if self.mixup > 0.0 && self.cutmix > 0.0 { cuts } else { self.cutmix > 0.0 };
        let alpha = if cuts { self.cutmix } else { self.mixup };
        if alpha == 0.0 {
            return None;
        }
        let share = draws.beta(alpha, alpha);
        if !cuts {
            return Some(Mix::Blend(share));
        }
        let half = (0.5 * (1.0 - share).sqrt() * side as f64) as usize;
        let mut range = || {
            let middle = draws.below(side as u32) as usize;
            (middle.saturating_sub(half), (middle + half).min(side))
        };
        let (x, y) = (range(), range());
        Some(Mix::Paste([x.0, y.0, x.1, y.1]))
    }
}

impl Mix {
    /// The first image's share of the pixels, which is its label's share of the loss.
    #[must_use]
    pub fn share(&self, side: usize) -> f64 {
        match *self {
            Self::Blend(share) => share,
            Self::Paste([left, top, right, bottom]) => {
                1.0 - ((right - left) * (bottom - top)) as f64 / (side * side) as f64
            }
        }
    }

    /// Mixes the images of a batch and gives each its second label.
    ///
    /// # Panics
    ///
    /// If the images are not of this side.
    pub fn apply(&self, batch: &mut LabelledBatch, side: usize) {
        self.apply_to_images(&mut batch.images, side);
        let mut labels = batch.labels.clone();
        labels.rotate_right(1);
        batch.mixed = Some(MixedLabels { labels, share: self.share(side) });
    }

    /// # Shapes
    ///
    /// `images`: `[B, H, W, C]` with H = W = `side`
    pub(super) fn apply_to_images(&self, images: &mut [u8], side: usize) {
        let image_bytes = side * side * N_CHANNELS;
        assert!(images.len().is_multiple_of(image_bytes), "mixing: expected whole images of side {side}");
        let Some(last_start) = images.len().checked_sub(image_bytes) else { return };
        let last = images[last_start..].to_vec();
        // From the last to the first: each is mixed with one that is not yet mixed itself.
        for start in (image_bytes..images.len()).step_by(image_bytes).rev() {
            let (before, image) = images.split_at_mut(start);
            self.mix(&mut image[..image_bytes], &before[start - image_bytes..], side);
        }
        self.mix(&mut images[..image_bytes], &last, side);
    }

    fn mix(&self, image: &mut [u8], other: &[u8], side: usize) {
        match *self {
            Self::Blend(share) => {
                let weight = (share * f64::from(1 << 16)).round() as u32;
                for (value, other) in image.iter_mut().zip(other) {
                    let sum = u32::from(*value) * weight + u32::from(*other) * ((1 << 16) - weight);
                    *value = ((sum + (1 << 15)) >> 16) as u8;
                }
            }
            Self::Paste([left, top, right, bottom]) => {
                for y in top..bottom {
                    let run = (y * side + left) * N_CHANNELS..(y * side + right) * N_CHANNELS;
                    image[run.clone()].copy_from_slice(&other[run]);
                }
            }
        }
    }
}
