//! The configuration as it is written: tables, keys, types and defaults.
//!
//! serde lives here and in the layering below ([`resolve`]); what the values mean together is checked by
//! [`crate::plan`], and nothing else reads these structs.

use serde::{Deserialize, Serialize};

mod layers;
mod nearest;
mod resolve;
mod settings;
mod source;

#[cfg(test)]
mod tests;

pub use selfie_data::{DroppedChannels, JitterFill, Padding};
pub use selfie_model::{Architecture, ClassifierKind, EmbeddingAt, LogitScale, Positions, Stem};

pub(crate) use nearest::hint as key_hint;
pub use nearest::{name_meant_by, path_meant_by};
pub use resolve::{Base, FlagValue, Overrides, Resolved, key_meant_by, resolve};
pub use source::Source;

/// Every table. The defaults are the paper's CIFAR-10 setting where the paper says, and docs/paper.md where it does
/// not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The networks.
    pub model: ModelConfig,
    /// The images and what is cut from them.
    pub data: DataConfig,
    /// The threads that prepare batches.
    pub loader: LoaderConfig,
    /// When checkpoints are written.
    pub checkpoint: CheckpointConfig,
    /// When a pretraining is probed.
    pub probe: ProbeConfig,
    /// Training of `pretrain`.
    pub pretrain: TrainingConfig,
    /// Training of `finetune`.
    pub finetune: FinetuneConfig,
}

/// `[model]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The convolutional network.
    pub architecture: Architecture,
    /// Channels of the stem; the patch embedding has 16 times as many.
    pub width: usize,
    /// Blocks of stages 1–4.
    pub depths: [usize; 4],
    /// The first convolution.
    pub stem: Stem,
    /// Attention heads.
    pub heads: usize,
    /// Channels inside a transformer block's feed-forward layer.
    pub ffn: usize,
    /// Transformer blocks of the attention pooling.
    pub layers: usize,
    /// Dropout probability of the attention pooling, in 0–1.
    pub dropout: f64,
    /// Layer norm before (`true`) or after (`false`, the paper's) each sub-layer.
    pub norm_first: bool,
    /// How a patch's place is embedded.
    pub positions: Positions,
    /// Whether the attention pooling sees the places of the context patches.
    pub context_positions: bool,
    /// How the pointer decoder scales its scores.
    pub logit_scale: LogitScale,
    /// Divisor of the scores when `logit_scale = "cosine"`.
    pub temperature: f64,
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The data set's name.
    pub set: String,
    /// Side of an image, px.
    pub image_size: usize,
    /// Side of a patch, px.
    pub patch_size: usize,
    /// Patches masked out of each image.
    pub n_targets: usize,
    /// Border added on each side before the random crop, px.
    pub pad: usize,
    /// What the border is made of.
    pub padding: Padding,
    /// Whether half of the images are mirrored.
    pub flip: bool,
    /// Which part of an image is taken: of its own size out of the padded image, or a window that is resized.
    pub crop: CropKind,
    /// Lowest share of the area when `crop = "resized"`, above 0 and at most 1.
    pub crop_scale_min: f64,
    /// How far the factors of brightness, contrast and saturation may be from 1, and hue's turn from 0 in shares of the
    /// circle.
    pub colour_jitter: [f64; 4],
    /// Share of the images that lose their colours, in 0–1.
    pub grayscale: f64,
    /// RandAugment's operations an image.
    pub randaugment_ops: usize,
    /// RandAugment's strength, 0 to 30.
    pub randaugment_magnitude: usize,
    /// Share of the patches of which one random colour channel is kept, in 0–1; for pretraining.
    pub patch_colour_drop: f64,
    /// What the two dropped channels hold.
    pub patch_colour_fill: DroppedChannels,
    /// Most pixels cropped off the sides of each patch; for pretraining.
    pub patch_jitter: usize,
    /// How a cropped patch becomes whole again.
    pub patch_jitter_fill: JitterFill,
}

/// Which part of an image is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CropKind {
    /// The image's own size, out of the padded image.
    Pad,
    /// A window of random size and shape, resized.
    Resized,
}

/// `[loader]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderConfig {
    /// Threads that prepare batches; 0 prepares them in the training thread.
    pub workers: usize,
    /// Batches prepared ahead.
    pub queue: usize,
    /// Share of a split's images that may turn out to be unreadable, in 0–1; above 0, one always may.
    pub max_bad_share: f64,
}

/// `[checkpoint]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between two checkpoints.
    pub every_steps: u64,
    /// Checkpoints kept.
    pub keep: usize,
}

/// `[probe]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeConfig {
    /// Steps of a pretraining between two probes; 0 probes never.
    pub every_steps: u64,
    /// Labelled images that the probes are fitted to, and most images they are measured on.
    pub n_examples: usize,
    /// Where in the network the probed embeddings are read.
    pub at: EmbeddingAt,
}

