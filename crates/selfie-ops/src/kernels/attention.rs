//! Multi-head self-attention over a few tokens, from packed queries, keys and values.

use super::activation::Dropout;
use super::loss::softmax;
use super::memory::unwritten;
use super::numbers::{Exact, Numbers};
use super::product::{At, Panels, Rows, Runs, Source, Target, contraction, rows_product};
use super::scratch::{Scratch, with_scratch};
use crate::Real;
use crate::profile::{OpClass, Work, span};
use rayon::prelude::*;

/// The sizes of one attention: `tokens` each `heads · head_width` wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    pub(crate) tokens: usize,
    /// Leading tokens that ask: all of them, or the first alone.
    pub(crate) queries: usize,
    pub(crate) heads: usize,
    pub(crate) head_width: usize,
}

impl Heads {
    pub(crate) fn width(&self) -> usize {
        self.heads * self.head_width
    }

    /// Elements of one image's projections: `[S, 3·D]` where every token asks, else the first one's query, then keys and
    /// values `[S, 2·D]`.
    pub(crate) fn image_len(&self) -> usize {
        let d = self.width();
        if self.asks_once() { d + self.tokens * 2 * d } else { self.tokens * 3 * d }
    }

    /// Whether only the first of several tokens asks.
    pub(crate) fn asks_once(&self) -> bool {
        self.queries < self.tokens
    }

    /// From one token's keys to the next one's.
    fn step(&self) -> usize {
        if self.asks_once() { 2 * self.width() } else { 3 * self.width() }
    }

    fn scale<T: Real>(&self) -> T {
        T::from_f64(1.0 / (self.head_width as f64).sqrt())
    }

    /// `products` products of the scores' size for each head.
    fn work<T>(&self, projections: usize, products: u64) -> Work {
        let images = projections / self.image_len();
        let flop = 2 * products * (images * self.scores() * self.width()) as u64;
        let elements = projections + images * self.queries * self.width() + 2 * images * self.heads * self.scores();
        Work { flop, bytes: (elements * size_of::<T>()) as u64 }
    }

    fn contractions<T: Real>(&self) -> [Runs; 3] {
        let over = [self.head_width, self.tokens, self.queries];
        over.map(|len| Runs::whole(len, Exact::<T>::kernels().depth))
    }

    fn scores(&self) -> usize {
        self.queries * self.tokens
    }

    /// Where the keep decisions of a head's probabilities begin: as if every token asked.
    fn first_keep(&self, image: usize, head: usize) -> u64 {
        ((image * self.heads + head) * self.tokens * self.tokens) as u64
    }
}

/// What the products of one head read: queries, keys and values, each from this head on.
struct Head<'a, T> {
    sizes: Heads,
    /// Contractions over a head's width, over the tokens and over the queries.
    over: &'a [Runs; 3],
    q: &'a [T],
    k: &'a [T],
    v: &'a [T],
}

