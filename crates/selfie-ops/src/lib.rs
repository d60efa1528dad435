//! Differentiable operations and optimizer kernels that candle 0.11.1 lacks, gets wrong, or cuts out of the graph.
//!
//! An operation is a unit worth fusing — a ResNet stage, a transformer layer — that takes x and one flat parameter tensor.
//! [`UnitLayout`] names the parameters inside. Maps are channels-last, `[B, H, W, C]`; numbers are f32, or f64 to check
//! gradients with.
//!
//! On the CPU each operation runs this crate's kernels (`kernels`, bridged to candle's graph by `unit`, and between stages by
//! `map`), on CUDA those of `cuda`. On Metal, and everywhere under the environment variable `SELFIE_OPS=composed`, it runs as a
//! composition of candle's primitives (`composed`): the same result by another way, which the tests use too.
//!
//! Sums have a fixed order: the same input gives the same bytes on any number of threads.
//!
//! What does not live here: the network's shape (selfie-model) and the training loop (selfie-train).

mod composed;
mod conv;
#[cfg(feature = "cuda")]
mod cuda;
mod kernels;
mod layout;
mod loss;
mod map;
mod optimizer;
mod order;
mod pool;
pub mod profile;
mod real;
mod rows;
mod stage;
mod transformer;
mod unit;

pub use conv::{batch_norm, conv2d};
#[cfg(feature = "cuda")]
pub use cuda::new_cuda;
pub use kernels::activation::Dropout;
pub use kernels::conv::ConvSpec;
pub use kernels::product::instruction_sets;
pub use layout::{NormAt, NormSpec, ParameterKind, ParameterSpec, UnitLayout};
pub use loss::cross_entropy;
pub use map::StageMap;
pub use optimizer::{AdamW, SgdNesterov, accumulate, adamw, exponential_average, global_norm, sgd_nesterov};
pub use order::rows_in_order;
pub use pool::{average_pool, max_pool};
pub use rows::{attention, dropout, gelu, layer_norm, linear};
pub use stage::{BlockForm, StageSpec, stage};
pub use transformer::{LayerDropout, TokenOutput, TransformerSpec, transformer_layer};
pub use unit::{Normalised, backward, device_memory_high, runs_composed};

use candle_core::{DType, Result, Tensor};
use real::Real;

/// How the products of a unit are taken and the maps between them kept, on the CPU and on CUDA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// In the type of the tensors.
    #[default]
    Full,
    /// Factors rounded to bf16, added up in the type of the tensors; maps and their gradients kept in bf16. Statistics, softmax,
    /// parameters and their gradients stay in the type of the tensors.
    Bf16,
}

impl Precision {
    /// bf16 is multiplied in pairs along every contraction.
    fn require_even(self, unit: &str, widths: &[usize]) -> candle_core::Result<()> {
        match widths.iter().find(|width| self == Self::Bf16 && *width % 2 == 1) {
            Some(odd) => candle_core::bail!("{unit}: expected even widths where factors are bf16, got {odd}"),
            None => Ok(()),
        }
    }
}

/// Which statistics a batch normalisation uses.
#[derive(Clone, Copy, Debug)]
pub enum NormMode<'a> {
    /// Those of the batch, which are returned for the running ones to follow.
    Batch,
    /// Running ones: for every norm of the unit in layout order, `[mean…, variance…]`, end to end.
    Running(&'a Tensor),
}

impl<'a> NormMode<'a> {
    fn running(self) -> Option<&'a Tensor> {
        match self {
            NormMode::Batch => None,
            NormMode::Running(statistics) => Some(statistics),
        }
    }

    fn running_values(self) -> Result<Option<Vec<f64>>> {
        self.running().map(|statistics| statistics.to_dtype(DType::F64)?.to_vec1()).transpose()
    }
}