/// `[pretrain]`, and `[finetune]` but for its own keys.
///
/// Exactly one of `steps`, `epochs` and `examples` is set: setting one in a later layer replaces the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Length in updates.
    #[serde(default, deserialize_with = "whole_number")]
    pub steps: Option<u64>,
    /// Length in passes over the training examples.
    #[serde(default)]
    pub epochs: Option<f64>,
    /// Length in images.
    #[serde(default, deserialize_with = "whole_number")]
    pub examples: Option<u64>,
    /// Images an update.
    pub batch: usize,
    /// Images that share batch statistics; a batch is accumulated from such pieces. 0, or more than `batch`: the whole
    /// batch.
    pub micro_batch: usize,
    /// Rule of the update.
    pub optimizer: OptimizerKind,
    /// The highest learning rate of the schedule.
    pub learning_rate: f64,
    /// Nesterov momentum of `sgd`.
    pub momentum: f64,
    /// Decay of `adamw`'s first moment.
    pub beta1: f64,
    /// Decay of `adamw`'s second moment.
    pub beta2: f64,
    /// Weight decay, on weights only.
    pub weight_decay: f64,
    /// Updates of linear warm-up, at most a tenth of all.
    pub warmup_steps: u64,
    /// Largest global L2 norm of the gradient; 0 does not clip.
    pub clip_norm: f64,
    /// Decay an update of the averaged weights, at most (1 + step) / (10 + step); 0 keeps no average. Parameters and the
    /// running statistics beside them are averaged alike, as timm does.
    pub ema_decay: f64,
    /// Share of the target probability spread over all classes, in 0–1.
    pub label_smoothing: f64,
    /// What is done about a step whose loss or gradient is not finite.
    pub on_non_finite: OnNonFinite,
}

/// What is done about a step whose loss or gradient is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNonFinite {
    /// The run ends with an error.
    Abort,
    /// The batch is left out.
    Skip,
    /// Weights and optimizer state go back to the last checkpoint, and the batches since are left out.
    RollBack,
}

/// Rule of the update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with Nesterov momentum.
    Sgd,
    /// Adam with decoupled weight decay.
    AdamW,
}

/// `[finetune]`: every key of `[pretrain]` and some of its own.
// `flatten` excludes `deny_unknown_fields`; `resolve` checks every key before serde sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinetuneConfig {
    /// The keys shared with `[pretrain]`.
    #[serde(flatten)]
    pub training: TrainingConfig,
    /// What turns the patch network into a classifier.
    pub classifier: ClassifierKind,
    /// Whether the norm that ends the patch network initialises stage 4's first norm, which sits at the same place.
    pub stage4_norm_from_patch_network: bool,
    /// Whether the last layer alone is trained, on features of the frozen network with its running statistics.
    #[serde(default)]
    pub last_layer_only: bool,
    /// Mixup's α; 0 mixes no images. Beside `cutmix`, each has half of the batches.
    pub mixup: f64,
    /// CutMix's α; 0 pastes no rectangles.
    pub cutmix: f64,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            architecture: Architecture::Resnet50V2,
            width: 64,
            depths: [3, 4, 6, 3],
            stem: Stem::ThreeByThree,
            heads: 32,
            ffn: 640,
            layers: 3,
            dropout: 0.1,
            norm_first: false,
            positions: Positions::PerPatch,
            context_positions: true,
            logit_scale: LogitScale::InverseSqrt,
            temperature: 0.1,
        }
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            set: "cifar10".to_owned(),
            image_size: 32,
            patch_size: 8,
            n_targets: 4,
            pad: 4,
            padding: Padding::Reflect,
            flip: true,
            crop: CropKind::Pad,
            crop_scale_min: 0.08,
            colour_jitter: [0.0; 4],
            grayscale: 0.0,
            randaugment_ops: 0,
            randaugment_magnitude: 9,
            patch_colour_drop: 0.0,
            patch_colour_fill: DroppedChannels::Constant,
            patch_jitter: 0,
            patch_jitter_fill: JitterFill::Pad,
        }
    }
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self { workers: 1, queue: 4, max_bad_share: 0.01 }
    }
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every_steps: 1000, keep: 2 }
    }
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self { every_steps: 0, n_examples: 1000, at: EmbeddingAt::Stage3 }
    }
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            steps: Some(120_000),
            epochs: None,
            examples: None,
            batch: 512,
            micro_batch: 0,
            optimizer: OptimizerKind::Sgd,
            learning_rate: 0.1,
            momentum: 0.9,
            beta1: 0.9,
            beta2: 0.999,
            weight_decay: 1e-4,
            warmup_steps: 100,
            clip_norm: 0.0,
            ema_decay: 0.0,
            label_smoothing: 0.0,
            on_non_finite: OnNonFinite::Abort,
        }
    }
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        Self {
            training: TrainingConfig::default(),
            classifier: ClassifierKind::Stage4,
            stage4_norm_from_patch_network: false,
            last_layer_only: false,
            mixup: 0.0,
            cutmix: 0.0,
        }
    }
}

/// A count that may be written as a float, such as `1e6`, if it is whole.
fn whole_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    /// Below this, a float holds every whole number exactly.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a whole number that is not negative")]
    enum Number {
        Whole(u64),
        Float(f64),
    }
    match Option::<Number>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Number::Whole(count)) => Ok(Some(count)),
        Some(Number::Float(count)) if (0.0..=EXACT).contains(&count) && count.fract() == 0.0 => Ok(Some(count as u64)),
        Some(Number::Float(count)) => {
            Err(serde::de::Error::custom(format!("expected a whole number that is not negative, got {count}")))
        }
    }
}
