//! Random changes of images: what each is made of, drawn from a key, and in which order. Pixels stay `u8`, channels last.
//!
//! Every operation has two halves: what is drawn (a function of seed, epoch and example), and what is done to pixels with given
//! parameters. Each draws from a stream of its own, so that switching one on changes no draw of another.
//!
//! Not here: normalisation, which is the network's first operation.

use selfie_random::{Purpose, Stream};

use crate::decode::Rgb;
use crate::{DataError, N_CHANNELS};

pub mod colour;
mod crop;
pub mod geometry;
mod jitter;
mod mixing;
#[cfg(test)]
mod oracle;
mod patches;
mod rand_augment;
mod resized;
#[cfg(test)]
mod tests;
pub mod tone;

pub use crop::{PaddedCrop, Padding, Shift, flip};
pub use jitter::{Adjustment, Adjustments, ColourJitter};
pub use mixing::{Mix, MixedLabels, Mixing};
pub use patches::{ColourDrop, DroppedChannels, JitterFill, PatchAugmentation, PatchJitter};
pub use rand_augment::{N_BINS, Operation, RandAugment, Step};
pub use resized::{ResizedCrop, Window, resize};

/// One appearance of an example: everything random about it is a function of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The run's seed.
    pub seed: u64,
    /// The pass over the examples.
    pub epoch: u32,
    /// Which example.
    pub example: u32,
}

impl Draw {
    pub(crate) fn stream(self, purpose: Purpose) -> Stream {
        Stream::new(self.seed, purpose, self.epoch, self.example)
    }
}

/// Which part of an image is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Crop {
    /// The image's own size, out of the padded image.
    Padded(PaddedCrop),
    /// A window of random size and shape, resized.
    Resized(ResizedCrop),
}

/// What is done to a whole image: crop, flip, RandAugment, colour jitter, grayscale, in this order. The default pads by 4
/// pixels by reflection, crops and flips.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augmentation {
    /// The part that is taken.
    pub crop: Crop,
    /// Whether half of the images are mirrored.
    pub flip: bool,
    /// Random operations of one magnitude.
    pub rand_augment: Option<RandAugment>,
    /// Random factors of brightness, contrast, saturation and hue.
    pub colour_jitter: Option<ColourJitter>,
    /// Share of the images that lose their colours, in 0–1.
    pub grayscale: f64,
}

impl Default for Augmentation {
    fn default() -> Self {
        Self {
            crop: Crop::Padded(PaddedCrop { pad: 4, padding: Padding::Reflect }),
            flip: true,
            rand_augment: None,
            colour_jitter: None,
            grayscale: 0.0,
        }
    }
}

impl Augmentation {
    /// Takes every image as it is: what [`Augmentation::apply`] then does is copy.
    pub const NONE: Self = Self {
        crop: Crop::Padded(PaddedCrop { pad: 0, padding: Padding::Reflect }),
        flip: false,
        rand_augment: None,
        colour_jitter: None,
        grayscale: 0.0,
    };

    /// Whether images of this side can be augmented so.
    ///
    /// # Errors
    ///
    /// If they cannot.
    pub fn check(&self, side: usize) -> Result<(), DataError> {
        match self.crop {
            Crop::Padded(crop) => crop.check(side)?,
            Crop::Resized(crop) => crop.check()?,
        }
        self.rand_augment.map_or(Ok(()), |rand_augment| rand_augment.check())?;
        self.colour_jitter.map_or(Ok(()), |jitter| jitter.check())?;
        check_share("share of grayscale images", self.grayscale)
    }

    /// The shift and the flip of an appearance; a resized crop, which is not shifted, has a flip alone.
    #[must_use]
    pub fn shift(&self, draw: Draw) -> Shift {
        let crop = match self.crop {
            Crop::Padded(crop) => crop,
            Crop::Resized(_) => PaddedCrop { pad: 0, padding: Padding::Reflect },
        };
        crop.draw(self.flip, &mut draw.stream(Purpose::Augmentation))
    }

    /// Whether the crop is taken from an image as it is stored, whatever its size, and not from a square of the side.
    #[must_use]
    pub fn takes_any_size(&self) -> bool {
        matches!(self.crop, Crop::Resized(_))
    }

    /// Writes an appearance of an image.
    ///
    /// # Shapes
    ///
    /// - `image`: `[H, W, C]`; H = W = `side` but where [`Augmentation::takes_any_size`]
    /// - `out`: `[S, S, C]`, S = `side`
    ///
    /// # Panics
    ///
    /// If the image or `out` has another size, or if [`Augmentation::check`] would refuse the side.
    pub fn apply(&self, image: &Rgb<'_>, side: usize, draw: Draw, out: &mut [u8]) {
        let shift = self.shift(draw);
        match self.crop {
            Crop::Padded(crop) => crop.apply(&image.pixels, side, shift, out),
            Crop::Resized(crop) => {
                let window = crop.draw(image.height, image.width, &mut draw.stream(Purpose::ResizedCrop));
                resize(&image.pixels, (image.height, image.width), window, side, out);
                if shift.flip {
                    flip(out, side);
                }
            }
        }
        self.change_colours_and_shapes(side, draw, out);
    }

    /// What comes after crop and flip.
    fn change_colours_and_shapes(&self, side: usize, draw: Draw, image: &mut [u8]) {
        debug_assert_eq!(image.len(), side * side * N_CHANNELS);
        if let Some(rand_augment) = self.rand_augment {
            let mut draws = draw.stream(Purpose::RandAugment);
            rand_augment.draw(&mut draws).for_each(|step| step.apply(image, side));
        }
        if let Some(jitter) = self.colour_jitter {
            jitter.draw(&mut draw.stream(Purpose::ColourJitter)).apply(image);
        }
        if self.grayscale > 0.0 && draw.stream(Purpose::Grayscale).chance(self.grayscale) {
            colour::grayscale(image);
        }
    }
}

fn check_share(setting: &'static str, share: f64) -> Result<(), DataError> {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err(DataError::setting(setting, "a share of 0 to 1", share))
}
