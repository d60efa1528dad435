//! The nearest embeddings by cosine, exactly: every row is compared.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use selfie_ops::{Precision, linear};

use crate::{EvalError, Matrix};

#[cfg(test)]
mod tests;

/// Queries that are compared at a time.
const QUERIES: usize = 256;
/// Numbers of a block of rows: a few MiB, which stay in the processor's cache until they are multiplied.
const BLOCK_NUMBERS: usize = 1 << 20;

/// A row and how near it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Which row.
    pub row: usize,
    /// Cosine of the angle to the query, −1 to 1.
    pub cosine: f32,
}

/// The `k` nearest rows of each query, the nearest first; of equally near ones the first row. `without` names for each
/// query a row that does not count: the query itself, where it is one of the rows.
///
/// The same bits whatever the number of threads.
///
/// # Errors
///
/// If queries and rows differ in width, or a number of them is not finite.
pub fn nearest(
    rows: Matrix<'_>,
    queries: Matrix<'_>,
    k: usize,
    without: Option<&[usize]>,
) -> Result<Vec<Vec<Neighbour>>, EvalError> {
    let width = rows.width();
    if queries.width() != width {
        return Err(EvalError::Widths { expected: width, got: queries.width() });
    }
    let n_block = (BLOCK_NUMBERS / width).max(1);
    let mut all = Vec::with_capacity(queries.n_rows());
    for first_query in (0..queries.n_rows()).step_by(QUERIES) {
        let n_queries = QUERIES.min(queries.n_rows() - first_query);
        let mut normalised = Vec::with_capacity(n_queries * width);
        queries.append_normalised(first_query..first_query + n_queries, &mut normalised);
        let x = Tensor::from_vec(normalised, (n_queries, width), &Device::Cpu)?;
        let mut best: Vec<Best> = (0..n_queries)
            .map(|query| Best::new(k, without.and_then(|without| without.get(first_query + query).copied())))
            .collect();
        for first in (0..rows.n_rows()).step_by(n_block) {
            let n_rows = n_block.min(rows.n_rows() - first);
            let cosines = linear(&x, &block(rows, first, n_rows)?, n_rows, Precision::Full)?; // [queries, rows]
            let cosines = cosines.flatten_all()?.to_vec1::<f32>()?;
            let finite = best.par_iter_mut().zip(cosines.par_chunks_exact(n_rows)).all(|(best, cosines)| {
                cosines.iter().enumerate().all(|(i, &cosine)| {
                    // Rounding may lead beyond 1.
                    best.offer(Neighbour { row: first + i, cosine: cosine.clamp(-1.0, 1.0) });
                    cosine.is_finite()
                })
            });
            if !finite {
                let what = format!("a cosine between a query and a row from {first} on");
                return Err(EvalError::NonFinite { what, value: f64::NAN });
            }
        }
        all.extend(best.into_iter().map(|best| best.neighbours));
    }
    Ok(all)
}

/// Rows as the parameters of a linear layer: normalised, then a bias of zeros.
fn block(rows: Matrix<'_>, first: usize, n_rows: usize) -> Result<Tensor, EvalError> {
    const PIECE: usize = 64;
    let pieces: Vec<Vec<f32>> = (0..n_rows.div_ceil(PIECE))
        .into_par_iter()
        .map(|piece| {
            let start = first + piece * PIECE;
            let end = (start + PIECE).min(first + n_rows);
            let mut numbers = Vec::with_capacity((end - start) * rows.width());
            rows.append_normalised(start..end, &mut numbers);
            numbers
        })
        .collect();
    let mut numbers = pieces.concat();
    numbers.resize(numbers.len() + n_rows, 0.0);
    Ok(Tensor::from_vec(numbers, ((),), &Device::Cpu)?)
}

/// The nearest rows so far.
struct Best {
    k: usize,
    without: Option<usize>,
    neighbours: Vec<Neighbour>,
}

impl Best {
    fn new(k: usize, without: Option<usize>) -> Self {
        Self { k, without, neighbours: Vec::with_capacity(k + 1) }
    }

    /// Rows come in rising order, so that an equally near one is later than those before it.
    fn offer(&mut self, neighbour: Neighbour) {
        let full = self.neighbours.len() == self.k;
        let nearer = self.neighbours.last().is_none_or(|last| neighbour.cosine > last.cosine);
        if (full && !nearer) || self.k == 0 || self.without == Some(neighbour.row) {
            return;
        }
        let place = self.neighbours.partition_point(|other| other.cosine >= neighbour.cosine);
        self.neighbours.insert(place, neighbour);
        self.neighbours.truncate(self.k);
    }
}
