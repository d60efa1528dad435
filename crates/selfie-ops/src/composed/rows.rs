//! Operations on rows and tokens.

use crate::Dropout;
use crate::kernels::layer_norm::EPSILON;
use candle_core::{D, Result, Tensor, bail};

pub(crate) fn linear(x: &Tensor, parameters: &Tensor, out: usize) -> Result<Tensor> {
    let input = x.dim(D::Minus1)?;
    if parameters.elem_count() != (input + 1) * out {
        bail!("linear: expected {} parameters for {input} → {out}, got {}", (input + 1) * out, parameters.elem_count())
    }
    let weight = parameters.narrow(0, 0, input * out)?.reshape((out, input))?;
    let bias = parameters.narrow(0, input * out, out)?;
    let y = x.reshape(((), input))?.matmul(&weight.t()?)?.broadcast_add(&bias)?;
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(out);
    y.reshape(shape)
}

pub(crate) fn layer_norm(x: &Tensor, parameters: &Tensor) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    let (gain, bias) = (parameters.narrow(0, 0, width)?, parameters.narrow(0, width, width)?);
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let var = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(var + EPSILON)?.sqrt()?)?.broadcast_mul(&gain)?.broadcast_add(&bias)
}

/// From `erf`, whose gradient is exact; that of candle's own `gelu_erf` has a constant of six digits.
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    let cdf = (x * std::f64::consts::FRAC_1_SQRT_2)?.erf()?.affine(0.5, 0.5)?;
    x * cdf
}

/// The same keep decisions as the CPU kernel's, drawn on the host.
pub(crate) fn dropout(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    let mut mask = vec![1f32; x.elem_count()];
    dropout.apply(&mut mask);
    x * Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?
}

pub(crate) fn attention(qkv: &Tensor, heads: usize, dropped: Option<Dropout>) -> Result<Tensor> {
    let (b, s, packed) = qkv.dims3()?;
    let width = packed / 3;
    if heads == 0 || packed % (3 * heads) != 0 {
        bail!("attention: expected [B, S, 3 · D] with D a multiple of {heads} heads, got {:?}", qkv.dims())
    }
    let split = |i: usize| {
        let part = qkv.narrow(2, i * width, width)?.contiguous()?;
        part.reshape((b, s, heads, width / heads))?.transpose(1, 2)?.contiguous()
    };
    let (q, k, v) = (split(0)?, split(1)?, split(2)?);
    let scores = (q.matmul(&k.t()?.contiguous()?)? * (1.0 / ((width / heads) as f64).sqrt()))?;
    let mut probs = softmax(&scores)?;
    if let Some(dropped) = dropped {
        probs = dropout(&probs, dropped)?;
    }
    probs.matmul(&v)?.transpose(1, 2)?.contiguous()?.reshape((b, s, width))
}

fn softmax(x: &Tensor) -> Result<Tensor> {
    let exp = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

pub(crate) fn cross_entropy(logits: &Tensor, labels: &[u32], smoothing: f64) -> Result<Tensor> {
    let (rows, classes) = logits.dims2()?;
    let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(1)?)?;
    let log_normaliser = shifted.exp()?.sum_keepdim(1)?.log()?;
    let log_probs = shifted.broadcast_sub(&log_normaliser)?;
    let index = Tensor::from_slice(labels, (rows, 1), logits.device())?;
    let at_label = log_probs.gather(&index, 1)?.sum_all()?.affine(-(1.0 - smoothing) / rows as f64, 0.0)?;
    let everywhere = log_probs.sum_all()?.affine(-smoothing / (rows * classes) as f64, 0.0)?;
    at_label + everywhere
}
