//! Batch normalisation of maps `[rows, channels]`.

use super::device::THREADS;
use super::{Argument, Array, Cuda, CudaNumbers, CudaReal, Grid, View, ViewMut};
use crate::kernels::norm::EPSILON;
use crate::kernels::numbers::Numbers;
use crate::profile::{OpClass, Work};
use candle_core::Result;

/// Blocks that sums over rows are cut into, about; enough for the largest device.
const BLOCKS: usize = 1056;
/// At most so many pieces of rows, which one block joins.
const MOST_PIECES: usize = 512;

/// Rows that a thread goes over where it adds nothing up.
const ROWS_PER_THREAD: usize = 8;

/// Rows of channels, and how threads go over them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channels {
    pub(super) rows: usize,
    pub(super) channels: usize,
    /// Neighbouring channels a thread reads at once.
    pack: usize,
}

/// Rows cut into pieces, each of which a row of blocks adds up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces {
    pub(super) count: usize,
    pub(super) rows_of_piece: usize,
    pub(super) grid: Grid,
}

impl Pieces {
    /// Of `rows` of `packs` packs, with `sums` sums in each thread, `size` bytes each.
    pub(super) fn new(rows: usize, packs: usize, (sums, size): (usize, usize)) -> Self {
        let (threads, tiles) = threads_and_tiles(packs);
        let wanted = (BLOCKS / tiles).clamp(1, MOST_PIECES);
        let rows_of_piece = rows.div_ceil(wanted).max(threads.1);
        let count = rows.div_ceil(rows_of_piece);
        let shared = threads.0 * threads.1 * sums * size;
        Self { count, rows_of_piece, grid: Grid { blocks: (count, tiles), threads, shared } }
    }
}

/// The threads of a block, packs by rows, and how many blocks lie side by side.
fn threads_and_tiles(packs: usize) -> ((usize, usize), usize) {
    let columns = packs.clamp(1, 32);
    ((columns, THREADS / columns), packs.div_ceil(columns))
}

impl Channels {
    pub(super) fn of<M: CudaNumbers>(len: usize, channels: usize) -> Self {
        let wide = 16 / size_of::<M::Stored>();
        let pack = if channels.is_multiple_of(wide) { wide } else { 1 };
        Self { rows: len / channels, channels, pack }
    }

    pub(super) fn packs(self) -> usize {
        self.channels / self.pack
    }

    /// All packs of all rows.
    pub(super) fn all_packs(self) -> usize {
        self.rows * self.packs()
    }

    /// Pieces of `rows` rows, of which every thread has [`ROWS_PER_THREAD`].
    pub(super) fn pieces_of_threads(self, rows: usize) -> Pieces {
        let (threads, tiles) = threads_and_tiles(self.packs());
        let rows_of_piece = threads.1 * ROWS_PER_THREAD;
        let count = rows.div_ceil(rows_of_piece);
        Pieces { count, rows_of_piece, grid: Grid { blocks: (count, tiles), threads, shared: 0 } }
    }

    /// Whether a thread reads several channels at once.
    pub(super) fn is_wide(self) -> bool {
        self.pack > 1
    }

    /// The kernel `name` for packs of this size.
    pub(super) fn kernel(self, name: &str) -> String {
        format!("{name}_{}", if self.pack == 1 { "single" } else { "wide" })
    }

    fn pieces<T>(self) -> Pieces {
        Pieces::new(self.rows, self.packs(), (2 * self.pack, size_of::<T>()))
    }
}

/// A map of its own.
type Map<M> = Array<<M as Numbers>::Stored>;
/// What is added to a map, and where the sum goes.
type Added<'a, M> = (View<'a, <M as Numbers>::Stored>, ViewMut<'a, <M as Numbers>::Stored>);

