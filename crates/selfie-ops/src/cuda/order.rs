//! Rows in the order that every image has of its own.

use super::launch::THREADS;
use super::{Argument, Context, Cuda, CudaReal, CudaUnit, Forward, Gradients, Grid, View};
use crate::kernels::numbers::Exact;
use crate::order::RowsInOrder;
use crate::profile::{OpClass, Work};
use candle_core::Result;

/// Images that one piece of a table's gradient adds up.
const IMAGES_PER_PIECE: usize = 16;

impl CudaUnit for RowsInOrder {
    type CudaSaved<T: CudaReal> = ();

    fn forward<T: CudaReal>(&self, cuda: &Cuda, x: Argument<'_, T>, _: View<'_, T>) -> Result<Forward<T, ()>> {
        let (places, width) = (x.dims[1], x.dims[2]);
        let n = self.n_images * places * width;
        let _span = cuda.span(OpClass::Activation, Work::elementwise::<T>(n, 0, 2))?;
        let (storage, layout) = self.order.storage_and_layout();
        let order = cuda.view::<u32>(&storage, layout)?;
        let step = if x.dims[0] == 1 { 0 } else { places };
        let mut y = cuda.alloc(n)?;
        let arguments =
            [x.values.into(), order.into(), y.view_mut().into(), n.into(), places.into(), width.into(), step.into()];
        cuda.launch::<Exact<T>>("rows_in_order", Grid::over(n), &arguments)?;
        Ok(Forward::new(y, ()))
    }

    fn backward<T: CudaReal>(&self, cuda: &Cuda, context: Context<'_, T, ()>) -> Result<Gradients<T>> {
        if !context.wants_dx {
            return Ok(Gradients { x: None, parameters: None });
        }
        let _span = cuda.span(OpClass::Activation, Work::elementwise::<T>(context.dy.len(), 1, 2))?;
        let (images, places, width) = (context.x.dims[0], context.x.dims[1], context.x.dims[2]);
        let (storage, layout) = self.order.storage_and_layout();
        let order = cuda.view::<u32>(&storage, layout)?;
        if images == self.n_images {
            let mut dx = cuda.zeros(images * places * width)?;
            let n = context.dy.len();
            let arguments =
                [context.dy.into(), order.into(), dx.view_mut().into(), n.into(), places.into(), width.into()];
            cuda.launch::<Exact<T>>("put_in_order", Grid::over(n), &arguments)?;
            return Ok(Gradients { x: Some(dx), parameters: None });
        }
        let n = places * width;
        let mut dx = cuda.alloc(n)?;
        let pieces = self.n_images.div_ceil(IMAGES_PER_PIECE);
        let mut partial = cuda.alloc::<T>(pieces * n)?;
        let arguments = [
            context.dy.into(),
            order.into(),
            partial.view_mut().into(),
            n.into(),
            places.into(),
            width.into(),
            self.n_images.into(),
            IMAGES_PER_PIECE.into(),
        ];
        let grid = Grid { blocks: (n.div_ceil(THREADS), pieces), threads: (THREADS, 1), shared: 0 };
        cuda.launch::<Exact<T>>("sum_in_order", grid, &arguments)?;
        cuda.join_sums::<Exact<T>>(partial.view(), pieces, dx.view_mut())?;
        Ok(Gradients { x: Some(dx), parameters: None })
    }
}
