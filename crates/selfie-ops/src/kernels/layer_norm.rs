//! Layer normalisation over rows.

use super::pieces::{ROWS_PER_PIECE, sum_in_order, vectorised};
use crate::Real;
use rayon::prelude::*;

/// PyTorch's default.
pub(crate) const EPSILON: f64 = 1e-5;

/// Mean and reciprocal standard deviation of a row.
fn row_moments<T: Real>(row: &[T]) -> (T, T) {
    let n = row.len() as f64;
    let mean = row.iter().map(|v| v.to_f64()).sum::<f64>() / n;
    let var = row.iter().map(|v| (v.to_f64() - mean).powi(2)).sum::<f64>() / n;
    (T::from_f64(mean), T::from_f64(1.0 / (var + EPSILON).sqrt()))
}

/// `[rows, width] → [rows, width]`; `gain` and `bias` are `[width]`.
pub(crate) fn forward<T: Real>(x: &[T], gain: &[T], bias: &[T]) -> Vec<T> {
    let width = gain.len();
    let mut y = vec![T::zero(); x.len()];
    y.par_chunks_mut(width * 16).zip(x.par_chunks(width * 16)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            let (mean, rstd) = row_moments(x);
            vectorised(|| {
                for (((y, &x), &g), &b) in y.iter_mut().zip(x).zip(gain).zip(bias) {
                    *y = (x - mean) * rstd * g + b;
                }
            });
        }
    });
    y
}

/// Gradients of [`forward`]: returns dx, adds nothing, writes `d_gain` and `d_bias`.
pub(crate) fn backward<T: Real>(x: &[T], gain: &[T], dy: &[T], d_gain: &mut [T], d_bias: &mut [T]) -> Vec<T> {
    let width = gain.len();
    let piece = ROWS_PER_PIECE / 8 * width;
    let mut dx = vec![T::zero(); x.len()];
    let mut partial = vec![T::zero(); x.len().div_ceil(piece) * 2 * width];
    dx.par_chunks_mut(piece)
        .zip(partial.par_chunks_mut(2 * width))
        .zip(x.par_chunks(piece).zip(dy.par_chunks(piece)))
        .for_each(|((dx, partial), (x, dy))| {
            let (d_gain, d_bias) = partial.split_at_mut(width);
            for ((dx, x), dy) in dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(width)) {
                backward_row((dx, x, dy), gain, d_gain, d_bias);
            }
        });
    let mut sums = vec![T::zero(); 2 * width];
    sum_in_order(&partial, &mut sums);
    d_gain.copy_from_slice(&sums[..width]);
    d_bias.copy_from_slice(&sums[width..]);
    dx
}

fn backward_row<T: Real>((dx, x, dy): (&mut [T], &[T], &[T]), gain: &[T], d_gain: &mut [T], d_bias: &mut [T]) {
    let (mean, rstd) = row_moments(x);
    let (mut sum, mut sum_x_hat) = (T::zero(), T::zero());
    for ((&x, &dy), &g) in x.iter().zip(dy).zip(gain) {
        sum += dy * g;
        sum_x_hat += dy * g * (x - mean) * rstd;
    }
    let n = T::from_f64(gain.len() as f64);
    let (sum, sum_x_hat) = (sum / n, sum_x_hat / n);
    vectorised(|| {
        for (i, dx) in dx.iter_mut().enumerate() {
            let x_hat = (x[i] - mean) * rstd;
            d_gain[i] += dy[i] * x_hat;
            d_bias[i] += dy[i];
            *dx = rstd * (dy[i] * gain[i] - sum - x_hat * sum_x_hat);
        }
    });
}
