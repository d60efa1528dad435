//! Pooling as operations.

use crate::Real;
use crate::composed;
use crate::kernels::pool::{self, Maps};
use crate::unit::{Argument, Context, Forward, Gradients, Unit, apply, runs_composed};
use candle_core::{Result, Tensor, bail};

/// Max-pooling 3×3, stride 2, padding 1; among equals the first in reading order gets the gradient, as in PyTorch.
///
/// # Shapes
///
/// - `x`: `[B, H, W, C]`
/// - returns `[B, ⌈H/2⌉, ⌈W/2⌉, C]`
///
/// # Errors
///
/// If `x` has another rank.
pub fn max_pool(x: &Tensor) -> Result<Tensor> {
    if runs_composed(x.device()) {
        return composed::max_pool(x);
    }
    Ok(apply(MaxPool, x, None)?.y)
}

/// The average of each of `cells × cells` equal cells of the map; one cell is global average pooling.
///
/// # Shapes
///
/// - `x`: `[B, H, W, C]`, H and W multiples of `cells`
/// - returns `[B, cells, cells, C]`
///
/// # Errors
///
/// If the sides are not multiples of `cells`.
pub fn average_pool(x: &Tensor, cells: usize) -> Result<Tensor> {
    if runs_composed(x.device()) {
        return composed::average_pool(x, cells);
    }
    Ok(apply(AveragePool { cells }, x, None)?.y)
}

pub(crate) fn maps(op: &str, dims: &[usize]) -> Result<Maps> {
    match *dims {
        [_, height, width, channels] if height * width * channels > 0 => Ok(Maps { height, width, channels }),
        _ => bail!("{op}: expected [B, H, W, C], got {dims:?}"),
    }
}

pub(crate) struct MaxPool;

impl Unit for MaxPool {
    const NAME: &'static str = "max_pool";
    type Saved<T: Real> = Vec<u8>;

    fn output_shape(&self, x: &[usize], _: usize) -> Result<Vec<usize>> {
        let out = maps(Self::NAME, x)?.halved();
        Ok(vec![x[0], out.height, out.width, out.channels])
    }

    fn forward<T: Real>(&self, x: Argument<'_, T>, _: &[T]) -> Result<Forward<T, Vec<u8>>> {
        let (y, places) = pool::max(maps(Self::NAME, x.dims)?, x.values);
        Ok(Forward::new(y, places))
    }

    fn backward<T: Real>(&self, context: Context<'_, T, Vec<u8>>) -> Result<Gradients<T>> {
        let dx = pool::max_backward(maps(Self::NAME, context.x.dims)?, &context.saved, context.dy);
        Ok(Gradients { x: context.wants_dx.then_some(dx), parameters: Vec::new() })
    }
}

pub(crate) struct AveragePool {
    pub(crate) cells: usize,
}

impl Unit for AveragePool {
    const NAME: &'static str = "average_pool";
    type Saved<T: Real> = ();

    fn output_shape(&self, x: &[usize], _: usize) -> Result<Vec<usize>> {
        let maps = maps(Self::NAME, x)?;
        if self.cells == 0 || maps.height % self.cells != 0 || maps.width % self.cells != 0 {
            bail!("average_pool: expected sides that are multiples of {}, got {x:?}", self.cells)
        }
        Ok(vec![x[0], self.cells, self.cells, maps.channels])
    }

    fn forward<T: Real>(&self, x: Argument<'_, T>, _: &[T]) -> Result<Forward<T, ()>> {
        Ok(Forward::new(pool::average(maps(Self::NAME, x.dims)?, self.cells, x.values), ()))
    }

    fn backward<T: Real>(&self, context: Context<'_, T, ()>) -> Result<Gradients<T>> {
        let dx = pool::average_backward(maps(Self::NAME, context.x.dims)?, self.cells, context.dy);
        Ok(Gradients { x: context.wants_dx.then_some(dx), parameters: Vec::new() })
    }
}
