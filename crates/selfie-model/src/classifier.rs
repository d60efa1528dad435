//! Classifiers on the patch network.

use crate::attention_pooling::AttentionPooling;
use crate::config::{Architecture, ClassifierConfig, ClassifierKind};
use crate::embedding_at::EmbeddingAt;
use crate::embeddings::Embeddings;
use crate::error::{ModelError, Result};
use crate::mode::{Mode, Training};
use crate::resnet::ResNet;
use crate::selfie::{PATCH_NETWORK, normalize};
use crate::transfer::{Transferred, transfer};
use crate::unit::{Build, ParameterUnit};
use crate::weights::{Metadata, WeightsFile, load_units, tensors_of};
use candle_core::{DType, Device, Tensor, bail};
use selfie_ops::{ParameterKind, Precision, UnitLayout, average_pool, linear};
use std::path::Path;

/// A classifier: the patch network, then stage 4 and an average, the attention pooling or an average alone; then a linear layer.
#[derive(Debug)]
pub struct Classifier {
    config: ClassifierConfig,
    dtype: DType,
    body: ResNet,
    pooling: Option<(Embeddings, AttentionPooling)>,
    head: ParameterUnit,
}

/// What a forward pass of [`Classifier`] computes.
///
/// # Shapes
///
/// - `features`: `[B, 32 · width]` of stage 4, else `[B, D]`: what the last layer reads
/// - `logits`: `[B, L]`
#[derive(Clone, Debug)]
pub struct Classification {
    /// What the last layer reads.
    pub features: Tensor,
    /// Scores before softmax.
    pub logits: Tensor,
}

impl Classifier {
    /// A classifier with initial parameters that are a function of `seed`.
    ///
    /// # Errors
    ///
    /// If the configuration is illegal or the device out of memory.
    pub fn new(config: &ClassifierConfig, dtype: DType, device: &Device, seed: u64) -> Result<Self, ModelError> {
        config.check()?;
        Ok(Self::build(config, Build::new(dtype, device, seed))?)
    }

    /// The classifier that a weights file holds; `path` is for messages.
    ///
    /// # Errors
    ///
    /// If the file is of a pretraining network, its configuration is illegal, or its tensors do not fit it.
    pub fn of_file(file: &WeightsFile, path: &Path, dtype: DType, device: &Device) -> Result<Self, ModelError> {
        let Metadata::Classifier(config) = &file.metadata else {
            let (expected, got) = ("a classifier", file.metadata.kind());
            return Err(ModelError::Kind { path: path.to_owned(), expected, got });
        };
        config.check()?;
        let network = file.build(path, |budget| Self::build(config, Build::new(dtype, device, 0).within(budget)))?;
        network.load(file)?;
        Ok(network)
    }

    fn build(config: &ClassifierConfig, build: Build<'_>) -> Result<Self> {
        let network = &config.network;
        let v2 = network.architecture == Architecture::Resnet50V2;
        let (body, pooling, feature_width) = match config.kind {
            ClassifierKind::Stage4 => (ResNet::new(network, 4, "", build)?, None, 2 * network.embedding_width()),
            ClassifierKind::AttentionPooling => {
                let pooling = (Embeddings::new(network, build)?, AttentionPooling::new(network, build)?);
                (ResNet::new(network, 3, PATCH_NETWORK, build)?, Some(pooling), network.embedding_width())
            }
            ClassifierKind::PatchNetwork => {
                (ResNet::new(network, 3, PATCH_NETWORK, build)?, None, network.embedding_width())
            }
        };
        let n_classes = config.classes.len();
        let mut layout = UnitLayout::default();
        // timm keeps the last layer of its v2 networks as a 1×1 convolution; torchvision keeps a matrix.
        let shape: &[usize] = if v2 { &[n_classes, feature_width, 1, 1] } else { &[n_classes, feature_width] };
        layout.push("weight", ParameterKind::Linear, shape);
        layout.push("bias", ParameterKind::Bias, &[n_classes]);
        let head = ParameterUnit::new(if v2 { "head.fc." } else { "fc." }, layout, build)?;
        Ok(Self { config: config.clone(), dtype: build.dtype, body, pooling, head })
    }

    /// The classifier's shape.
    #[must_use]
    pub fn config(&self) -> &ClassifierConfig {
        &self.config
    }

    /// Numbers in the features that the last layer reads.
    #[must_use]
    pub fn feature_width(&self) -> usize {
        match self.config.kind {
            ClassifierKind::Stage4 => 2 * self.config.network.embedding_width(),
            ClassifierKind::AttentionPooling | ClassifierKind::PatchNetwork => self.config.network.embedding_width(),
        }
    }

    /// Scores the classes of whole images.
    ///
    /// # Shapes
    ///
    /// - `images`: `[B, H, W, 3]`, u8 pixels or normalised numbers
    ///
    /// # Errors
    ///
    /// If the images are too small, or for the attention pooling, not of the size of the patch grid.
    pub fn forward(&self, images: &Tensor, mode: Mode<'_>) -> Result<Classification> {
        let features = self.features(images, mode)?;
        let logits = self.scores(&features, mode)?;
        Ok(Classification { features, logits })
    }

