//! Rows in the order that every image has of its own.

use super::launch::THREADS;
use super::{Back, Cuda, CudaReal, CudaUnit, Done, Gradients, Grid, Operand, View, on_cuda};
use crate::kernels::numbers::Exact;
use crate::order::RowsInOrder;
use crate::profile::{OpClass, Work};
use candle_core::Result;

/// Images that one piece of a table's gradient adds up.
const IMAGES_PER_PIECE: usize = 16;

impl CudaUnit for RowsInOrder {
    type Left<T: CudaReal> = ();

    fn forward<T: CudaReal>(&self, cuda: &Cuda, x: Operand<'_, T>, _: View<'_, T>) -> Result<Done<T, ()>> {
        let (places, width) = (x.dims[1], x.dims[2]);
        let n = self.n_images * places * width;
        let _span = cuda.span(OpClass::Activation, Work::elementwise::<T>(n, 0, 2))?;
        let (storage, layout) = self.order.storage_and_layout();
        let order = on_cuda::<u32>(&storage, layout)?;
        let step = if x.dims[0] == 1 { 0 } else { places };
        let mut y = cuda.alloc(n)?;
        let arguments =
            [x.values.into(), order.into(), y.view_mut().into(), n.into(), places.into(), width.into(), step.into()];
        cuda.launch::<Exact<T>>("rows_in_order", Grid::over(n), &arguments)?;
        Ok(Done::new(y, ()))
    }

    fn backward<T: CudaReal>(&self, cuda: &Cuda, back: Back<'_, T, ()>) -> Result<Gradients<T>> {
        if !back.wants_dx {
            return Ok(Gradients { x: None, parameters: None });
        }
        let _span = cuda.span(OpClass::Activation, Work::elementwise::<T>(back.dy.len(), 1, 2))?;
        let (images, places, width) = (back.x.dims[0], back.x.dims[1], back.x.dims[2]);
        let (storage, layout) = self.order.storage_and_layout();
        let order = on_cuda::<u32>(&storage, layout)?;
        let mut dx = cuda.alloc(images * places * width)?;
        if images == self.n_images {
            let n = back.dy.len();
            let arguments = [back.dy.into(), order.into(), dx.view_mut().into(), n.into(), places.into(), width.into()];
            cuda.launch::<Exact<T>>("put_in_order", Grid::over(n), &arguments)?;
            return Ok(Gradients { x: Some(dx), parameters: None });
        }
        let n = places * width;
        let pieces = self.n_images.div_ceil(IMAGES_PER_PIECE);
        let mut partial = cuda.alloc::<T>(pieces * n)?;
        let arguments = [
            back.dy.into(),
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
