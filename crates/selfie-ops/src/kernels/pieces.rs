//! How work is cut: pieces whose number depends on shapes, never on the number of threads.

use super::memory::{Unwritten, unwritten};
use crate::Real;
use crate::profile::{OpClass, Work, span};
use rayon::prelude::*;

/// Rows of a product or of a normalisation that one piece holds: enough work to amortise packing, few enough to stay in cache.
pub(crate) const ROWS_PER_PIECE: usize = 512;

/// Elements of an elementwise loop that one piece holds.
pub(crate) const ELEMENTS_PER_PIECE: usize = 1 << 15;

/// Pieces whose partial sums are whole weight gradients; bounds the memory they take together.
const MAX_GRADIENT_PIECES: usize = 16;
const MAX_GRADIENT_ELEMENTS: usize = 1 << 24;

/// Elements of a large weight.
const LARGE_WEIGHT: usize = 1 << 18;

/// Whether the gradient of a weight of so many elements is cut by the weight's rows, each contracted over everything at once,
/// and not by what it is contracted over: adding to the whole of a large weight for every piece costs more than reading the
/// operands again.
pub(crate) fn cut_by_weight(elements: usize) -> bool {
    elements >= LARGE_WEIGHT
}

/// How many partial weight gradients of `elements` each are summed, for `units` indivisible units of work.
pub(crate) fn gradient_pieces(units: usize, elements: usize) -> usize {
    let by_memory = (MAX_GRADIENT_ELEMENTS / elements.max(1)).clamp(4, MAX_GRADIENT_PIECES);
    by_memory.min(units).max(1)
}

/// A loop over one piece, to be run by [`vectorised`]. Its `run` must be `#[inline(always)]`, or it is not compiled for wide
/// vectors: a closure would be, but only as long as it is small.
pub(crate) trait Loop {
    fn run(self);
}

/// Runs a loop compiled for the widest vectors this processor has.
///
/// The arithmetic is the same on each: nothing is fused or reordered, so the bits of such a loop do not depend on the processor.
#[inline]
pub(crate) fn vectorised(work: impl Loop) {
    struct Body<L>(L);
    impl<L: Loop> pulp::NullaryFnOnce for Body<L> {
        type Output = ();
        #[inline(always)]
        fn call(self) {
            self.0.run();
        }
    }
    pulp::Arch::new().dispatch(Body(work));
}

/// `out[i] += load(values[i])`.
struct Add<'a, T, V, L> {
    out: &'a mut [T],
    values: &'a [V],
    load: L,
}

impl<T: Real, V: Copy, L: Fn(V) -> T> Loop for Add<'_, T, V, L> {
    #[inline(always)]
    fn run(self) {
        for (o, &v) in self.out.iter_mut().zip(self.values) {
            *o += (self.load)(v);
        }
    }
}

/// Writes the sums of `pieces.len() / out.len()` partial sums to `out`, added in order; zeros where there are none.
pub(crate) fn sum_in_order<T: Real>(pieces: &[T], out: &mut [T]) {
    let Some((first, rest)) = pieces.split_at_checked(out.len()) else { return out.fill(T::ZERO) };
    let stride = out.len();
    out.par_chunks_mut(ELEMENTS_PER_PIECE).enumerate().for_each(|(i, out)| {
        let start = i * ELEMENTS_PER_PIECE;
        out.copy_from_slice(&first[start..start + out.len()]);
        for piece in rest.chunks_exact(stride) {
            let values = &piece[start..start + out.len()];
            vectorised(Add { out: &mut *out, values, load: |v| v });
        }
    });
}

/// The sums of the columns of `[rows, columns]`.
pub(crate) fn column_sums<T: Real, V: Copy + Sync>(
    values: &[V],
    columns: usize,
    load: impl Fn(V) -> T + Copy + Sync,
) -> Vec<T> {
    let piece = ROWS_PER_PIECE * columns;
    let n_pieces = values.len().div_ceil(piece);
    let mut partial = vec![T::zero(); n_pieces * columns];
    partial.par_chunks_mut(columns).zip(values.par_chunks(piece)).for_each(|(sums, rows)| {
        for values in rows.chunks_exact(columns) {
            vectorised(Add { out: &mut *sums, values, load });
        }
    });
    let mut sums = vec![T::zero(); columns];
    sum_in_order(&partial, &mut sums);
    sums
}

/// `out[i] = f(a[i], b[i])` of one piece.
struct ZipMap<'a, T, A, B, F> {
    out: &'a mut [T],
    a: &'a [A],
    b: &'a [B],
    f: &'a F,
}

impl<T, A: Copy, B: Copy, F: Fn(A, B) -> T> Loop for ZipMap<'_, T, A, B, F> {
    #[inline(always)]
    fn run(self) {
        for ((o, &a), &b) in self.out.iter_mut().zip(self.a).zip(self.b) {
            *o = (self.f)(a, b);
        }
    }
}

/// `f(a[i], b[i])` for every place, on all cores.
pub(crate) fn zip_map<T: Unwritten, A: Copy + Sync, B: Copy + Sync>(
    a: &[A],
    b: &[B],
    f: impl Fn(A, B) -> T + Send + Sync,
) -> Vec<T> {
    let _span = span(OpClass::Activation, Work::elementwise::<T>(a.len(), 1, 3));
    let mut out = unwritten(a.len());
    out.par_chunks_mut(ELEMENTS_PER_PIECE)
        .zip(a.par_chunks(ELEMENTS_PER_PIECE).zip(b.par_chunks(ELEMENTS_PER_PIECE)))
        .for_each(|(out, (a, b))| vectorised(ZipMap { out, a, b, f: &f }));
    out
}

/// `out[i] = f(out[i], a[i])` of one piece.
struct Update<'a, T, A, F> {
    out: &'a mut [T],
    a: &'a [A],
    f: &'a F,
}

impl<T: Copy, A: Copy, F: Fn(T, A) -> T> Loop for Update<'_, T, A, F> {
    #[inline(always)]
    fn run(self) {
        for (o, &a) in self.out.iter_mut().zip(self.a) {
            *o = (self.f)(*o, a);
        }
    }
}

/// `out[i] = f(out[i], a[i])` on all cores.
pub(crate) fn update<T: Real, A: Copy + Sync>(out: &mut [T], a: &[A], f: impl Fn(T, A) -> T + Send + Sync) {
    let _span = span(OpClass::Activation, Work::elementwise::<T>(out.len(), 1, 3));
    out.par_chunks_mut(ELEMENTS_PER_PIECE)
        .zip(a.par_chunks(ELEMENTS_PER_PIECE))
        .for_each(|(out, a)| vectorised(Update { out, a, f: &f }));
}
