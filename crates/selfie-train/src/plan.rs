//! The checked configuration: a plan cannot hold an illegal mix, and says everything in steps.
//!
//! A plan is made from a [`Resolved`](crate::config::Resolved) configuration alone; it opens no file and builds no
//! network. Its structs are non-exhaustive so that other crates get them from here only.

use selfie_data::{Augmentation, Mixing, PatchAugmentation, SetName};

use crate::config::{Architecture, ClassifierKind, EmbeddingAt, OnNonFinite, Positions, Stem};
use crate::schedule::Schedule;

mod augment;
mod build;
mod check;

#[cfg(test)]
mod tests;

/// What a plan needs beside the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Examples of one epoch: the training images in pretraining, the labelled subset in fine-tuning.
    pub n_examples: u64,
    /// Seed of every draw.
    pub seed: u64,
    /// `--stop-after`: the step after which the run stops with a checkpoint, its schedule unchanged.
    pub stop_after: Option<u64>,
}

/// A pretraining run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PretrainPlan {
    /// The networks.
    pub model: ModelPlan,
    /// The images and what is cut from them.
    pub data: DataPlan,
    /// The threads that prepare batches.
    pub loader: LoaderPlan,
    /// When checkpoints are written.
    pub checkpoint: CheckpointPlan,
    /// When the network is probed.
    pub probe: ProbePlan,
    /// The updates.
    pub training: TrainingPlan,
}

/// A fine-tuning run, or its from-scratch control: both follow the same plan.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FinetunePlan {
    /// The networks.
    pub model: ModelPlan,
    /// The images and how they are augmented.
    pub data: DataPlan,
    /// The threads that prepare batches.
    pub loader: LoaderPlan,
    /// When checkpoints are written.
    pub checkpoint: CheckpointPlan,
    /// The updates.
    pub training: TrainingPlan,
    /// What turns the patch network into a classifier.
    pub classifier: ClassifierPlan,
    /// Whether the last layer alone is trained.
    pub last_layer_only: bool,
    /// How the images of a batch are mixed.
    pub mixing: Mixing,
    /// Share of the labels, in 0–1, 0 excluded.
    pub fraction: f64,
}

/// The networks.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModelPlan {
    /// The convolutional network.
    pub architecture: Architecture,
    /// Channels of the stem.
    pub width: usize,
    /// Blocks of stages 1–4.
    pub depths: [usize; 4],
    /// The first convolution.
    pub stem: Stem,
    /// D, the channels of a patch embedding.
    pub embedding: usize,
    /// Attention heads; they divide `embedding`.
    pub heads: usize,
    /// Channels inside a transformer block's feed-forward layer.
    pub ffn: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Dropout probability, in 0–1, 1 excluded.
    pub dropout: f64,
    /// Layer norm before each sub-layer.
    pub norm_first: bool,
    /// How a patch's place is embedded.
    pub positions: Positions,
    /// Whether the attention pooling sees the places of the context patches.
    pub context_positions: bool,
    /// How scores are scaled.
    pub logit_scale: LogitScalePlan,
}

/// How the pointer decoder scales its scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LogitScalePlan {
    /// Plain dot products.
    Raw,
    /// Dot products over √D.
    InverseSqrt,
    /// Cosines over a temperature above 0.
    Cosine {
        /// Divisor of the cosines.
        temperature: f64,
    },
}

/// The images and what is cut from them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DataPlan {
    /// The data set.
    pub set: SetName,
    /// Side of an image, px.
    pub image_size: usize,
    /// Side of a patch, px; it divides `image_size`.
    pub patch_size: usize,
    /// G, patches along a side.
    pub grid_side: usize,
    /// N, patches of an image.
    pub n_patches: usize,
    /// T, patches masked out: at least 2, fewer than `n_patches`.
    pub n_targets: usize,
    /// How whole images are changed; none where they are not.
    pub augmentation: Option<Augmentation>,
    /// How single patches are changed, in pretraining.
    pub patches: PatchAugmentation,
}

/// The threads that prepare batches.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoaderPlan {
    /// Threads; 0 prepares batches in the training thread.
    pub workers: usize,
    /// Batches prepared ahead, at least 1.
    pub queue: usize,
    /// Share of the images that may be unreadable, in 0–1, 1 excluded.
    pub max_bad_share: f64,
}

/// When checkpoints are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointPlan {
    /// Steps between two checkpoints, at least 1.
    pub every_steps: u64,
    /// Checkpoints kept, at least 2.
    pub keep: usize,
}

/// When a pretraining is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbePlan {
    /// Steps between two probes; 0 for none.
    pub every_steps: u64,
    /// Images that the probes are fitted to, and most that they are measured on; at least 2.
    pub n_examples: usize,
    /// Where in the network embeddings are read; not at stage 4, which is not pretrained.
    pub at: EmbeddingAt,
}

/// The updates of a run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TrainingPlan {
    /// Seed of every draw.
    pub seed: u64,
    /// Updates of the whole schedule, at least 1.
    pub steps: u64,
    /// The step after which this process stops: `steps`, or less by `--stop-after`.
    pub stop_at: u64,
    /// Images an update.
    pub batch: usize,
    /// Images that share batch statistics; it divides `batch`.
    pub micro_batch: usize,
    /// The learning rate of each update; its warm-up is at most a tenth of the schedule.
    pub schedule: Schedule,
    /// The warm-up that was asked for, where it is longer than that.
    pub warmup_asked: Option<u64>,
    /// The rule of the update.
    pub optimizer: OptimizerPlan,
    /// Largest global L2 norm of the gradient.
    pub clip_norm: Option<f64>,
    /// Decay an update of the averaged weights.
    pub ema_decay: Option<f64>,
    /// Share of the target probability spread over all classes, in 0–1, 1 excluded.
    pub label_smoothing: f64,
    /// What is done about a step whose loss or gradient is not finite.
    pub on_non_finite: OnNonFinite,
}

impl TrainingPlan {
    /// Pieces a batch is accumulated from.
    #[must_use]
    pub fn n_micro_batches(&self) -> usize {
        self.batch / self.micro_batch
    }
}

/// The rule of the update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptimizerPlan {
    /// Stochastic gradient descent with Nesterov momentum.
    Sgd {
        /// Momentum, in 0–1, 1 excluded; 0 is plain descent.
        momentum: f64,
        /// Weight decay, on weights only.
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// Decay of the first moment, in 0–1, 1 excluded.
        beta1: f64,
        /// Decay of the second moment, in 0–1, 1 excluded.
        beta2: f64,
        /// Weight decay, on weights only.
        weight_decay: f64,
    },
}

/// What turns the patch network into a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassifierPlan {
    /// A fresh stage 4 and an average pool.
    Stage4 {
        /// Whether the norm that ends the patch network initialises stage 4's first norm.
        norm_from_patch_network: bool,
    },
    /// The pretrained attention pooling.
    AttentionPooling,
    /// An average pool.
    PatchNetwork,
}

impl ClassifierPlan {
    /// The network's own name of it.
    pub(crate) fn kind(self) -> ClassifierKind {
        match self {
            Self::Stage4 { .. } => ClassifierKind::Stage4,
            Self::AttentionPooling => ClassifierKind::AttentionPooling,
            Self::PatchNetwork => ClassifierKind::PatchNetwork,
        }
    }
}
