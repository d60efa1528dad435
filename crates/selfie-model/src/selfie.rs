//! The pretraining network.

use crate::attention_pooling::AttentionPooling;
use crate::config::{Normalization, SelfieConfig};
use crate::decoder::PointerDecoder;
use crate::embedding_at::EmbeddingAt;
use crate::embeddings::Embeddings;
use crate::error::{ModelError, Result};
use crate::mode::{Mode, Training};
use crate::resnet::{ResNet, StageMaps};
use crate::unit::{Build, ParameterUnit};
use crate::weights::{Metadata, WeightsFile, load_units, tensors_of};
use candle_core::{DType, Device, Tensor, bail};
use selfie_ops::{average_pool, rows_in_order};
use std::path::Path;

/// What the names of the patch network's parameters begin with in a pretraining file.
pub(crate) const PATCH_NETWORK: &str = "patch_network.";

/// The pretraining network: patch network, attention pooling, pointer decoder.
#[derive(Debug)]
pub struct Selfie {
    config: SelfieConfig,
    dtype: DType,
    patch_network: ResNet,
    embeddings: Embeddings,
    attention_pooling: AttentionPooling,
    decoder: PointerDecoder,
}

/// What the encoder makes of a batch: `h [B, N, D]` and `positions [B, N, D]`, targets first; `context [B, K, D]`.
struct Encoded {
    h: Tensor,
    positions: Tensor,
    context: Tensor,
}

/// What a forward pass of [`Selfie`] computes.
///
/// # Shapes
///
/// - `h`: `[B, N, D]`, patch embeddings in the order given: targets first
/// - `u`: `[B, D]`, the pooled embedding of the context
/// - `logits`: `[B, T, T]`, as the pointer decoder's; the right class of query `q` is `q`
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Patch embeddings, targets first.
    pub h: Tensor,
    /// Pooled embedding.
    pub u: Tensor,
    /// Score of every candidate for every query.
    pub logits: Tensor,
}

impl Selfie {
    /// A network with initial parameters that are a function of `seed`; `dtype` is f32; bf16 for f32 parameters and
    /// products of bf16 factors; f64 to check gradients.
    ///
    /// # Errors
    ///
    /// If the configuration is illegal or the device out of memory.
    pub fn new(config: &SelfieConfig, dtype: DType, device: &Device, seed: u64) -> Result<Self, ModelError> {
        config.check()?;
        Ok(Self::build(config, Build::new(dtype, device, seed))?)
    }

    /// The network that a weights file holds; `path` is for messages.
    ///
    /// # Errors
    ///
    /// If the file is of a classifier, its configuration is illegal, or its tensors do not fit it.
    pub fn of_file(file: &WeightsFile, path: &Path, dtype: DType, device: &Device) -> Result<Self, ModelError> {
        let Metadata::Pretraining(config) = &file.metadata else {
            let (expected, got) = ("a pretraining network", file.metadata.kind());
            return Err(ModelError::Kind { path: path.to_owned(), expected, got });
        };
        config.check()?;
        let network = file.build(path, |budget| Self::build(config, Build::new(dtype, device, 0).within(budget)))?;
        network.load(file)?;
        Ok(network)
    }

    fn build(config: &SelfieConfig, build: Build<'_>) -> Result<Self> {
        Ok(Self {
            config: config.clone(),
            dtype: build.dtype,
            patch_network: ResNet::new(config, 3, PATCH_NETWORK, build)?,
            embeddings: Embeddings::new(config, build)?,
            attention_pooling: AttentionPooling::new(config, build)?,
            decoder: PointerDecoder::new(config),
        })
    }

    /// The network's shape.
    #[must_use]
    pub fn config(&self) -> &SelfieConfig {
        &self.config
    }

