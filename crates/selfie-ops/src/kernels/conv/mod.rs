//! Channels-last convolutions as products, with normalisation and ReLU of the input applied on the way in.
//!
//! A piece is a few whole images; its activated input and its columns live in scratch memory that stays in cache.

use super::norm::{Moments, Norm, NormBackward, NormSums, piece_moments};
use super::pieces::{ROWS_PER_PIECE, gradient_pieces, sum_in_order};
use super::product::{Operand, Size, Target, product};
use crate::Real;
use rayon::prelude::*;
use std::ops::Range;

/// A square convolution without bias. Weights are `[kernel, kernel, in, out]` in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvSpec {
    /// Side of the kernel in pixels.
    pub kernel: usize,
    /// Pixels from one output to the next.
    pub stride: usize,
    /// Rings of zeros around the input.
    pub padding: usize,
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
}

impl ConvSpec {
    /// A 1×1 convolution.
    #[must_use]
    pub fn pointwise(in_channels: usize, out_channels: usize, stride: usize) -> Self {
        Self { kernel: 1, stride, padding: 0, in_channels, out_channels }
    }

    /// A 3×3 convolution with padding 1.
    #[must_use]
    pub fn three(in_channels: usize, out_channels: usize, stride: usize) -> Self {
        Self { kernel: 3, stride, padding: 1, in_channels, out_channels }
    }

    /// Elements of the weight.
    #[must_use]
    pub fn weight_len(&self) -> usize {
        self.depth() * self.out_channels
    }

    /// The output's side for an input's; `None` where the kernel does not fit.
    #[must_use]
    pub fn output_side(&self, side: usize) -> Option<usize> {
        (side + 2 * self.padding).checked_sub(self.kernel).map(|room| room / self.stride + 1)
    }

    /// The product's inner size.
    fn depth(&self) -> usize {
        self.kernel * self.kernel * self.in_channels
    }

    fn is_direct(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }
}

/// A convolution of maps of one size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conv {
    pub(crate) spec: ConvSpec,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
}

/// What a convolution reads: maps, and the normalisation + ReLU to apply to them first.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a, T> {
    pub(crate) x: &'a [T],
    pub(crate) norm: Option<&'a Norm<T>>,
}

/// What the backward of a convolution reads.
pub(crate) struct Backward<'a, T> {
    pub(crate) input: Input<'a, T>,
    pub(crate) weight: &'a [T],
    pub(crate) dy: &'a [T],
}

/// Where a unit's parameter gradients go.
pub(crate) struct UnitGradients<'a, T> {
    pub(crate) weight: &'a mut [T],
    pub(crate) gain: &'a mut [T],
    pub(crate) bias: &'a mut [T],
}

/// Which gradient of the input is wanted.
enum Wanted<T> {
    Nothing,
    /// That of the activated input, before its ReLU's mask.
    Activated(Option<Vec<T>>),
    /// That of the normalised input, and its sums.
    Normalised(Option<Vec<T>>),
}

/// Output rows `y` of images `images` of a piece.
struct Tile {
    images: Range<usize>,
    y: Range<usize>,
}

impl Conv {
    /// `None` where the kernel does not fit the maps.
    pub(crate) fn new(spec: ConvSpec, height: usize, width: usize) -> Option<Self> {
        let (out_height, out_width) = (spec.output_side(height)?, spec.output_side(width)?);
        Some(Self { spec, height, width, out_height, out_width })
    }

    fn input_len(&self) -> usize {
        self.height * self.width * self.spec.in_channels
    }

    fn output_rows(&self) -> usize {
        self.out_height * self.out_width
    }

    fn output_len(&self) -> usize {
        self.output_rows() * self.spec.out_channels
    }

    fn images_per_piece(&self) -> usize {
        (ROWS_PER_PIECE / self.output_rows()).max(1)
    }

