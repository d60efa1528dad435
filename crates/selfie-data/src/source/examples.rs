//! The images a source chooses from, and how one appearance of one of them looks.

use std::sync::Arc;

use super::LabelledBatch;
use crate::augment::Draw;
use crate::{Augmentation, DataError, Images};

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

    /// Writes the image of one draw, `[H, W, C]`.
    pub(super) fn write(&self, draw: Draw, augmentation: Option<Augmentation>, out: &mut [u8]) {
        let image = self.images.image(draw.example as usize);
        match augmentation {
            None => out.copy_from_slice(image),
            Some(augmentation) => augmentation.apply(image, self.images.side(), draw, out),
        }
    }

    pub(super) fn labelled(&self, draws: &[Draw], augmentation: Option<Augmentation>) -> LabelledBatch {
        let image_bytes = self.images.image_bytes();
        let mut images = vec![0; draws.len() * image_bytes];
        for (draw, image) in draws.iter().zip(images.chunks_exact_mut(image_bytes)) {
            self.write(*draw, augmentation, image);
        }
        LabelledBatch {
            images,
            labels: draws.iter().map(|draw| u32::from(self.images.label(draw.example as usize))).collect(),
            examples: draws.iter().map(|draw| draw.example).collect(),
            mixed: None,
        }
    }
}
