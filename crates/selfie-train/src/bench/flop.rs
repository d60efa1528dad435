//! How many operations a step's products take at least, as the network is described.

use selfie_model::{SelfieConfig, Stem};

use super::{BenchStep, BenchTask, work};

/// Blocks widen their map to this many times their inner channels.
const EXPANSION: usize = 4;

/// 10⁹ operations an image: two for a multiplication and an addition.
///
/// Products only. A gradient step has three times the forward pass's, less the gradient of the image. Rows of the last
/// attention layer that nobody reads are not counted; nor is a gradient step's recomputation.
pub(super) fn gflop_per_image(asked: &BenchStep) -> f64 {
    let config = work::network(asked);
    let d = config.embedding_width();
    let multiplications = match asked.task {
        BenchTask::Embed => convolutions(&config, asked.image_size, 4),
        BenchTask::Finetune => {
            let head = 2 * d * work::n_classes(asked);
            3 * (convolutions(&config, asked.image_size, 4) + head) - stem(&config, asked.image_size)
        }
        BenchTask::Pretrain => {
            let (n, t) = (config.n_patches(), config.n_targets);
            let forward = n * convolutions(&config, config.patch_size, 3) + attention_pooling(&config) + t * t * d;
            3 * forward - n * stem(&config, config.patch_size)
        }
    };
    2.0 * multiplications as f64 / 1e9
}

/// Multiplications of the stem on a square of `side` pixels.
fn stem(config: &SelfieConfig, side: usize) -> usize {
    let (kernel, out) = match config.stem {
        Stem::ThreeByThree => (3, side),
        Stem::SevenBySeven => (7, side.div_ceil(2)),
    };
    out * out * kernel * kernel * 3 * config.width
}

/// Multiplications of the stem and `n_stages` stages of v2 blocks on a square of `side` pixels.
fn convolutions(config: &SelfieConfig, side: usize, n_stages: usize) -> usize {
    let mut sum = stem(config, side);
    let mut side = match config.stem {
        Stem::ThreeByThree => side,
        Stem::SevenBySeven => side.div_ceil(2).div_ceil(2),
    };
    let mut channels = config.width;
    for (stage, &depth) in config.depths.iter().take(n_stages).enumerate() {
        let mid = config.width << stage;
        for block in 0..depth {
            let out_side = if block == 0 && stage > 0 { side.div_ceil(2) } else { side };
            let (pixels, out_pixels) = (side * side, out_side * out_side);
            let projection = if block == 0 { channels * EXPANSION * mid } else { 0 };
            sum += pixels * channels * mid + out_pixels * (9 * mid * mid + mid * EXPANSION * mid + projection);
            (side, channels) = (out_side, EXPANSION * mid);
        }
    }
    sum
}

/// Multiplications of the transformer layers over the pool token and the context patches; of the last layer only the pool
/// token's row is read.
fn attention_pooling(config: &SelfieConfig) -> usize {
    let (d, f) = (config.embedding_width(), config.ffn);
    let tokens = config.n_patches() - config.n_targets + 1;
    let layer = |rows: usize| {
        let keys_and_values = tokens * 2 * d * d;
        let queries_and_output = rows * 2 * d * d;
        keys_and_values + queries_and_output + rows * 2 * d * f + rows * tokens * 2 * d
    };
    (config.layers - 1) * layer(tokens) + layer(1)
}
