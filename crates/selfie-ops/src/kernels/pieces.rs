//! How work is cut: pieces whose number depends on shapes, never on the number of threads.

use crate::Real;
use rayon::prelude::*;

/// Rows of a product or of a normalisation that one piece holds: enough work to amortise packing, few enough to stay in cache.
pub(crate) const ROWS_PER_PIECE: usize = 512;

/// Elements of an elementwise loop that one piece holds.
pub(crate) const ELEMENTS_PER_PIECE: usize = 1 << 15;

/// Pieces whose partial sums are whole weight gradients; bounds the memory they take together.
const MAX_GRADIENT_PIECES: usize = 16;
const MAX_GRADIENT_ELEMENTS: usize = 1 << 24;

/// How many partial weight gradients of `elements` each are summed, for `units` indivisible units of work.
pub(crate) fn gradient_pieces(units: usize, elements: usize) -> usize {
    let by_memory = (MAX_GRADIENT_ELEMENTS / elements.max(1)).clamp(4, MAX_GRADIENT_PIECES);
    by_memory.min(units).max(1)
}

/// Runs a loop body compiled for the widest vectors this processor has.
///
/// The arithmetic is the same on each: nothing is fused or reordered, so the bits of such a loop do not depend on the processor.
#[inline]
pub(crate) fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// Adds `pieces.len() / out.len()` partial sums to `out`, in order.
pub(crate) fn sum_in_order<T: Real>(pieces: &[T], out: &mut [T]) {
    let stride = out.len();
    out.par_chunks_mut(ELEMENTS_PER_PIECE).enumerate().for_each(|(i, out)| {
        let start = i * ELEMENTS_PER_PIECE;
        for piece in pieces.chunks_exact(stride) {
            let piece = &piece[start..start + out.len()];
            vectorised(|| {
                for (o, &p) in out.iter_mut().zip(piece) {
                    *o += p;
                }
            });
        }
    });
}

/// The sums of the columns of `[rows, columns]`.
pub(crate) fn column_sums<T: Real>(values: &[T], columns: usize) -> Vec<T> {
    let piece = ROWS_PER_PIECE * columns;
    let n_pieces = values.len().div_ceil(piece);
    let mut partial = vec![T::zero(); n_pieces * columns];
    partial.par_chunks_mut(columns).zip(values.par_chunks(piece)).for_each(|(sums, rows)| {
        vectorised(|| {
            for row in rows.chunks_exact(columns) {
                for (s, &v) in sums.iter_mut().zip(row) {
                    *s += v;
                }
            }
        });
    });
    let mut sums = vec![T::zero(); columns];
    sum_in_order(&partial, &mut sums);
    sums
}

/// `out[i] = f(a[i], b[i])` on all cores.
pub(crate) fn zip_map<T: Real>(out: &mut [T], a: &[T], b: &[T], f: impl Fn(T, T) -> T + Send + Sync) {
    out.par_chunks_mut(ELEMENTS_PER_PIECE)
        .zip(a.par_chunks(ELEMENTS_PER_PIECE))
        .zip(b.par_chunks(ELEMENTS_PER_PIECE))
        .for_each(|((out, a), b)| {
            vectorised(|| {
                for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
                    *o = f(a, b);
                }
            });
        });
}

/// `out[i] = f(out[i], a[i])` on all cores.
pub(crate) fn update<T: Real>(out: &mut [T], a: &[T], f: impl Fn(T, T) -> T + Send + Sync) {
    out.par_chunks_mut(ELEMENTS_PER_PIECE).zip(a.par_chunks(ELEMENTS_PER_PIECE)).for_each(|(out, a)| {
        vectorised(|| {
            for (o, &a) in out.iter_mut().zip(a) {
                *o = f(*o, a);
            }
        });
    });
}
