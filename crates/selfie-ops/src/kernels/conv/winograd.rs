//! 3×3 convolutions of stride 1 by tiles, F(2×2, 3×3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"
//! (2016): four outputs take 16 products of each pair of channels instead of 36.
//!
//! A tile of 4×4 inputs d and the kernel g become Bᵀ d B and G g Gᵀ. Their 16 places are multiplied one by one, each a product
//! over channels, and Aᵀ m A of the results is the output. The gradient of the input is a convolution of the same kind, of the
//! output's gradient by the reversed kernel; that of the kernel is Gᵀ (Σ Bᵀ d B ⊙ A dy Aᵀ) G.

use super::cut::Piece;
use crate::Real;
use crate::kernels::memory::{Aligned, Unwritten};
use crate::kernels::numbers::Numbers;
use crate::kernels::pieces::{ELEMENTS_PER_PIECE, Loop, vectorised};
use crate::kernels::product::{Addend, Panels, Rows, Run, Runs, rows_product};
use crate::kernels::scratch::{Scratch, with_scratch};
use rayon::prelude::*;
use std::ops::Range;

/// Places of a transformed tile.
pub(super) const PLACES: usize = 16;
/// Side of a transformed tile.
const SIDE: usize = 4;
/// Outputs on a tile's side.
pub(super) const OUTPUTS: usize = 2;

/// G, by which the kernel's rows, then its columns are multiplied.
const KERNEL: [[f64; 3]; SIDE] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// The tiles of a piece: rows of the result, and where what they read lies.
#[derive(Clone, Debug)]
pub(super) struct TilePlan {
    /// Rows of the result, from an even one on.
    rows: Range<usize>,
    /// Rows of the map that the operand holds of every image.
    held: Range<usize>,
    height: usize,
    width: usize,
    channels: usize,
    /// Whether the weight's places were packed from the last to the first.
    reversed: bool,
}

impl TilePlan {
    /// Forward, and the weight's gradient.
    pub(super) fn forward(piece: &Piece, (height, width): (usize, usize), channels: usize) -> Self {
        let (rows, held) = (piece.out_y.clone(), piece.read_y.clone());
        Self { rows, held, height, width, channels, reversed: false }
    }

    /// The input's gradient; the operand holds whole images.
    pub(super) fn backward(piece: &Piece, (height, width): (usize, usize), channels: usize) -> Self {
        Self { rows: piece.own_y.clone(), held: 0..height, height, width, channels, reversed: true }
    }

    fn across(&self) -> usize {
        self.width.div_ceil(OUTPUTS)
    }

    fn tile_rows(&self) -> usize {
        self.rows.len().div_ceil(OUTPUTS)
    }

    pub(super) fn n_tiles(&self, images: usize) -> usize {
        images * self.tile_rows() * self.across()
    }

    /// `c = addend + ` the convolution of the `images` images in `a`.
    pub(super) fn product<M: Numbers>(
        &self,
        c: &mut [M::Stored],
        (a, images): (&[M::Stored], usize),
        b: &Panels<M::Stored>,
        addend: Addend<'_, M::Stored>,
    ) {
        with_scratch(|Scratch { tiles, sums, combined, .. }: &mut Scratch<M>| {
            let (n, k, n_columns) = (self.n_tiles(images), self.channels, b.columns());
            tiles.resize(PLACES * n * k);
            self.input_tiles::<M>((a, images), tiles.as_mut_slice(), combined);
            sums.resize(PLACES * n * n_columns);
            let places = tiles.as_slice().chunks_exact(n * k).zip(sums.as_mut_slice().chunks_exact_mut(n * n_columns));
            for (place, (tiles, sums)) in places.enumerate() {
                let runs = Runs::new([Run { a: 0, b: self.place_in_weight(place) * k, len: k }], M::kernels().depth);
                rows_product::<M, M::Sum>(sums, (tiles, Rows::evenly(n, k, n_columns)), b, &runs, Addend::Nothing);
            }
            match addend {
                Addend::Nothing | Addend::Result => {}
                Addend::Map(map) => c.copy_from_slice(&map[..c.len()]),
                Addend::Row(row) => c.chunks_exact_mut(n_columns).for_each(|c| c.copy_from_slice(&row[..n_columns])),
            }
            let adds = !matches!(addend, Addend::Nothing);
            self.output::<M>(sums.as_slice(), (c, images, n_columns), adds, combined);
        });
    }

