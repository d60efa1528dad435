//! Layer normalisation.

use super::pieces::Pieces;
use super::{
    Argument, Array, Context, Cuda, CudaReal, CudaUnit, Forward, Gradients, Grid, KernelArgument, View, ViewMut,
};
use crate::kernels::layer_norm::EPSILON;
use crate::kernels::numbers::Exact;
use crate::profile::{OpClass, Work};
use crate::rows::LayerNorm;
use candle_core::Result;

impl Cuda {
    /// Layer normalisation; gain and bias lie end to end.
    pub(super) fn layer_norm<T: CudaReal>(&self, x: View<'_, T>, parameters: View<'_, T>) -> Result<Array<T>> {
        let _span = self.span(OpClass::LayerNorm, Work::elementwise::<T>(x.len(), 7, 2))?;
        let width = parameters.len() / 2;
        let rows = x.len() / width;
        let mut y = self.alloc(x.len())?;
        let arguments = [
            x.into(),
            parameters.slice(0..width).into(),
            parameters.slice(width..2 * width).into(),
            y.view_mut().into(),
            rows.into(),
            width.into(),
            KernelArgument::sum::<T>(EPSILON),
        ];
        self.launch::<Exact<T>>("layer_norm", Grid::warps(rows), &arguments)?;
        Ok(y)
    }

    /// The gradient of a layer normalisation's input; writes those of gain and bias.
    pub(super) fn layer_norm_backward<T: CudaReal>(
        &self,
        x: View<'_, T>,
        parameters: View<'_, T>,
        dy: View<'_, T>,
        gradients: ViewMut<'_, T>,
    ) -> Result<Array<T>> {
        let _span = self.span(OpClass::LayerNorm, Work::elementwise::<T>(x.len(), 15, 5))?;
        let width = parameters.len() / 2;
        let rows = x.len() / width;
        let mut dx = self.alloc(x.len())?;
        let mut moments = self.alloc::<T>(2 * rows)?;
        let arguments = [
            x.into(),
            parameters.slice(0..width).into(),
            dy.into(),
            dx.view_mut().into(),
            moments.view_mut().into(),
            rows.into(),
            width.into(),
            KernelArgument::sum::<T>(EPSILON),
        ];
        self.launch::<Exact<T>>("layer_norm_backward", Grid::warps(rows), &arguments)?;
        let pieces = Pieces::of_rows::<T>(rows, width, 2);
        let mut partial = self.alloc::<T>(pieces.count * 2 * width)?;
        let arguments = [
            x.into(),
            dy.into(),
            moments.view().into(),
            partial.view_mut().into(),
            rows.into(),
            width.into(),
            pieces.rows_of_piece.into(),
        ];
        self.launch::<Exact<T>>("layer_norm_sums", pieces.grid, &arguments)?;
        self.join_sums::<Exact<T>>(partial.view(), pieces.count, gradients)?;
        Ok(dx)
    }
}

impl CudaUnit for LayerNorm {
    type CudaSaved<T: CudaReal> = ();

    fn forward<T: CudaReal>(&self, cuda: &Cuda, x: Argument<'_, T>, parameters: View<'_, T>) -> Result<Forward<T, ()>> {
        Ok(Forward::new(cuda.layer_norm(x.values, parameters)?, ()))
    }

    fn backward<T: CudaReal>(&self, cuda: &Cuda, context: Context<'_, T, ()>) -> Result<Gradients<T>> {
        let mut parameters = cuda.alloc(context.parameters.len())?;
        let dx = cuda.layer_norm_backward(context.x.values, context.parameters, context.dy, parameters.view_mut())?;
        Ok(Gradients { x: context.wants_dx.then_some(dx), parameters: Some(parameters) })
    }
}
