//! Operations on rows: linear, layer normalisation, GELU, dropout, attention.

use crate::composed;
use crate::kernels::activation::{Dropout, gelu as gelu_kernel, gelu_backward};
use crate::kernels::attention::{self, Heads};
use crate::kernels::layer_norm as layer_norm_kernel;
use crate::kernels::linear::{self, Widths};
use crate::kernels::numbers::{Bf16, Exact, Numbers};
use crate::unit::{Argument, Context, Forward, Gradients, Unit, apply, runs_composed};
use crate::{Precision, Real};
use candle_core::{Result, Tensor, bail};

/// `y = x · Wᵀ + b`.
///
/// # Shapes
///
/// - `x`: `[…, in]`
/// - `parameters`: flat, weight `[out, in]` then bias `[out]`
/// - returns `[…, out]`
///
/// # Errors
///
/// If the shapes do not fit, or a width is odd where factors are bf16.
pub fn linear(x: &Tensor, parameters: &Tensor, out: usize, precision: Precision) -> Result<Tensor> {
    if runs_composed(x.device()) {
        return composed::linear(x, parameters, out);
    }
    Ok(apply(Linear { out, precision }, x, Some(parameters))?.y)
}

/// Layer normalisation of the last axis, ε = 1e-5.
///
/// # Shapes
///
/// - `x`: `[…, C]`
/// - `parameters`: `[2 · C]`, gain then bias
///
/// # Errors
///
/// If the shapes do not fit.
pub fn layer_norm(x: &Tensor, parameters: &Tensor) -> Result<Tensor> {
    if runs_composed(x.device()) {
        return composed::layer_norm(x, parameters);
    }
    Ok(apply(LayerNorm, x, Some(parameters))?.y)
}

/// GELU by the error function, not its tanh approximation.
///
/// # Errors
///
/// If `x` is neither f32 nor f64.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    if runs_composed(x.device()) {
        return composed::gelu(x);
    }
    Ok(apply(Gelu, x, None)?.y)
}

/// Sets a share of the elements to zero and scales the rest by 1/(1 − p).
///
/// # Errors
///
/// If `x` is neither f32 nor f64.
pub fn dropout(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    if runs_composed(x.device()) {
        return composed::dropout(x, dropout);
    }
    Ok(apply(DropoutUnit(dropout), x, None)?.y)
}

/// Multi-head self-attention, softmax(QKᵀ/√d)·V, from packed projections to the values before the output projection.
///
/// # Shapes
///
/// - `qkv`: `[B, S, 3 · D]`: queries, keys, values; within each, head by head
/// - returns `[B, S, D]`
///
/// # Errors
///
/// If `3 · heads` does not divide the last axis.
pub fn attention(qkv: &Tensor, heads: usize, dropout: Option<Dropout>) -> Result<Tensor> {
    if runs_composed(qkv.device()) {
        return composed::attention(qkv, heads, dropout);
    }
    Ok(apply(Attention { heads, dropout }, qkv, None)?.y)
}

pub(crate) struct Linear {
    out: usize,
    pub(crate) precision: Precision,
}

impl Linear {
    pub(crate) fn widths(&self, dims: &[usize]) -> Widths {
        Widths { input: dims.last().copied().unwrap_or(0), output: self.out }
    }
}

impl Unit for Linear {
    const NAME: &'static str = "linear";
    type Saved<T: Real> = ();

    fn output_shape(&self, x: &[usize], n_parameters: usize) -> Result<Vec<usize>> {
        let Widths { input, output } = self.widths(x);
        if input == 0 || output == 0 || x.contains(&0) || n_parameters != (input + 1) * output {
            bail!("linear: expected {} parameters for {input} → {output}, got {n_parameters}", (input + 1) * output)
        }
        self.precision.require_even(Self::NAME, &[input, output])?;
        let mut shape = x.to_vec();
        shape.pop();
        shape.push(output);
        Ok(shape)
    }

    fn forward<T: Real>(&self, x: Argument<'_, T>, parameters: &[T]) -> Result<Forward<T, ()>> {
        let (weight, bias) = parameters.split_at(parameters.len() - self.out);
        let forward = match self.precision {
            Precision::Full => linear::forward::<Exact<T>>,
            Precision::Bf16 => linear::forward::<Bf16<T>>,
        };
        Ok(Forward::new(forward(self.widths(x.dims), x.values, weight, bias), ()))
    }

    fn backward<T: Real>(&self, context: Context<'_, T, ()>) -> Result<Gradients<T>> {
        Ok(match self.precision {
            Precision::Full => self.backward_in::<Exact<T>>(&context),
            Precision::Bf16 => self.backward_in::<Bf16<T>>(&context),
        })
    }
}