impl<'a, T: Real> Head<'a, T> {
    fn new((sizes, over): (Heads, &'a [Runs; 3]), image: &'a [T], head: usize) -> Self {
        let (d, at) = (sizes.width(), head * sizes.head_width);
        Self { sizes, over, q: &image[at..], k: &image[d + at..], v: &image[2 * d + at..] }
    }

    /// `c = a × tokensᵀ`: `[queries, S]` from rows of `a`, `a_step` apart, and of keys or values.
    fn times_transposed(&self, c: &mut [T], (a, a_step): (&[T], usize), tokens: &[T], right: &mut Panels<T>) {
        let Heads { tokens: s, queries, head_width, .. } = self.sizes;
        let source = Source::Transposed { data: tokens, block_rows: head_width, step: self.sizes.step() };
        right.pack((head_width, s), Exact::<T>::kernels().right(), source);
        rows_product::<Exact<T>>(c, (a, Rows::evenly(queries, a_step, s)), right, &self.over[0], false);
    }

    /// `c = a × tokens`: `[queries, head_width]`, rows `c_step` apart, from `a [queries, S]` and keys or values.
    fn times(&self, (c, c_step): (&mut [T], usize), a: &[T], tokens: &[T], right: &mut Panels<T>) {
        let Heads { tokens: s, queries, head_width, .. } = self.sizes;
        let source = Source::Rows { data: tokens, at: At::Evenly(self.sizes.step()) };
        right.pack((s, head_width), Exact::<T>::kernels().right(), source);
        rows_product::<Exact<T>>(c, (a, Rows::evenly(queries, s, c_step)), right, &self.over[1], false);
    }

    /// `c = aᵀ × asking`: the gradient of keys or values, from `a [queries, S]` and what lies `step` apart for each query.
    fn transposed_times(&self, c: &mut [T], a: &[T], (asking, step): (&[T], usize), scratch: &mut Scratch<Exact<T>>) {
        let Heads { tokens: s, queries, head_width, .. } = self.sizes;
        let kernels = Exact::<T>::kernels();
        let Scratch { left, right, .. } = scratch;
        left.pack((queries, s), kernels.left(), Source::Rows { data: a, at: At::Evenly(s) });
        right.pack((queries, head_width), kernels.right(), Source::Rows { data: asking, at: At::Evenly(step) });
        let target = Target { data: c, step: self.sizes.step(), accumulate: false };
        contraction::<Exact<T>>(target, left, right, &self.over[2]);
    }
}

/// Projections of each image (see [`Heads::image_len`]) → pooled values `[B, queries, D]` and the probabilities
/// `[B, heads, queries, S]` before dropout.
pub(crate) fn forward<T: Real>(sizes: Heads, projections: &[T], dropout: Option<Dropout>) -> (Vec<T>, Vec<T>) {
    let (s, d, hw) = (sizes.tokens, sizes.width(), sizes.head_width);
    let _span = span(OpClass::Attention, sizes.work::<T>(projections.len(), 2));
    let batch = projections.len() / sizes.image_len();
    let mut out = unwritten(batch * sizes.queries * d);
    let per_image = sizes.heads * sizes.scores();
    let mut probs = unwritten(batch * per_image);
    let over = sizes.contractions::<T>();
    let results = out.par_chunks_mut(sizes.queries * d).zip(probs.par_chunks_mut(per_image));
    results.zip(projections.par_chunks(sizes.image_len())).enumerate().for_each(|(i, ((out, probs), image))| {
        with_scratch(|Scratch { right, activated, .. }: &mut Scratch<Exact<T>>| {
            activated.resize(sizes.scores());
            let dropped = activated.as_mut_slice();
            for (head, probs) in probs.chunks_exact_mut(sizes.scores()).enumerate() {
                let this = Head::new((sizes, &over), image, head);
                this.times_transposed(probs, (this.q, sizes.step()), this.k, right);
                for row in probs.chunks_exact_mut(s) {
                    row.iter_mut().for_each(|score| *score *= sizes.scale());
                    softmax(row);
                }
                dropped.copy_from_slice(probs);
                if let Some(dropout) = dropout {
                    dropout.apply_at(sizes.first_keep(i, head), dropped);
                }
                this.times((&mut out[head * hw..], d), dropped, this.v, right);
            }
        });
    });
    (out, probs)
}

/// The gradient of the projections, laid out as they are.
pub(crate) fn backward<T: Real>(
    sizes: Heads,
    projections: &[T],
    probs: &[T],
    d_out: &[T],
    dropout: Option<Dropout>,
) -> Vec<T> {
    let _span = span(OpClass::Attention, sizes.work::<T>(projections.len(), 4));
    let per_image = sizes.heads * sizes.scores();
    let over = sizes.contractions::<T>();
    let mut gradients = unwritten(projections.len());
    let read = probs.par_chunks(per_image).zip(d_out.par_chunks(sizes.queries * sizes.width()));
    let read = projections.par_chunks(sizes.image_len()).zip(read);
    gradients.par_chunks_mut(sizes.image_len()).zip(read).enumerate().for_each(|(i, (gradient, (image, read)))| {
        let (probs, d_out) = read;
        with_scratch(|scratch: &mut Scratch<Exact<T>>| {
            for head in 0..sizes.heads {
                let input = HeadInput {
                    head: Head::new((sizes, &over), image, head),
                    probs: &probs[head * sizes.scores()..][..sizes.scores()],
                    d_out: &d_out[head * sizes.head_width..],
                    dropout: dropout.map(|dropout| (dropout, sizes.first_keep(i, head))),
                };
                input.backward(&mut gradient[head * sizes.head_width..], scratch);
            }
        });
    });
    gradients
}

/// What the backward of one head reads: its probabilities, the output's gradient, dropout and its first index.
struct HeadInput<'a, T> {
    head: Head<'a, T>,
    probs: &'a [T],
    d_out: &'a [T],
    dropout: Option<(Dropout, u64)>,
}

impl<T: Real> HeadInput<'_, T> {
    /// `gradient` begins at this head's queries.
    fn backward(&self, gradient: &mut [T], scratch: &mut Scratch<Exact<T>>) {
        let Self { head, probs, d_out, dropout } = self;
        let (s, d) = (head.sizes.tokens, head.sizes.width());
        let mut scores = std::mem::take(&mut scratch.activated);
        scores.resize(2 * head.sizes.scores());
        let (dropped, d_scores) = scores.as_mut_slice().split_at_mut(head.sizes.scores());
        dropped.copy_from_slice(probs);
        if let Some((dropout, index)) = dropout {
            dropout.apply_at(*index, dropped);
        }
        head.transposed_times(&mut gradient[2 * d..], dropped, (d_out, d), scratch);

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
        head.times((gradient, head.sizes.step()), d_scores, head.k, &mut scratch.right);
        head.transposed_times(&mut gradient[d..], d_scores, (head.q, head.sizes.step()), scratch);
        scratch.activated = scores;
    }
}
