//! The convolutions of a network one by one, for what counts their arithmetic or their memory.

use selfie_model::{SelfieConfig, Stem};

/// Blocks widen their map to this many times their inner channels.
const EXPANSION: usize = 4;

/// The stem's convolution.
pub(crate) struct StemConvolution {
    pub(crate) parameters: usize,
    pub(crate) out_pixels: usize,
}

/// A block: 1 × 1 to `mid` channels, 3 × 3, which may have a stride, and 1 × 1 to `outputs`.
pub(crate) struct Block {
    pub(crate) inputs: usize,
    pub(crate) mid: usize,
    pub(crate) outputs: usize,
    /// Of its input and its first map.
    pub(crate) pixels: usize,
    pub(crate) out_pixels: usize,
    /// Whether its shortcut is a convolution.
    projects: bool,
}

impl Block {
    /// Weights of the first convolution, which is on the input's pixels.
    pub(crate) fn first(&self) -> usize {
        self.inputs * self.mid
    }

    /// Weights of the others, which are on the output's.
    pub(crate) fn others(&self) -> usize {
        let projection = if self.projects { self.inputs * self.outputs } else { 0 };
        9 * self.mid * self.mid + self.mid * self.outputs + projection
    }
}

/// The stem on a square of `side` pixels.
pub(crate) fn stem(config: &SelfieConfig, side: usize) -> StemConvolution {
    let (kernel, out) = match config.stem {
        Stem::ThreeByThree => (3, side),
        Stem::SevenBySeven => (7, side.div_ceil(2)),
    };
    StemConvolution { parameters: kernel * kernel * 3 * config.width, out_pixels: out * out }
}

/// The blocks of the first `n_stages` stages on a square of `side` pixels.
pub(crate) fn blocks(config: &SelfieConfig, side: usize, n_stages: usize) -> Vec<Block> {
    let mut side = match config.stem {
        Stem::ThreeByThree => side,
        Stem::SevenBySeven => side.div_ceil(2).div_ceil(2),
    };
    let (mut inputs, mut blocks) = (config.width, Vec::new());
    for (stage, &depth) in config.depths.iter().take(n_stages).enumerate() {
        let mid = config.width << stage;
        let outputs = EXPANSION * mid;
        for block in 0..depth {
            let out_side = if block == 0 && stage > 0 { side.div_ceil(2) } else { side };
            let (pixels, out_pixels) = (side * side, out_side * out_side);
            blocks.push(Block { inputs, mid, outputs, pixels, out_pixels, projects: block == 0 });
            (side, inputs) = (out_side, outputs);
        }
    }
    blocks
}
