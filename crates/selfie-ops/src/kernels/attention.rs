//! Multi-head self-attention over a few tokens, from packed queries, keys and values.

use super::activation::Dropout;
use super::loss::softmax;
use super::memory::unwritten;
use super::product::{At, Panels, Rows, Run, Runs, Source, Target, contraction, rows_product};
use super::scratch::{Scratch, with_scratch};
use crate::Real;
use crate::profile::{OpClass, Work, span};
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

    /// `products` products of the scores' size for each head.
    fn work<T>(&self, qkv: usize, products: u64) -> Work {
        let images = qkv / (3 * self.tokens * self.width());
        let flop = 2 * products * (images * self.scores() * self.width()) as u64;
        let elements = qkv / 3 * 4 + 2 * images * self.heads * self.scores();
        Work { flop, bytes: (elements * size_of::<T>()) as u64 }
    }

    fn contractions<T: Real>(&self) -> [Runs; 2] {
        [self.head_width, self.tokens].map(|len| Runs::new([Run { a: 0, b: 0, len }], T::kernels().depth))
    }

    fn scores(&self) -> usize {
        self.tokens * self.tokens
    }
}

/// What the products of one head read and write: in `qkv`, queries, keys and values lie `step` apart from token to token.
struct Head<'a, T> {
    sizes: Heads,
    /// Contractions over a head's width and over the tokens.
    over: &'a [Runs; 2],
    q: &'a [T],
    k: &'a [T],
    v: &'a [T],
}

impl<'a, T: Real> Head<'a, T> {
    fn new((sizes, over): (Heads, &'a [Runs; 2]), qkv: &'a [T], head: usize) -> Self {
        let (d, at) = (sizes.width(), head * sizes.head_width);
        Self { sizes, over, q: &qkv[at..], k: &qkv[d + at..], v: &qkv[2 * d + at..] }
    }

    fn step(&self) -> usize {
        3 * self.sizes.width()
    }

    /// `c = a × tokensᵀ`: `[S, S]` from rows of `a`, `a_step` apart, and of `tokens`, as far apart as in `qkv`.
    fn times_transposed(&self, c: &mut [T], (a, a_step): (&[T], usize), tokens: &[T], right: &mut Panels<T>) {
        let Heads { tokens: s, head_width, .. } = self.sizes;
        let kernels = T::kernels();
        let source = Source::Transposed { data: tokens, block_rows: head_width, step: self.step() };
        right.pack((head_width, s), kernels.columns, source);
        rows_product(c, (a, Rows::evenly(s, a_step, s)), right, &self.over[0], false);
    }

    /// `c = a × tokens`: `[S, head_width]`, rows `c_step` apart, from `a [S, S]`.
    fn times(&self, (c, c_step): (&mut [T], usize), a: &[T], tokens: &[T], right: &mut Panels<T>) {
        let Heads { tokens: s, head_width, .. } = self.sizes;
        let kernels = T::kernels();
        right.pack((s, head_width), kernels.columns, Source::Rows { data: tokens, at: At::Evenly(self.step()) });
        rows_product(c, (a, Rows::evenly(s, s, c_step)), right, &self.over[1], false);
    }

    /// `c = aᵀ × tokens`: `[S, head_width]`, rows as far apart as in `qkv`, from `a [S, S]`; `tokens` are `step` apart.
    fn transposed_times(&self, c: &mut [T], a: &[T], (tokens, step): (&[T], usize), scratch: &mut Scratch<T>) {
        let Heads { tokens: s, head_width, .. } = self.sizes;
        let kernels = T::kernels();
        let Scratch { left, right, .. } = scratch;
        left.pack((s, s), kernels.rows, Source::Rows { data: a, at: At::Evenly(s) });
        right.pack((s, head_width), kernels.columns, Source::Rows { data: tokens, at: At::Evenly(step) });
        let target = Target { data: c, step: self.step(), accumulate: false };
        contraction(target, left, right, &self.over[1]);
    }
}

/// `qkv [B, S, 3·D]` → pooled values `[B, S, D]` and the probabilities `[B, heads, S, S]` before dropout.
pub(crate) fn forward<T: Real>(sizes: Heads, qkv: &[T], dropout: Option<Dropout>) -> (Vec<T>, Vec<T>) {
    let (s, d, hw) = (sizes.tokens, sizes.width(), sizes.head_width);
    let _span = span(OpClass::Attention, sizes.work::<T>(qkv.len(), 2));
    let batch = qkv.len() / (s * 3 * d);
    let mut out = unwritten(batch * s * d);
    let per_image = sizes.heads * sizes.scores();
    let mut probs = unwritten(batch * per_image);
    let over = sizes.contractions::<T>();
    let work = out.par_chunks_mut(s * d).zip(probs.par_chunks_mut(per_image)).zip(qkv.par_chunks(s * 3 * d));
    work.enumerate().for_each(|(image, ((out, probs), qkv))| {
        with_scratch(|Scratch { right, activated, .. }| {
            activated.resize(sizes.scores());
            let dropped = activated.as_mut_slice();
            for (head, probs) in probs.chunks_exact_mut(sizes.scores()).enumerate() {
                let this = Head::new((sizes, &over), qkv, head);
                this.times_transposed(probs, (this.q, this.step()), this.k, right);
                for row in probs.chunks_exact_mut(s) {
                    row.iter_mut().for_each(|score| *score *= sizes.scale());
                    softmax(row);
                }
                dropped.copy_from_slice(probs);
                if let Some(dropout) = dropout {
                    dropout.apply_at((image * per_image + head * sizes.scores()) as u64, dropped);
                }
                this.times((&mut out[head * hw..], d), dropped, this.v, right);
            }
        });
    });
    (out, probs)
}

/// The gradient `[B, S, 3·D]` of `qkv`.
pub(crate) fn backward<T: Real>(sizes: Heads, qkv: &[T], probs: &[T], d_out: &[T], dropout: Option<Dropout>) -> Vec<T> {
    let (s, d) = (sizes.tokens, sizes.width());
    let _span = span(OpClass::Attention, sizes.work::<T>(qkv.len(), 4));
    let per_image = sizes.heads * sizes.scores();
    let over = sizes.contractions::<T>();
    let mut d_qkv = unwritten(qkv.len());
    let reads = qkv.par_chunks(s * 3 * d).zip(probs.par_chunks(per_image)).zip(d_out.par_chunks(s * d));
    d_qkv.par_chunks_mut(s * 3 * d).zip(reads).enumerate().for_each(|(image, (d_qkv, ((qkv, probs), d_out)))| {
        with_scratch(|scratch| {
            for head in 0..sizes.heads {
                let input = HeadInput {
                    head: Head::new((sizes, &over), qkv, head),
                    probs: &probs[head * sizes.scores()..][..sizes.scores()],
                    d_out: &d_out[head * sizes.head_width..],
                    dropout: dropout.map(|d| (d, (image * per_image + head * sizes.scores()) as u64)),
                };
                input.backward(&mut d_qkv[head * sizes.head_width..], scratch);
            }
        });
    });
    d_qkv
}

/// What the backward of one head reads: its probabilities, the output's gradient, dropout and its first index.
struct HeadInput<'a, T> {
    head: Head<'a, T>,
    probs: &'a [T],
    d_out: &'a [T],
    dropout: Option<(Dropout, u64)>,
}