/// Two sums of every channel, `[pieces, 2, channels]`.
#[derive(Debug)]
pub(super) struct Partial<T> {
    sums: Array<T>,
    pieces: usize,
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
            Argument::Double(EPSILON),
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
    /// Sums of a map, for [`Self::norm`].
    pub(super) fn moments<M: CudaNumbers>(&self, x: View<'_, M::Stored>, channels: usize) -> Result<Partial<M::Sum>> {
        self.moments_of_sum::<M>(x, None, channels)
    }

    /// `x + added`, and sums of it.
    pub(super) fn add_with_moments<M: CudaNumbers>(
        &self,
        x: View<'_, M::Stored>,
        added: View<'_, M::Stored>,
        channels: usize,
    ) -> Result<(Map<M>, Partial<M::Sum>)> {
        let mut joined = self.alloc(x.len())?;
        let partial = self.moments_of_sum::<M>(x, Some((added, joined.view_mut())), channels)?;
        Ok((joined, partial))
    }

    fn moments_of_sum<M: CudaNumbers>(
        &self,
        x: View<'_, M::Stored>,
        added: Option<Added<'_, M>>,
        channels: usize,
    ) -> Result<Partial<M::Sum>> {
        let _span = self.span(OpClass::Norm, Work::elementwise::<M::Stored>(x.len(), 4, 1))?;
        let at = Channels::of::<M>(x.len(), channels);
        let pieces = at.pieces::<M::Sum>();
        let mut sums = self.alloc(pieces.count * 2 * channels)?;
        let (added, joined) = added.unzip();
        let arguments = [
            x.into(),
            Argument::optional(added),
            Argument::optional(joined.as_ref().map(ViewMut::view)),
            sums.view_mut().into(),
            at.rows.into(),
            at.packs().into(),
            pieces.rows_of_piece.into(),
        ];
        self.launch::<M>(&at.kernel("moments"), pieces.grid, &arguments)?;
        Ok(Partial { sums, pieces: pieces.count })
    }

    /// The normalisation of a map by its own moments; writes `[mean…, unbiased variance…]` where asked.
    pub(super) fn norm<M: CudaNumbers>(
        &self,
        (map, partial): (View<'_, M::Stored>, &Partial<M::Sum>),
        parameters: GainAndBias<'_, M::Sum>,
        statistics: Option<ViewMut<'_, M::Sum>>,
    ) -> Result<Norm<M::Sum>> {
        let channels = parameters.gain.len();
        let rows = map.len() / channels;
        let mut values = self.alloc(4 * channels)?;
        let arguments = [
            partial.sums.view().into(),
            partial.pieces.into(),
            map.into(),
            channels.into(),
            rows.into(),
            parameters.gain.into(),
            parameters.bias.into(),
            Argument::Double(EPSILON),
            values.view_mut().into(),
            Argument::optional(statistics.as_ref().map(ViewMut::view)),
        ];
        self.launch::<M>("norm_of_moments", join_grid(channels), &arguments)?;
        Ok(Norm { values, channels, rows })
    }

    /// `norm(x)`, with ReLU where asked.
    pub(super) fn apply_norm<M: CudaNumbers>(
        &self,
        x: View<'_, M::Stored>,
        norm: &Norm<M::Sum>,
        relu: bool,
    ) -> Result<Array<M::Stored>> {
        let _span = self.span(OpClass::Norm, Work::elementwise::<M::Stored>(x.len(), 2, 2))?;
        let at = Channels::of::<M>(x.len(), norm.channels);
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
        let at = Channels::of::<M>(x.len(), norm.channels);
        let mut y = self.alloc(x.len())?;
        let pieces = at.pieces_of_threads(at.rows);
        let arguments = [
            x.into(),
            norm.view().into(),
            shortcut.into(),
            Argument::optional(shortcut_norm.map(Norm::view)),
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
        let at = Channels::of::<M>(x.len(), channels);
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
            Argument::optional(residual),
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

/// 32 × 32 threads for every 32 channels.
fn join_grid(channels: usize) -> Grid {
    Grid { blocks: (channels.div_ceil(32), 1), threads: (32, 32), shared: 0 }
}
