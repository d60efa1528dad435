//! Layer normalisation over rows.

use super::memory::unwritten;
use super::pieces::{Loop, ROWS_PER_PIECE, sum_in_order, vectorised};
use crate::Real;
use crate::profile::{OpClass, Work, span};
use rayon::prelude::*;

/// PyTorch's default.
pub(crate) const EPSILON: f64 = 1e-5;

/// Rows that one piece of a gradient sums.
const ROWS_PER_SUM: usize = ROWS_PER_PIECE / 8;
/// Lanes of a row's sums: they are added in a fixed order, whatever the processor's vectors.
const LANES: usize = 16;

/// Sums of a row by lanes, in double precision: `f(i)` for each place.
#[inline(always)]
fn lane_sum(len: usize, f: impl Fn(usize) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let whole = len / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane += f(i + l);
        }
    }
    lanes.iter().sum::<f64>() + (whole..len).map(f).sum::<f64>()
}

/// Mean and reciprocal standard deviation of a row.
#[inline(always)]
fn row_moments<T: Real>(row: &[T]) -> (T, T) {
    let n = row.len() as f64;
    let mean = lane_sum(row.len(), |i| row[i].to_f64()) / n;
    let var = lane_sum(row.len(), |i| (row[i].to_f64() - mean) * (row[i].to_f64() - mean)) / n;
    (T::from_f64(mean), T::from_f64(1.0 / (var + EPSILON).sqrt()))
}

/// The normalised rows of one piece.
struct Forward<'a, T> {
    x: &'a [T],
    gain: &'a [T],
    bias: &'a [T],
    y: &'a mut [T],
}

impl<T: Real> Loop for Forward<'_, T> {
    #[inline(always)]
    fn run(self) {
        let width = self.gain.len();
        for (y, x) in self.y.chunks_exact_mut(width).zip(self.x.chunks_exact(width)) {
            let (mean, rstd) = row_moments(x);
            for (((y, &x), &g), &b) in y.iter_mut().zip(x).zip(self.gain).zip(self.bias) {
                *y = (x - mean) * rstd * g + b;
            }
        }
    }
}

/// `[rows, width] → [rows, width]`; `gain` and `bias` are `[width]`.
pub(crate) fn forward<T: Real>(x: &[T], gain: &[T], bias: &[T]) -> Vec<T> {
    let _span = span(OpClass::LayerNorm, Work::elementwise::<T>(x.len(), 8, 2));
    let piece = 16 * gain.len();
    let mut y = unwritten(x.len());
    y.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(y, x)| vectorised(Forward { x, gain, bias, y }));
    y
}

/// Gradients of [`forward`]: returns dx, writes `d_gain` and `d_bias`.
pub(crate) fn backward<T: Real>(x: &[T], gain: &[T], dy: &[T], d_gain: &mut [T], d_bias: &mut [T]) -> Vec<T> {
    let _span = span(OpClass::LayerNorm, Work::elementwise::<T>(x.len(), 18, 3));
    let width = gain.len();
    let piece = ROWS_PER_SUM * width;
    let mut dx = unwritten(x.len());
    let mut partial = vec![T::zero(); x.len().div_ceil(piece) * 2 * width];
    dx.par_chunks_mut(piece)
        .zip(partial.par_chunks_mut(2 * width))
        .zip(x.par_chunks(piece).zip(dy.par_chunks(piece)))
        .for_each(|((dx, partial), (x, dy))| {
            let (d_gain, d_bias) = partial.split_at_mut(width);
            vectorised(Backward { x, gain, dy, dx, d_gain, d_bias });
        });
    let mut sums = vec![T::zero(); 2 * width];
    sum_in_order(&partial, &mut sums);
    d_gain.copy_from_slice(&sums[..width]);
    d_bias.copy_from_slice(&sums[width..]);
    dx
}

/// The gradients of one piece's rows; those of the parameters are added.
struct Backward<'a, T> {
    x: &'a [T],
    gain: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
    d_gain: &'a mut [T],
    d_bias: &'a mut [T],
}

impl<T: Real> Loop for Backward<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Self { gain, d_gain, d_bias, .. } = self;
        let width = gain.len();
        let (d_gain, d_bias) = (&mut d_gain[..width], &mut d_bias[..width]);
        let rows = self.dx.chunks_exact_mut(width).zip(self.x.chunks_exact(width)).zip(self.dy.chunks_exact(width));
        for ((dx, x), dy) in rows {
            let (mean, rstd) = row_moments(x);
            let n = width as f64;
            let sum = T::from_f64(lane_sum(width, |i| (dy[i] * gain[i]).to_f64()) / n);
            let sum_x_hat = T::from_f64(lane_sum(width, |i| (dy[i] * gain[i] * (x[i] - mean) * rstd).to_f64()) / n);
            for i in 0..width {
                let x_hat = (x[i] - mean) * rstd;
                d_gain[i] += dy[i] * x_hat;
                d_bias[i] += dy[i];
                dx[i] = rstd * (dy[i] * gain[i] - sum - x_hat * sum_x_hat);
            }
        }
    }
}