impl<T: Real> HeadInput<'_, T> {
    /// `d_qkv` begins at this head's queries.
    fn backward(&self, d_qkv: &mut [T], scratch: &mut Scratch<T>) {
        let Self { head, probs, d_out, dropout } = self;
        let (s, d) = (head.sizes.tokens, head.sizes.width());
        let mut scores = std::mem::take(&mut scratch.activated);
        scores.resize(2 * head.sizes.scores());
        let (dropped, d_scores) = scores.as_mut_slice().split_at_mut(head.sizes.scores());
        dropped.copy_from_slice(probs);
        if let Some((dropout, index)) = dropout {
            dropout.apply_at(*index, dropped);
        }
        head.transposed_times(&mut d_qkv[2 * d..], dropped, (d_out, d), scratch);

        head.times_transposed(d_scores, (d_out, d), head.v, &mut scratch.right);
        if let Some((dropout, index)) = dropout {
            dropout.apply_at(*index, d_scores);
        }
        let scale: T = head.sizes.scale();
        for (d_row, p_row) in d_scores.chunks_exact_mut(s).zip(probs.chunks_exact(s)) {
            let mut dot = T::zero();
            for (&d, &p) in d_row.iter().zip(p_row) {
                dot += d * p;
            }
            for (d, &p) in d_row.iter_mut().zip(p_row) {
                *d = p * (*d - dot) * scale;
            }
        }
        head.times((d_qkv, head.step()), d_scores, head.k, &mut scratch.right);
        head.transposed_times(&mut d_qkv[d..], d_scores, (head.q, head.step()), scratch);
        scratch.activated = scores;
    }
}
