//! Changes of single patches after the cut, for pretraining: they take away what gives a patch's place away without its content
//! (colour fringes of the lens, lines that run on across a border).
//!
//! Source: Doersch, Gupta and Efros 2015 (colour dropping); Hénaff et al. 2019, CPC v2.

use selfie_random::{Purpose, Stream};

use super::{Draw, check_share};
use crate::{DataError, N_CHANNELS, PatchGrid};

#[cfg(test)]
mod tests;

/// The value of a dropped channel: the middle of the range.
const MIDDLE: u8 = 128;

/// What is done to every patch, each by its own draws: jitter, then colour dropping.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PatchAugmentation {
    /// Crops each patch a little.
    pub jitter: Option<PatchJitter>,
    /// Drops two of the three colour channels.
    pub colour_drop: Option<ColourDrop>,
}

/// Crops 1 to `most` pixels of a patch's height and width off, at a random place, and fills the patch again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchJitter {
    /// Pixels, less than half of the patch's side. 2 of 8 takes crops of 6 or 7.
    pub most: usize,
    /// How the crop becomes a patch again.
    pub fill: JitterFill,
}

/// How a crop becomes a patch again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JitterFill {
    /// In the middle of the patch, mirrored at its own edges.
    Pad,
    /// Enlarged by a bilinear filter.
    Resize,
}

/// Keeps one random colour channel of a patch, with a probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColourDrop {
    /// Share of the patches that lose two channels, in 0–1.
    pub share: f64,
    /// What the dropped channels hold.
    pub dropped: DroppedChannels,
}

/// What the dropped channels hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DroppedChannels {
    /// The middle of the range everywhere.
    Constant,
    /// The kept channel, so that the patch is grey.
    Kept,
}

/// The crop of one patch, px.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PatchCrop {
    top: usize,
    left: usize,
    side: usize,
}

impl PatchAugmentation {
    /// Whether patches of this grid can be changed so.
    ///
    /// # Errors
    ///
    /// If they cannot.
    pub fn check(&self, grid: PatchGrid) -> Result<(), DataError> {
        if let Some(PatchJitter { most, .. }) = self.jitter
            && (most == 0 || 2 * most >= grid.patch_side())
        {
            let expected = format!("at least 1 and less than half of the patch's side {}", grid.patch_side());
            return Err(DataError::setting("patch jitter", expected, most));
        }
        self.colour_drop.map_or(Ok(()), |drop| check_share("share of patches with dropped colours", drop.share))
    }

    /// Changes the patches of one image.
    ///
    /// # Shapes
    ///
    /// `patches`: `[N, P, P, C]`
    ///
    /// # Panics
    ///
    /// If the slice has another size, or if [`PatchAugmentation::check`] would refuse the grid.
    pub fn apply(&self, grid: PatchGrid, draw: Draw, patches: &mut [u8]) {
        assert_eq!(patches.len(), grid.image_bytes(), "changing patches: expected the bytes of an image");
        let side = grid.patch_side();
        let patch_bytes = side * side * N_CHANNELS;
        if let Some(jitter) = self.jitter {
            let mut draws = draw.stream(Purpose::PatchJitter);
            let mut source = vec![0; patch_bytes];
            for patch in patches.chunks_exact_mut(patch_bytes) {
                source.copy_from_slice(patch);
                let crop = jitter.draw(side, &mut draws);
                match jitter.fill {
                    JitterFill::Pad => pad(&source, side, crop, patch),
                    JitterFill::Resize => enlarge(&source, side, crop, patch),
                }
            }
        }
        if let Some(drop) = self.colour_drop {
            let mut draws = draw.stream(Purpose::PatchColour);
            for patch in patches.chunks_exact_mut(patch_bytes) {
                drop.apply(&mut draws, patch);
            }
        }
    }
}

impl PatchJitter {
    /// Side, row and column, in this order.
    fn draw(&self, side: usize, draws: &mut Stream) -> PatchCrop {
        let n_lost = 1 + draws.below(self.most as u32);
        let top = draws.below(n_lost + 1) as usize;
        let left = draws.below(n_lost + 1) as usize;
        PatchCrop { top, left, side: side - n_lost as usize }
    }
}

impl ColourDrop {
    /// Whether, and which channel stays; both are always drawn.
    fn apply(&self, draws: &mut Stream, patch: &mut [u8]) {
        let drops = draws.chance(self.share);
        let kept = draws.below(N_CHANNELS as u32) as usize;
        if !drops {
            return;
        }
        for pixel in patch.as_chunks_mut::<N_CHANNELS>().0 {
            let value = pixel[kept];
            let other = match self.dropped {
                DroppedChannels::Constant => MIDDLE,
                DroppedChannels::Kept => value,
            };
            *pixel = [other; N_CHANNELS];
            pixel[kept] = value;
        }
    }
}

/// Puts the crop in the middle; the pixels around it are the crop's, mirrored, its edge not repeated.
fn pad(source: &[u8], side: usize, crop: PatchCrop, out: &mut [u8]) {
    let before = (side - crop.side) / 2;
    let last = crop.side - 1;
    let within = |at: usize| {
        let at = at.abs_diff(before);
        if at > last { 2 * last - at } else { at }
    };
    let source = source.as_chunks::<N_CHANNELS>().0;
    for (y, line) in out.as_chunks_mut::<N_CHANNELS>().0.chunks_exact_mut(side).enumerate() {
        let from = &source[(crop.top + within(y)) * side + crop.left..][..crop.side];
        for (x, pixel) in line.iter_mut().enumerate() {
            *pixel = from[within(x)];
        }
    }
}

/// Enlarges the crop, pixel centres upon pixel centres, in whole numbers.
fn enlarge(source: &[u8], side: usize, crop: PatchCrop, out: &mut [u8]) {
    // Positions in the crop are counted in parts of 2 × side of a pixel: every one is a whole number of them.
    let parts = 2 * side;
    let place = |at: usize| {
        let position = ((2 * at + 1) * crop.side).saturating_sub(side).min((crop.side - 1) * parts);
        let first = position / parts;
        (first, (first + 1).min(crop.side - 1), (position % parts) as u64)
    };
    let whole = (parts * parts) as u64;
    let parts = parts as u64;
    for (y, line) in out.chunks_exact_mut(side * N_CHANNELS).enumerate() {
        let (upper, lower, down) = place(y);
        for (x, pixel) in line.as_chunks_mut::<N_CHANNELS>().0.iter_mut().enumerate() {
            let (left, right, across) = place(x);
            for (channel, value) in pixel.iter_mut().enumerate() {
                let at = |row: usize, column: usize| {
                    u64::from(source[((crop.top + row) * side + crop.left + column) * N_CHANNELS + channel])
                };
                let row = |row: usize| at(row, left) * (parts - across) + at(row, right) * across;
                *value = ((row(upper) * (parts - down) + row(lower) * down + whole / 2) / whole) as u8;
            }
        }
    }
}
