//! Pools.

use super::{Argument, Array, Context, Cuda, CudaReal, CudaUnit, Forward, Gradients, Grid, KernelArgument, View};
use crate::kernels::numbers::Exact;
use crate::kernels::pool::Maps;
use crate::pool::{AveragePool, MaxPool, maps};
use crate::profile::{OpClass, Work};
use candle_core::Result;

/// The sizes of max-pooling's maps as its kernels take them.
fn extents(before: Maps) -> [KernelArgument; 5] {
    let after = before.halved();
    [before.channels, before.height, before.width, after.height, after.width].map(KernelArgument::from)
}

impl CudaUnit for MaxPool {
    /// Which of its window each output came from.
    type CudaSaved<T: CudaReal> = Array<u8>;

    fn forward<T: CudaReal>(&self, cuda: &Cuda, x: Argument<'_, T>, _: View<'_, T>) -> Result<Forward<T, Array<u8>>> {
        let _span = cuda.span(OpClass::Pool, Work::elementwise::<T>(x.values.len(), 9, 2))?;
        let before = maps("max_pool", x.dims)?;
        let after = before.halved();
        let n = x.dims[0] * after.height * after.width * after.channels;
        let mut y = cuda.alloc(n)?;
        let mut places = cuda.alloc::<u8>(n)?;
        let mut arguments = vec![x.values.into(), y.view_mut().into(), places.view_mut().into(), n.into()];
        arguments.extend(extents(before));
        cuda.launch::<Exact<T>>("max_pool", Grid::over(n), &arguments)?;
        Ok(Forward::new(y, places))
    }

    fn backward<T: CudaReal>(&self, cuda: &Cuda, context: Context<'_, T, Array<u8>>) -> Result<Gradients<T>> {
        if !context.wants_dx {
            return Ok(Gradients { x: None, parameters: None });
        }
        let _span = cuda.span(OpClass::Pool, Work::elementwise::<T>(context.x.values.len(), 9, 2))?;
        let before = maps("max_pool", context.x.dims)?;
        let n = context.x.values.len();
        let mut dx = cuda.alloc(n)?;
        let mut arguments = vec![context.dy.into(), context.saved.view().into(), dx.view_mut().into(), n.into()];
        arguments.extend(extents(before));
        cuda.launch::<Exact<T>>("max_pool_backward", Grid::over(n), &arguments)?;
        Ok(Gradients { x: Some(dx), parameters: None })
    }
}

impl AveragePool {
    fn run<T: CudaReal>(
        &self,
        cuda: &Cuda,
        (kernel, dims): (&str, &[usize]),
        from: View<'_, T>,
        n: usize,
    ) -> Result<Array<T>> {
        let _span = cuda.span(OpClass::Pool, Work::elementwise::<T>(dims.iter().product(), 1, 1))?;
        let maps = maps("average_pool", dims)?;
        let mut to = cuda.alloc(n)?;
        let arguments = [
            from.into(),
            to.view_mut().into(),
            n.into(),
            maps.channels.into(),
            maps.height.into(),
            maps.width.into(),
            self.cells.into(),
        ];
        cuda.launch::<Exact<T>>(kernel, Grid::over(n), &arguments)?;
        Ok(to)
    }
}

impl CudaUnit for AveragePool {
    type CudaSaved<T: CudaReal> = ();

    fn forward<T: CudaReal>(&self, cuda: &Cuda, x: Argument<'_, T>, _: View<'_, T>) -> Result<Forward<T, ()>> {
        let n = x.dims[0] * self.cells * self.cells * x.dims[3];
        Ok(Forward::new(self.run(cuda, ("average_pool", x.dims), x.values, n)?, ()))
    }

    fn backward<T: CudaReal>(&self, cuda: &Cuda, context: Context<'_, T, ()>) -> Result<Gradients<T>> {
        let n = context.x.values.len();
        let dx = self.run(cuda, ("average_pool_backward", context.x.dims), context.dy, n)?;
        Ok(Gradients { x: Some(dx).filter(|_| context.wants_dx), parameters: None })
    }
}
