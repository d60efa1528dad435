//! Batch normalisation over the rows of `[rows, channels]`, alone and inside a convolution's packing.

use super::memory::unwritten;
use super::numbers::Numbers;
use super::pieces::{Loop, ROWS_PER_PIECE, sum_in_order, vectorised};
use crate::Real;
use crate::profile::{OpClass, Work, span};
use candle_core::WithDType;
use rayon::prelude::*;

/// PyTorch's default.
pub(crate) const EPSILON: f64 = 1e-5;

/// Mean and biased variance of every channel.
#[derive(Clone, Debug)]
pub(crate) struct Moments<T> {
    pub(crate) mean: Vec<T>,
    pub(crate) var: Vec<T>,
    /// Rows the moments were taken over; none for running statistics, through which no gradient flows.
    pub(crate) rows: Option<usize>,
}

/// A normalisation ready to apply: `x · scale + shift`, and what its backward needs.
#[derive(Clone, Debug)]
pub(crate) struct Norm<T> {
    pub(crate) moments: Moments<T>,
    pub(crate) scale: Vec<T>,
    pub(crate) shift: Vec<T>,
}

/// Over all rows: Σ dz and Σ dz·(x − mean) of every channel.
#[derive(Debug)]
pub(crate) struct NormSums<T> {
    sum: Vec<T>,
    sum_centred: Vec<T>,
}

impl<T: Real> Moments<T> {
    /// The moments of `[rows, channels]`.
    pub(crate) fn of<M: Numbers<Sum = T>>(x: &[M::Stored], channels: usize) -> Self {
        let _span = span(OpClass::Norm, Work::elementwise::<T>(x.len(), 4, 1));
        let piece = ROWS_PER_PIECE * channels;
        let mut partial = vec![T::zero(); x.len().div_ceil(piece) * 2 * channels];
        partial
            .par_chunks_mut(2 * channels)
            .zip(x.par_chunks(piece))
            .for_each(|(out, rows)| piece_moments::<M>(rows, out));
        let rows: Vec<usize> = x.chunks(piece).map(|rows| rows.len() / channels).collect();
        Self::combine(&partial, channels, &rows)
    }

    /// Joins the results of [`piece_moments`] in order; `rows` says how many each piece holds.
    pub(crate) fn combine(pieces: &[T], channels: usize, rows: &[usize]) -> Self {
        let mut mean = vec![0.0; channels];
        let mut squares = vec![0.0; channels];
        let mut seen = 0;
        for (piece, &here) in pieces.chunks_exact(2 * channels).zip(rows) {
            let joined = (seen + here) as f64;
            let (piece_mean, piece_squares) = piece.split_at(channels);
            for c in 0..channels {
                let delta = piece_mean[c].to_f64() - mean[c];
                mean[c] += delta * here as f64 / joined;
                squares[c] += piece_squares[c].to_f64() + delta * delta * seen as f64 * here as f64 / joined;
            }
            seen += here;
        }
        Self {
            mean: mean.into_iter().map(T::from_f64).collect(),
            var: squares.into_iter().map(|s| T::from_f64(s / seen as f64)).collect(),
            rows: Some(seen),
        }
    }

    /// From running statistics `[mean…, var…]`.
    pub(crate) fn running(statistics: &[T]) -> Self {
        let (mean, var) = statistics.split_at(statistics.len() / 2);
        Self { mean: mean.to_vec(), var: var.to_vec(), rows: None }
    }

    /// `[mean…, unbiased var…]`: what the running statistics move towards.
    pub(crate) fn push_statistics(&self, out: &mut Vec<T>) {
        let rows = self.rows.unwrap_or(0) as f64;
        let unbias = T::from_f64(if rows > 1.0 { rows / (rows - 1.0) } else { 1.0 });
        out.extend_from_slice(&self.mean);
        out.extend(self.var.iter().map(|&v| v * unbias));
    }

    /// The same numbers in another type; exact from f32 to f64 and back.
    pub(crate) fn cast<B: Real>(&self) -> Moments<B> {
        let cast = |values: &[T]| values.iter().map(|value| B::from_f64(value.to_f64())).collect();
        Moments { mean: cast(&self.mean), var: cast(&self.var), rows: self.rows }
    }

    fn rstd(&self, channel: usize) -> T {
        T::one() / (self.var[channel] + T::from_f64(EPSILON)).sqrt()
    }
}

/// Mean and sum of squared deviations of a piece's rows, written to `out` as `[mean…, squares…]`.
pub(crate) fn piece_moments<M: Numbers>(rows: &[M::Stored], out: &mut [M::Sum]) {
    let (mean, squares) = out.split_at_mut(out.len() / 2);
    vectorised(PieceMoments::<M> { rows, mean, squares });
}

struct PieceMoments<'a, M: Numbers> {
    rows: &'a [M::Stored],
    mean: &'a mut [M::Sum],
    squares: &'a mut [M::Sum],
}

