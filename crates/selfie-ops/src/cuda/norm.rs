//! Batch normalisation of maps `[rows, channels]`.

use super::pieces::Channels;
use super::{
    Argument, Array, Context, Cuda, CudaNumbers, CudaReal, CudaUnit, Forward, Gradients, Grid, KernelArgument, View,
    ViewMut,
};
use crate::conv::BatchNormUnit;
use crate::kernels::norm::EPSILON;
use crate::kernels::numbers::{Exact, Numbers};
use crate::profile::{OpClass, Work};
use candle_core::Result;

/// A map of its own.
type Map<M> = Array<<M as Numbers>::Stored>;
/// What is added to a map, and where the sum goes.
type Added<'a, M> = (View<'a, <M as Numbers>::Stored>, ViewMut<'a, <M as Numbers>::Stored>);

/// Mean and sum of squared deviations of every channel, `[pieces, 2, channels]`.
#[derive(Debug)]
pub(super) struct Moments<T> {
    values: Array<T>,
    pieces: usize,
    rows_of_piece: usize,
    rows: usize,
}

/// A normalisation ready to apply, `[4, channels]`: scale, shift, mean, 1 / standard deviation.
#[derive(Debug)]
pub(crate) struct Norm<T> {
    values: Array<T>,
    pub(super) channels: usize,
    /// Rows the moments were taken over; 0 for running statistics, through which no gradient flows.
    rows: usize,
}

/// Gain and bias of a norm.
#[derive(Clone, Copy, Debug)]
pub(super) struct GainAndBias<'a, T> {
    pub(super) gain: View<'a, T>,
    pub(super) bias: View<'a, T>,
}

/// Where a norm's gradients go.
#[derive(Debug)]
pub(super) struct NormGradients<'a, T> {
    pub(super) gain: ViewMut<'a, T>,
    pub(super) bias: ViewMut<'a, T>,
}

impl<T: CudaReal> Norm<T> {
    /// From running statistics `[mean…, variance…]`.
    pub(super) fn running<M: CudaNumbers<Sum = T>>(
        cuda: &Cuda,
        statistics: View<'_, T>,
        parameters: GainAndBias<'_, T>,
    ) -> Result<Self> {
        let channels = parameters.gain.len();
        let mut values = cuda.alloc(4 * channels)?;
        let arguments = [
            statistics.into(),
            channels.into(),
            parameters.gain.into(),
            parameters.bias.into(),
            KernelArgument::Double(EPSILON),
            values.view_mut().into(),
        ];
        cuda.launch::<M>("norm_of_running", Grid::over(channels), &arguments)?;
        Ok(Self { values, channels, rows: 0 })
    }

    pub(super) fn view(&self) -> View<'_, T> {
        self.values.view()
    }
}

/// A map and the gradient of what came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Through<'a, S> {
    pub(super) x: View<'a, S>,
    pub(super) dy: View<'a, S>,
    /// Added to the gradient of x.
    pub(super) residual: Option<View<'a, S>>,
    /// Whether a ReLU follows the norm.
    pub(super) relu: bool,
}

impl Cuda {
    /// Moments of a map, for [`Self::norm`].
    pub(super) fn moments<M: CudaNumbers>(&self, x: View<'_, M::Stored>, channels: usize) -> Result<Moments<M::Sum>> {
        self.moments_of_sum::<M>(x, None, channels)
    }

    /// `x + added`, and moments of it.
    pub(super) fn add_with_moments<M: CudaNumbers>(
        &self,
        x: View<'_, M::Stored>,
        added: View<'_, M::Stored>,
        channels: usize,
    ) -> Result<(Map<M>, Moments<M::Sum>)> {
        let mut joined = self.alloc(x.len())?;
        let moments = self.moments_of_sum::<M>(x, Some((added, joined.view_mut())), channels)?;
        Ok((joined, moments))
    }

    fn moments_of_sum<M: CudaNumbers>(
        &self,
        x: View<'_, M::Stored>,
        added: Option<Added<'_, M>>,
        channels: usize,
    ) -> Result<Moments<M::Sum>> {
        let _span = self.span(OpClass::Norm, Work::elementwise::<M::Stored>(x.len(), 4, 1))?;
        let aligned = x.is_aligned() && added.as_ref().is_none_or(|(added, _)| added.is_aligned());
        let at = Channels::of::<M>(x.len(), channels, aligned);
        let pieces = at.pieces::<M::Sum>();
        let mut values = self.alloc(pieces.count * 2 * channels)?;
        let (added, joined) = added.unzip();
        let arguments = [
            x.into(),
            KernelArgument::optional(added),
            KernelArgument::optional(joined.as_ref().map(ViewMut::view)),
            values.view_mut().into(),
            at.rows.into(),
            at.packs().into(),
            pieces.rows_of_piece.into(),
        ];
        self.launch::<M>(&at.kernel("moments"), pieces.grid, &arguments)?;
        Ok(Moments { values, pieces: pieces.count, rows_of_piece: pieces.rows_of_piece, rows: at.rows })
    }