    /// Where a place's weight was packed. Reversing the kernel swaps the first and the last row of G g; reversing the order of
    /// the places swaps the two in the middle as well.
    fn place_in_weight(&self, place: usize) -> usize {
        let swapped = |i: usize| if self.reversed { [0, 2, 1, 3][i] } else { i };
        swapped(place / SIDE) * SIDE + swapped(place % SIDE)
    }

    /// Bᵀ d B of every tile, `[places, tiles, channels]`.
    pub(super) fn input_tiles<M: Numbers>(
        &self,
        (x, images): (&[M::Stored], usize),
        tiles: &mut [M::Stored],
        combined: &mut Aligned<M::Sum>,
    ) {
        let (row_len, n) = (self.width * self.channels, self.n_tiles(images));
        let zeros = vec![M::store(M::Sum::ZERO); row_len];
        let no_column = vec![M::Sum::ZERO; self.channels];
        combined.resize(SIDE * row_len);
        for (tile_row, first) in (0..images * self.tile_rows()).zip((0..).step_by(self.across())) {
            let (image, y) = (tile_row / self.tile_rows(), self.rows.start + OUTPUTS * (tile_row % self.tile_rows()));
            let rows = std::array::from_fn(|i| match (y + i).checked_sub(1) {
                Some(y) if y < self.height => {
                    &x[(image * self.held.len() + y - self.held.start) * row_len..][..row_len]
                }
                _ => &zeros[..],
            });
            let (combined, channels) = (combined.as_mut_slice(), self.channels);
            vectorised(InputRow::<M> {
                rows,
                combined,
                no_column: &no_column,
                channels,
                to: Places { tiles, n, first },
            });
        }
    }

    /// Aᵀ m A of every tile, as rows of the result.
    fn output<M: Numbers>(
        &self,
        sums: &[M::Sum],
        (c, images, channels): (&mut [M::Stored], usize, usize),
        adds: bool,
        combined: &mut Aligned<M::Sum>,
    ) {
        let n = self.n_tiles(images);
        combined.resize(OUTPUTS * SIDE * channels);
        let mut first = 0;
        for image in c.chunks_exact_mut(self.rows.len() * self.width * channels) {
            for rows in image.chunks_mut(OUTPUTS * self.width * channels) {
                let (width, combined) = (self.width, combined.as_mut_slice());
                vectorised(OutputRow::<M> { sums, n, first, channels, width, rows, adds, combined });
                first += self.across();
            }
        }
    }

    /// A dy Aᵀ of every tile of the piece's `dy`, `[places, tiles, channels]`.
    pub(super) fn gradient_tiles<M: Numbers>(
        &self,
        (dy, images, channels): (&[M::Stored], usize, usize),
        tiles: &mut [M::Stored],
        combined: &mut Aligned<M::Sum>,
    ) {
        let (row_len, n) = (self.width * channels, self.n_tiles(images));
        let zeros = vec![M::store(M::Sum::ZERO); row_len];
        combined.resize(OUTPUTS * SIDE * channels);
        let mut first = 0;
        for image in dy.chunks_exact(self.rows.len() * row_len) {
            for rows in image.chunks(OUTPUTS * row_len) {
                let (top, rest) = rows.split_at(row_len);
                let rows = [top, if rest.is_empty() { &zeros[..] } else { rest }];
                let combined = combined.as_mut_slice();
                let to = Places { tiles: &mut *tiles, n, first };
                vectorised(GradientRow::<M> { rows, zeros: &zeros[..channels], combined, channels, to });
                first += self.across();
            }
        }
    }
}

/// G g Gᵀ of the kernels `[3, 3, n]`: `[places, n]`.
pub(super) fn transformed_weight<T: Real>(weight: &[T]) -> Vec<T> {
    let mut places = vec![T::ZERO; weight.len() / 9 * PLACES];
    combine_planes(weight, &mut places, 9, coefficient);
    places
}

/// Gᵀ u G of the places' gradients `[places, n]`: the kernels' `[3, 3, n]`.
pub(super) fn weight_gradient<T: Real>(places: &[T], d_weight: &mut [T]) {
    combine_planes(places, d_weight, PLACES, |tap, place| coefficient(place, tap));
}

