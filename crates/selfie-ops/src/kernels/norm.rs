//! Batch normalisation over the rows of `[rows, channels]`, alone and inside a convolution's packing.

use super::pieces::{ROWS_PER_PIECE, sum_in_order, vectorised};
use crate::Real;
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
    pub(crate) fn of(x: &[T], channels: usize) -> Self {
        let piece = ROWS_PER_PIECE * channels;
        let mut partial = vec![T::zero(); x.len().div_ceil(piece) * 2 * channels];
        partial.par_chunks_mut(2 * channels).zip(x.par_chunks(piece)).for_each(|(out, rows)| piece_moments(rows, out));
        Self::combine(&partial, channels, ROWS_PER_PIECE, x.len() / channels)
    }

    /// Joins the results of [`piece_moments`] in order; every piece but the last holds `rows_per_piece` of the `rows`.
    pub(crate) fn combine(pieces: &[T], channels: usize, rows_per_piece: usize, rows: usize) -> Self {
        let mut mean = vec![0.0; channels];
        let mut squares = vec![0.0; channels];
        let mut seen = 0;
        for piece in pieces.chunks_exact(2 * channels) {
            let here = rows_per_piece.min(rows - seen);
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
            var: squares.into_iter().map(|s| T::from_f64(s / rows as f64)).collect(),
            rows: Some(rows),
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

    fn rstd(&self, channel: usize) -> T {
        T::one() / (self.var[channel] + T::from_f64(EPSILON)).sqrt()
    }
}

/// Mean and sum of squared deviations of a piece's rows, written to `out` as `[mean…, squares…]`.
pub(crate) fn piece_moments<T: Real>(rows: &[T], out: &mut [T]) {
    let (mean, squares) = out.split_at_mut(out.len() / 2);
    let channels = mean.len();
    let scale = T::one() / T::from_f64((rows.len() / channels) as f64);
    vectorised(|| {
        mean.fill(T::zero());
        squares.fill(T::zero());
        for row in rows.chunks_exact(channels) {
            for (m, &v) in mean.iter_mut().zip(row) {
                *m += v;
            }
        }
        for m in mean.iter_mut() {
            *m *= scale;
        }
        for row in rows.chunks_exact(channels) {
            for ((s, &m), &v) in squares.iter_mut().zip(mean.iter()).zip(row) {
                *s += (v - m) * (v - m);
            }
        }
    });
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
    pub(crate) fn activate(&self, x: &[T], out: &mut [T]) {
        let channels = self.channels();
        vectorised(|| {
            for (out, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                for (((o, &x), &scale), &shift) in out.iter_mut().zip(x).zip(&self.scale).zip(&self.shift) {
                    *o = relu(x * scale + shift);
                }
            }
        });
    }

    /// `norm(x)`, with ReLU where asked, on all cores.
    pub(crate) fn apply(&self, x: &[T], with_relu: bool) -> Vec<T> {
        let channels = self.channels();
        let piece = ROWS_PER_PIECE * channels;
        let mut y = vec![T::zero(); x.len()];
        y.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(y, x)| {
            if with_relu {
                return self.activate(x, y);
            }
            vectorised(|| {
                for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                    for (((y, &x), &scale), &shift) in y.iter_mut().zip(x).zip(&self.scale).zip(&self.shift) {
                        *y = x * scale + shift;
                    }
                }
            });
        });
        y
    }

    /// Turns the gradient of `relu(norm(x))` into that of `norm(x)`, and adds its sums to `sums` `[Σ…, Σ centred…]`.
    pub(crate) fn mask_and_sum_piece(&self, x: &[T], dz: &mut [T], sums: &mut [T], with_relu: bool) {
        let channels = self.channels();
        let (sum, sum_centred) = sums.split_at_mut(channels);
        let (scale, shift, mean) = (&self.scale[..channels], &self.shift[..channels], &self.moments.mean[..channels]);
        let (sum, sum_centred) = (&mut sum[..channels], &mut sum_centred[..channels]);
        vectorised(|| {
            for (dz, x) in dz.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                for c in 0..channels {
                    let active = !with_relu || x[c] * scale[c] + shift[c] > T::zero();
                    let d = if active { dz[c] } else { T::zero() };
                    dz[c] = d;
                    sum[c] += d;
                    sum_centred[c] += d * (x[c] - mean[c]);
                }
            }
        });
    }

    /// As [`Self::mask_and_sum_piece`], everything on all cores.
    pub(crate) fn mask_and_sum(&self, x: &[T], dz: &mut [T], with_relu: bool) -> NormSums<T> {
        let channels = self.channels();
        let piece = ROWS_PER_PIECE * channels;
        let mut partial = vec![T::zero(); x.len().div_ceil(piece) * 2 * channels];
        partial
            .par_chunks_mut(2 * channels)
            .zip(dz.par_chunks_mut(piece).zip(x.par_chunks(piece)))
            .for_each(|(sums, (dz, x))| self.mask_and_sum_piece(x, dz, sums, with_relu));
        NormSums::join(&partial, channels)
    }

    /// Turns `dz`, the gradient of `norm(x)`, into that of `x`, adding `residual` where given; writes the parameters' gradients.
    pub(crate) fn backward(&self, input: NormBackward<'_, T>, d_gain: &mut [T], d_bias: &mut [T]) {
        let NormBackward { x, dz, sums, residual } = input;
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
        let (scale, mean) = (&self.scale[..channels], &self.moments.mean[..channels]);
        let (slope, offset) = (&slope[..channels], &offset[..channels]);
        dz.par_chunks_mut(piece).zip(x.par_chunks(piece)).enumerate().for_each(|(i, (dz, x))| {
            let residual = residual.map(|r| &r[i * piece..][..dz.len()]);
            vectorised(|| {
                for (dz, x) in dz.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                    for c in 0..channels {
                        dz[c] = scale[c] * dz[c] - offset[c] - slope[c] * (x[c] - mean[c]);
                    }
                }
                if let Some(residual) = residual {
                    for (dz, &r) in dz.iter_mut().zip(residual) {
                        *dz += r;
                    }
                }
            });
        });
    }
}

/// What [`Norm::backward`] reads, and `dz`, which it overwrites with the gradient of `x`.
pub(crate) struct NormBackward<'a, T> {
    pub(crate) x: &'a [T],
    pub(crate) dz: &'a mut [T],
    pub(crate) sums: &'a NormSums<T>,
    pub(crate) residual: Option<&'a [T]>,
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
