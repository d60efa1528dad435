//! Linear layers over rows: `y = x · Wᵀ + b`, weights `[out, in]` as PyTorch keeps them.

use super::memory::unwritten;
use super::numbers::Numbers;
use super::pieces::{ROWS_PER_PIECE, column_sums, cut_by_weight, gradient_pieces, sum_in_order};
use super::product::{
    Addend, At, Panels, Run, Runs, Source, Target, contraction, contraction_on_all_cores, even_product,
};
use super::scratch::{Scratch, with_scratch};
use crate::profile::{OpClass, Work, span};
use rayon::prelude::*;

/// A linear layer's widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Widths {
    pub(crate) input: usize,
    pub(crate) output: usize,
}

/// Rows that one piece of a weight's gradient packs at a time.
const ROWS_PER_CONTRACTION: usize = 256;

impl Widths {
    fn work<T>(self, rows: usize) -> Work {
        let Self { input, output } = self;
        let elements = rows * (input + output) + input * output;
        Work { flop: 2 * (rows * input * output) as u64, bytes: (elements * size_of::<T>()) as u64 }
    }
}

/// `[rows, in] → [rows, out]`.
pub(crate) fn forward<M: Numbers>(widths: Widths, x: &[M::Sum], weight: &[M::Sum], bias: &[M::Sum]) -> Vec<M::Sum> {
    let Widths { input, output } = widths;
    let _span = span(OpClass::LinearForward, widths.work::<M::Sum>(x.len() / input));
    let (x, weight) = (M::stored(x), M::stored(weight));
    let weight = Source::Transposed { data: &weight, block_rows: input, step: input };
    let weight = Panels::pack_on_all_cores((input, output), M::kernels().right(), weight);
    let mut y = unwritten(x.len() / input * output);
    y.par_chunks_mut(ROWS_PER_PIECE * output).zip(x.par_chunks(ROWS_PER_PIECE * input)).for_each(|(y, x)| {
        even_product::<M, M::Sum>(y, x, &weight, Addend::Row(bias));
    });
    y
}

/// The gradient of the input, `dy · W`.
pub(crate) fn backward_input<M: Numbers>(widths: Widths, dy: &[M::Stored], weight: &[M::Sum]) -> Vec<M::Sum> {
    let Widths { input, output } = widths;
    let _span = span(OpClass::LinearBackward, widths.work::<M::Sum>(dy.len() / output));
    let weight = M::stored(weight);
    let weight = Source::Rows { data: &weight, at: At::Evenly(input) };
    let weight = Panels::pack_on_all_cores((output, input), M::kernels().right(), weight);
    let mut dx = unwritten(dy.len() / output * input);
    let dy = dy.par_chunks(ROWS_PER_PIECE * output);
    dx.par_chunks_mut(ROWS_PER_PIECE * input)
        .zip(dy)
        .for_each(|(dx, dy)| even_product::<M, M::Sum>(dx, dy, &weight, Addend::Nothing));
    dx
}

/// The gradients of weight and bias, written to `d_weight` and `d_bias`.
pub(crate) fn backward_parameters<M: Numbers>(
    widths: Widths,
    x: &[M::Sum],
    dy: &[M::Stored],
    d_weight: &mut [M::Sum],
    d_bias: &mut [M::Sum],
) {
    let Widths { input, output } = widths;
    let kernels = M::kernels();
    let x = M::stored(x);
    let rows = x.len() / input;
    let _span = span(OpClass::LinearBackward, widths.work::<M::Sum>(rows));
    if cut_by_weight(input * output) {
        let source = Source::Rows { data: &x, at: At::Evenly(input) };
        let right = Panels::pack_on_all_cores((rows, input), kernels.right(), source);
        let runs = Runs::uncut([Run { a: 0, b: 0, len: right.rows() }]);
        contraction_on_all_cores::<M>(d_weight, (dy, At::Evenly(output), rows), &right, &runs);
    } else {
        weight_by_rows::<M>(widths, (&x, dy), d_weight);
    }
    d_bias.copy_from_slice(&column_sums(dy, output, M::load));
}

/// The gradient of a small weight, as the sum of those of some rows each.
fn weight_by_rows<M: Numbers>(widths: Widths, (x, dy): (&[M::Stored], &[M::Stored]), d_weight: &mut [M::Sum]) {
    let Widths { input, output } = widths;
    let kernels = M::kernels();
    let rows = x.len() / input;
    let n_pieces = gradient_pieces(rows.div_ceil(ROWS_PER_CONTRACTION), input * output);
    let rows_per_piece = rows.div_ceil(n_pieces);
    let n_pieces = rows.div_ceil(rows_per_piece);
    let mut partial = unwritten(n_pieces * input * output);
    partial
        .par_chunks_mut(input * output)
        .zip(x.par_chunks(rows_per_piece * input))
        .zip(dy.par_chunks(rows_per_piece * output))
        .for_each(|((partial, x), dy)| {
            with_scratch(|Scratch { left, right, .. }: &mut Scratch<M>| {
                let x = x.chunks(ROWS_PER_CONTRACTION * input);
                for (i, (x, dy)) in x.zip(dy.chunks(ROWS_PER_CONTRACTION * output)).enumerate() {
                    let rows = x.len() / input;
                    left.pack((rows, output), kernels.left(), Source::Rows { data: dy, at: At::Evenly(output) });
                    right.pack((rows, input), kernels.right(), Source::Rows { data: x, at: At::Evenly(input) });
                    let target = Target { data: partial, step: input, accumulate: i > 0 };
                    let runs = Runs::uncut([Run { a: 0, b: 0, len: left.rows() }]);
                    contraction::<M>(target, left, right, &runs);
                }
            });
        });
    sum_in_order(&partial, d_weight);
}
