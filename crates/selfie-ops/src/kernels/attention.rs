//! Multi-head self-attention over a few tokens, from packed queries, keys and values.

use super::activation::Dropout;
use super::memory::{Aligned, unwritten};
use super::numbers::Exact;
use super::pieces::{Loop, vectorised};
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

    fn scores(&self) -> usize {
        self.queries * self.tokens
    }

    /// Where the keep decisions of a head's probabilities begin: as if every token asked.
    fn first_keep(&self, image: usize, head: usize) -> u64 {
        ((image * self.heads + head) * self.tokens * self.tokens) as u64
    }
}

/// Numbers of a row that are added up side by side.
const LANES: usize = 8;

/// What the products of one head read: queries, keys and values, each from this head on.
#[derive(Clone, Copy)]
struct Head<'a, T> {
    sizes: Heads,
    q: &'a [T],
    k: &'a [T],
    v: &'a [T],
}

impl<'a, T: Real> Head<'a, T> {
    fn new(sizes: Heads, image: &'a [T], head: usize) -> Self {
        let (d, at) = (sizes.width(), head * sizes.head_width);
        Self { sizes, q: &image[at..], k: &image[d + at..], v: &image[2 * d + at..] }
    }
}

/// `c[i] = Σ over j of weights[i][j] · rows[j]`, each row `width` wide: those of `c` begin `c_step` apart, of `rows` `step`.
///
/// The weight of (i, j) lies at `i · along.0 + j · along.1`, so that a transposed matrix need not be written out.
struct Mix<'a, T> {
    c: &'a mut [T],
    c_step: usize,
    n: usize,
    weights: &'a [T],
    along: (usize, usize),
    rows: &'a [T],
    step: usize,
    n_rows: usize,
    width: usize,
}

impl<T: Real> Mix<'_, T> {
    #[inline(always)]
    fn lanes<const N: usize>(&mut self, from: usize) {
        for i in 0..self.n {
            let mut sums = [T::ZERO; N];
            for j in 0..self.n_rows {
                let weight = self.weights[i * self.along.0 + j * self.along.1];
                let row = &self.rows[j * self.step + from..][..N];
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += weight * value;
                }
            }
            self.c[i * self.c_step + from..][..N].copy_from_slice(&sums);
        }
    }
}

impl<T: Real> Loop for Mix<'_, T> {
    #[inline(always)]
    fn run(mut self) {
        let wide = self.width / (4 * LANES) * (4 * LANES);
        (0..wide).step_by(4 * LANES).for_each(|from| self.lanes::<{ 4 * LANES }>(from));
        let whole = self.width / LANES * LANES;
        (wide..whole).step_by(LANES).for_each(|from| self.lanes::<LANES>(from));
        (whole..self.width).for_each(|from| self.lanes::<1>(from));
    }
}

/// `scores[i][j] = a[i] · tokens[j]` for a head's queries and tokens: rows of `a` begin `a_step` apart.
struct Scores<'a, T> {
    sizes: Heads,
    scores: &'a mut [T],
    a: &'a [T],
    a_step: usize,
    tokens: &'a [T],
    /// Room for the tokens, transposed and filled up to whole lanes.
    transposed: &'a mut Aligned<T>,
}

impl<T: Real> Loop for Scores<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Heads { tokens: s, queries, head_width, .. } = self.sizes;
        let lanes = s.next_multiple_of(LANES);
        self.transposed.resize(head_width * lanes);
        let transposed = self.transposed.as_mut_slice();
        for (k, row) in transposed.chunks_exact_mut(lanes).enumerate() {
            for (j, to) in row.iter_mut().enumerate() {
                *to = if j < s { self.tokens[j * self.sizes.step() + k] } else { T::ZERO };
            }
        }
        for (i, scores) in self.scores.chunks_exact_mut(s).take(queries).enumerate() {
            let a = &self.a[i * self.a_step..][..head_width];
            for (from, scores) in (0..s).step_by(LANES).zip(scores.chunks_mut(LANES)) {
                let mut sums = [T::ZERO; LANES];
                for (&a, row) in a.iter().zip(transposed.chunks_exact(lanes)) {
                    for (sum, &value) in sums.iter_mut().zip(&row[from..from + LANES]) {
                        *sum += a * value;
                    }
                }
                scores.copy_from_slice(&sums[..scores.len()]);
            }
        }
    }
}

/// The softmax of every row of scaled scores, in place.
struct Softmax<'a, T> {
    rows: &'a mut [T],
    width: usize,
    scale: T,
}