    /// The convolution of `input`, plus `residual`; with the moments of the result where `moments` asks.
    pub(crate) fn forward<T: Real>(
        &self,
        input: Input<'_, T>,
        weight: &[T],
        residual: Option<&[T]>,
        moments: bool,
    ) -> (Vec<T>, Option<Moments<T>>) {
        let images = input.x.len() / self.input_len();
        let channels = self.spec.out_channels;
        let per_piece = self.images_per_piece();
        let piece_len = per_piece * self.output_len();
        let mut y = vec![T::zero(); images * self.output_len()];
        let mut partial = vec![T::zero(); images.div_ceil(per_piece) * 2 * channels];
        y.par_chunks_mut(piece_len)
            .zip(partial.par_chunks_mut(2 * channels))
            .zip(input.x.par_chunks(per_piece * self.input_len()))
            .enumerate()
            .for_each_init(Scratch::default, |scratch, (i, ((y, partial), x))| {
                if let Some(residual) = residual {
                    y.copy_from_slice(&residual[i * piece_len..][..y.len()]);
                }
                let Scratch { activated, columns, .. } = scratch;
                let a = activate(Input { x, norm: input.norm }, activated);
                self.forward_piece(a, weight, (y, residual.is_some()), columns);
                if moments {
                    piece_moments(y, partial);
                }
            });
        let rows_per_piece = per_piece * self.output_rows();
        let moments =
            moments.then(|| Moments::combine(&partial, channels, rows_per_piece, images * self.output_rows()));
        (y, moments)
    }

    fn forward_piece<T: Real>(&self, a: &[T], weight: &[T], (y, accumulate): (&mut [T], bool), columns: &mut Vec<T>) {
        let (n, k) = (self.spec.out_channels, self.spec.depth());
        let weight = Operand::rows(weight, n);
        for tile in self.tiles(a.len() / self.input_len()) {
            let rows = self.tile_rows(&tile);
            let y = &mut y[rows.start * n..rows.end * n];
            let target = Target { data: y, row_stride: n, accumulate };
            let size = Size { m: rows.len(), n, k };
            product(target, size, T::one(), Operand::rows(self.columns(a, &tile, columns), k), weight);
        }
    }

    /// Writes the weight's gradient alone: the input is the image.
    pub(crate) fn backward_weight<T: Real>(&self, backward: &Backward<'_, T>, d_weight: &mut [T]) {
        self.run_backward(backward, Wanted::Nothing, d_weight);
    }

    /// Writes the weight's gradient and returns that of the convolution's (activated) input, added to `so_far`.
    pub(crate) fn backward_input<T: Real>(
        &self,
        backward: &Backward<'_, T>,
        so_far: Option<Vec<T>>,
        d_weight: &mut [T],
    ) -> Vec<T> {
        self.run_backward(backward, Wanted::Activated(so_far), d_weight).0
    }

