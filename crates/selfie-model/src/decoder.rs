//! The pointer decoder: for each hidden place, which of the hidden patches belongs there.

use crate::config::{LogitScale, SelfieConfig};
use candle_core::{D, Result, Tensor, bail};

/// Keeps the norm of a zero vector away from zero, as in PyTorch's `normalize`.
const NORM_EPSILON: f64 = 1e-12;

/// The paper's decoder; it has no parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PointerDecoder {
    scale: LogitScale,
    temperature: f64,
}

impl PointerDecoder {
    pub(crate) fn new(config: &SelfieConfig) -> Self {
        Self { scale: config.logit_scale, temperature: config.temperature }
    }

    /// Scores every candidate patch for every target location.
    ///
    /// Paper: section 2, decoder. The softmax is in the loss. The paper's scores are raw dot products; see [`LogitScale`].
    ///
    /// # Shapes
    ///
    /// - `queries`: `[B, T, D]`, pooled embedding plus the position embedding of each target
    /// - `candidates`: `[B, T, D]`, embeddings of the same targets in the same order
    /// - returns `[B, T, T]`: `[b, q, c]` scores candidate `c` for query `q`; the right class of query `q` is `q`
    ///
    /// # Errors
    ///
    /// If the two shapes differ.
    pub(crate) fn forward(&self, queries: &Tensor, candidates: &Tensor) -> Result<Tensor> {
        let (_, _, d) = queries.dims3()?;
        if queries.dims() != candidates.dims() {
            bail!("pointer decoder: queries {:?} and candidates {:?} differ", queries.dims(), candidates.dims())
        }
        let scores = |q: &Tensor, c: &Tensor| q.contiguous()?.matmul(&c.transpose(1, 2)?.contiguous()?);
        match self.scale {
            LogitScale::Raw => scores(queries, candidates),
            LogitScale::InverseSqrt => scores(queries, candidates)? * (1.0 / (d as f64).sqrt()),
            LogitScale::Cosine => scores(&normalize(queries)?, &normalize(candidates)?)? * (1.0 / self.temperature),
        }
    }
}

/// Each vector over its length.
fn normalize(x: &Tensor) -> Result<Tensor> {
    x.broadcast_div(&(x.sqr()?.sum_keepdim(D::Minus1)? + NORM_EPSILON)?.sqrt()?)
}

#[cfg(test)]
mod tests;