    /// The last layer alone.
    ///
    /// # Shapes
    ///
    /// - `features`: `[B, feature_width]`
    /// - returns `[B, L]`, scores before softmax
    ///
    /// # Errors
    ///
    /// If the features are not that wide.
    pub fn scores(&self, features: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        linear(features, &self.head.tensor(mode), self.config.classes.len(), Precision::Full)
    }

    /// What the last layer reads.
    ///
    /// # Shapes
    ///
    /// - `images`: as [`Self::forward`] takes them
    /// - returns `[B, feature_width]`
    ///
    /// # Errors
    ///
    /// As [`Self::forward`].
    pub fn features(&self, images: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let x = normalize(images, &self.config.network.normalization, self.dtype)?;
        let maps = self.body.forward(&x, mode)?;
        let b = images.dim(0)?;
        match &self.pooling {
            None => average_pool(&maps.last, 1)?.reshape((b, ())),
            Some((embeddings, pooling)) => {
                let (grid, size) = (self.config.network.grid(), self.config.network.image_size);
                if images.dims() != [b, size, size, 3] {
                    bail!("attention pooling: expected images [B, {size}, {size}, 3], got {:?}", images.dims())
                }
                let d = self.config.network.embedding_width();
                let cells = average_pool(&maps.last, grid)?.reshape((b, grid * grid, d))?;
                let context = cells.broadcast_add(&embeddings.positions(mode)?)?; // [B, N, D]
                pooling.forward(&embeddings.pool_token(mode)?, &context, mode)
            }
        }
    }

    /// An embedding of each image, without dropout and by the running statistics.
    ///
    /// # Shapes
    ///
    /// - `images`: as [`Self::forward`] takes them
    /// - returns `[B, 4 · width · 2^i]` of stage i + 1, `[B, D]` of the attention pooling
    ///
    /// # Errors
    ///
    /// If the classifier has no such place: `u` is the attention pooling's, stage 4 the whole ResNet's.
    pub fn embed(&self, images: &Tensor, at: EmbeddingAt) -> Result<Tensor> {
        match at {
            _ if !self.places().contains(&at) => at.missing(self.places()),
            EmbeddingAt::U => self.features(images, Mode::Inference),
            stage => {
                let x = normalize(images, &self.config.network.normalization, self.dtype)?;
                self.body.forward(&x, Mode::Inference)?.averaged(stage)
            }
        }
    }

    /// Where [`Self::embed`] reads.
    pub(crate) fn places(&self) -> &'static [EmbeddingAt] {
        use EmbeddingAt::{Stage1, Stage2, Stage3, Stage4, U};
        match self.config.kind {
            ClassifierKind::Stage4 => &[Stage1, Stage2, Stage3, Stage4],
            ClassifierKind::AttentionPooling => &[Stage1, Stage2, Stage3, U],
            ClassifierKind::PatchNetwork => &[Stage1, Stage2, Stage3],
        }
    }

    /// Takes over the patch network, and the attention pooling where there is one, from pretraining weights.
    ///
    /// `norm_starts_stage4` also copies the norm that ends the patch network into stage 4's first, which reads the same map.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tensors`] where a tensor that belongs to both has another shape, or is missing.
    pub fn transfer_from(&self, pretrained: &WeightsFile, norm_starts_stage4: bool) -> Result<Transferred, ModelError> {
        transfer(&self.units(), &self.config, pretrained, norm_starts_stage4)
    }

    /// Moves the running statistics towards the batch statistics that `training` took.
    ///
    /// # Errors
    ///
    /// If the device is out of memory.
    pub fn follow(&self, training: &Training) -> Result<()> {
        self.units().iter().try_for_each(|unit| unit.follow(training))
    }

    /// The parameters of the last layer.
    #[must_use]
    pub fn last_layer(&self) -> &ParameterUnit {
        &self.head
    }

    /// The parameters, in the order of their units' names.
    #[must_use]
    pub fn units(&self) -> Vec<&ParameterUnit> {
        let mut units: Vec<_> = self.body.units().chain([&self.head]).collect();
        if let Some((embeddings, pooling)) = &self.pooling {
            units.push(embeddings.unit());
            units.extend(pooling.units());
        }
        units.sort_by_key(|unit| unit.prefix());
        units
    }

    /// Parameters and running statistics by name, in the shapes of a file, and what network they are of.
    ///
    /// # Errors
    ///
    /// If the device is out of memory.
    pub fn weights(&self) -> Result<WeightsFile> {
        Ok(WeightsFile { metadata: Metadata::Classifier(self.config.clone()), tensors: tensors_of(&self.units())? })
    }

    /// Takes over every tensor of `file`; none may be missing, extra or misshapen.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tensors`], naming each tensor that does not fit.
    pub fn load(&self, file: &WeightsFile) -> Result<(), ModelError> {
        load_units(&self.units(), &file.tensors, "for classification")
    }

    /// Writes a weights file, whole or not at all.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        self.weights()?.write(path)
    }
}
