//! Convolutions as products with unfolded maps.

use super::norm::Norm;
use super::numbers::Held;
use super::pieces::Channels;
use super::{
    Argument, Array, Context, Cuda, CudaNumbers, CudaReal, CudaUnit, Factor, Forward, Gradients, Grid, KernelArgument,
    View, ViewMut,
};
use crate::conv::ConvUnit;
use crate::kernels::conv::ConvSpec;
use crate::kernels::numbers::Exact;
use crate::profile::{OpClass, Work};
use candle_core::{Result, bail};

/// A convolution of `batch` maps of one size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv {
    spec: ConvSpec,
    batch: usize,
    height: usize,
    width: usize,
    out_height: usize,
    out_width: usize,
}

impl Conv {
    pub(super) fn new(spec: ConvSpec, batch: usize, (height, width): (usize, usize)) -> Result<Self> {
        match (spec.output_side(height), spec.output_side(width)) {
            (Some(out_height), Some(out_width)) => Ok(Self { spec, batch, height, width, out_height, out_width }),
            _ => bail!("a kernel of {} does not fit {height}x{width}", spec.kernel),
        }
    }

    pub(super) fn out_sides(self) -> (usize, usize) {
        (self.out_height, self.out_width)
    }

    fn out_rows(self) -> usize {
        self.batch * self.out_height * self.out_width
    }

    /// The sizes of the product `columns · weight`.
    fn sizes(self) -> (usize, usize, usize) {
        (self.out_rows(), self.spec.depth(), self.spec.out_channels)
    }

    fn work<T>(self, products: u64) -> Work {
        let (rows, depth, out) = self.sizes();
        let bytes = (rows * depth + depth * out + rows * out) * size_of::<T>();
        Work { flop: products * 2 * (rows * depth * out) as u64, bytes: products * bytes as u64 }
    }

    fn window(self) -> [KernelArgument; 7] {
        let Self { spec, height, width, out_height, out_width, .. } = self;
        [height, width, out_height, out_width, spec.kernel, spec.stride, spec.padding].map(KernelArgument::from)
    }