fn coefficient(place: usize, tap: usize) -> f64 {
    KERNEL[place / SIDE][tap / 3] * KERNEL[place % SIDE][tap % 3]
}

/// Each plane of `to` as a sum of those of `from`, of which there are `n_from`.
fn combine_planes<T: Real>(from: &[T], to: &mut [T], n_from: usize, of: impl Fn(usize, usize) -> f64 + Sync) {
    let len = from.len() / n_from;
    to.par_chunks_mut(len).enumerate().for_each(|(i, to)| {
        to.par_chunks_mut(ELEMENTS_PER_PIECE).enumerate().for_each(|(piece, to)| {
            to.fill(T::ZERO);
            for (j, from) in from.chunks_exact(len).enumerate().filter(|(j, _)| of(i, *j) != 0.0) {
                let from = &from[piece * ELEMENTS_PER_PIECE..][..to.len()];
                vectorised(AddScaled { to: &mut *to, from, scale: T::from_f64(of(i, j)) });
            }
        });
    });
}

/// `to += scale · from`
struct AddScaled<'a, T> {
    to: &'a mut [T],
    from: &'a [T],
    scale: T,
}

impl<T: Real> Loop for AddScaled<'_, T> {
    #[inline(always)]
    fn run(self) {
        for (to, &from) in self.to.iter_mut().zip(self.from) {
            *to += self.scale * from;
        }
    }
}

/// Where a row of tiles is written: the tiles from `first` on of `n`, in each place.
struct Places<'a, T> {
    tiles: &'a mut [T],
    n: usize,
    first: usize,
}

impl<T: Unwritten> Places<'_, T> {
    #[inline(always)]
    fn at(&mut self, place: usize, tile: usize, channels: usize) -> &mut [T] {
        &mut self.tiles[(place * self.n + self.first + tile) * channels..][..channels]
    }
}

/// `out[i] = f(a[i], b[i])`
#[inline(always)]
fn zip<A: Copy, C>(out: &mut [C], a: &[A], b: &[A], f: impl Fn(A, A) -> C) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = f(a, b);
    }
}

/// `out[i] = f(out[i], [a[i], b[i], c[i]])`
#[inline(always)]
fn zip_three<A: Copy, C: Copy>(out: &mut [C], [a, b, c]: [&[A]; 3], f: impl Fn(C, [A; 3]) -> C) {
    for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
        *out = f(*out, [a, b, c]);
    }
}

/// A row of tiles from four rows of a map.
struct InputRow<'a, M: Numbers> {
    rows: [&'a [M::Stored]; SIDE],
    /// Bᵀ d of the whole rows.
    combined: &'a mut [M::Sum],
    no_column: &'a [M::Sum],
    channels: usize,
    to: Places<'a, M::Stored>,
}

impl<M: Numbers> Loop for InputRow<'_, M> {
    #[inline(always)]
    fn run(self) {
        let Self { rows: [r0, r1, r2, r3], combined, no_column, channels, mut to } = self;
        let (load, store) = (M::load, M::store);
        let len = r0.len();
        let (width, across) = (len / channels, (len / channels).div_ceil(OUTPUTS));
        let (t01, t23) = combined.split_at_mut(2 * len);
        let ((t0, t1), (t2, t3)) = (t01.split_at_mut(len), t23.split_at_mut(len));
        zip(t0, r0, r2, |a, b| load(a) - load(b));
        zip(t1, r1, r2, |a, b| load(a) + load(b));
        zip(t2, r1, r2, |a, b| load(b) - load(a));
        zip(t3, r1, r3, |a, b| load(a) - load(b));
        for (i, row) in combined.chunks_exact(len).enumerate() {
            for tile in 0..across {
                let column = |j: usize| match (OUTPUTS * tile + j).checked_sub(1) {
                    Some(x) if x < width => &row[x * channels..][..channels],
                    _ => no_column,
                };
                let (c0, c1, c2, c3) = (column(0), column(1), column(2), column(3));
                zip(to.at(SIDE * i, tile, channels), c0, c2, |a, b| store(a - b));
                zip(to.at(SIDE * i + 1, tile, channels), c1, c2, |a, b| store(a + b));
                zip(to.at(SIDE * i + 2, tile, channels), c1, c2, |a, b| store(b - a));
                zip(to.at(SIDE * i + 3, tile, channels), c1, c3, |a, b| store(a - b));
            }
        }
    }
}

