//! Classes by the nearest neighbours' votes.

use crate::EvalError;
use crate::neighbours::{Neighbour, nearest};
use crate::probe::Labelled;

/// A vote counts exp(cosine / temperature), as Wu et al. (2018) and DINO have it.
pub const TEMPERATURE: f64 = 0.07;

/// Accuracy at one number of neighbours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnnAccuracy {
    /// Neighbours that vote: at most as many as there are.
    pub k: usize,
    /// Queries whose class wins.
    pub n_right: usize,
    /// Share of the queries whose class wins, in 0–1.
    pub accuracy: f64,
}

/// The accuracy on `test` by the votes of `train`, for each k; without `test`, of each row of `train` by the votes of the
/// others. Of equal sums the first class wins. A k above the number of rows stands for all of them.
///
/// # Errors
///
/// If the widths differ or a number is not finite.
pub fn knn(train: Labelled<'_>, test: Option<Labelled<'_>>, ks: &[usize]) -> Result<Vec<KnnAccuracy>, EvalError> {
    let most = ks.iter().copied().max().unwrap_or(0);
    let all: Vec<usize> = (0..train.labels.len()).collect();
    let (queries, without) = match &test {
        Some(test) => (*test, None),
        None => (train, Some(all.as_slice())),
    };
    let found = nearest(train.rows, queries.rows, most, without)?;
    let n_classes = train.labels.iter().max().map_or(0, |&label| label as usize + 1);
    let n_neighbours = found.first().map_or(0, Vec::len);
    let accuracy = |k: usize| {
        let k = k.min(n_neighbours);
        let wins = |(neighbours, label): &(&Vec<Neighbour>, &u32)| {
            winner(&neighbours[..k], train.labels, n_classes) == Some(**label)
        };
        let n_right = found.iter().zip(queries.labels).filter(wins).count();
        KnnAccuracy { k, n_right, accuracy: n_right as f64 / queries.labels.len() as f64 }
    };
    Ok(ks.iter().map(|&k| accuracy(k)).collect())
}

/// The class with the largest sum of votes.
fn winner(neighbours: &[Neighbour], labels: &[u32], n_classes: usize) -> Option<u32> {
    let mut votes = vec![0.0; n_classes];
    for neighbour in neighbours {
        // Relative to the largest possible vote, so that none overflows.
        votes[labels[neighbour.row] as usize] += ((f64::from(neighbour.cosine) - 1.0) / TEMPERATURE).exp();
    }
    let best = (0..n_classes).reduce(|best, class| if votes[class] > votes[best] { class } else { best })?;
    (votes[best] > 0.0).then_some(best as u32)
}
