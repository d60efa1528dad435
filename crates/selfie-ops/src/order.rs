//! Rows in the order that every image has of its own.

use crate::Real;
use crate::kernels::order;
use crate::profile::{OpClass, Work, span};
use crate::unit::{Argument, Context, Forward, Gradients, Unit, apply, runs_composed};
use candle_core::{DType, Result, Tensor, bail};

/// The rows of `x` in the order of each image: row `i` of image `b` is row `order[b, i]` of `x[b]`, or of the one table.
///
/// # Shapes
///
/// - `x`: `[B, N, D]`, or `[1, N, D]`: one table for all images
/// - `order`: `[B, N]` u32, a permutation of 0…N−1 for each image
/// - returns `[B, N, D]`
///
/// # Errors
///
/// If the shapes do not fit, or, on the CPU, an order is no permutation; on CUDA a place that is none gives zeros.
pub fn rows_in_order(x: &Tensor, order: &Tensor) -> Result<Tensor> {
    let ((images, n, d), (b, _)) = (x.dims3()?, order.dims2()?);
    if order.dims() != [b, n] || (images != b && images != 1) || order.dtype() != DType::U32 || b * n * d == 0 {
        bail!("rows_in_order: expected [B, N, D] or [1, N, D] and [B, N], got {:?} and {:?}", x.dims(), order.dims())
    }
    if runs_composed(x.device()) {
        let step = if images == 1 { 0 } else { n };
        let first: Vec<u32> = (0..b).map(|image| (image * step) as u32).collect();
        let rows = order.broadcast_add(&Tensor::from_vec(first, (b, 1), order.device())?)?.flatten_all()?;
        return x.reshape((images * n, d))?.index_select(&rows, 0)?.reshape((b, n, d));
    }
    Ok(apply(RowsInOrder { order: order.contiguous()?, n_images: b }, x, None)?.y)
}

pub(crate) struct RowsInOrder {
    pub(crate) order: Tensor,
    pub(crate) n_images: usize,
}

impl Unit for RowsInOrder {
    const NAME: &'static str = "rows_in_order";
    /// The orders, image by image.
    type Saved<T: Real> = Vec<u32>;

    fn output_shape(&self, x: &[usize], _: usize) -> Result<Vec<usize>> {
        Ok(vec![self.n_images, x[1], x[2]])
    }

    fn forward<T: Real>(&self, x: Argument<'_, T>, _: &[T]) -> Result<Forward<T, Vec<u32>>> {
        let order: Vec<u32> = self.order.flatten_all()?.to_vec1()?;
        let (n, d) = (x.dims[1], x.dims[2]);
        order::check(&order, n)?;
        let _span = span(OpClass::Activation, Work::elementwise::<T>(order.len() * d, 0, 2));
        Ok(Forward::new(order::take(x.values, &order, (n, d)), order))
    }

    fn backward<T: Real>(&self, context: Context<'_, T, Vec<u32>>) -> Result<Gradients<T>> {
        let (n, d) = (context.x.dims[1], context.x.dims[2]);
        let _span = span(OpClass::Activation, Work::elementwise::<T>(context.dy.len(), 1, 2));
        let dx = context.wants_dx.then(|| order::put(context.dy, &context.saved, (context.x.dims[0], n, d)));
        Ok(Gradients { x: dx, parameters: Vec::new() })
    }
}
