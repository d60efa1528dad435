//! Crops of the image's own size out of the padded image, and flips: pixels move and none is computed.

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

/// Where a crop lies and whether it is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// The crop's first row, counted from the padded image's.
    pub top: usize,
    /// The crop's first column, counted from the padded image's.
    pub left: usize,
    /// Whether left and right change places afterwards.
    pub flip: bool,
}

/// Pads by `pad` pixels on every side and crops back to the image's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaddedCrop {
    /// Pixels, less than the image's side.
    pub pad: usize,
    /// What the padding holds.
    pub padding: Padding,
}

impl PaddedCrop {
    /// Whether images of this side can be padded so far.
    pub(super) fn check(&self, side: usize) -> Result<(), DataError> {
        if self.pad >= side {
            return Err(DataError::setting("augmentation pad", format!("less than the side {side}"), self.pad));
        }
        Ok(())
    }

    /// Rows' shift, columns' shift and flip, drawn in this order.
    pub(super) fn draw(&self, may_flip: bool, draws: &mut Stream) -> Shift {
        let n_shifts = 2 * self.pad as u32 + 1;
        let top = draws.below(n_shifts) as usize;
        let left = draws.below(n_shifts) as usize;
        Shift { top, left, flip: may_flip && draws.chance(0.5) }
    }

    /// Writes the crop.
    ///
    /// # Shapes
    ///
    /// `image` and `out`: `[H, W, C]` with H = W = `side`
    ///
    /// # Panics
    ///
    /// If a slice has another size, if `pad` is not less than `side`, or if the crop is not inside the padded image.
    pub fn apply(&self, image: &[u8], side: usize, shift: Shift, out: &mut [u8]) {
        let line = side * N_CHANNELS;
        assert!(
            image.len() == side * line && out.len() == side * line && self.pad < side,
            "cropping: expected two images of side {side} and a pad below it, got {} and {} bytes and pad {}",
            image.len(),
            out.len(),
            self.pad
        );
        assert!(shift.top.max(shift.left) <= 2 * self.pad, "cropping: expected a crop inside the padded image");
        let pixels = image.as_chunks::<N_CHANNELS>().0;
        for (y, out_line) in out.chunks_exact_mut(line).enumerate() {
            let out_line = out_line.as_chunks_mut::<N_CHANNELS>().0;
            match self.source(shift.top + y, side) {
                None => out_line.fill([0; N_CHANNELS]),
                Some(source_y) => self.write_line(&pixels[source_y * side..][..side], shift, out_line),
            }
        }
    }

    /// One line of the crop: what comes from inside the image is one run of it, with padding before or after.
    fn write_line(&self, line: &[[u8; N_CHANNELS]], shift: Shift, out: &mut [[u8; N_CHANNELS]]) {
        let side = line.len();
        let n_before = self.pad.saturating_sub(shift.left);
        let start = shift.left.saturating_sub(self.pad);
        let n_inside = side - n_before - start;
        let (before, rest) = out.split_at_mut(n_before);
        let (inside, after) = rest.split_at_mut(n_inside);
        inside.copy_from_slice(&line[start..][..n_inside]);
        match self.padding {
            Padding::Zero => {
                before.fill([0; N_CHANNELS]);
                after.fill([0; N_CHANNELS]);
            }
            Padding::Reflect => {
                before.iter_mut().zip(line[1..=n_before].iter().rev()).for_each(|(to, from)| *to = *from);
                after.iter_mut().zip(line[..side - 1].iter().rev()).for_each(|(to, from)| *to = *from);
            }
        }
        if shift.flip {
            out.reverse();
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

/// Mirrors every line of an image in place: `[H, W, C]` with W = `width`.
pub fn flip(image: &mut [u8], width: usize) {
    for line in image.as_chunks_mut::<N_CHANNELS>().0.chunks_exact_mut(width) {
        line.reverse();
    }
}
