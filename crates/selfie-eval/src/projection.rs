//! Embeddings as points of a plane: their two main directions, and from there [`tsne()`].

use crate::Matrix;

mod tsne;

pub use tsne::tsne;

#[cfg(test)]
mod tests;

/// Power iterations of each main direction.
const ITERATIONS: usize = 60;

/// The rows' coordinates along their two main directions.
#[must_use]
pub fn main_directions(rows: Matrix<'_>) -> Vec<[f32; 2]> {
    let (n, width) = (rows.n_rows(), rows.width());
    let mut numbers = Vec::with_capacity(n * width);
    rows.each(|row| numbers.extend_from_slice(row));
    let mut mean = vec![0f64; width];
    for row in numbers.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value) / n as f64);
    }
    for row in numbers.chunks_exact_mut(width) {
        row.iter_mut().zip(&mean).for_each(|(value, &mean)| *value -= mean as f32);
    }
    let mut points = vec![[0f32; 2]; n];
    for axis in 0..2 {
        let direction = main_direction(&numbers, width);
        for (point, row) in points.iter_mut().zip(numbers.chunks_exact_mut(width)) {
            let along = dot(row, &direction);
            point[axis] = along as f32;
            // What is left has no part along this direction.
            row.iter_mut().zip(&direction).for_each(|(value, d)| *value -= (along * d) as f32);
        }
    }
    points
}

/// The unit vector along which centred rows vary most, by power iteration.
fn main_direction(numbers: &[f32], width: usize) -> Vec<f64> {
    // A start that no symmetry of the data is likely to be at a right angle to.
    let mut direction: Vec<f64> = (0..width).map(|i| 1.0 + (i as f64 * 0.618).fract()).collect();
    for _ in 0..ITERATIONS {
        let mut next = vec![0f64; width];
        for row in numbers.chunks_exact(width) {
            let along = dot(row, &direction);
            next.iter_mut().zip(row).for_each(|(next, &value)| *next += along * f64::from(value));
        }
        let length = next.iter().map(|value| value * value).sum::<f64>().sqrt();
        if length == 0.0 {
            break;
        }
        direction = next.into_iter().map(|value| value / length).collect();
    }
    direction
}

fn dot(row: &[f32], direction: &[f64]) -> f64 {
    row.iter().zip(direction).map(|(&value, d)| f64::from(value) * d).sum()
}