impl<T: Real> Loop for Softmax<'_, T> {
    #[inline(always)]
    fn run(self) {
        for row in self.rows.chunks_exact_mut(self.width) {
            let max = row.iter().copied().fold(T::from_f64(f64::NEG_INFINITY), |a, b| if b > a { b } else { a });
            row.iter_mut().for_each(|score| *score = (*score - max) * self.scale);
        }
        // All rows at once: one of a few tokens does not fill a vector.
        self.rows.iter_mut().for_each(|score| *score = score.exp());
        for row in self.rows.chunks_exact_mut(self.width) {
            let mut sum = T::ZERO;
            row.iter().for_each(|&v| sum += v);
            let scale = T::ONE / sum;
            row.iter_mut().for_each(|v| *v *= scale);
        }
    }
}

/// Projections of each image (see [`Heads::image_len`]) → pooled values `[B, queries, D]` and the probabilities
/// `[B, heads, queries, S]` before dropout.
pub(crate) fn forward<T: Real>(sizes: Heads, projections: &[T], dropout: Option<Dropout>) -> (Vec<T>, Vec<T>) {
    let Heads { tokens: s, queries, head_width: width, .. } = sizes;
    let d = sizes.width();
    let _span = span(OpClass::Attention, sizes.work::<T>(projections.len(), 2));
    let batch = projections.len() / sizes.image_len();
    let mut out = unwritten(batch * queries * d);
    let per_image = sizes.heads * sizes.scores();
    let mut probs = unwritten(batch * per_image);
    let results = out.par_chunks_mut(queries * d).zip(probs.par_chunks_mut(per_image));
    results.zip(projections.par_chunks(sizes.image_len())).enumerate().for_each(|(i, ((out, probs), image))| {
        with_scratch(|Scratch { columns: transposed, activated, .. }: &mut Scratch<Exact<T>>| {
            activated.resize(sizes.scores());
            let dropped = activated.as_mut_slice();
            for (head, probs) in probs.chunks_exact_mut(sizes.scores()).enumerate() {
                let Head { q, k, v, .. } = Head::new(sizes, image, head);
                vectorised(Scores { sizes, scores: &mut *probs, a: q, a_step: sizes.step(), tokens: k, transposed });
                vectorised(Softmax { rows: &mut *probs, width: s, scale: sizes.scale() });
                dropped.copy_from_slice(probs);
                if let Some(dropout) = dropout {
                    dropout.apply_at(sizes.first_keep(i, head), dropped);
                }
                let c = &mut out[head * width..];
                let (weights, along, step) = (&*dropped, (s, 1), sizes.step());
                vectorised(Mix { c, c_step: d, n: queries, weights, along, rows: v, step, n_rows: s, width });
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
    let mut gradients = unwritten(projections.len());
    let read = probs.par_chunks(per_image).zip(d_out.par_chunks(sizes.queries * sizes.width()));
    let read = projections.par_chunks(sizes.image_len()).zip(read);
    gradients.par_chunks_mut(sizes.image_len()).zip(read).enumerate().for_each(|(i, (gradient, (image, read)))| {
        let (probs, d_out) = read;
        with_scratch(|scratch: &mut Scratch<Exact<T>>| {
            for head in 0..sizes.heads {
                let input = HeadInput {
                    head: Head::new(sizes, image, head),
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
        let Self { head: Head { sizes, q, k, v }, probs, d_out, dropout } = *self;
        let Heads { tokens: s, queries, head_width: width, .. } = sizes;
        let (d, step) = (sizes.width(), sizes.step());
        let Scratch { activated: scores, columns: transposed, .. } = scratch;
        scores.resize(2 * sizes.scores());
        let (dropped, d_scores) = scores.as_mut_slice().split_at_mut(sizes.scores());
        dropped.copy_from_slice(probs);
        if let Some((dropout, index)) = dropout {
            dropout.apply_at(index, dropped);
        }
        // Of the values: the dropped probabilities, transposed, mix the output's gradients.
        let (c, weights) = (&mut gradient[2 * d..], &*dropped);
        vectorised(Mix { c, c_step: step, n: s, weights, along: (1, s), rows: d_out, step: d, n_rows: queries, width });

        vectorised(Scores { sizes, scores: &mut *d_scores, a: d_out, a_step: d, tokens: v, transposed });
        if let Some((dropout, index)) = dropout {
            dropout.apply_at(index, d_scores);
        }
        let scale: T = sizes.scale();
        for (d_row, p_row) in d_scores.chunks_exact_mut(s).zip(probs.chunks_exact(s)) {
            let mut dot = T::zero();
            for (&d, &p) in d_row.iter().zip(p_row) {
                dot += d * p;
            }
            for (d, &p) in d_row.iter_mut().zip(p_row) {
                *d = p * (*d - dot) * scale;
            }
        }
        let weights = &*d_scores;
        let c = &mut *gradient;
        vectorised(Mix { c, c_step: step, n: queries, weights, along: (s, 1), rows: k, step, n_rows: s, width });
        let c = &mut gradient[d..];
        vectorised(Mix { c, c_step: step, n: s, weights, along: (1, s), rows: q, step, n_rows: queries, width });
    }
}