impl<M: Numbers> Loop for PieceMoments<'_, M> {
    #[inline(always)]
    fn run(self) {
        let channels = self.mean.len();
        let (mean, squares) = (&mut self.mean[..channels], &mut self.squares[..channels]);
        mean.fill(M::Sum::ZERO);
        squares.fill(M::Sum::ZERO);
        for row in self.rows.chunks_exact(channels) {
            for (mean, &x) in mean.iter_mut().zip(row) {
                *mean += M::load(x);
            }
        }
        let scale = M::Sum::ONE / M::Sum::from_f64((self.rows.len() / channels) as f64);
        mean.iter_mut().for_each(|mean| *mean *= scale);
        for row in self.rows.chunks_exact(channels) {
            for ((squares, &mean), &x) in squares.iter_mut().zip(&*mean).zip(row) {
                let centred = M::load(x) - mean;
                *squares += centred * centred;
            }
        }
    }
}

impl<T: Real> Norm<T> {
    pub(crate) fn new(moments: Moments<T>, gain: &[T], bias: &[T]) -> Self {
        let scale: Vec<T> = gain.iter().enumerate().map(|(c, &g)| g * moments.rstd(c)).collect();
        let shift = bias.iter().enumerate().map(|(c, &b)| b - moments.mean[c] * scale[c]).collect();
        Self { moments, scale, shift }
    }

    pub(crate) fn channels(&self) -> usize {
        self.scale.len()
    }

    /// `relu(norm(x))` of a piece's rows.
    pub(crate) fn activate<M: Numbers<Sum = T>>(&self, x: &[M::Stored], out: &mut [M::Stored]) {
        vectorised(Apply { norm: self, x, y: out, with_relu: true, load: M::load, store: M::store });
    }

    /// `norm(x)`, with ReLU where asked, on all cores.
    pub(crate) fn apply<M: Numbers<Sum = T>>(&self, x: &[M::Stored], with_relu: bool) -> Vec<T> {
        let _span = span(OpClass::Norm, Work::elementwise::<T>(x.len(), 2, 2));
        let piece = ROWS_PER_PIECE * self.channels();
        let mut y = unwritten(x.len());
        y.par_chunks_mut(piece)
            .zip(x.par_chunks(piece))
            .for_each(|(y, x)| vectorised(Apply { norm: self, x, y, with_relu, load: M::load, store: |y| y }));
        y
    }

    /// Turns the gradient of `relu(norm(x))` into that of `norm(x)`, and adds its sums to `sums` `[Σ…, Σ centred…]`.
    pub(crate) fn mask_and_sum_piece<M: Numbers<Sum = T>>(
        &self,
        x: &[M::Stored],
        dz: &mut [M::Stored],
        sums: &mut [T],
        with_relu: bool,
    ) {
        vectorised(MaskAndSum::<M> { norm: self, x, dz, sums, with_relu });
    }

    /// As [`Self::mask_and_sum_piece`], everything on all cores.
    pub(crate) fn mask_and_sum<M: Numbers<Sum = T>>(
        &self,
        x: &[M::Stored],
        dz: &mut [M::Stored],
        with_relu: bool,
    ) -> NormSums<T> {
        let _span = span(OpClass::Norm, Work::elementwise::<T>(x.len(), 6, 3));
        let channels = self.channels();
        let piece = ROWS_PER_PIECE * channels;
        let mut partial = vec![T::zero(); x.len().div_ceil(piece) * 2 * channels];
        partial
            .par_chunks_mut(2 * channels)
            .zip(dz.par_chunks_mut(piece).zip(x.par_chunks(piece)))
            .for_each(|(sums, (dz, x))| self.mask_and_sum_piece::<M>(x, dz, sums, with_relu));
        NormSums::join(&partial, channels)
    }

    /// Turns `dz`, the gradient of `norm(x)`, into that of `x`, adding `residual` where given; writes the parameters'
    /// gradients.
    pub(crate) fn backward<M: Numbers<Sum = T>>(&self, input: NormBackward<'_, M>, d_gain: &mut [T], d_bias: &mut [T]) {
        let NormBackward { x, dz, sums, residual } = input;
        let _span = span(OpClass::Norm, Work::elementwise::<T>(x.len(), 5, 3 + u64::from(residual.is_some())));
        let channels = self.channels();
        let rows = self.moments.rows.map(|rows| T::from_f64(rows as f64));
        let mut slope = vec![T::zero(); channels];
        let mut offset = vec![T::zero(); channels];
        for c in 0..channels {
            let rstd = self.moments.rstd(c);
            d_bias[c] = sums.sum[c];
            d_gain[c] = sums.sum_centred[c] * rstd;
            if let Some(rows) = rows {
                offset[c] = self.scale[c] * sums.sum[c] / rows;
                slope[c] = self.scale[c] * rstd * d_gain[c] / rows;
            }
        }
        let piece = ROWS_PER_PIECE * channels;
        dz.par_chunks_mut(piece).zip(x.par_chunks(piece)).enumerate().for_each(|(i, (dz, x))| {
            let residual = residual.map(|r| &r[i * piece..][..dz.len()]);
            vectorised(ThroughNorm::<M> { norm: self, slope: &slope, offset: &offset, x, dz, residual });
        });
    }
}

