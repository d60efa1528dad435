//! Whether embeddings have collapsed to one point or line.

use rayon::prelude::*;

#[cfg(test)]
mod tests;

/// Embeddings a piece of the sums holds; the number of pieces depends on the number of embeddings alone.
const ROWS_PER_PIECE: usize = 256;

/// The spread of `[rows, width]` embeddings on the unit sphere: √width times the mean, over coordinates, of the
/// standard deviation of the normalised embeddings. 0 when all point the same way, 1 when they point everywhere alike.
///
/// `None` where there is nothing to measure: no rows, or a number that is not finite.
#[must_use]
pub fn collapse(embeddings: &[f32], width: usize) -> Option<f64> {
    if width == 0 || embeddings.len() < width {
        return None;
    }
    let pieces: Vec<Vec<f64>> = embeddings.par_chunks(ROWS_PER_PIECE * width).map(|rows| sums(rows, width)).collect();
    let mut total = vec![0.0; 2 * width];
    for piece in &pieces {
        for (total, piece) in total.iter_mut().zip(piece) {
            *total += piece;
        }
    }
    let (sums, squares) = total.split_at(width);
    collapse_of_sums(sums, squares, embeddings.len() / width)
}

/// As [`collapse`], from the sums and the sums of squares of every coordinate of `rows` normalised embeddings.
#[must_use]
pub fn collapse_of_sums(sums: &[f64], squares: &[f64], rows: usize) -> Option<f64> {
    let n = rows as f64;
    let std = sums.iter().zip(squares).map(|(sum, squares)| {
        let variance = squares / n - (sum / n).powi(2);
        // Rounding may leave a little below zero; `max` would hide a NaN.
        if variance < 0.0 { 0.0 } else { variance.sqrt() }
    });
    let spread = std.sum::<f64>() / (sums.len() as f64).sqrt();
    spread.is_finite().then_some(spread)
}

/// Sums and sums of squares of every coordinate of the normalised rows.
fn sums(rows: &[f32], width: usize) -> Vec<f64> {
    let mut sums = vec![0.0; 2 * width];
    for row in rows.chunks_exact(width) {
        let length = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let scale = if length == 0.0 { 0.0 } else { 1.0 / length };
        let (sum, squares) = sums.split_at_mut(width);
        for ((sum, square), &value) in sum.iter_mut().zip(squares).zip(row) {
            let value = f64::from(value) * scale;
            *sum += value;
            *square += value * value;
        }
    }
    sums
}
