//! Cross entropy.

use super::{Argument, Array, Context, Cuda, CudaReal, CudaUnit, Forward, Gradients, Grid, KernelArgument, View};
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
    type CudaSaved<T: CudaReal> = Kept<T>;

    fn forward<T: CudaReal>(&self, cuda: &Cuda, x: Argument<'_, T>, _: View<'_, T>) -> Result<Forward<T, Kept<T>>> {
        let _span = cuda.span(OpClass::Loss, Work::elementwise::<T>(x.values.len(), 5, 2))?;
        let (rows, classes) = (x.dims[0], x.dims[1]);
        let labels = cuda.upload(&self.labels)?;
        let mut probs = cuda.alloc(x.values.len())?;
        let mut losses = cuda.alloc::<T>(rows)?;
        let arguments = [
            x.values.into(),
            labels.view().into(),
            KernelArgument::sum::<T>(self.smoothing),
            probs.view_mut().into(),
            losses.view_mut().into(),
            rows.into(),
            classes.into(),
        ];
        cuda.launch::<Exact<T>>("cross_entropy", Grid::warps(rows), &arguments)?;
        let mut mean = cuda.alloc(1)?;
        let grid = Grid { blocks: (1, 1), threads: (256, 1), shared: 0 };
        cuda.launch::<Exact<T>>("mean_of_all", grid, &[losses.view().into(), mean.view_mut().into(), rows.into()])?;
        Ok(Forward::new(mean, Kept { probs, labels }))
    }

    fn backward<T: CudaReal>(&self, cuda: &Cuda, context: Context<'_, T, Kept<T>>) -> Result<Gradients<T>> {
        if !context.wants_dx {
            return Ok(Gradients { x: None, parameters: None });
        }
        let _span = cuda.span(OpClass::Loss, Work::elementwise::<T>(context.x.values.len(), 2, 2))?;
        let (n, rows, classes) = (context.x.values.len(), context.x.dims[0], context.x.dims[1]);
        let mut dx = cuda.alloc(n)?;
        let arguments = [
            context.saved.probs.view().into(),
            context.saved.labels.view().into(),
            KernelArgument::sum::<T>(self.smoothing),
            context.dy.into(),
            dx.view_mut().into(),
            n.into(),
            rows.into(),
            classes.into(),
        ];
        cuda.launch::<Exact<T>>("cross_entropy_backward", Grid::over(n), &arguments)?;
        Ok(Gradients { x: Some(dx), parameters: None })
    }
}