/// `y = norm(x)`, rectified where asked.
struct Apply<'a, T, X, Y, L, S> {
    norm: &'a Norm<T>,
    x: &'a [X],
    y: &'a mut [Y],
    with_relu: bool,
    load: L,
    store: S,
}

impl<T: Real, X: Copy, Y, L: Fn(X) -> T, S: Fn(T) -> Y> Loop for Apply<'_, T, X, Y, L, S> {
    #[inline(always)]
    fn run(self) {
        let channels = self.norm.channels();
        for (y, x) in self.y.chunks_exact_mut(channels).zip(self.x.chunks_exact(channels)) {
            for (((y, &x), &scale), &shift) in y.iter_mut().zip(x).zip(&self.norm.scale).zip(&self.norm.shift) {
                let z = (self.load)(x) * scale + shift;
                *y = (self.store)(if self.with_relu { relu(z) } else { z });
            }
        }
    }
}

/// See [`Norm::mask_and_sum_piece`].
struct MaskAndSum<'a, M: Numbers> {
    norm: &'a Norm<M::Sum>,
    x: &'a [M::Stored],
    dz: &'a mut [M::Stored],
    sums: &'a mut [M::Sum],
    with_relu: bool,
}

impl<M: Numbers> Loop for MaskAndSum<'_, M> {
    #[inline(always)]
    fn run(self) {
        let Self { norm, x, dz, sums, with_relu } = self;
        let channels = norm.channels();
        let (scale, shift) = (&norm.scale[..channels], &norm.shift[..channels]);
        let mean = &norm.moments.mean[..channels];
        let (sum, sum_centred) = sums.split_at_mut(channels);
        let (sum, sum_centred) = (&mut sum[..channels], &mut sum_centred[..channels]);
        let zero = M::store(M::Sum::ZERO);
        for (dz, x) in dz.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            let (dz, x) = (&mut dz[..channels], &x[..channels]);
            for c in 0..channels {
                // Both are loaded before one is chosen: a choice between loads would be a branch for each number.
                let (x, d) = (M::load(x[c]), dz[c]);
                let active = !with_relu || x * scale[c] + shift[c] > M::Sum::ZERO;
                dz[c] = if active { d } else { zero };
                let d = if active { M::load(d) } else { M::Sum::ZERO };
                sum[c] += d;
                sum_centred[c] += d * (x - mean[c]);
            }
        }
    }
}

/// See [`Norm::backward`].
struct ThroughNorm<'a, M: Numbers> {
    norm: &'a Norm<M::Sum>,
    slope: &'a [M::Sum],
    offset: &'a [M::Sum],
    x: &'a [M::Stored],
    dz: &'a mut [M::Stored],
    residual: Option<&'a [M::Stored]>,
}

impl<M: Numbers> Loop for ThroughNorm<'_, M> {
    #[inline(always)]
    fn run(self) {
        let channels = self.norm.channels();
        let (scale, mean) = (&self.norm.scale[..channels], &self.norm.moments.mean[..channels]);
        let (slope, offset) = (&self.slope[..channels], &self.offset[..channels]);
        let rows = self.dz.chunks_exact_mut(channels).zip(self.x.chunks_exact(channels));
        match self.residual {
            Some(residual) => {
                for ((dz, x), r) in rows.zip(residual.chunks_exact(channels)) {
                    let (dz, x, r) = (&mut dz[..channels], &x[..channels], &r[..channels]);
                    for c in 0..channels {
                        let d = scale[c] * M::load(dz[c]) - offset[c] - slope[c] * (M::load(x[c]) - mean[c]);
                        dz[c] = M::store(d + M::load(r[c]));
                    }
                }
            }
            None => {
                for (dz, x) in rows {
                    let (dz, x) = (&mut dz[..channels], &x[..channels]);
                    for c in 0..channels {
                        let d = scale[c] * M::load(dz[c]) - offset[c] - slope[c] * (M::load(x[c]) - mean[c]);
                        dz[c] = M::store(d);
                    }
                }
            }
        }
    }
}

/// What [`Norm::backward`] reads, and `dz`, which it overwrites with the gradient of `x`.
pub(crate) struct NormBackward<'a, M: Numbers> {
    pub(crate) x: &'a [M::Stored],
    pub(crate) dz: &'a mut [M::Stored],
    pub(crate) sums: &'a NormSums<M::Sum>,
    pub(crate) residual: Option<&'a [M::Stored]>,
}

impl<T: Real> NormSums<T> {
    /// Adds the pieces' sums in order.
    pub(crate) fn join(partial: &[T], channels: usize) -> Self {
        let mut both = vec![T::zero(); 2 * channels];
        sum_in_order(partial, &mut both);
        let sum_centred = both.split_off(channels);
        Self { sum: both, sum_centred }
    }
}

/// max(x, 0), where a NaN stays one.
#[inline(always)]
pub(crate) fn relu<T: Real>(x: T) -> T {
    if x < T::zero() { T::zero() } else { x }
}
