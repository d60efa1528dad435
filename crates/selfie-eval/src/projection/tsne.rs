//! t-SNE (van der Maaten & Hinton 2008) with exact repulsion: quadratic in the points, which a picture has few thousand of.
//!
//! It starts from the two main directions, so that nothing is drawn, and sums in a fixed order: the same rows give the same
//! picture. Learning rate, exaggeration and momentum are scikit-learn's.

use rayon::prelude::*;

use super::main_directions;
use crate::neighbours::{Neighbour, nearest};
use crate::{EvalError, Matrix};

/// Effective number of neighbours of a point.
const PERPLEXITY: f64 = 30.0;
/// Standard deviation of the starting points.
const START: f32 = 1e-4;
const EXAGGERATION: f32 = 12.0;
const EXAGGERATED_STEPS: usize = 250;
const STEPS: usize = 750;
const MIN_LEARNING_RATE: f32 = 50.0;
const MIN_GAIN: f32 = 0.01;
/// Fewer rows have no neighbourhoods to keep.
const MIN_ROWS: usize = 10;

/// The rows as points of a plane whose neighbours are the rows' neighbours by cosine, as far as a plane has room for that;
/// of fewer than ten rows their two main directions.
///
/// # Errors
///
/// If a number is not finite.
pub fn tsne(rows: Matrix<'_>) -> Result<Vec<[f32; 2]>, EvalError> {
    let n = rows.n_rows();
    let mut points = main_directions(rows);
    if n < MIN_ROWS {
        return Ok(points);
    }
    let affinities = affinities(rows)?;
    let variance = points.iter().map(|point| f64::from(point[0]).powi(2)).sum::<f64>() / n as f64;
    let scale = START / (variance.sqrt() as f32).max(f32::MIN_POSITIVE);
    points.iter_mut().flatten().for_each(|value| *value *= scale);

    let learning_rate = (n as f32 / EXAGGERATION / 4.0).max(MIN_LEARNING_RATE);
    let mut velocity = vec![[0f32; 2]; n];
    let mut gains = vec![[1f32; 2]; n];
    for step in 0..STEPS {
        let (exaggeration, momentum) = if step < EXAGGERATED_STEPS { (EXAGGERATION, 0.5) } else { (1.0, 0.8) };
        let gradient = gradient(&points, &affinities, exaggeration);
        for (i, gradient) in gradient.iter().enumerate() {
            for axis in 0..2 {
                let (gain, velocity) = (&mut gains[i][axis], &mut velocity[i][axis]);
                // A direction that stays is followed faster.
                *gain = if (gradient[axis] > 0.0) == (*velocity > 0.0) { *gain * 0.8 } else { *gain + 0.2 };
                *gain = gain.max(MIN_GAIN);
                *velocity = momentum * *velocity - learning_rate * *gain * gradient[axis];
                points[i][axis] += *velocity;
            }
        }
    }
    match points.iter().flatten().find(|value| !value.is_finite()) {
        None => Ok(points),
        Some(&value) => Err(EvalError::NonFinite { what: "a point of t-SNE".to_owned(), value: f64::from(value) }),
    }
}

/// For each row the rows it is a neighbour of, or that are its neighbours, and how strongly; all together sum to 1.
fn affinities(rows: Matrix<'_>) -> Result<Vec<Vec<(usize, f32)>>, EvalError> {
    let n = rows.n_rows();
    let n_neighbours = ((3.0 * PERPLEXITY) as usize).min(n - 1);
    let itself: Vec<usize> = (0..n).collect();
    let found = nearest(rows, rows, n_neighbours, Some(&itself))?;
    let shares: Vec<Vec<f64>> = found.par_iter().map(|near| shares(near)).collect();
    let mut pairs = vec![Vec::new(); n];
    for (i, (near, shares)) in found.iter().zip(&shares).enumerate() {
        for (near, share) in near.iter().zip(shares) {
            let half = (share / (2.0 * n as f64)) as f32;
            pairs[i].push((near.row, half));
            pairs[near.row].push((i, half));
        }
    }
    Ok(pairs)
}

/// The share of each neighbour under a normal density whose width gives the perplexity.
fn shares(near: &[Neighbour]) -> Vec<f64> {
    // The squared distance of unit vectors.
    let distances: Vec<f64> = near.iter().map(|near| 2.0 - 2.0 * f64::from(near.cosine)).collect();
    let nearest = distances.iter().fold(f64::INFINITY, |least, &distance| least.min(distance));
    let entropy = PERPLEXITY.min(near.len() as f64 / 3.0).max(1.0).ln();
    let (mut low, mut high, mut precision) = (0.0, f64::INFINITY, 1.0);
    let mut shares = Vec::new();
    for _ in 0..100 {
        let densities: Vec<f64> = distances.iter().map(|distance| (-precision * (distance - nearest)).exp()).collect();
        let sum: f64 = densities.iter().sum();
        shares = densities.iter().map(|density| density / sum).collect();
        let got: f64 = shares.iter().filter(|&&share| share > 0.0).map(|share| -share * share.ln()).sum();
        if (got - entropy).abs() < 1e-5 {
            break;
        }
        if got > entropy {
            low = precision;
            precision = if high.is_finite() { (low + high) / 2.0 } else { precision * 2.0 };
        } else {
            high = precision;
            precision = (low + high) / 2.0;
        }
    }
    shares
}

/// The gradient of the divergence between the rows' affinities and the points'.
fn gradient(points: &[[f32; 2]], affinities: &[Vec<(usize, f32)>], exaggeration: f32) -> Vec<[f32; 2]> {
    // Of each point: the sum of its weights to all others, and the repulsion before it is divided by the sum of all.
    let repulsion: Vec<(f64, [f32; 2])> = points
        .par_iter()
        .map(|point| {
            let (mut sum, mut force) = (0f32, [0f32; 2]);
            for other in points {
                let away = [point[0] - other[0], point[1] - other[1]];
                let weight = 1.0 / (1.0 + away[0] * away[0] + away[1] * away[1]);
                sum += weight;
                force[0] += weight * weight * away[0];
                force[1] += weight * weight * away[1];
            }
            // A point's weight to itself is 1, its repulsion 0.
            (f64::from(sum - 1.0), force)
        })
        .collect();
    let sum = repulsion.iter().map(|(sum, _)| sum).sum::<f64>().max(f64::MIN_POSITIVE) as f32;
    let of_point = |(i, (_, repulsion)): (usize, &(f64, [f32; 2]))| {
        let mut force = [-repulsion[0] / sum, -repulsion[1] / sum];
        for &(other, affinity) in &affinities[i] {
            let away = [points[i][0] - points[other][0], points[i][1] - points[other][1]];
            let weight = 1.0 / (1.0 + away[0] * away[0] + away[1] * away[1]);
            force[0] += exaggeration * affinity * weight * away[0];
            force[1] += exaggeration * affinity * weight * away[1];
        }
        [4.0 * force[0], 4.0 * force[1]]
    };
    repulsion.par_iter().enumerate().map(of_point).collect()
}