    /// Scores which target patch belongs at which target place.
    ///
    /// Paper: section 2. All patches, context and target, go through the patch network together.
    ///
    /// # Shapes
    ///
    /// - `patches`: `[B, N, P, P, 3]`, u8 pixels or normalised numbers
    /// - `order`: `[B, N]` u32, a permutation of the places of each image; the first T are the targets
    ///
    /// # Errors
    ///
    /// If the shapes do not fit the configuration.
    pub fn forward(&self, patches: &Tensor, order: &Tensor, mode: Mode<'_>) -> Result<Prediction> {
        let (t, Encoded { h, positions, context }) = (self.config.n_targets, self.encode(patches, order, mode)?);
        let u = self.attention_pooling.forward(&self.embeddings.pool_token(mode)?, &context, mode)?;
        let queries = positions.narrow(1, 0, t)?.broadcast_add(&u.unsqueeze(1)?)?; // [B, T, D]
        let logits = self.decoder.forward(&queries, &h.narrow(1, 0, t)?)?;
        Ok(Prediction { h, u, logits })
    }

    /// How much the pool token attends to itself and to each context patch, for each layer, without dropout.
    ///
    /// # Shapes
    ///
    /// - `patches`, `order`: as [`Self::forward`] takes them
    /// - returns for each layer `[B, heads, 1 + K]`, shares of 0–1 that sum to 1: the token itself, then the context in
    ///   the order given
    ///
    /// # Errors
    ///
    /// If the shapes do not fit the configuration.
    pub fn token_attention(&self, patches: &Tensor, order: &Tensor) -> Result<Vec<Tensor>> {
        let context = self.encode(patches, order, Mode::Inference)?.context;
        self.attention_pooling.token_attention(&self.embeddings.pool_token(Mode::Inference)?, &context)
    }

    /// The position embeddings `[N, D]`, row by row.
    ///
    /// # Errors
    ///
    /// If the device is out of memory.
    pub fn positions(&self) -> Result<Tensor> {
        self.embeddings.positions(Mode::Inference)
    }

    /// Patch embeddings and positions in the order given, and the context as the attention pooling takes it.
    fn encode(&self, patches: &Tensor, order: &Tensor, mode: Mode<'_>) -> Result<Encoded> {
        let (n, p, d) = (self.config.n_patches(), self.config.patch_size, self.config.embedding_width());
        let b = patches.dim(0)?;
        if patches.dims() != [b, n, p, p, 3] || order.dims() != [b, n] {
            bail!(
                "pretraining: expected [B, {n}, {p}, {p}, 3] and [B, {n}], got {:?} and {:?}",
                patches.dims(),
                order.dims()
            )
        }
        let x = normalize(&patches.reshape((b * n, p, p, 3))?, &self.config.normalization, self.dtype)?;
        let maps = self.patch_network.forward(&x, mode)?;
        let h = average_pool(&maps.last, 1)?.reshape((b, n, d))?;
        let h = rows_in_order(&h, order)?; // [B, N, D], targets first
        let positions = rows_in_order(&self.embeddings.positions(mode)?.unsqueeze(0)?, order)?;

        let (t, k) = (self.config.n_targets, n - self.config.n_targets);
        let context = h.narrow(1, t, k)?; // [B, K, D]
        let context = if self.config.context_positions { (context + positions.narrow(1, t, k)?)? } else { context };
        Ok(Encoded { h, positions, context })
    }

    /// The maps of whole images, for embeddings of images rather than of patches.
    ///
    /// # Shapes
    ///
    /// - `images`: `[B, H, W, 3]`, u8 pixels or normalised numbers
    ///
    /// # Errors
    ///
    /// If the images are smaller than the stem's kernel.
    pub fn maps(&self, images: &Tensor, mode: Mode<'_>) -> Result<StageMaps> {
        self.patch_network.forward(&normalize(images, &self.config.normalization, self.dtype)?, mode)
    }

