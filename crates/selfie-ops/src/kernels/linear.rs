//! Linear layers over rows: `y = x · Wᵀ + b`, weights `[out, in]` as PyTorch keeps them.

use super::pieces::{ROWS_PER_PIECE, column_sums, gradient_pieces, sum_in_order};
use super::product::{Operand, Size, Target, product};
use crate::Real;
use rayon::prelude::*;

/// A linear layer's widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Widths {
    pub(crate) input: usize,
    pub(crate) output: usize,
}

/// `[rows, in] → [rows, out]`.
pub(crate) fn forward<T: Real>(widths: Widths, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let Widths { input, output } = widths;
    let mut y = vec![T::zero(); x.len() / input * output];
    y.par_chunks_mut(ROWS_PER_PIECE * output).zip(x.par_chunks(ROWS_PER_PIECE * input)).for_each(|(y, x)| {
        for row in y.chunks_exact_mut(output) {
            row.copy_from_slice(bias);
        }
        let size = Size { m: x.len() / input, n: output, k: input };
        product(Target::add(y, output), size, T::one(), Operand::rows(x, input), Operand::transposed(weight, input));
    });
    y
}

/// The gradient of the input, `dy · W`.
pub(crate) fn backward_input<T: Real>(widths: Widths, dy: &[T], weight: &[T]) -> Vec<T> {
    let Widths { input, output } = widths;
    let mut dx = vec![T::zero(); dy.len() / output * input];
    dx.par_chunks_mut(ROWS_PER_PIECE * input).zip(dy.par_chunks(ROWS_PER_PIECE * output)).for_each(|(dx, dy)| {
        let size = Size { m: dy.len() / output, n: input, k: output };
        product(Target::write(dx, input), size, T::one(), Operand::rows(dy, output), Operand::rows(weight, input));
    });
    dx
}

/// The gradients of weight and bias, written to `d_weight` and `d_bias`.
pub(crate) fn backward_parameters<T: Real>(widths: Widths, x: &[T], dy: &[T], d_weight: &mut [T], d_bias: &mut [T]) {
    let Widths { input, output } = widths;
    let rows = x.len() / input;
    let n_pieces = gradient_pieces(rows.div_ceil(ROWS_PER_PIECE), input * output);
    let rows_per_piece = rows.div_ceil(n_pieces);
    let mut partial = vec![T::zero(); n_pieces * input * output];
    partial
        .par_chunks_mut(input * output)
        .zip(x.par_chunks(rows_per_piece * input))
        .zip(dy.par_chunks(rows_per_piece * output))
        .for_each(|((partial, x), dy)| {
            let size = Size { m: output, n: input, k: x.len() / input };
            product(
                Target::write(partial, input),
                size,
                T::one(),
                Operand::transposed(dy, output),
                Operand::rows(x, input),
            );
        });
    d_weight.fill(T::zero());
    sum_in_order(&partial, d_weight);
    d_bias.copy_from_slice(&column_sums(dy, output));
}
