//! Convolution and batch normalisation as operations of their own.

use crate::composed;
use crate::kernels::conv::{Backward, Conv, ConvSpec, Input};
use crate::kernels::norm::{Moments, Norm, NormBackward};
use crate::kernels::numbers::Exact;
use crate::unit::{Argument, Context, Forward, Gradients, Normalised, Unit, apply, runs_composed};
use crate::{NormMode, Real};
use candle_core::{Result, Tensor, bail};

/// A square convolution without bias.
///
/// # Shapes
///
/// - `x`: `[B, H, W, in]`
/// - `weight`: flat, `[kernel, kernel, in, out]` in memory
/// - returns `[B, H', W', out]`
///
/// # Errors
///
/// If the shapes do not fit the specification.
pub fn conv2d(x: &Tensor, weight: &Tensor, spec: ConvSpec) -> Result<Tensor> {
    if runs_composed(x.device()) {
        return composed::conv2d(x, weight, spec);
    }
    Ok(apply(ConvUnit(spec), x, Some(weight))?.y)
}

/// Batch normalisation over all but the last axis, ε = 1e-5, with a ReLU after it where `with_relu` asks.
///
/// # Shapes
///
/// - `x`: `[…, C]`
/// - `parameters`: `[2 · C]`, gain then bias
/// - returns the shape of `x`, and in batch mode the statistics `[2 · C]`
///
/// # Errors
///
/// If the shapes do not fit.
pub fn batch_norm(x: &Tensor, parameters: &Tensor, mode: NormMode<'_>, with_relu: bool) -> Result<Normalised> {
    if runs_composed(x.device()) {
        return composed::batch_norm(x, parameters, mode, with_relu);
    }
    apply(BatchNormUnit { running: mode.running().map(Tensor::detach), with_relu }, x, Some(parameters))
}

/// A class of pixels is known by a bit for each tap.
const LARGEST_KERNEL: usize = 8;

pub(crate) struct ConvUnit(pub(crate) ConvSpec);

impl ConvUnit {
    fn conv(&self, dims: &[usize]) -> Result<Conv> {
        let spec = self.0;
        if let &[b, h, w, c] = dims
            && c == spec.in_channels
            && b > 0
            && (1..=LARGEST_KERNEL).contains(&spec.kernel)
            && spec.stride > 0
            && spec.out_channels > 0
            && let Some(conv) = Conv::new(spec, h, w)
        {
            return Ok(conv);
        }
        bail!(
            "conv2d: expected [B, H, W, {}] of at least {} pixels a side, a kernel of at most {LARGEST_KERNEL}, a stride \
             and channels, got {dims:?} and {spec:?}",
            spec.in_channels,
            spec.kernel
        )
    }
}

impl Unit for ConvUnit {
    const NAME: &'static str = "conv2d";
    type Saved<T: Real> = ();

    fn output_shape(&self, x: &[usize], n_parameters: usize) -> Result<Vec<usize>> {
        let conv = self.conv(x)?;
        if n_parameters != self.0.weight_len() {
            bail!("conv2d: expected a weight of {} elements, got {n_parameters}", self.0.weight_len())
        }
        Ok(vec![x[0], conv.out_height, conv.out_width, self.0.out_channels])
    }

    fn forward<T: Real>(&self, x: Argument<'_, T>, weight: &[T]) -> Result<Forward<T, ()>> {
        let input = Input { x: x.values, norm: None };
        Ok(Forward::new(self.conv(x.dims)?.forward::<Exact<T>>(input, weight, None, false).0, ()))
    }

    fn backward<T: Real>(&self, context: Context<'_, T, ()>) -> Result<Gradients<T>> {
        let conv = self.conv(context.x.dims)?;
        let mut parameters = vec![T::zero(); context.parameters.len()];
        let input = Input { x: context.x.values, norm: None };
        let backward = Backward::<Exact<T>> { input, weight: context.parameters, dy: context.dy };
        let x = if context.wants_dx {
            Some(conv.backward_input(&backward, None, &mut parameters))
        } else {
            conv.backward_weight(&backward, &mut parameters);
            None
        };
        Ok(Gradients { x, parameters })
    }
}

pub(crate) struct BatchNormUnit {
    /// `[mean…, variance…]`.
    pub(crate) running: Option<Tensor>,
    pub(crate) with_relu: bool,
}

impl Unit for BatchNormUnit {
    const NAME: &'static str = "batch_norm";
    type Saved<T: Real> = Norm<T>;

    fn output_shape(&self, x: &[usize], n_parameters: usize) -> Result<Vec<usize>> {
        let channels = x.last().copied().unwrap_or(0);
        if channels == 0 || n_parameters != 2 * channels {
            bail!("batch_norm: expected […, C] and 2 · C parameters, got {x:?} and {n_parameters}")
        }
        match self.running.as_ref().map(Tensor::elem_count) {
            Some(n) if n != n_parameters => bail!("batch_norm: expected 2 · {channels} running statistics, got {n}"),
            _ => Ok(x.to_vec()),
        }
    }

    fn forward<T: Real>(&self, x: Argument<'_, T>, parameters: &[T]) -> Result<Forward<T, Norm<T>>> {
        let (gain, bias) = parameters.split_at(parameters.len() / 2);
        let moments = match &self.running {
            Some(running) => Moments::running(&running.to_dtype(T::DTYPE)?.to_vec1::<T>()?),
            None => Moments::of::<Exact<T>>(x.values, gain.len()),
        };
        let mut statistics = Vec::new();
        if moments.rows.is_some() {
            moments.push_statistics(&mut statistics);
        }
        let norm = Norm::new(moments, gain, bias);
        Ok(Forward { y: norm.apply::<Exact<T>>(x.values, self.with_relu), saved: norm, statistics })
    }

    fn backward<T: Real>(&self, context: Context<'_, T, Norm<T>>) -> Result<Gradients<T>> {
        let norm = context.saved;
        let mut dz = context.dy.to_vec();
        let mut parameters = vec![T::zero(); context.parameters.len()];
        let sums = norm.mask_and_sum::<Exact<T>>(context.x.values, &mut dz, self.with_relu);
        let (d_gain, d_bias) = parameters.split_at_mut(norm.channels());
        norm.backward::<Exact<T>>(
            NormBackward { x: context.x.values, dz: &mut dz, sums: &sums, residual: None },
            d_gain,
            d_bias,
        );
        Ok(Gradients { x: context.wants_dx.then_some(dz), parameters })
    }
}