    /// The columns of a map, of `relu(norm(x))` where it has a norm.
    pub(super) fn columns<'a, M: CudaNumbers>(
        self,
        cuda: &Cuda,
        x: View<'a, M::Stored>,
        norm: Option<&Norm<M::Sum>>,
    ) -> Result<Held<'a, M::Stored>> {
        if self.spec.is_direct() {
            return Ok(match norm {
                Some(norm) => Held::Owned(cuda.apply_norm::<M>(x, norm, true)?),
                None => Held::Borrowed(x),
            });
        }
        let _span = cuda.span(
            OpClass::ConvolutionForward,
            Work::elementwise::<M::Stored>(self.out_rows() * self.spec.depth(), 2, 1),
        )?;
        let channels = Channels::of::<M>(x.len(), self.spec.in_channels, x.is_aligned());
        let mut columns = cuda.alloc(self.out_rows() * self.spec.depth())?;
        let norm = KernelArgument::optional(norm.map(Norm::view));
        let (rows, n) = (self.out_rows(), columns.len());
        let mut arguments = vec![x.into(), norm, columns.view_mut().into()];
        let (kernel, grid) = if channels.is_wide() {
            let pieces = channels.pieces_of_threads(rows);
            arguments.extend([rows, channels.packs(), pieces.rows_of_piece].map(KernelArgument::from));
            ("unfold_wide", pieces.grid)
        } else {
            arguments.extend([n, channels.channels].map(KernelArgument::from));
            ("unfold_single", Grid::over(n))
        };
        arguments.extend(self.window());
        cuda.launch::<M>(kernel, grid, &arguments)?;
        Ok(Held::Owned(columns))
    }

    /// `columns · weight`.
    pub(super) fn forward<M: CudaNumbers>(
        self,
        cuda: &Cuda,
        columns: View<'_, M::Stored>,
        weight: View<'_, M::Stored>,
    ) -> Result<Array<M::Stored>> {
        self.forward_onto::<M>(cuda, columns, weight, None)
    }

    /// `columns · weight`, added to a map that nobody else reads, where there is one.
    pub(super) fn forward_onto<M: CudaNumbers>(
        self,
        cuda: &Cuda,
        columns: View<'_, M::Stored>,
        weight: View<'_, M::Stored>,
        added: Option<Array<M::Stored>>,
    ) -> Result<Array<M::Stored>> {
        let _span = cuda.span(OpClass::ConvolutionForward, self.work::<M::Stored>(1))?;
        cuda.product_onto::<M>(self.sizes(), (Factor::plain(columns), Factor::plain(weight)), added)
    }

    /// Writes the gradient of the weight.
    pub(super) fn backward_weight<M: CudaNumbers>(
        self,
        cuda: &Cuda,
        columns: View<'_, M::Stored>,
        dy: View<'_, M::Stored>,
        d_weight: ViewMut<'_, M::Sum>,
    ) -> Result<()> {
        let _span = cuda.span(OpClass::ConvolutionBackward, self.work::<M::Stored>(1))?;
        let (rows, depth, out) = self.sizes();
        let factors = (Factor::transposed(columns), Factor::plain(dy));
        cuda.product::<M, _>((depth, rows, out), factors, d_weight, false)
    }

    /// The gradient of the input, with `added` added.
    pub(super) fn backward_input<M: CudaNumbers>(
        self,
        cuda: &Cuda,
        weight: View<'_, M::Stored>,
        dy: View<'_, M::Stored>,
        added: Option<Array<M::Stored>>,
    ) -> Result<Array<M::Stored>> {
        let _span = cuda.span(OpClass::ConvolutionBackward, self.work::<M::Stored>(1))?;
        let (rows, depth, out) = self.sizes();
        let factors = (Factor::plain(dy), Factor::transposed(weight));
        if self.spec.is_direct() {
            return cuda.product_onto::<M>((rows, out, depth), factors, added);
        }
        let columns = cuda.product_onto::<M>((rows, out, depth), factors, None)?;
        let len = self.batch * self.height * self.width * self.spec.in_channels;
        let channels = Channels::of::<M>(len, self.spec.in_channels, true);
        let mut dx = cuda.alloc(len)?;
        let mut arguments = vec![
            columns.view().into(),
            KernelArgument::optional(added.as_ref().map(Array::view)),
            dx.view_mut().into(),
            channels.all_packs().into(),
            channels.packs().into(),
        ];
        arguments.extend(self.window());
        cuda.launch::<M>(&channels.kernel("fold"), Grid::over(channels.all_packs()), &arguments)?;
        Ok(dx)
    }
}

impl ConvUnit {
    fn on_cuda(&self, dims: &[usize]) -> Result<Conv> {
        Conv::new(self.0, dims[0], (dims[1], dims[2]))
    }
}

impl CudaUnit for ConvUnit {
    type CudaSaved<T: CudaReal> = ();

    fn forward<T: CudaReal>(&self, cuda: &Cuda, x: Argument<'_, T>, weight: View<'_, T>) -> Result<Forward<T, ()>> {
        let conv = self.on_cuda(x.dims)?;
        let columns = conv.columns::<Exact<T>>(cuda, x.values, None)?;
        Ok(Forward::new(conv.forward::<Exact<T>>(cuda, columns.view(), weight)?, ()))
    }

    fn backward<T: CudaReal>(&self, cuda: &Cuda, context: Context<'_, T, ()>) -> Result<Gradients<T>> {
        let conv = self.on_cuda(context.x.dims)?;
        let columns = conv.columns::<Exact<T>>(cuda, context.x.values, None)?;
        let mut parameters = cuda.alloc(context.parameters.len())?;
        conv.backward_weight::<Exact<T>>(cuda, columns.view(), context.dy, parameters.view_mut())?;
        drop(columns);
        let x = match context.wants_dx {
            true => Some(conv.backward_input::<Exact<T>>(cuda, context.parameters, context.dy, None)?),
            false => None,
        };
        Ok(Gradients { x, parameters: Some(parameters) })
    }
}