impl Linear {
    fn backward_in<M: Numbers>(&self, context: &Context<'_, M::Sum, ()>) -> Gradients<M::Sum> {
        let widths = self.widths(context.x.dims);
        let mut parameters = vec![M::Sum::ZERO; context.parameters.len()];
        let split = parameters.len() - self.out;
        let (d_weight, d_bias) = parameters.split_at_mut(split);
        let dy = M::stored(context.dy);
        linear::backward_parameters::<M>(widths, context.x.values, &dy, d_weight, d_bias);
        let weight = &context.parameters[..split];
        let x = context.wants_dx.then(|| linear::backward_input::<M>(widths, &dy, weight));
        Gradients { x, parameters }
    }
}

pub(crate) struct LayerNorm;

impl Unit for LayerNorm {
    const NAME: &'static str = "layer_norm";
    type Saved<T: Real> = ();

    fn output_shape(&self, x: &[usize], n_parameters: usize) -> Result<Vec<usize>> {
        match x.last() {
            Some(&width) if width > 0 && n_parameters == 2 * width => Ok(x.to_vec()),
            _ => bail!("layer_norm: expected […, C] and 2 · C parameters, got {x:?} and {n_parameters}"),
        }
    }

    fn forward<T: Real>(&self, x: Argument<'_, T>, parameters: &[T]) -> Result<Forward<T, ()>> {
        let (gain, bias) = parameters.split_at(parameters.len() / 2);
        Ok(Forward::new(layer_norm_kernel::forward(x.values, gain, bias), ()))
    }

    fn backward<T: Real>(&self, context: Context<'_, T, ()>) -> Result<Gradients<T>> {
        let (gain, _) = context.parameters.split_at(context.parameters.len() / 2);
        let mut parameters = vec![T::zero(); context.parameters.len()];
        let (d_gain, d_bias) = parameters.split_at_mut(gain.len());
        let dx = layer_norm_kernel::backward(context.x.values, gain, context.dy, d_gain, d_bias);
        Ok(Gradients { x: context.wants_dx.then_some(dx), parameters })
    }
}

pub(crate) struct Gelu;

impl Unit for Gelu {
    const NAME: &'static str = "gelu";
    type Saved<T: Real> = ();

    fn output_shape(&self, x: &[usize], _: usize) -> Result<Vec<usize>> {
        Ok(x.to_vec())
    }

    fn forward<T: Real>(&self, x: Argument<'_, T>, _: &[T]) -> Result<Forward<T, ()>> {
        Ok(Forward::new(gelu_kernel(x.values), ()))
    }

    fn backward<T: Real>(&self, context: Context<'_, T, ()>) -> Result<Gradients<T>> {
        let dx = context.wants_dx.then(|| gelu_backward(context.x.values, context.dy));
        Ok(Gradients { x: dx, parameters: Vec::new() })
    }
}

pub(crate) struct DropoutUnit(pub(crate) Dropout);

impl Unit for DropoutUnit {
    const NAME: &'static str = "dropout";
    type Saved<T: Real> = ();

    fn output_shape(&self, x: &[usize], _: usize) -> Result<Vec<usize>> {
        Ok(x.to_vec())
    }

    fn forward<T: Real>(&self, x: Argument<'_, T>, _: &[T]) -> Result<Forward<T, ()>> {
        let mut y = x.values.to_vec();
        self.0.apply(&mut y);
        Ok(Forward::new(y, ()))
    }

    fn backward<T: Real>(&self, context: Context<'_, T, ()>) -> Result<Gradients<T>> {
        let mut dx = context.dy.to_vec();
        self.0.apply(&mut dx);
        Ok(Gradients { x: context.wants_dx.then_some(dx), parameters: Vec::new() })
    }
}

pub(crate) struct Attention {
    heads: usize,
    pub(crate) dropout: Option<Dropout>,
}

impl Attention {
    pub(crate) fn sizes(&self, dims: &[usize]) -> Heads {
        Heads { tokens: dims[1], queries: dims[1], heads: self.heads, head_width: dims[2] / (3 * self.heads) }
    }
}

impl Unit for Attention {
    const NAME: &'static str = "attention";
    type Saved<T: Real> = Vec<T>;

    fn output_shape(&self, x: &[usize], _: usize) -> Result<Vec<usize>> {
        match *x {
            [b, s, packed] if self.heads > 0 && packed > 0 && packed % (3 * self.heads) == 0 => {
                Ok(vec![b, s, packed / 3])
            }
            _ => bail!("attention: expected [B, S, 3 · D] with D a multiple of {} heads, got {x:?}", self.heads),
        }
    }

    fn forward<T: Real>(&self, x: Argument<'_, T>, _: &[T]) -> Result<Forward<T, Vec<T>>> {
        let (y, probs) = attention::forward(self.sizes(x.dims), x.values, self.dropout);
        Ok(Forward::new(y, probs))
    }

    fn backward<T: Real>(&self, context: Context<'_, T, Vec<T>>) -> Result<Gradients<T>> {
        let sizes = self.sizes(context.x.dims);
        let dx = attention::backward(sizes, context.x.values, &context.saved, context.dy, self.dropout);
        Ok(Gradients { x: context.wants_dx.then_some(dx), parameters: Vec::new() })
    }
}
