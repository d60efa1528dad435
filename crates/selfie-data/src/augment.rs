//! Random crop and flip of one image.

use selfie_random::Stream;

use crate::{DataError, N_CHANNELS};

#[cfg(test)]
mod tests;

/// What lies outside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// The image mirrored at its edge pixels, which are not repeated.
    Reflect,
    /// Black. It tells a patch's place: nearly every crop has a black band.
    Zero,
}

/// Pads by `pad` pixels on every side, crops back to the side at a random place, and flips left to right half the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Augmentation {
    /// Pixels, less than the image's side.
    pub pad: usize,
    /// What the padding holds.
    pub padding: Padding,
    /// Whether images are flipped at all.
    pub flip: bool,
}

impl Default for Augmentation {
    /// Pad by 4 pixels by reflection, crop, flip.
    fn default() -> Self {
        Self { pad: 4, padding: Padding::Reflect, flip: true }
    }
}

impl Augmentation {
    /// Whether images of this side can be padded so far.
    ///
    /// # Errors
    ///
    /// If they cannot.
    pub fn check(&self, side: usize) -> Result<(), DataError> {
        if self.pad >= side {
            return Err(DataError::setting("augmentation pad", format!("less than the side {side}"), self.pad));
        }
        Ok(())
    }

    /// Writes the augmented image; `draws` gives the rows' and the columns' shift and the flip, in this order.
    ///
    /// # Shapes
    ///
    /// `image` and `out`: `[H, W, C]` with H = W = `side`
    ///
    /// # Panics
    ///
    /// If a slice has another size, or if `pad` is not less than `side`.
    pub fn apply(&self, image: &[u8], side: usize, draws: &mut Stream, out: &mut [u8]) {
        let line = side * N_CHANNELS;
        assert!(
            image.len() == side * line && out.len() == side * line && self.pad < side,
            "augmenting: expected two images of side {side} and a pad below it, got {} and {} bytes and pad {}",
            image.len(),
            out.len(),
            self.pad
        );
        let n_shifts = 2 * self.pad as u32 + 1;
        let top = draws.below(n_shifts) as usize;
        let left = draws.below(n_shifts) as usize;
        let flip = self.flip && draws.chance(0.5);
        for (y, out_line) in out.chunks_exact_mut(line).enumerate() {
            let Some(source_y) = self.source(top + y, side) else {
                out_line.fill(0);
                continue;
            };
            let source_line = &image[source_y * line..][..line];
            for (x, pixel) in out_line.chunks_exact_mut(N_CHANNELS).enumerate() {
                let column = if flip { side - 1 - x } else { x };
                match self.source(left + column, side) {
                    Some(source_x) => pixel.copy_from_slice(&source_line[source_x * N_CHANNELS..][..N_CHANNELS]),
                    None => pixel.fill(0),
                }
            }
        }
    }

    /// The image coordinate at a coordinate of the padded image; none where it is black.
    fn source(&self, padded: usize, side: usize) -> Option<usize> {
        let inside = (self.pad..self.pad + side).contains(&padded);
        match self.padding {
            _ if inside => Some(padded - self.pad),
            Padding::Zero => None,
            Padding::Reflect if padded < self.pad => Some(self.pad - padded),
            Padding::Reflect => Some(2 * (side - 1) - (padded - self.pad)),
        }
    }
}
