//! Linear layers, GELU, dropout: what works on rows.

use super::pieces::Pieces;
use super::{
    Argument, Array, Context, Cuda, CudaNumbers, CudaReal, CudaUnit, Factor, Forward, Gradients, Grid, KernelArgument,
    View, ViewMut,
};
use crate::kernels::linear::Widths;
use crate::kernels::numbers::{Bf16, Exact};
use crate::profile::{OpClass, Work};
use crate::rows::{DropoutUnit, Gelu, Linear};
use crate::{Dropout, Precision};
use candle_core::Result;
use selfie_random::DropoutKey;

/// Rows of `width` numbers that begin `step` apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub(crate) count: usize,
    pub(crate) width: usize,
    pub(crate) step: usize,
    /// From one row to the next in the keep decisions of dropout.
    pub(crate) drop_step: usize,
}

impl Rows {
    /// Rows end to end.
    pub(crate) fn of(count: usize, width: usize) -> Self {
        Self { count, width, step: width, drop_step: width }
    }

    pub(crate) fn len(self) -> usize {
        self.count * self.width
    }
}

/// What a kernel draws dropout by.
pub(super) fn push_dropout(arguments: &mut Vec<KernelArgument>, dropout: Option<Dropout>) {
    let (key, drops) = match dropout {
        Some(dropout) => (dropout.key, true),
        None => (DropoutKey { seed: 0, step: 0, layer: 0 }, false),
    };
    let p = dropout.map_or(0.0, |dropout| dropout.p);
    // Where everything is dropped, no factor is left.
    let (drop_below, keep_scale) = DropoutKey::drop_below(p).map_or((0, 0.0), |below| (below, 1.0 / (1.0 - p)));
    arguments.extend([
        KernelArgument::Count(key.seed as u32),
        KernelArgument::Count((key.seed >> 32) as u32),
        KernelArgument::Count(key.step),
        KernelArgument::Count(key.layer),
        KernelArgument::Count(drop_below),
        drops.into(),
        KernelArgument::Double(keep_scale),
    ]);
}

impl Cuda {
    /// `rows` of `x` as products multiply them, less what dropout takes.
    pub(crate) fn to_stored<M: CudaNumbers>(
        &self,
        x: View<'_, M::Sum>,
        rows: Rows,
        dropout: Option<crate::Dropout>,
    ) -> Result<Array<M::Stored>> {
        let mut y = self.alloc(rows.len())?;
        let mut arguments = vec![
            x.into(),
            rows.step.into(),
            y.view_mut().into(),
            rows.len().into(),
            rows.width.into(),
            rows.drop_step.into(),
        ];
        push_dropout(&mut arguments, dropout);
        self.launch::<M>("to_stored", Grid::over(rows.len()), &arguments)?;
        Ok(y)
    }

    /// `x · weightᵀ`, without the bias.
    pub(super) fn linear<M: CudaNumbers>(
        &self,
        Widths { input, output }: Widths,
        x: View<'_, M::Stored>,
        weight: View<'_, M::Stored>,
    ) -> Result<Array<M::Sum>> {
        let rows = x.len() / input;
        let _span = self.span(OpClass::LinearForward, linear_work(rows, input, output))?;
        let mut y = self.alloc(rows * output)?;
        let factors = (Factor::plain(x), Factor::transposed(weight));
        self.product::<M, _>((rows, input, output), factors, y.view_mut(), false)?;
        Ok(y)
    }