    /// An embedding of each image, without dropout and by the running statistics.
    ///
    /// # Shapes
    ///
    /// - `images`: `[B, H, W, 3]`, u8 pixels or normalised numbers; for [`EmbeddingAt::H`] and [`EmbeddingAt::U`] of the
    ///   size of the patch grid
    /// - returns `[B, 4 · width · 2^i]` of stage i + 1, else `[B, D]`
    ///
    /// # Errors
    ///
    /// If `at` is stage 4, which a patch network has not, or the images' size does not fit.
    pub fn embed(&self, images: &Tensor, at: EmbeddingAt) -> Result<Tensor> {
        match at {
            EmbeddingAt::H => self.patch_embeddings(images)?.mean(1),
            EmbeddingAt::U => {
                let h = self.patch_embeddings(images)?;
                let positions = self.embeddings.positions(Mode::Inference)?;
                let context = if self.config.context_positions { h.broadcast_add(&positions)? } else { h };
                let pool_token = self.embeddings.pool_token(Mode::Inference)?;
                self.attention_pooling.forward(&pool_token, &context, Mode::Inference)
            }
            EmbeddingAt::Stage4 => at.missing(&Self::PLACES),
            stage => self.maps(images, Mode::Inference)?.averaged(stage),
        }
    }

    /// Numbers of an embedding that [`Self::embed`] reads at `at`.
    #[must_use]
    pub fn width_at(&self, at: EmbeddingAt) -> usize {
        at.width(&self.config)
    }

    /// Where [`Self::embed`] reads.
    pub(crate) const PLACES: [EmbeddingAt; 5] =
        [EmbeddingAt::Stage1, EmbeddingAt::Stage2, EmbeddingAt::Stage3, EmbeddingAt::H, EmbeddingAt::U];

    /// `h [B, N, D]` of the patches of whole images, in the grid's order.
    fn patch_embeddings(&self, images: &Tensor) -> Result<Tensor> {
        let (grid, p, size) = (self.config.grid(), self.config.patch_size, self.config.image_size);
        let b = images.dim(0)?;
        if images.dims() != [b, size, size, 3] {
            bail!("patch embeddings: expected images [B, {size}, {size}, 3], got {:?}", images.dims())
        }
        let patches = images.reshape((b, grid, p, grid, p, 3))?.permute((0, 1, 3, 2, 4, 5))?.contiguous()?;
        let patches = patches.reshape((b * grid * grid, p, p, 3))?;
        self.maps(&patches, Mode::Inference)?.averaged(EmbeddingAt::Stage3)?.reshape((b, grid * grid, ()))
    }

    /// Moves the running statistics towards the batch statistics that `training` took.
    ///
    /// # Errors
    ///
    /// If the device is out of memory.
    pub fn follow(&self, training: &Training) -> Result<()> {
        self.units().iter().try_for_each(|unit| unit.follow(training))
    }

    /// The parameters, in the order of their units' names.
    #[must_use]
    pub fn units(&self) -> Vec<&ParameterUnit> {
        let pooling = self.attention_pooling.units();
        let mut units: Vec<_> = self.patch_network.units().chain([self.embeddings.unit()]).chain(pooling).collect();
        units.sort_by_key(|unit| unit.prefix());
        units
    }

    /// Parameters and running statistics by name, in the shapes of a file, and what network they are of.
    ///
    /// # Errors
    ///
    /// If the device is out of memory.
    pub fn weights(&self) -> Result<WeightsFile> {
        Ok(WeightsFile { metadata: Metadata::Pretraining(self.config.clone()), tensors: tensors_of(&self.units())? })
    }

    /// Takes over every tensor of `file`; none may be missing, extra or misshapen.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tensors`], naming each tensor that does not fit.
    pub fn load(&self, file: &WeightsFile) -> Result<(), ModelError> {
        load_units(&self.units(), &file.tensors, "for pretraining")
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

/// The network's first operation: u8 pixels to numbers; numbers pass.
pub(crate) fn normalize(pixels: &Tensor, constants: &Normalization, dtype: DType) -> Result<Tensor> {
    if pixels.dtype() != DType::U8 {
        return Ok(pixels.clone());
    }
    let constant = |values: [f32; 3]| Tensor::new(&values, pixels.device())?.to_dtype(dtype);
    let scaled = pixels.to_dtype(dtype)?.affine(1.0 / 255.0, 0.0)?;
    scaled.broadcast_sub(&constant(constants.mean)?)?.broadcast_div(&constant(constants.std)?)
}
