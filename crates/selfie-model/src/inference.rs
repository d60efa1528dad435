//! Embeddings and class probabilities of pictures, from a weights file alone.

use crate::classifier::Classifier;
use crate::error::ModelError;
use crate::image::RgbImage;
use crate::mode::Mode;
use crate::selfie::Selfie;
use crate::weights::{Metadata, WeightsFile};
use candle_core::{D, DType, Device, Tensor};
use selfie_ops::average_pool;
use std::path::{Path, PathBuf};

/// Pictures a forward pass takes at once; bounds memory.
const BATCH: usize = 64;

/// A network loaded for use.
#[derive(Debug)]
pub struct InferenceModel {
    network: Network,
    device: Device,
    path: PathBuf,
    image_size: usize,
}

#[derive(Debug)]
enum Network {
    Pretraining(Box<Selfie>),
    Classifier(Box<Classifier>),
}

impl InferenceModel {
    /// Loads a weights file, of pretraining or of a classifier, on the CPU.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is no weights file, or its tensors do not fit the network it says it is.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        Self::load_on(path, &Device::Cpu)
    }

    /// As [`Self::load`], on another device.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_on(path: impl AsRef<Path>, device: &Device) -> Result<Self, ModelError> {
        let path = path.as_ref().to_owned();
        let file = WeightsFile::read(&path)?;
        let image_size = file.metadata.network().image_size;
        let network = match &file.metadata {
            Metadata::Pretraining(_) => {
                Network::Pretraining(Box::new(Selfie::of_file(&file, &path, DType::F32, device)?))
            }
            Metadata::Classifier(_) => {
                Network::Classifier(Box::new(Classifier::of_file(&file, &path, DType::F32, device)?))
            }
        };
        Ok(Self { network, device: device.clone(), path, image_size })
    }

    /// Numbers in an embedding.
    #[must_use]
    pub fn embedding_width(&self) -> usize {
        match &self.network {
            Network::Pretraining(network) => network.config().embedding_width(),
            Network::Classifier(network) => network.feature_width(),
        }
    }

    /// Names of the classes; empty for a pretraining network, which has none.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        match &self.network {
            Network::Pretraining(_) => &[],
            Network::Classifier(network) => &network.config().classes,
        }
    }

    /// An embedding of each picture: the average of the patch network's map of the whole picture, or what a classifier's last
    /// layer reads.
    ///
    /// Pictures are cut to their centred square and resized to the size of the network's training images.
    ///
    /// # Errors
    ///
    /// If the device is out of memory.
    pub fn embed(&self, pictures: &[RgbImage]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.in_batches(pictures, |images| match &self.network {
            Network::Pretraining(network) => {
                Ok(average_pool(&network.maps(images, Mode::Inference)?.last, 1)?.flatten_from(1)?)
            }
            Network::Classifier(network) => Ok(network.features(images, Mode::Inference)?),
        })
    }

    /// The probability, 0–1, of each class of [`Self::classes`] for each picture.
    ///
    /// # Errors
    ///
    /// [`ModelError::Kind`] if the file holds a pretraining network.
    pub fn probabilities(&self, pictures: &[RgbImage]) -> Result<Vec<Vec<f32>>, ModelError> {
        let Network::Classifier(network) = &self.network else {
            let (expected, got) = ("a classifier", "a pretraining network");
            return Err(ModelError::Kind { path: self.path.clone(), expected, got });
        };
        self.in_batches(pictures, |images| {
            let logits = network.forward(images, Mode::Inference)?.logits;
            let exp = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?.exp()?;
            Ok(exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?)
        })
    }

    /// Applies `forward` to `[B, side, side, 3]` u8 batches and collects the rows of `[B, …]`.
    fn in_batches(
        &self,
        pictures: &[RgbImage],
        forward: impl Fn(&Tensor) -> Result<Tensor, ModelError>,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut rows = Vec::with_capacity(pictures.len());
        for batch in pictures.chunks(BATCH) {
            let mut pixels = Vec::with_capacity(batch.len() * self.image_size * self.image_size * 3);
            for picture in batch {
                pixels.extend(picture.square(self.image_size)?);
            }
            let shape = (batch.len(), self.image_size, self.image_size, 3);
            rows.extend(forward(&Tensor::from_vec(pixels, shape, &self.device)?)?.to_vec2::<f32>()?);
        }
        Ok(rows)
    }
}