    /// The normalisation of a map by its own moments; writes `[mean…, unbiased variance…]` where asked.
    pub(super) fn norm<M: CudaNumbers>(
        &self,
        moments: &Moments<M::Sum>,
        parameters: GainAndBias<'_, M::Sum>,
        statistics: Option<ViewMut<'_, M::Sum>>,
    ) -> Result<Norm<M::Sum>> {
        let channels = parameters.gain.len();
        let mut values = self.alloc(4 * channels)?;
        let arguments = [
            moments.values.view().into(),
            moments.pieces.into(),
            moments.rows_of_piece.into(),
            channels.into(),
            moments.rows.into(),
            parameters.gain.into(),
            parameters.bias.into(),
            KernelArgument::Double(EPSILON),
            values.view_mut().into(),
            KernelArgument::optional(statistics.as_ref().map(ViewMut::view)),
        ];
        self.launch::<M>("norm_of_moments", join_grid(channels), &arguments)?;
        Ok(Norm { values, channels, rows: moments.rows })
    }

    /// `norm(x)`, with ReLU where asked.
    pub(super) fn apply_norm<M: CudaNumbers>(
        &self,
        x: View<'_, M::Stored>,
        norm: &Norm<M::Sum>,
        relu: bool,
    ) -> Result<Array<M::Stored>> {
        let _span = self.span(OpClass::Norm, Work::elementwise::<M::Stored>(x.len(), 2, 2))?;
        let at = Channels::of::<M>(x.len(), norm.channels, x.is_aligned());
        let mut y = self.alloc(x.len())?;
        let pieces = at.pieces_of_threads(at.rows);
        let arguments = [
            x.into(),
            norm.view().into(),
            y.view_mut().into(),
            at.rows.into(),
            at.packs().into(),
            pieces.rows_of_piece.into(),
            relu.into(),
        ];
        self.launch::<M>(&at.kernel("apply_norm"), pieces.grid, &arguments)?;
        Ok(y)
    }

