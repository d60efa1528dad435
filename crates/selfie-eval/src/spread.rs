//! How much room embeddings take: two more signs of collapse beside [`collapse`](crate::collapse()).

use candle_core::{Device, Tensor};
use selfie_ops::{Precision, linear};

use crate::{EvalError, Matrix};

#[cfg(test)]
mod tests;

/// The mean cosine of all pairs of different rows: 1 where all point the same way, about 0 where they point everywhere.
/// 0 of fewer than two rows.
#[must_use]
pub fn mean_cosine(rows: Matrix<'_>) -> f64 {
    let n = rows.n_rows();
    let mut normalised = Vec::with_capacity(n * rows.width());
    rows.append_normalised(0..n, &mut normalised);
    let (mut sums, mut own) = (vec![0f64; rows.width()], 0f64);
    for row in normalised.chunks_exact(rows.width()) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += f64::from(value);
            own += f64::from(value).powi(2);
        }
    }
    // The square of the sum holds every pair twice, and every row with itself.
    let all: f64 = sums.iter().map(|sum| sum * sum).sum();
    if n < 2 { 0.0 } else { (all - own) / (n as f64 * (n as f64 - 1.0)) }
}

/// The participation ratio of the covariance's eigenvalues, (Σλ)² / Σλ²: how many directions the rows fill, from 1 to D.
/// 0 where the rows do not differ.
///
/// # Errors
///
/// If memory is short.
pub fn participation_ratio(rows: Matrix<'_>) -> Result<f64, EvalError> {
    let (n, width) = (rows.n_rows(), rows.width());
    let mut mean = vec![0f64; width];
    rows.each(|row| mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value) / n as f64));
    // Transposed: the covariance is a product of the columns with each other.
    let mut columns = vec![0f32; n * width];
    let mut row_idx = 0;
    rows.each(|row| {
        for (column, (&value, mean)) in row.iter().zip(&mean).enumerate() {
            columns[column * n + row_idx] = (f64::from(value) - mean) as f32;
        }
        row_idx += 1;
    });
    let x = Tensor::from_slice(&columns, (width, n), &Device::Cpu)?;
    columns.resize(columns.len() + width, 0.0);
    let columns = Tensor::from_vec(columns, ((),), &Device::Cpu)?;
    let covariance = linear(&x, &columns, width, Precision::Full)?.to_vec2::<f32>()?; // [D, D]
    let trace: f64 = covariance.iter().enumerate().map(|(i, row)| f64::from(row[i])).sum();
    let squares: f64 = covariance.iter().flatten().map(|&value| f64::from(value).powi(2)).sum();
    Ok(if squares > 0.0 { trace * trace / squares } else { 0.0 })
}
