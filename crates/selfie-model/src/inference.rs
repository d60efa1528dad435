//! Embeddings and class probabilities of pictures, from a weights file alone.

use crate::classifier::Classifier;
use crate::config::{ClassifierConfig, ClassifierKind, SelfieConfig};
use crate::embedding_at::EmbeddingAt;
use crate::error::ModelError;
use crate::foreign::Foreign;
use crate::image::RgbImage;
use crate::mode::Mode;
use crate::resnet::ResNet;
use crate::selfie::{Selfie, normalize};
use crate::tensors::tensors_from_bytes;
use crate::unit::Build;
use crate::weights::{Metadata, WeightsFile, load_units};
use candle_core::{D, DType, Device, Tensor};
use std::path::{Path, PathBuf};

/// Pictures a forward pass takes at once; bounds memory.
const BATCH: usize = 64;

/// A network loaded for use.
#[derive(Debug)]
pub struct InferenceModel {
    network: Network,
    device: Device,
    path: PathBuf,
    config: SelfieConfig,
}

#[derive(Debug)]
enum Network {
    Pretraining(Box<Selfie>),
    Classifier(Box<Classifier>),
    /// Four stages without a last layer, of another program.
    Stages(Box<ResNet>),
}

impl InferenceModel {
    /// Loads a weights file on the CPU: of pretraining, of a classifier, or safetensors with the names of timm's
    /// `resnetv2_50` or torchvision's `resnet50`, with a last layer or without.
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
        Self::load_as(path, device, DType::F32)
    }

    /// As [`Self::load_on`], with products of bf16 factors if `dtype` is bf16.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_as(path: impl AsRef<Path>, device: &Device, dtype: DType) -> Result<Self, ModelError> {
        let path = path.as_ref().to_owned();
        let bytes = std::fs::read(&path).map_err(|source| ModelError::Read { path: path.clone(), source })?;
        let (network, config) = match Metadata::of_file(&bytes, &path)? {
            None => Network::foreign(&bytes, &path, device, dtype)?,
            Some(metadata) => {
                let file = WeightsFile { metadata, tensors: tensors_from_bytes(&bytes, &path)? };
                (Network::ours(&file, &path, device, dtype)?, file.metadata.network().clone())
            }
        };
        Ok(Self { network, device: device.clone(), path, config })
    }

    /// Side in pixels of the images that the network was made for; pictures are resized to it.
    #[must_use]
    pub fn image_size(&self) -> usize {
        self.config.image_size
    }

    /// Where [`Self::embed`] reads: at the network's end, before the attention pooling of a pretraining network.
    #[must_use]
    pub fn default_at(&self) -> EmbeddingAt {
        match &self.network {
            Network::Pretraining(_) => EmbeddingAt::Stage3,
            Network::Classifier(network) => match network.config().kind {
                ClassifierKind::Stage4 => EmbeddingAt::Stage4,
                ClassifierKind::AttentionPooling => EmbeddingAt::U,
                ClassifierKind::PatchNetwork => EmbeddingAt::Stage3,
            },
            Network::Stages(_) => EmbeddingAt::Stage4,
        }
    }

    /// Numbers in an embedding.
    #[must_use]
    pub fn embedding_width(&self) -> usize {
        self.default_at().width(&self.config)
    }

    /// Numbers in an embedding that is read at `at`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Place`] if the network has no such place.
    pub fn width_at(&self, at: EmbeddingAt) -> Result<usize, ModelError> {
        let has = match &self.network {
            Network::Pretraining(_) => &Selfie::PLACES[..],
            Network::Classifier(network) => network.places(),
            Network::Stages(_) => &EmbeddingAt::ALL[..4],
        };
        if has.contains(&at) {
            return Ok(at.width(&self.config));
        }
        Err(ModelError::Place { path: self.path.clone(), has: has.to_vec(), got: at })
    }

    /// Names of the classes; empty for a network without a last layer.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        match &self.network {
            Network::Pretraining(_) | Network::Stages(_) => &[],
            Network::Classifier(network) => &network.config().classes,
        }
    }

    /// An embedding of each picture, read at [`Self::default_at`].
    ///
    /// Pictures are cut to their centred square and resized to the size of the network's training images.
    ///
    /// # Errors
    ///
    /// If the device is out of memory.
    pub fn embed(&self, pictures: &[RgbImage]) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut rows = Vec::with_capacity(pictures.len());
        for pixels in self.squares(pictures) {
            let embeddings = self.embed_pixels(&pixels?, self.default_at())?;
            rows.extend(embeddings.chunks_exact(self.embedding_width()).map(<[f32]>::to_vec));
        }
        Ok(rows)
    }

    /// An embedding of each image, read at `at`.
    ///
    /// # Shapes
    ///
    /// - `pixels`: `[B, side, side, 3]`, side being [`Self::image_size`]
    /// - returns `[B, width_at(at)]`, row by row
    ///
    /// # Errors
    ///
    /// If the pixels are no whole images, the network has no such place, an embedding is not finite, or the device is out of
    /// memory.
    pub fn embed_pixels(&self, pixels: &[u8], at: EmbeddingAt) -> Result<Vec<f32>, ModelError> {
        let width = self.width_at(at)?;
        let mut rows = Vec::with_capacity(pixels.len() / self.image_bytes() * width);
        for batch in pixels.chunks(BATCH * self.image_bytes()) {
            let images = self.tensor(batch)?;
            let embeddings = match &self.network {
                Network::Pretraining(network) => network.embed(&images, at)?,
                Network::Classifier(network) => network.embed(&images, at)?,
                Network::Stages(body) => {
                    let x = normalize(&images, &self.config.normalization, DType::F32)?;
                    body.forward(&x, Mode::Inference)?.averaged(at)?
                }
            };
            let embeddings = embeddings.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            self.require_finite("an embedding", &embeddings)?;
            rows.extend(embeddings);
        }
        Ok(rows)
    }

    /// The probability, 0–1, of each class of [`Self::classes`] for each picture.
    ///
    /// # Errors
    ///
    /// [`ModelError::Kind`] if the file holds a network without a last layer; [`ModelError::NotANumber`] if its numbers are
    /// not finite.
    pub fn probabilities(&self, pictures: &[RgbImage]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.classifier()?;
        let mut rows = Vec::with_capacity(pictures.len());
        for pixels in self.squares(pictures) {
            let probs = self.probabilities_pixels(&pixels?)?;
            rows.extend(probs.chunks_exact(self.classes().len()).map(<[f32]>::to_vec));
        }
        Ok(rows)
    }

    /// The probability, 0–1, of each class of [`Self::classes`] for each image.
    ///
    /// # Shapes
    ///
    /// - `pixels`: `[B, side, side, 3]`, side being [`Self::image_size`]
    /// - returns `[B, L]`, row by row
    ///
    /// # Errors
    ///
    /// If the pixels are no whole images, the file holds a network without a last layer ([`ModelError::Kind`]), a logit is
    /// not finite, or the device is out of memory.
    pub fn probabilities_pixels(&self, pixels: &[u8]) -> Result<Vec<f32>, ModelError> {
        let network = self.classifier()?;
        let mut rows = Vec::with_capacity(pixels.len() / self.image_bytes() * self.classes().len());
        for batch in pixels.chunks(BATCH * self.image_bytes()) {
            let logits = network.forward(&self.tensor(batch)?, Mode::Inference)?.logits;
            self.require_finite("a logit", &logits.flatten_all()?.to_vec1()?)?;
            let exp = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?.exp()?;
            let probs = exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?;
            rows.extend(probs.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(rows)
    }

    fn require_finite(&self, what: &'static str, numbers: &[f32]) -> Result<(), ModelError> {
        match numbers.iter().all(|number| number.is_finite()) {
            true => Ok(()),
            false => Err(ModelError::NotANumber { path: self.path.clone(), what }),
        }
    }

    fn classifier(&self) -> Result<&Classifier, ModelError> {
        let got = match &self.network {
            Network::Classifier(network) => return Ok(network),
            Network::Stages(_) => "a network without a last layer",
            Network::Pretraining(_) => "a pretraining network",
        };
        Err(ModelError::Kind { path: self.path.clone(), expected: "a classifier", got })
    }

    /// The pictures as batches of pixels, `[B, side, side, 3]`.
    fn squares<'a>(&'a self, pictures: &'a [RgbImage]) -> impl Iterator<Item = Result<Vec<u8>, ModelError>> + 'a {
        pictures.chunks(BATCH).map(|batch| {
            let mut pixels = Vec::with_capacity(batch.len() * self.image_bytes());
            for picture in batch {
                pixels.extend(picture.square(self.config.image_size)?);
            }
            Ok(pixels)
        })
    }

    fn image_bytes(&self) -> usize {
        self.config.image_size * self.config.image_size * 3
    }

    fn tensor(&self, pixels: &[u8]) -> Result<Tensor, ModelError> {
        if pixels.is_empty() || !pixels.len().is_multiple_of(self.image_bytes()) {
            let (expected, got) = (self.image_bytes(), pixels.len());
            let reason = format!("expected whole images of {expected} bytes, at least one, got {got} bytes");
            return Err(ModelError::Image { path: None, reason });
        }
        let (b, side) = (pixels.len() / self.image_bytes(), self.config.image_size);
        Ok(Tensor::from_slice(pixels, (b, side, side, 3), &self.device)?)
    }
}

impl Network {
    fn ours(file: &WeightsFile, path: &Path, device: &Device, dtype: DType) -> Result<Self, ModelError> {
        Ok(match &file.metadata {
            Metadata::Pretraining(_) => Self::Pretraining(Box::new(Selfie::of_file(file, path, dtype, device)?)),
            Metadata::Classifier(_) => Self::Classifier(Box::new(Classifier::of_file(file, path, dtype, device)?)),
        })
    }

    /// Of timm's or torchvision's names. Their files do not name the classes: they are called by their numbers.
    fn foreign(bytes: &[u8], path: &Path, device: &Device, dtype: DType) -> Result<(Self, SelfieConfig), ModelError> {
        let tensors = tensors_from_bytes(bytes, path)?;
        let Some(Foreign { config, n_classes }) = Foreign::recognise(&tensors) else {
            let expected = "its metadata does not say what network it is of, and its tensors are not named as timm's \
                            resnetv2_50 or torchvision's resnet50 names them";
            return Err(ModelError::Format { path: path.to_owned(), reason: expected.to_owned() });
        };
        let classes = (0..n_classes.unwrap_or(0)).map(|class| class.to_string()).collect();
        let kind = ClassifierKind::Stage4;
        let metadata = Metadata::Classifier(ClassifierConfig { network: config.clone(), kind, classes });
        let file = WeightsFile { metadata, tensors };
        if n_classes.is_some() {
            return Ok((Self::ours(&file, path, device, dtype)?, config));
        }
        let body =
            file.build(path, |budget| ResNet::new(&config, 4, "", Build::new(dtype, device, 0).within(budget)))?;
        load_units(&body.units().collect::<Vec<_>>(), &file.tensors, "without a last layer")?;
        Ok((Self::Stages(Box::new(body)), config))
    }
}
