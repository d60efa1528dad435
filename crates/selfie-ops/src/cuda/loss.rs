//! Cross entropy.

use super::{Argument, Array, Back, Cuda, CudaReal, CudaUnit, Done, Gradients, Grid, Operand, View};
use crate::kernels::numbers::Exact;
use crate::loss::CrossEntropy;
use crate::profile::{OpClass, Work};
use candle_core::Result;

/// What cross entropy keeps: probabilities, and the labels on the device.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    probs: Array<T>,
    labels: Array<u32>,
}

impl CudaUnit for CrossEntropy {
    type Left<T: CudaReal> = Kept<T>;

    fn forward<T: CudaReal>(&self, cuda: &Cuda, x: Operand<'_, T>, _: View<'_, T>) -> Result<Done<T, Kept<T>>> {
        let _span = cuda.span(OpClass::Loss, Work::elementwise::<T>(x.values.len(), 5, 2))?;
        let (rows, classes) = (x.dims[0], x.dims[1]);
        let labels = cuda.upload(&self.labels)?;
        let mut probs = cuda.alloc(x.values.len())?;
        let mut losses = cuda.alloc::<T>(rows)?;
        let arguments = [
            x.values.into(),
            labels.view().into(),
            Argument::sum::<T>(self.smoothing),
            probs.view_mut().into(),
            losses.view_mut().into(),
            rows.into(),
            classes.into(),
        ];
        cuda.launch::<Exact<T>>("cross_entropy", Grid::warps(rows), &arguments)?;
        let mut mean = cuda.alloc(1)?;
        let grid = Grid { blocks: (1, 1), threads: (256, 1), shared: 0 };
        cuda.launch::<Exact<T>>("mean_of_all", grid, &[losses.view().into(), mean.view_mut().into(), rows.into()])?;
        Ok(Done::new(mean, Kept { probs, labels }))
    }

    fn backward<T: CudaReal>(&self, cuda: &Cuda, back: Back<'_, T, Kept<T>>) -> Result<Gradients<T>> {
        if !back.wants_dx {
            return Ok(Gradients { x: None, parameters: None });
        }
        let _span = cuda.span(OpClass::Loss, Work::elementwise::<T>(back.x.values.len(), 2, 2))?;
        let (n, rows, classes) = (back.x.values.len(), back.x.dims[0], back.x.dims[1]);
        let mut dx = cuda.alloc(n)?;
        let arguments = [
            back.left.probs.view().into(),
            back.left.labels.view().into(),
            Argument::sum::<T>(self.smoothing),
            back.dy.into(),
            dx.view_mut().into(),
            n.into(),
            rows.into(),
            classes.into(),
        ];
        cuda.launch::<Exact<T>>("cross_entropy_backward", Grid::over(n), &arguments)?;
        Ok(Gradients { x: Some(dx), parameters: None })
    }
}