    /// Writes the gradients of a linear layer's weight and bias.
    pub(super) fn linear_backward_parameters<M: CudaNumbers>(
        &self,
        Widths { input, output }: Widths,
        x: View<'_, M::Stored>,
        dy: View<'_, M::Stored>,
        [d_weight, d_bias]: [ViewMut<'_, M::Sum>; 2],
    ) -> Result<()> {
        let rows = x.len() / input;
        let _span = self.span(OpClass::LinearBackward, linear_work(rows, input, output))?;
        let factors = (Factor::transposed(dy), Factor::plain(x));
        self.product::<M, _>((output, rows, input), factors, d_weight, false)?;
        self.column_sums::<M>(dy, d_bias)
    }

    /// The gradient of a linear layer's input.
    pub(super) fn linear_backward_input<M: CudaNumbers>(
        &self,
        Widths { input, output }: Widths,
        dy: View<'_, M::Stored>,
        weight: View<'_, M::Stored>,
    ) -> Result<Array<M::Sum>> {
        let rows = dy.len() / output;
        let _span = self.span(OpClass::LinearBackward, linear_work(rows, input, output))?;
        let mut dx = self.alloc(rows * input)?;
        let factors = (Factor::plain(dy), Factor::plain(weight));
        self.product::<M, _>((rows, output, input), factors, dx.view_mut(), false)?;
        Ok(dx)
    }

    /// The sum of each column.
    fn column_sums<M: CudaNumbers>(&self, x: View<'_, M::Stored>, sums: ViewMut<'_, M::Sum>) -> Result<()> {
        let width = sums.len();
        let rows = x.len() / width;
        let pieces = Pieces::of_rows::<M::Sum>(rows, width, 1);
        let mut partial = self.alloc::<M::Sum>(pieces.count * width)?;
        let arguments = [x.into(), partial.view_mut().into(), rows.into(), width.into(), pieces.rows_of_piece.into()];
        self.launch::<M>("column_sums", pieces.grid, &arguments)?;
        self.join_sums::<M>(partial.view(), pieces.count, sums)
    }

    pub(super) fn join_sums<M: CudaNumbers>(
        &self,
        partial: View<'_, M::Sum>,
        pieces: usize,
        sums: ViewMut<'_, M::Sum>,
    ) -> Result<()> {
        const ROWS: usize = 8;
        let width = sums.len();
        let shared = 32 * ROWS * size_of::<M::Sum>();
        let grid = Grid { blocks: (width.div_ceil(32), 1), threads: (32, ROWS), shared };
        self.launch::<M>("join_sums", grid, &[partial.into(), pieces.into(), sums.into(), width.into()])
    }

    /// `dropout(y + bias) + residual`, in place. The residual's rows begin `residual_step` apart.
    pub(super) fn finish_rows<M: CudaNumbers>(
        &self,
        y: &mut Array<M::Sum>,
        (bias, rows): (View<'_, M::Sum>, Rows),
        residual: Option<(View<'_, M::Sum>, usize)>,
        dropout: Option<Dropout>,
    ) -> Result<()> {
        let _span = self.span(OpClass::Activation, Work::elementwise::<M::Sum>(y.len(), 3, 3))?;
        let (residual, step) = residual.unzip();
        let mut arguments = vec![
            y.view_mut().into(),
            bias.into(),
            KernelArgument::optional(residual),
            step.unwrap_or(0).into(),
            rows.len().into(),
            rows.width.into(),
            rows.drop_step.into(),
        ];
        push_dropout(&mut arguments, dropout);
        self.launch::<M>("finish_rows", Grid::over(rows.len()), &arguments)
    }

    /// `y += x`; the rows of `y` that are added to begin `step` apart.
    pub(super) fn add_rows<M: CudaNumbers>(
        &self,
        y: &mut Array<M::Sum>,
        step: usize,
        (x, width): (View<'_, M::Sum>, usize),
    ) -> Result<()> {
        let _span = self.span(OpClass::Activation, Work::elementwise::<M::Sum>(x.len(), 1, 3))?;
        let arguments = [y.view_mut().into(), step.into(), x.into(), x.len().into(), width.into()];
        self.launch::<M>("add_rows", Grid::over(x.len()), &arguments)
    }

    /// Adds the bias to `before` and returns the GELU of it.
    pub(super) fn bias_gelu<M: CudaNumbers>(
        &self,
        before: ViewMut<'_, M::Sum>,
        bias: View<'_, M::Sum>,
    ) -> Result<Array<M::Stored>> {
        let n = before.len();
        self.gelu::<M>(before.into(), n, Some(bias))
    }

    /// GELU of `n` numbers, to which the bias is added in place; without one they stay as they are.
    fn gelu<M: CudaNumbers>(
        &self,
        before: KernelArgument,
        n: usize,
        bias: Option<View<'_, M::Sum>>,
    ) -> Result<Array<M::Stored>> {
        let _span = self.span(OpClass::Activation, Work::elementwise::<M::Sum>(n, 5, 3))?;
        let mut after = self.alloc(n)?;
        let width = bias.map_or(1, View::len);
        let arguments = [before, KernelArgument::optional(bias), after.view_mut().into(), n.into(), width.into()];
        self.launch::<M>("bias_gelu", Grid::over(n), &arguments)?;
        Ok(after)
    }

    pub(super) fn gelu_backward<M: CudaNumbers>(
        &self,
        before: View<'_, M::Sum>,
        dy: View<'_, M::Sum>,
    ) -> Result<Array<M::Stored>> {
        let _span = self.span(OpClass::Activation, Work::elementwise::<M::Sum>(dy.len(), 8, 3))?;
        let mut dx = self.alloc(dy.len())?;
        let arguments = [before.into(), dy.into(), dx.view_mut().into(), dy.len().into()];
        self.launch::<M>("gelu_backward", Grid::over(dy.len()), &arguments)?;
        Ok(dx)
    }

    fn drop<T: CudaReal>(&self, x: View<'_, T>, dropout: Dropout) -> Result<Array<T>> {
        let _span = self.span(OpClass::Activation, Work::elementwise::<T>(x.len(), 1, 2))?;
        let mut y = self.alloc(x.len())?;
        let mut arguments = vec![x.into(), y.view_mut().into(), x.len().into()];
        push_dropout(&mut arguments, Some(dropout));
        self.launch::<Exact<T>>("drop", Grid::over(x.len()), &arguments)?;
        Ok(y)
    }
}

fn linear_work(rows: usize, input: usize, output: usize) -> Work {
    Work { flop: 2 * (rows * input * output) as u64, bytes: 0 }
}

impl Linear {
    fn forward_on<M: CudaNumbers>(
        &self,
        cuda: &Cuda,
        x: Argument<'_, M::Sum>,
        parameters: View<'_, M::Sum>,
    ) -> Result<Array<M::Sum>> {
        let widths = self.widths(x.dims);
        let split = widths.input * widths.output;
        let factor = M::factors(cuda, x.values)?;
        let weight = M::factors(cuda, parameters.slice(0..split))?;
        let mut y = cuda.linear::<M>(widths, factor.view(), weight.view())?;
        let rows = Rows::of(y.len() / widths.output, widths.output);
        cuda.finish_rows::<M>(&mut y, (parameters.slice(split..parameters.len()), rows), None, None)?;
        Ok(y)
    }

    fn backward_on<M: CudaNumbers>(&self, cuda: &Cuda, context: &Context<'_, M::Sum, ()>) -> Result<Gradients<M::Sum>> {
        let widths = self.widths(context.x.dims);
        let split = widths.input * widths.output;
        let dy = M::factors(cuda, context.dy)?;
        let x = M::factors(cuda, context.x.values)?;
        let mut parameters = cuda.alloc(context.parameters.len())?;
        let both = parameters.view_mut().disjoint([0..split, split..context.parameters.len()]);
        cuda.linear_backward_parameters::<M>(widths, x.view(), dy.view(), both)?;
        let x = match context.wants_dx {
            true => {
                let weight = M::factors(cuda, context.parameters.slice(0..split))?;
                Some(cuda.linear_backward_input::<M>(widths, dy.view(), weight.view())?)
            }
            false => None,
        };
        Ok(Gradients { x, parameters: Some(parameters) })
    }
}

impl CudaUnit for Linear {
    type CudaSaved<T: CudaReal> = ();

    fn forward<T: CudaReal>(&self, cuda: &Cuda, x: Argument<'_, T>, parameters: View<'_, T>) -> Result<Forward<T, ()>> {
        let y = match self.precision {
            Precision::Full => self.forward_on::<Exact<T>>(cuda, x, parameters),
            Precision::Bf16 => self.forward_on::<Bf16<T>>(cuda, x, parameters),
        };
        Ok(Forward::new(y?, ()))
    }

    fn backward<T: CudaReal>(&self, cuda: &Cuda, context: Context<'_, T, ()>) -> Result<Gradients<T>> {
        match self.precision {
            Precision::Full => self.backward_on::<Exact<T>>(cuda, &context),
            Precision::Bf16 => self.backward_on::<Bf16<T>>(cuda, &context),
        }
    }
}

impl CudaUnit for Gelu {
    type CudaSaved<T: CudaReal> = ();

    fn forward<T: CudaReal>(&self, cuda: &Cuda, x: Argument<'_, T>, _: View<'_, T>) -> Result<Forward<T, ()>> {
        Ok(Forward::new(cuda.gelu::<Exact<T>>(x.values.into(), x.values.len(), None)?, ()))
    }

    fn backward<T: CudaReal>(&self, cuda: &Cuda, context: Context<'_, T, ()>) -> Result<Gradients<T>> {
        let dx = cuda.gelu_backward::<Exact<T>>(context.x.values, context.dy)?;
        Ok(Gradients { x: context.wants_dx.then_some(dx), parameters: None })
    }
}

impl CudaUnit for DropoutUnit {
    type CudaSaved<T: CudaReal> = ();

    fn forward<T: CudaReal>(&self, cuda: &Cuda, x: Argument<'_, T>, _: View<'_, T>) -> Result<Forward<T, ()>> {
        Ok(Forward::new(cuda.drop(x.values, self.0)?, ()))
    }

    fn backward<T: CudaReal>(&self, cuda: &Cuda, context: Context<'_, T, ()>) -> Result<Gradients<T>> {
        Ok(Gradients { x: Some(cuda.drop(context.dy, self.0)?).filter(|_| context.wants_dx), parameters: None })
    }
}
