//! Every operation as a composition of candle's primitives, for Metal and as a second opinion in tests.
//!
//! Only primitives whose gradients candle gets right are used: no conv2d, pooling, relu, softmax or layer norm of candle's own.

mod maps;
mod rows;
mod units;

pub(crate) use maps::{average_pool, batch_norm, conv2d, max_pool};
pub(crate) use rows::{attention, cross_entropy, dropout, gelu, layer_norm, linear};
pub(crate) use units::{stage, transformer_layer};

use candle_core::{Result, Tensor};

/// max(x, 0) with gradient 0 at 0, as in PyTorch.
fn relu(x: &Tensor) -> Result<Tensor> {
    x * x.detach().gt(0f64)?.to_dtype(x.dtype())?
}
