//! Multi-head self-attention over a few tokens, from packed queries, keys and values.

use super::activation::Dropout;
use super::loss::softmax;
use super::product::{Operand, Size, Target, product};
use crate::Real;
use rayon::prelude::*;

/// The sizes of one attention: `tokens` each `heads · head_width` wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    pub(crate) tokens: usize,
    pub(crate) heads: usize,
    pub(crate) head_width: usize,
}

impl Heads {
    fn width(&self) -> usize {
        self.heads * self.head_width
    }

    fn scale<T: Real>(&self) -> T {
        T::from_f64(1.0 / (self.head_width as f64).sqrt())
    }

    fn scores(&self) -> usize {
        self.tokens * self.tokens
    }
}

/// `qkv [B, S, 3·D]` → pooled values `[B, S, D]` and the probabilities `[B, heads, S, S]` before dropout.
pub(crate) fn forward<T: Real>(sizes: Heads, qkv: &[T], dropout: Option<Dropout>) -> (Vec<T>, Vec<T>) {
    let (s, d, hw) = (sizes.tokens, sizes.width(), sizes.head_width);
    let batch = qkv.len() / (s * 3 * d);
    let mut out = vec![T::zero(); batch * s * d];
    let per_image = sizes.heads * sizes.scores();
    let mut probs = vec![T::zero(); batch * per_image];
    out.par_chunks_mut(s * d)
        .zip(probs.par_chunks_mut(per_image))
        .zip(qkv.par_chunks(s * 3 * d))
        .enumerate()
        .for_each_init(
            || vec![T::zero(); sizes.scores()],
            |dropped, (image, ((out, probs), qkv))| {
                for (head, probs) in probs.chunks_exact_mut(sizes.scores()).enumerate() {
                    let q = Operand::rows(&qkv[head * hw..], 3 * d);
                    let k = Operand::transposed(&qkv[d + head * hw..], 3 * d);
                    product(Target::write(probs, s), Size { m: s, n: s, k: hw }, sizes.scale(), q, k);
                    probs.chunks_exact_mut(s).for_each(|row| {
                        softmax(row);
                    });
                    dropped.copy_from_slice(probs);
                    if let Some(dropout) = dropout {
                        dropout.apply_at((image * per_image + head * sizes.scores()) as u64, dropped);
                    }
                    let v = Operand::rows(&qkv[2 * d + head * hw..], 3 * d);
                    let target = Target::write(&mut out[head * hw..], d);
                    product(target, Size { m: s, n: hw, k: s }, T::one(), Operand::rows(dropped, s), v);
                }
            },
        );
    (out, probs)
}

/// The gradient `[B, S, 3·D]` of `qkv`.
pub(crate) fn backward<T: Real>(sizes: Heads, qkv: &[T], probs: &[T], d_out: &[T], dropout: Option<Dropout>) -> Vec<T> {
    let (s, d) = (sizes.tokens, sizes.width());
    let per_image = sizes.heads * sizes.scores();
    let mut d_qkv = vec![T::zero(); qkv.len()];
    d_qkv
        .par_chunks_mut(s * 3 * d)
        .zip(qkv.par_chunks(s * 3 * d).zip(probs.par_chunks(per_image)).zip(d_out.par_chunks(s * d)))
        .enumerate()
        .for_each_init(
            || vec![T::zero(); 2 * sizes.scores()],
            |scratch, (image, (d_qkv, ((qkv, probs), d_out)))| {
                for head in 0..sizes.heads {
                    let probs = &probs[head * sizes.scores()..][..sizes.scores()];
                    let index = (image * per_image + head * sizes.scores()) as u64;
                    let dropout = dropout.map(|dropout| (dropout, index));
                    backward_head(sizes, head, (qkv, probs, d_out, dropout), d_qkv, scratch);
                }
            },
        );
    d_qkv
}

/// What the backward of one head reads: qkv, its probabilities, the output's gradient, dropout and its first index.
type HeadInput<'a, T> = (&'a [T], &'a [T], &'a [T], Option<(Dropout, u64)>);

fn backward_head<T: Real>(sizes: Heads, head: usize, input: HeadInput<'_, T>, d_qkv: &mut [T], scratch: &mut [T]) {
    let (qkv, probs, d_out, dropout) = input;
    let (s, d, hw) = (sizes.tokens, sizes.width(), sizes.head_width);
    let (dropped, d_scores) = scratch.split_at_mut(sizes.scores());
    let (q_at, k_at, v_at) = (head * hw, d + head * hw, 2 * d + head * hw);
    let d_head = Operand::rows(&d_out[head * hw..], d);
    let tokens_wide = Size { m: s, n: hw, k: s };

    dropped.copy_from_slice(probs);
    if let Some((dropout, index)) = dropout {
        dropout.apply_at(index, dropped);
    }
    product(Target::write(&mut d_qkv[v_at..], 3 * d), tokens_wide, T::one(), Operand::transposed(dropped, s), d_head);

    let v = Operand::transposed(&qkv[v_at..], 3 * d);
    product(Target::write(d_scores, s), Size { m: s, n: s, k: hw }, T::one(), d_head, v);
    if let Some((dropout, index)) = dropout {
        dropout.apply_at(index, d_scores);
    }
    for (d_row, p_row) in d_scores.chunks_exact_mut(s).zip(probs.chunks_exact(s)) {
        let mut dot = T::zero();
        for (&d, &p) in d_row.iter().zip(p_row) {
            dot += d * p;
        }
        for (d, &p) in d_row.iter_mut().zip(p_row) {
            *d = p * (*d - dot);
        }
    }
    let (q, k) = (Operand::rows(&qkv[q_at..], 3 * d), Operand::rows(&qkv[k_at..], 3 * d));
    product(Target::write(&mut d_qkv[q_at..], 3 * d), tokens_wide, sizes.scale(), Operand::rows(d_scores, s), k);
    product(Target::write(&mut d_qkv[k_at..], 3 * d), tokens_wide, sizes.scale(), Operand::transposed(d_scores, s), q);
}