    /// Backward through convolution, ReLU and norm: the gradient of the raw input, plus `residual`.
    ///
    /// `so_far` is what other convolutions of the same activated input contributed.
    pub(crate) fn backward_unit<T: Real>(
        &self,
        (backward, norm): (&Backward<'_, T>, &Norm<T>),
        so_far: Option<Vec<T>>,
        residual: Option<&[T]>,
        gradients: UnitGradients<'_, T>,
    ) -> Vec<T> {
        let (mut dz, sums) = self.run_backward(backward, Wanted::Normalised(so_far), gradients.weight);
        let sums = NormSums::join(&sums, norm.channels());
        let through = NormBackward { x: backward.input.x, dz: &mut dz, sums: &sums, residual };
        norm.backward(through, gradients.gain, gradients.bias);
        dz
    }

    /// Returns the wanted gradient (empty where none is) and its sums by piece.
    fn run_backward<T: Real>(
        &self,
        backward: &Backward<'_, T>,
        wanted: Wanted<T>,
        d_weight: &mut [T],
    ) -> (Vec<T>, Vec<T>) {
        let &Backward { input, weight, dy } = backward;
        let images = input.x.len() / self.input_len();
        let (wants, finish, so_far) = match wanted {
            Wanted::Nothing => (false, false, None),
            Wanted::Activated(so_far) => (true, false, so_far),
            Wanted::Normalised(so_far) => (true, true, so_far),
        };
        let accumulate = so_far.is_some();
        let mut da = match so_far {
            Some(so_far) => so_far,
            None if wants => vec![T::zero(); input.x.len()],
            None => Vec::new(),
        };
        let n_pieces = images.div_ceil(self.images_per_piece());
        let n_jobs = gradient_pieces(n_pieces, self.spec.weight_len());
        let job_images = n_pieces.div_ceil(n_jobs) * self.images_per_piece();
        let n_jobs = images.div_ceil(job_images);
        let sums_len = 2 * self.spec.in_channels;
        let mut dw_partial = vec![T::zero(); n_jobs * self.spec.weight_len()];
        let mut sums_partial = vec![T::zero(); n_jobs * sums_len];
        let mut da_jobs: Vec<Option<&mut [T]>> = if wants {
            da.chunks_mut(job_images * self.input_len()).map(Some).collect()
        } else {
            (0..n_jobs).map(|_| None).collect()
        };
        da_jobs
            .par_iter_mut()
            .zip(dw_partial.par_chunks_mut(self.spec.weight_len()))
            .zip(sums_partial.par_chunks_mut(sums_len))
            .zip(input.x.par_chunks(job_images * self.input_len()))
            .zip(dy.par_chunks(job_images * self.output_len()))
            .for_each_init(Scratch::default, |scratch, ((((da, dw), sums), x), dy)| {
                let job = Job { input: Input { x, norm: input.norm }, weight, dy, accumulate };
                self.backward_job(&job, da.as_deref_mut(), dw, finish.then_some(sums), scratch);
            });
        drop(da_jobs);
        d_weight.fill(T::zero());
        sum_in_order(&dw_partial, d_weight);
        (da, sums_partial)
    }

    #[expect(clippy::too_many_arguments, reason = "inputs, three outputs and scratch of one inner loop")]
    fn backward_job<T: Real>(
        &self,
        job: &Job<'_, T>,
        mut da: Option<&mut [T]>,
        dw: &mut [T],
        mut sums: Option<&mut [T]>,
        scratch: &mut Scratch<T>,
    ) {
        let (in_len, out_len) =
            (self.images_per_piece() * self.input_len(), self.images_per_piece() * self.output_len());
        let (n, k) = (self.spec.out_channels, self.spec.depth());
        for (i, (x, dy)) in job.input.x.chunks(in_len).zip(job.dy.chunks(out_len)).enumerate() {
            let Scratch { activated, columns, d_columns } = scratch;
            let a = activate(Input { x, norm: job.input.norm }, activated);
            let mut da = da.as_deref_mut().map(|da| &mut da[i * in_len..][..x.len()]);
            for tile in self.tiles(x.len() / self.input_len()) {
                let rows = self.tile_rows(&tile);
                let dy_rows = &dy[rows.start * n..rows.end * n];
                let m = rows.len();
                let columns = self.columns(a, &tile, columns);
                let size = Size { m: k, n, k: m };
                product(Target::add(dw, n), size, T::one(), Operand::transposed(columns, k), Operand::rows(dy_rows, n));
                let Some(da) = da.as_deref_mut() else { continue };
                let (dy_rows, weight) = (Operand::rows(dy_rows, n), Operand::transposed(job.weight, n));
                let size = Size { m, n: k, k: n };
                if self.spec.is_direct() {
                    let target = &mut da[rows.start * k..rows.end * k];
                    product(
                        Target { data: target, row_stride: k, accumulate: job.accumulate },
                        size,
                        T::one(),
                        dy_rows,
                        weight,
                    );
                } else {
                    d_columns.resize(m * k, T::zero());
                    product(Target::write(d_columns, k), size, T::one(), dy_rows, weight);
                    self.scatter_add(d_columns, &tile, da);
                }
            }
            if let (Some(norm), Some(da), Some(sums)) = (job.input.norm, da, sums.as_deref_mut()) {
                norm.mask_and_sum_piece(x, da, sums, true);
            }
        }
    }

    /// Whole images together where they are small, bands of one image where they are large.
    fn tiles(&self, images: usize) -> impl Iterator<Item = Tile> + use<> {
        let (out_height, rows) = (self.out_height, self.output_rows());
        let banded = rows > 2 * ROWS_PER_PIECE && !self.spec.is_direct();
        let band = if banded { (ROWS_PER_PIECE / self.out_width).max(1) } else { out_height };
        let groups = if banded { images } else { 1 };
        (0..groups).flat_map(move |group| {
            (0..out_height.div_ceil(band)).map(move |b| Tile {
                images: if banded { group..group + 1 } else { 0..images },
                y: b * band..((b + 1) * band).min(out_height),
            })
        })
    }

    /// The tile's rows of the product, within the piece.
    fn tile_rows(&self, tile: &Tile) -> Range<usize> {
        let start = tile.images.start * self.output_rows() + tile.y.start * self.out_width;
        start..start + tile.images.len() * tile.y.len() * self.out_width
    }

    /// The tile's columns `[rows, kernel · kernel · in]`: the input itself where each pixel is a row already.
    fn columns<'a, T: Real>(&self, a: &'a [T], tile: &Tile, columns: &'a mut Vec<T>) -> &'a [T] {
        if self.spec.is_direct() {
            return a;
        }
        columns.clear();
        columns.resize(self.tile_rows(tile).len() * self.spec.depth(), T::zero());
        self.for_each_run(tile, |column, pixel, len| {
            columns[column..column + len].copy_from_slice(&a[pixel..pixel + len]);
        });
        columns
    }

    /// The reverse of [`Self::columns`].
    fn scatter_add<T: Real>(&self, columns: &[T], tile: &Tile, da: &mut [T]) {
        self.for_each_run(tile, |column, pixel, len| {
            for (d, &c) in da[pixel..pixel + len].iter_mut().zip(&columns[column..column + len]) {
                *d += c;
            }
        });
    }

    /// Calls `run(column, pixel, len)` for every kernel row inside the input: its pixels are neighbours in memory.
    #[inline(always)]
    fn for_each_run(&self, tile: &Tile, mut run: impl FnMut(usize, usize, usize)) {
        let ConvSpec { kernel, stride, padding, in_channels, .. } = self.spec;
        let mut row = 0;
        for image in tile.images.clone() {
            for y in tile.y.clone() {
                for x in 0..self.out_width {
                    let left = x * stride;
                    let first = padding.saturating_sub(left);
                    let last = kernel.min((self.width + padding).saturating_sub(left));
                    for ky in 0..kernel {
                        let at = y * stride + ky;
                        if at < padding || at - padding >= self.height || first >= last {
                            continue;
                        }
                        let pixel = (image * self.height + at - padding) * self.width + left + first - padding;
                        let column = row * self.spec.depth() + (ky * kernel + first) * in_channels;
                        run(column, pixel * in_channels, (last - first) * in_channels);
                    }
                    row += 1;
                }
            }
        }
    }
}

/// One job of a backward: a run of images.
struct Job<'a, T> {
    input: Input<'a, T>,
    weight: &'a [T],
    dy: &'a [T],
    accumulate: bool,
}

/// Memory that the pieces of one thread reuse.
struct Scratch<T> {
    activated: Vec<T>,
    columns: Vec<T>,
    d_columns: Vec<T>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Self { activated: Vec::new(), columns: Vec::new(), d_columns: Vec::new() }
    }
}

/// The piece as the convolution sees it: itself, or normalised and rectified into scratch.
fn activate<'a, T: Real>(input: Input<'a, T>, activated: &'a mut Vec<T>) -> &'a [T] {
    let Some(norm) = input.norm else { return input.x };
    activated.resize(input.x.len(), T::zero());
    norm.activate(input.x, activated);
    activated
}
