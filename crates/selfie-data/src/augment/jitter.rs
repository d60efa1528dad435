//! Colour jitter: brightness, contrast, saturation and hue, each by a random factor, in random order.

use selfie_random::Stream;

use super::colour::{adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation};
use crate::DataError;

#[cfg(test)]
mod tests;

/// torchvision's `ColorJitter`: how far each factor may be from leaving the image as it is; 0 leaves it out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ColourJitter {
    /// The factor is uniform in 1 ± this, at least 0.
    pub brightness: f64,
    /// The factor is uniform in 1 ± this, at least 0.
    pub contrast: f64,
    /// The factor is uniform in 1 ± this, at least 0.
    pub saturation: f64,
    /// The turn is uniform in ± this share of the circle, at most 0.5.
    pub hue: f64,
}

/// One of the four adjustments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjustment {
    /// Of all values.
    Brightness,
    /// About the mean luminance.
    Contrast,
    /// About each pixel's luminance.
    Saturation,
    /// A turn of the colour circle.
    Hue,
}

/// The adjustments of one image with their factors, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adjustments(pub [(Adjustment, f64); 4]);

impl ColourJitter {
    pub(super) fn check(&self) -> Result<(), DataError> {
        let ranges = [
            ("brightness of the colour jitter", self.brightness, f64::MAX),
            ("contrast of the colour jitter", self.contrast, f64::MAX),
            ("saturation of the colour jitter", self.saturation, f64::MAX),
            ("hue of the colour jitter", self.hue, 0.5),
        ];
        for (setting, value, most) in ranges {
            if !(0.0..=most).contains(&value) {
                let expected = if most < 1.0 { "0 to 0.5" } else { "a finite number of at least 0" };
                return Err(DataError::setting(setting, expected, value));
            }
        }
        Ok(())
    }

    /// The factors of brightness, contrast, saturation and hue, then their order. What is left out has a factor all the
    /// same, so that it changes no other draw.
    #[must_use]
    pub fn draw(&self, draws: &mut Stream) -> Adjustments {
        let mut about_one = |spread: f64| draws.range((1.0 - spread).max(0.0), 1.0 + spread);
        let mut adjustments = [
            (Adjustment::Brightness, about_one(self.brightness)),
            (Adjustment::Contrast, about_one(self.contrast)),
            (Adjustment::Saturation, about_one(self.saturation)),
            (Adjustment::Hue, draws.range(-self.hue, self.hue)),
        ];
        draws.shuffle(&mut adjustments);
        Adjustments(adjustments)
    }
}

impl Adjustments {
    /// Adjusts an image of any size.
    pub fn apply(&self, image: &mut [u8]) {
        for (adjustment, factor) in self.0 {
            match adjustment {
                Adjustment::Hue if factor != 0.0 => adjust_hue(image, factor),
                _ if factor == 1.0 || adjustment == Adjustment::Hue => {}
                Adjustment::Brightness => adjust_brightness(image, factor),
                Adjustment::Contrast => adjust_contrast(image, factor),
                _ => adjust_saturation(image, factor),
            }
        }
    }
}
