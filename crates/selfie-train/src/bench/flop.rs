//! How many operations a step's products take at least, as the network is described.

use selfie_model::{ClassifierKind, SelfieConfig};

use super::BenchTask;
use super::blocks::{self, Block};
use super::work::Work;

/// 10⁹ operations an image: two for a multiplication and an addition.
///
/// Products only. A gradient step has three times the forward pass's, less the gradient of the image. Rows of the last
/// attention layer that nobody reads are not counted; nor is a gradient step's recomputation.
pub(crate) fn gflop_per_image(work: &Work) -> f64 {
    let config = &work.network;
    let (d, side) = (config.embedding_width(), config.image_size);
    let (kind, n_classes) = work.classifier.unwrap_or((ClassifierKind::PatchNetwork, 0));
    let n_stages = if kind == ClassifierKind::Stage4 { 4 } else { 3 };
    let multiplications = match work.task {
        BenchTask::Embed => convolutions(config, side, n_stages),
        BenchTask::Finetune => {
            let pooled = match kind {
                ClassifierKind::Stage4 => 2 * d * n_classes,
                ClassifierKind::PatchNetwork => d * n_classes,
                ClassifierKind::AttentionPooling => attention_pooling(config, config.n_patches()) + d * n_classes,
            };
            3 * (convolutions(config, side, n_stages) + pooled) - stem(config, side)
        }
        BenchTask::Pretrain => {
            let (n, t, p) = (config.n_patches(), config.n_targets, config.patch_size);
            let forward = n * convolutions(config, p, 3) + attention_pooling(config, n - t) + t * t * d;
            3 * forward - n * stem(config, p)
        }
    };
    2.0 * multiplications as f64 / 1e9
}

/// Multiplications of the stem on a square of `side` pixels.
fn stem(config: &SelfieConfig, side: usize) -> usize {
    let stem = blocks::stem(config, side);
    stem.out_pixels * stem.parameters
}

/// Multiplications of the stem and `n_stages` stages of v2 blocks on a square of `side` pixels.
fn convolutions(config: &SelfieConfig, side: usize, n_stages: usize) -> usize {
    let of_block = |block: &Block| block.pixels * block.first() + block.out_pixels * block.others();
    stem(config, side) + blocks::blocks(config, side, n_stages).iter().map(of_block).sum::<usize>()
}

/// Multiplications of the transformer layers over the pool token and the patches that are seen; of the last layer only the
/// pool token's row is read.
fn attention_pooling(config: &SelfieConfig, seen: usize) -> usize {
    let (d, f) = (config.embedding_width(), config.ffn);
    let tokens = seen + 1;
    let layer = |rows: usize| {
        let keys_and_values = tokens * 2 * d * d;
        let queries_and_output = rows * 2 * d * d;
        keys_and_values + queries_and_output + rows * 2 * d * f + rows * tokens * 2 * d
    };
    config.layers.saturating_sub(1) * layer(tokens) + layer(1)
}
