//! The images a source chooses from, and how one appearance of one of them looks.

use std::sync::Arc;

use selfie_random::{Purpose, Stream};

use super::LabelledBatch;
use crate::augment::Draw;
use crate::decode::Rgb;
use crate::{Augmentation, BadSample, DataError, Images};

/// Other examples that are tried in the place of one that cannot be read.
const MAX_TRIES: usize = 32;
const TRAIN: &str = "train";
const TEST: &str = "test";

/// Some of the images, all of which exist.
#[derive(Clone, Debug)]
pub(super) struct Examples {
    images: Arc<Images>,
    chosen: Option<Arc<[u32]>>,
}

impl Examples {
    pub(super) fn new(images: Arc<Images>, chosen: Option<Arc<[u32]>>) -> Result<Self, DataError> {
        let too_large =
            chosen.iter().flat_map(|chosen| chosen.iter()).find(|&&example| example as usize >= images.len());
        if let Some(example) = too_large {
            return Err(DataError::setting("examples", format!("indices below {}", images.len()), example));
        }
        if chosen.as_ref().is_some_and(|chosen| u32::try_from(chosen.len()).is_err()) {
            return Err(DataError::setting("examples", format!("at most {}", u32::MAX), "more"));
        }
        Ok(Self { images, chosen })
    }

    pub(super) fn len(&self) -> u32 {
        self.chosen.as_ref().map_or(self.images.len(), |chosen| chosen.len()) as u32
    }

    /// Height and width of every image.
    pub(super) fn side(&self) -> usize {
        self.images.side()
    }

    pub(super) fn at(&self, position: u32) -> u32 {
        self.chosen.as_ref().map_or(position, |chosen| chosen[position as usize])
    }

    /// Writes the image of one draw, `[H, W, C]`, and returns which example it is: another one, by a draw of its own, if
    /// its own cannot be read. Those that cannot are added to `bad`.
    pub(super) fn write(
        &self,
        draw: Draw,
        augmentation: Option<Augmentation>,
        out: &mut [u8],
        bad: &mut Vec<BadSample>,
    ) -> Result<u32, DataError> {
        let Some(augmentation) = augmentation else {
            let (example, pixels) = self.readable(draw, bad, |idx| self.images.image(idx))?;
            out.copy_from_slice(&pixels);
            return Ok(example);
        };
        let side = self.images.side();
        // A window of random size is taken from the whole image: of its centre square at the side, less would be seen,
        // and a small window would be blurred.
        let (example, image) = match augmentation.takes_any_size() {
            true => self.readable(draw, bad, |idx| self.images.picture(idx))?,
            false => {
                self.readable(draw, bad, |idx| Ok(Rgb { width: side, height: side, pixels: self.images.image(idx)? }))?
            }
        };
        augmentation.apply(&image, side, draw, out);
        Ok(example)
    }

    /// The draw's example and what is read of it, or the first other example that can be read.
    fn readable<T>(
        &self,
        draw: Draw,
        bad: &mut Vec<BadSample>,
        read: impl Fn(usize) -> Result<T, DataError>,
    ) -> Result<(u32, T), DataError> {
        let mut draws = Stream::new(draw.seed, Purpose::Replacement, draw.epoch, draw.example);
        let mut example = draw.example;
        for _ in 0..=MAX_TRIES {
            match read(example as usize) {
                Ok(image) => return Ok((example, image)),
                Err(error) => bad.push(BadSample::new(TRAIN, example as usize, &error)),
            }
            example = self.at(draws.below(self.len()));
        }
        let (n_bad, n_samples) = (bad.len(), self.len() as usize);
        let first = bad.first().map_or_else(String::new, |bad| format!("{}: {}", bad.path, bad.reason));
        Err(DataError::TooManyBad { n_bad, n_samples, max_share: 0.0, first })
    }

    pub(super) fn labelled(
        &self,
        draws: &[Draw],
        augmentation: Option<Augmentation>,
    ) -> Result<LabelledBatch, DataError> {
        let image_bytes = self.images.image_bytes();
        let (mut images, mut bad) = (vec![0; draws.len() * image_bytes], Vec::new());
        let places = draws.iter().zip(images.chunks_exact_mut(image_bytes));
        let examples: Vec<u32> =
            places.map(|(draw, image)| self.write(*draw, augmentation, image, &mut bad)).collect::<Result<_, _>>()?;
        let labels = examples.iter().map(|&example| u32::from(self.images.label(example as usize))).collect();
        Ok(LabelledBatch { images, labels, examples, mixed: None, bad })
    }

    /// The examples at these positions, unaugmented, without those that cannot be read.
    pub(super) fn readable_only(&self, positions: std::ops::Range<u32>) -> LabelledBatch {
        let mut batch = LabelledBatch::default();
        for example in positions.map(|position| self.at(position)) {
            match self.images.image(example as usize) {
                Ok(image) => {
                    batch.images.extend_from_slice(&image);
                    batch.labels.push(u32::from(self.images.label(example as usize)));
                    batch.examples.push(example);
                }
                Err(error) => batch.bad.push(BadSample::new(TEST, example as usize, &error)),
            }
        }
        batch
    }
}
