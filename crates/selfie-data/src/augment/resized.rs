//! Crops of random size and shape, resized to the side asked for.

use std::cell::RefCell;

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use selfie_random::Stream;

use crate::{DataError, N_CHANNELS};

#[cfg(test)]
mod tests;

/// Windows drawn before the largest centred one is taken.
const N_TRIES: u32 = 10;
/// Range of width over height; its logarithm is uniform.
const RATIO: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);

/// A rectangle of an image, px.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// torchvision's `RandomResizedCrop` with its default shapes: area uniform in `min_scale`–1 of the image's, width over
/// height log-uniform in 3/4–4/3.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResizedCrop {
    /// Lowest share of the image's area, above 0 and at most 1.
    pub min_scale: f64,
}

impl Default for ResizedCrop {
    /// At least 8 % of the area, as is the custom on ImageNet.
    fn default() -> Self {
        Self { min_scale: 0.08 }
    }
}

impl ResizedCrop {
    pub(super) fn check(&self) -> Result<(), DataError> {
        if self.min_scale > 0.0 && self.min_scale <= 1.0 {
            return Ok(());
        }
        Err(DataError::setting("lowest scale of the resized crop", "above 0 and at most 1", self.min_scale))
    }

    /// A window of an image of `height × width` pixels: area and shape, then row and column, for each try that fits.
    #[must_use]
    pub fn draw(&self, height: usize, width: usize, draws: &mut Stream) -> Window {
        let area = (height * width) as f64;
        let (lowest, highest) = (libm::log(RATIO.0), libm::log(RATIO.1));
        for _ in 0..N_TRIES {
            let target = area * draws.range(self.min_scale, 1.0);
            let ratio = libm::exp(draws.range(lowest, highest));
            let crop_width = (target * ratio).sqrt().round_ties_even() as usize;
            let crop_height = (target / ratio).sqrt().round_ties_even() as usize;
            if (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height) {
                let top = draws.below((height - crop_height) as u32 + 1) as usize;
                let left = draws.below((width - crop_width) as u32 + 1) as usize;
                return Window { top, left, height: crop_height, width: crop_width };
            }
        }
        centred(height, width)
    }
}

/// The largest centred window whose shape is allowed.
fn centred(height: usize, width: usize) -> Window {
    let ratio = width as f64 / height as f64;
    let (crop_height, crop_width) = if ratio < RATIO.0 {
        ((width as f64 / RATIO.0).round_ties_even() as usize, width)
    } else if ratio > RATIO.1 {
        (height, (height as f64 * RATIO.1).round_ties_even() as usize)
    } else {
        (height, width)
    };
    Window { top: (height - crop_height) / 2, left: (width - crop_width) / 2, height: crop_height, width: crop_width }
}

thread_local! {
    /// Keeps its buffers from image to image; nothing it computes depends on them.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

/// Resizes a window of an image by an antialiasing bilinear filter, which sees nothing outside the window.
///
/// # Shapes
///
/// - `image`: `[H, W, C]` with (H, W) = `size`
/// - `out`: `[S, S, C]`, S = `side`
///
/// # Panics
///
/// If a slice has another size, or the window is empty or not inside the image.
pub fn resize(image: &[u8], size: (usize, usize), window: Window, side: usize, out: &mut [u8]) {
    let (height, width) = size;
    assert!(
        image.len() == height * width * N_CHANNELS && out.len() == side * side * N_CHANNELS,
        "resizing {height} × {width} to {side} × {side} pixels: got {} and {} bytes",
        image.len(),
        out.len()
    );
    let inside = |first: usize, n: usize, length: usize| n > 0 && first < length && n <= length - first;
    let fits = inside(window.top, window.height, height) && inside(window.left, window.width, width);
    let done = if fits { try_resize(image, size, window, side, out) } else { None };
    assert!(done.is_some(), "resizing {height} × {width} pixels: expected a window inside of them, got {window:?}");
}

/// None where the resizer refuses, which it does not for a window inside the image.
fn try_resize(image: &[u8], size: (usize, usize), window: Window, side: usize, out: &mut [u8]) -> Option<()> {
    let length = |pixels: usize| u32::try_from(pixels).ok();
    // Typed: an image of any type would compile the resizer for every type there is.
    let image = TypedImageRef::<U8x3>::from_buffer(length(size.1)?, length(size.0)?, image).ok()?;
    let (top, left) = (length(window.top)?, length(window.left)?);
    let source = TypedCroppedImage::from_ref(&image, left, top, length(window.width)?, length(window.height)?).ok()?;
    let mut target = TypedImage::<U8x3>::from_buffer(length(side)?, length(side)?, out).ok()?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    RESIZER.with_borrow_mut(|resizer| resizer.resize_typed(&source, &mut target, &options)).ok()
}