/// One or two rows of the result from a row of tiles.
struct OutputRow<'a, M: Numbers> {
    sums: &'a [M::Sum],
    n: usize,
    first: usize,
    channels: usize,
    width: usize,
    rows: &'a mut [M::Stored],
    /// Whether they hold what the result is added to.
    adds: bool,
    /// Aᵀ m of one tile.
    combined: &'a mut [M::Sum],
}

impl<M: Numbers> Loop for OutputRow<'_, M> {
    #[inline(always)]
    fn run(self) {
        let Self { sums, n, first, channels, width, rows, adds, combined } = self;
        let plus = |[a, b, c]: [M::Sum; 3]| a + b + c;
        let minus = |[a, b, c]: [M::Sum; 3]| a - b - c;
        for tile in 0..width.div_ceil(OUTPUTS) {
            let m = |i: usize, j: usize| &sums[((SIDE * i + j) * n + first + tile) * channels..][..channels];
            let (top, bottom) = combined.split_at_mut(SIDE * channels);
            let halves = top.chunks_exact_mut(channels).zip(bottom.chunks_exact_mut(channels));
            for (j, (top, bottom)) in halves.enumerate() {
                zip_three(top, [m(0, j), m(1, j), m(2, j)], |_, m| plus(m));
                zip_three(bottom, [m(1, j), m(2, j), m(3, j)], |_, m| minus(m));
            }
            for (row, s) in rows.chunks_exact_mut(width * channels).zip(combined.chunks_exact(SIDE * channels)) {
                let s = |j: usize| &s[j * channels..][..channels];
                let mut pixels = row.chunks_exact_mut(channels).skip(OUTPUTS * tile);
                if let Some(left) = pixels.next() {
                    zip_three(left, [s(0), s(1), s(2)], |out, s| kept::<M>(out, plus(s), adds));
                }
                if let Some(right) = pixels.next() {
                    zip_three(right, [s(1), s(2), s(3)], |out, s| kept::<M>(out, minus(s), adds));
                }
            }
        }
    }
}

#[inline(always)]
fn kept<M: Numbers>(before: M::Stored, sum: M::Sum, adds: bool) -> M::Stored {
    M::store(if adds { M::load(before) + sum } else { sum })
}

/// A row of tiles from two rows of the result's gradient.
struct GradientRow<'a, M: Numbers> {
    rows: [&'a [M::Stored]; OUTPUTS],
    zeros: &'a [M::Stored],
    /// A dy of one tile, its left column first.
    combined: &'a mut [M::Sum],
    channels: usize,
    to: Places<'a, M::Stored>,
}

impl<'a, M: Numbers> Loop for GradientRow<'a, M> {
    #[inline(always)]
    fn run(self) {
        let Self { rows: [top, bottom], zeros, combined, channels, mut to } = self;
        let (load, store, zero) = (M::load, M::store, M::Sum::ZERO);
        let width = top.len() / channels;
        for tile in 0..width.div_ceil(OUTPUTS) {
            for (x, combined) in (OUTPUTS * tile..).zip(combined.chunks_exact_mut(SIDE * channels)) {
                let of = |row: &'a [M::Stored]| if x < width { &row[x * channels..][..channels] } else { zeros };
                let (d0, d1) = (of(top), of(bottom));
                let (p01, p23) = combined.split_at_mut(2 * channels);
                let ((p0, p1), (p2, p3)) = (p01.split_at_mut(channels), p23.split_at_mut(channels));
                zip(p0, d0, d1, |a, _| load(a));
                zip(p1, d0, d1, |a, b| load(a) + load(b));
                zip(p2, d0, d1, |a, b| load(a) - load(b));
                zip(p3, d0, d1, |_, b| zero - load(b));
            }
            let (left, right) = combined.split_at(SIDE * channels);
            for (i, (p, q)) in left.chunks_exact(channels).zip(right.chunks_exact(channels)).enumerate() {
                zip(to.at(SIDE * i, tile, channels), p, q, |p, _| store(p));
                zip(to.at(SIDE * i + 1, tile, channels), p, q, |p, q| store(p + q));
                zip(to.at(SIDE * i + 2, tile, channels), p, q, |p, q| store(p - q));
                zip(to.at(SIDE * i + 3, tile, channels), p, q, |_, q| store(zero - q));
            }
        }
    }
}