    /// `relu(norm(x) + shortcut)`, the shortcut normalised where it has a norm.
    pub(super) fn join_shortcut<M: CudaNumbers>(
        &self,
        (x, norm): (View<'_, M::Stored>, &Norm<M::Sum>),
        (shortcut, shortcut_norm): (View<'_, M::Stored>, Option<&Norm<M::Sum>>),
    ) -> Result<Array<M::Stored>> {
        let _span = self.span(OpClass::Norm, Work::elementwise::<M::Stored>(x.len(), 4, 3))?;
        let at = Channels::of::<M>(x.len(), norm.channels, x.is_aligned() && shortcut.is_aligned());
        let mut y = self.alloc(x.len())?;
        let pieces = at.pieces_of_threads(at.rows);
        let arguments = [
            x.into(),
            norm.view().into(),
            shortcut.into(),
            KernelArgument::optional(shortcut_norm.map(Norm::view)),
            y.view_mut().into(),
            at.rows.into(),
            at.packs().into(),
            pieces.rows_of_piece.into(),
        ];
        self.launch::<M>(&at.kernel("join_shortcut"), pieces.grid, &arguments)?;
        Ok(y)
    }

    /// `a + b`.
    pub(super) fn add_maps<M: CudaNumbers>(
        &self,
        a: View<'_, M::Stored>,
        b: View<'_, M::Stored>,
    ) -> Result<Array<M::Stored>> {
        let mut y = self.alloc(a.len())?;
        let arguments = [a.into(), b.into(), y.view_mut().into(), a.len().into()];
        self.launch::<M>("add_maps", Grid::over(a.len()), &arguments)?;
        Ok(y)
    }

    /// `dy` where `out`, a ReLU's output, is above zero.
    pub(super) fn mask_by_output<M: CudaNumbers>(
        &self,
        dy: View<'_, M::Stored>,
        out: View<'_, M::Stored>,
    ) -> Result<Array<M::Stored>> {
        let mut dz = self.alloc(dy.len())?;
        let arguments = [dy.into(), out.into(), dz.view_mut().into(), dy.len().into()];
        self.launch::<M>("mask_by_output", Grid::over(dy.len()), &arguments)?;
        Ok(dz)
    }

    /// The gradient of a norm's input; writes those of its parameters.
    pub(super) fn norm_backward<M: CudaNumbers>(
        &self,
        norm: &Norm<M::Sum>,
        Through { x, dy, residual, relu }: Through<'_, M::Stored>,
        gradients: NormGradients<'_, M::Sum>,
    ) -> Result<Array<M::Stored>> {
        let _span = self.span(OpClass::Norm, Work::elementwise::<M::Stored>(x.len(), 11, 5))?;
        let channels = norm.channels;
        let aligned = [Some(x), Some(dy), residual].into_iter().flatten().all(View::is_aligned);
        let at = Channels::of::<M>(x.len(), channels, aligned);
        let pieces = at.pieces::<M::Sum>();
        let mut sums = self.alloc::<M::Sum>(pieces.count * 2 * channels)?;
        let arguments = [
            dy.into(),
            x.into(),
            norm.view().into(),
            sums.view_mut().into(),
            at.rows.into(),
            at.packs().into(),
            pieces.rows_of_piece.into(),
            relu.into(),
        ];
        self.launch::<M>(&at.kernel("norm_backward_sums"), pieces.grid, &arguments)?;
        let mut line = self.alloc::<M::Sum>(2 * channels)?;
        let arguments = [
            sums.view().into(),
            pieces.count.into(),
            channels.into(),
            norm.rows.into(),
            norm.view().into(),
            line.view_mut().into(),
            gradients.gain.into(),
            gradients.bias.into(),
        ];
        self.launch::<M>("norm_backward_line", join_grid(channels), &arguments)?;
        let mut dx = self.alloc(x.len())?;
        let pieces = at.pieces_of_threads(at.rows);
        let arguments = [
            dy.into(),
            x.into(),
            norm.view().into(),
            line.view().into(),
            KernelArgument::optional(residual),
            dx.view_mut().into(),
            at.rows.into(),
            at.packs().into(),
            pieces.rows_of_piece.into(),
            relu.into(),
        ];
        self.launch::<M>(&at.kernel("norm_backward"), pieces.grid, &arguments)?;
        Ok(dx)
    }
}

impl CudaUnit for BatchNormUnit {
    type CudaSaved<T: CudaReal> = Norm<T>;

    fn forward<T: CudaReal>(
        &self,
        cuda: &Cuda,
        x: Argument<'_, T>,
        parameters: View<'_, T>,
    ) -> Result<Forward<T, Norm<T>>> {
        let channels = parameters.len() / 2;
        let both = GainAndBias { gain: parameters.slice(0..channels), bias: parameters.slice(channels..2 * channels) };
        let (norm, statistics) = match &self.running {
            Some(running) => {
                let running = running.to_dtype(T::DTYPE)?.contiguous()?;
                let (storage, layout) = running.storage_and_layout();
                (Norm::running::<Exact<T>>(cuda, cuda.view(&storage, layout)?, both)?, None)
            }
            None => {
                let mut statistics = cuda.alloc(2 * channels)?;
                let moments = cuda.moments::<Exact<T>>(x.values, channels)?;
                let norm = cuda.norm::<Exact<T>>(&moments, both, Some(statistics.view_mut()))?;
                (norm, Some(statistics))
            }
        };
        Ok(Forward { y: cuda.apply_norm::<Exact<T>>(x.values, &norm, self.with_relu)?, saved: norm, statistics })
    }

    fn backward<T: CudaReal>(&self, cuda: &Cuda, context: Context<'_, T, Norm<T>>) -> Result<Gradients<T>> {
        let channels = context.saved.channels;
        let mut parameters = cuda.alloc(2 * channels)?;
        let [gain, bias] = parameters.view_mut().disjoint([0..channels, channels..2 * channels]);
        let through = Through { x: context.x.values, dy: context.dy, residual: None, relu: self.with_relu };
        let dx = cuda.norm_backward::<Exact<T>>(&context.saved, through, NormGradients { gain, bias })?;
        Ok(Gradients { x: context.wants_dx.then_some(dx), parameters: Some(parameters) })
    }
}

/// 32 × 32 threads for every 32 channels.
fn join_grid(channels: usize) -> Grid {
    Grid { blocks: (channels.div_ceil(32), 1), threads: (32, 32), shared: 0 }
}
