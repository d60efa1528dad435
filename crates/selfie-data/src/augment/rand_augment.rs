//! RandAugment (Cubuk et al. 2019): a few random operations, all of one magnitude.

use selfie_random::Stream;

use super::colour::{adjust_brightness, adjust_contrast, adjust_saturation};
use super::geometry::Affine;
use super::tone::{adjust_sharpness, autocontrast, equalize, posterize, solarize};
use crate::DataError;

#[cfg(test)]
mod tests;

/// Magnitudes are 0 to one less.
pub const N_BINS: usize = 31;

/// torchvision's `RandAugment`: its operations and magnitudes, the nearest pixel, black outside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandAugment {
    /// Operations an image, one after the other; the same may come twice.
    pub n_operations: usize,
    /// Their strength, below [`N_BINS`].
    pub magnitude: usize,
}

/// What can happen to an image, in torchvision's order, which is the order of the draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "torchvision's names, and `Operation::apply` says what they do")]
pub enum Operation {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Colour,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

impl Operation {
    /// All of them, in order.
    pub const ALL: [Self; 14] = [
        Self::Identity,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
        Self::Rotate,
        Self::Brightness,
        Self::Colour,
        Self::Contrast,
        Self::Sharpness,
        Self::Posterize,
        Self::Solarize,
        Self::AutoContrast,
        Self::Equalize,
    ];

    /// Whether the magnitude's sign is drawn.
    #[must_use]
    pub fn is_signed(self) -> bool {
        !matches!(self, Self::Identity | Self::Posterize | Self::Solarize | Self::AutoContrast | Self::Equalize)
    }

    /// What a bin of the magnitude means for images of this side: a slope, pixels, degrees, a change of factor, bits or a threshold.
    #[must_use]
    pub fn magnitude(self, bin: usize, side: usize) -> f64 {
        let evenly = |start: f64, end: f64| f64::from(evenly_spaced(start as f32, end as f32, bin));
        match self {
            Self::Identity | Self::AutoContrast | Self::Equalize => 0.0,
            Self::ShearX | Self::ShearY => evenly(0.0, 0.3),
            Self::TranslateX | Self::TranslateY => evenly(0.0, 150.0 / 331.0 * side as f64),
            Self::Rotate => evenly(0.0, 30.0),
            Self::Brightness | Self::Colour | Self::Contrast | Self::Sharpness => evenly(0.0, 0.9),
            Self::Posterize => 8.0 - evenly(0.0, 4.0).round_ties_even(),
            Self::Solarize => evenly(255.0, 0.0),
        }
    }
}

/// PyTorch's `linspace`, which counts from the nearer end: its f32 decides which of two bytes an adjustment gives.
fn evenly_spaced(start: f32, end: f32, bin: usize) -> f32 {
    let step = (end - start) / (N_BINS - 1) as f32;
    if bin < N_BINS / 2 { start + step * bin as f32 } else { end - step * (N_BINS - 1 - bin) as f32 }
}

/// One operation on one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub operation: Operation,
    /// How strongly.
    pub bin: usize,
    /// Whether the magnitude is below 0.
    pub negative: bool,
}

impl RandAugment {
    pub(super) fn check(&self) -> Result<(), DataError> {
        if self.magnitude >= N_BINS {
            return Err(DataError::setting("magnitude of RandAugment", format!("below {N_BINS}"), self.magnitude));
        }
        Ok(())
    }

    /// The operations of one image: for each which it is, and its sign where it has one.
    pub fn draw(&self, draws: &mut Stream) -> impl Iterator<Item = Step> {
        (0..self.n_operations).map(move |_| {
            let operation = Operation::ALL[draws.below(Operation::ALL.len() as u32) as usize];
            let negative = operation.is_signed() && draws.below(2) == 1;
            Step { operation, bin: self.magnitude, negative }
        })
    }
}

impl Step {
    /// Changes a square image of `side` pixels.
    ///
    /// # Shapes
    ///
    /// `image`: `[H, W, C]` with H = W = `side`
    pub fn apply(&self, image: &mut [u8], side: usize) {
        let magnitude = self.operation.magnitude(self.bin, side);
        let magnitude = if self.negative { -magnitude } else { magnitude };
        match self.operation {
            Operation::Identity => {}
            Operation::ShearX => Affine::shear_x(magnitude, side).apply(image, side),
            Operation::ShearY => Affine::shear_y(magnitude, side).apply(image, side),
            Operation::TranslateX => Affine::translation(magnitude.trunc(), 0.0).apply(image, side),
            Operation::TranslateY => Affine::translation(0.0, magnitude.trunc()).apply(image, side),
            Operation::Rotate => Affine::rotation(magnitude).apply(image, side),
            Operation::Brightness => adjust_brightness(image, 1.0 + magnitude),
            Operation::Colour => adjust_saturation(image, 1.0 + magnitude),
            Operation::Contrast => adjust_contrast(image, 1.0 + magnitude),
            Operation::Sharpness => adjust_sharpness(image, side, 1.0 + magnitude),
            Operation::Posterize => posterize(image, magnitude as u32),
            Operation::Solarize => solarize(image, magnitude),
            Operation::AutoContrast => autocontrast(image),
            Operation::Equalize => equalize(image),
        }
    }
}
