//! A convolution's weight gradient: for every tap one contraction over the pixels that meet it, or for every place of its tiles
//! one over the tiles.

use super::cut::Piece;
use super::plan::{PiecePlan, tap_offset};
use super::winograd::{self, PLACES, TilePlan};
use super::{Conv, ConvSpec, Input, ReadScratch, Reading};
use crate::Real;
use crate::kernels::memory::unwritten;
use crate::kernels::numbers::Numbers;
use crate::kernels::pieces::{ROWS_PER_PIECE, sum_in_order};
use crate::kernels::product::{At, NOWHERE, Panels, Run, Runs, Source, Target, contraction, contraction_on_all_cores};
use crate::kernels::scratch::{Scratch, with_scratch};
use rayon::prelude::*;
use std::borrow::Cow;

/// What is contracted over.
pub(super) enum Pairing {
    ByRow(RowPairing),
    ByTile(TilePlan),
}

/// Which rows of the input meet which rows of the output's gradient.
pub(super) struct RowPairing {
    /// Where the gradient's rows begin.
    dy: Vec<u32>,
    /// The input's rows for each tap, or for all taps together where the input is unfolded.
    taps: Vec<TapRows>,
    /// Columns of the input's rows.
    columns: usize,
}

struct TapRows {
    at: Vec<u32>,
    /// Pairs them with the gradient's.
    runs: Runs,
}

impl Pairing {
    /// For a piece, whose input is read from `piece.read_y` on, in groups of rows that are multiplied at once.
    pub(super) fn new<M: Numbers>(conv: &Conv, reading: &Reading, piece: &Piece) -> Self {
        let rows = piece.rows(conv);
        match reading {
            Reading::Evenly => Self::ByRow(RowPairing::evenly::<M>((rows, conv.spec.depth()), conv.spec.out_channels)),
            Reading::ByClass(plan) => Self::ByRow(RowPairing::by_class::<M>(conv, plan, piece.images.len())),
            Reading::ByTile(plan) => Self::ByTile(plan.clone()),
        }
    }
}

impl RowPairing {
    fn evenly<M: Numbers>((rows, columns): (usize, usize), dy_columns: usize) -> Self {
        let every = |step: usize| (0..rows).map(|row| (row * step) as u32).collect::<Vec<u32>>();
        let runs = Runs::uncut([Run { a: 0, b: 0, len: rows.next_multiple_of(M::kernels().group) }]);
        Self { dy: every(dy_columns), taps: vec![TapRows { at: every(columns), runs }], columns }
    }

    /// The gradient's rows class by class, so that each tap's are a few runs.
    fn by_class<M: Numbers>(conv: &Conv, plan: &PiecePlan, images: usize) -> Self {
        let group = M::kernels().group;
        let mut dy = Vec::new();
        let mut taps: Vec<(Vec<u32>, Vec<Run>)> = vec![Default::default(); conv.spec.kernel * conv.spec.kernel];
        for class in &plan.classes {
            let (from, to) = class.pixels(images);
            let first = dy.len();
            dy.extend(to);
            fill_up(&mut dy, group);
            for (tap, (at, runs)) in taps.iter_mut().enumerate().filter(|(tap, _)| class.taps >> tap & 1 == 1) {
                runs.push(Run { a: at.len(), b: first, len: dy.len() - first });
                let offset = tap_offset(conv, class.taps, tap) as u32;
                at.extend(from.iter().map(|&from| from + offset));
                fill_up(at, group);
            }
        }
        let taps = taps.into_iter().map(|(at, runs)| TapRows { at, runs: Runs::uncut(runs) }).collect();
        Self { dy, taps, columns: conv.spec.in_channels }
    }

    /// Packs the gradient's rows.
    fn dy<'a, T>(&'a self, dy: &'a [T]) -> Source<'a, T> {
        Source::Rows { data: dy, at: At::Listed(&self.dy) }
    }
}

/// Adds rows of zeros up to a whole number of groups.
fn fill_up(at: &mut Vec<u32>, group: usize) {
    at.resize(at.len().next_multiple_of(group), NOWHERE);
}

/// Packed operands of a contraction.
type Operands<'a, S> = (&'a mut Panels<S>, &'a mut Panels<S>);

impl Conv {
    /// Elements of the weight's gradient before [`Self::join_gradients`].
    pub(super) fn gradient_len(&self) -> usize {
        if self.is_tiled() { PLACES * self.spec.in_channels * self.spec.out_channels } else { self.spec.weight_len() }
    }

    /// The weight's gradient from the parts of all jobs.
    pub(super) fn join_gradients<T: Real>(&self, partial: &[T], d_weight: &mut [T]) {
        if !self.is_tiled() {
            return sum_in_order(partial, d_weight);
        }
        let mut places = unwritten(self.gradient_len());
        sum_in_order(partial, &mut places);
        winograd::weight_gradient(&places, d_weight);
    }

    /// A piece's part of the weight's gradient, on the calling thread: the gradient's rows are packed once, the input's tap by
    /// tap.
    pub(super) fn weight_product<M: Numbers>(
        &self,
        pairing: &Pairing,
        (a, dy, images): (&[M::Stored], &[M::Stored], usize),
        (dw, accumulate): (&mut [M::Sum], bool),
        (left, right): Operands<'_, M::Stored>,
    ) {
        let (kernels, n) = (M::kernels(), self.spec.out_channels);
        let pairing = match pairing {
            Pairing::ByRow(pairing) => pairing,
            Pairing::ByTile(plan) => {
                return self.tiled_weight_product::<M>(plan, (a, dy, images), (dw, accumulate), (left, right));
            }
        };
        right.pack((pairing.dy.len(), n), kernels.right(), pairing.dy(dy));
        for (tap, data) in pairing.taps.iter().zip(dw.chunks_exact_mut(pairing.columns * n)) {
            let rows = Source::Rows { data: a, at: At::Listed(&tap.at) };
            left.pack((tap.at.len(), pairing.columns), kernels.left(), rows);
            contraction::<M>(Target { data, step: n, accumulate }, left, right, &tap.runs);
        }
    }

    fn tiled_weight_product<M: Numbers>(
        &self,
        plan: &TilePlan,
        (a, dy, images): (&[M::Stored], &[M::Stored], usize),
        (dw, accumulate): (&mut [M::Sum], bool),
        (left, right): Operands<'_, M::Stored>,
    ) {
        let (kernels, rows) = (M::kernels(), plan.n_tiles(images));
        let ConvSpec { in_channels: m, out_channels: n, .. } = self.spec;
        with_scratch(|Scratch { tiles, gradient_tiles, combined, .. }: &mut Scratch<M>| {
            tiles.resize(PLACES * rows * m);
            plan.input_tiles::<M>((a, images), tiles.as_mut_slice(), combined);
            gradient_tiles.resize(PLACES * rows * n);
            plan.gradient_tiles::<M>((dy, images, n), gradient_tiles.as_mut_slice(), combined);
            let places = tiles.as_slice().chunks_exact(rows * m).zip(gradient_tiles.as_slice().chunks_exact(rows * n));
            for ((a, dy), data) in places.zip(dw.chunks_exact_mut(m * n)) {
                left.pack((rows, m), kernels.left(), Source::Rows { data: a, at: At::Evenly(m) });
                right.pack((rows, n), kernels.right(), Source::Rows { data: dy, at: At::Evenly(n) });
                let runs = Runs::uncut([Run { a: 0, b: 0, len: left.rows() }]);
                contraction::<M>(Target { data, step: n, accumulate }, left, right, &runs);
            }
        });
    }

    /// The whole gradient of a large weight, cut by the weight's own rows: pieces of the maps would each have to add to all of
    /// it.
    pub(super) fn large_weight_product<M: Numbers>(
        &self,
        input: Input<'_, M>,
        dy: &[M::Stored],
        d_weight: &mut [M::Sum],
    ) {
        if self.is_tiled() {
            return self.tiled_large_weight_product::<M>(input, dy, d_weight);
        }
        let (kernels, n) = (M::kernels(), self.spec.out_channels);
        let all = Piece::whole(self, input.x.len() / self.input_len());
        let [reading] = &self.readings::<M>(std::slice::from_ref(&all))[..] else { return };
        let Pairing::ByRow(pairing) = Pairing::new::<M>(self, reading, &all) else { return };
        let a = activated_on_all_cores(input);
        let right = Panels::pack_on_all_cores((pairing.dy.len(), n), kernels.right(), pairing.dy(dy));
        let taps = pairing.taps.par_iter().zip(d_weight.par_chunks_exact_mut(pairing.columns * n));
        taps.for_each(|(tap, dw)| {
            contraction_on_all_cores::<M>(dw, (&a, At::Listed(&tap.at), tap.at.len()), &right, &tap.runs);
        });
    }

    /// As [`Self::large_weight_product`], cut by the places first. The tiles of a piece lie together.
    fn tiled_large_weight_product<M: Numbers>(&self, input: Input<'_, M>, dy: &[M::Stored], d_weight: &mut [M::Sum]) {
        let (kernels, pieces) = (M::kernels(), self.pieces::<M::Stored>(input.x.len() / self.input_len()));
        let ConvSpec { in_channels: m, out_channels: n, .. } = self.spec;
        let plans = self.readings::<M>(&pieces);
        let plans: Vec<&TilePlan> = plans.iter().filter_map(|reading| reading.tiles()).collect();
        let counts: Vec<usize> = pieces.iter().map(|piece| plans[piece.band].n_tiles(piece.images.len())).collect();
        let rows = counts.iter().sum::<usize>();
        let mut tiles = unwritten(PLACES * rows * m);
        let mut gradient_tiles = unwritten(PLACES * rows * n);
        let (mut rest, mut gradient_rest) = (tiles.as_mut_slice(), gradient_tiles.as_mut_slice());
        let mut work = Vec::with_capacity(pieces.len());
        for (piece, &count) in pieces.iter().zip(&counts) {
            let (here, after) = rest.split_at_mut(PLACES * count * m);
            let (gradient_here, gradient_after) = gradient_rest.split_at_mut(PLACES * count * n);
            (rest, gradient_rest) = (after, gradient_after);
            work.push((piece, here, gradient_here));
        }
        work.into_par_iter().for_each(|(piece, tiles, gradient_tiles)| {
            with_scratch(|Scratch { activated, columns, combined, .. }: &mut Scratch<M>| {
                let (plan, images) = (plans[piece.band], piece.images.len());
                let a = self.read(input, piece, ReadScratch { activated, columns });
                plan.input_tiles::<M>((a, images), tiles, combined);
                plan.gradient_tiles::<M>((&dy[piece.output(self)], images, n), gradient_tiles, combined);
            });
        });
        let mut places = unwritten(self.gradient_len());
        places.par_chunks_exact_mut(m * n).enumerate().for_each(|(place, data)| {
            let at = |channels| places_rows(&counts, place, channels);
            let source = Source::Rows { data: gradient_tiles.as_slice(), at: At::Listed(&at(n)) };
            let right = Panels::pack_on_all_cores((rows, n), kernels.right(), source);
            let runs = Runs::uncut([Run { a: 0, b: 0, len: right.rows() }]);
            contraction_on_all_cores::<M>(data, (&tiles, At::Listed(&at(m)), rows), &right, &runs);
        });
        winograd::weight_gradient(&places, d_weight);
    }
}

/// Where the rows of a place begin, in pieces of so many tiles.
fn places_rows(counts: &[usize], place: usize, channels: usize) -> Vec<u32> {
    let mut first = 0;
    let mut rows = Vec::with_capacity(counts.iter().sum());
    for count in counts {
        rows.extend((0..*count).map(|tile| ((first + place * count + tile) * channels) as u32));
        first += PLACES * count;
    }
    rows
}

/// The input of a convolution, normalised and rectified where it has to be.
fn activated_on_all_cores<'a, M: Numbers>(input: Input<'a, M>) -> Cow<'a, [M::Stored]> {
    let Some(norm) = input.norm else { return Cow::Borrowed(input.x) };
    let mut activated = unwritten(input.x.len());
    let piece = ROWS_PER_PIECE * norm.channels();
    activated
        .par_chunks_mut(piece)
        .zip(input.x.par_chunks(piece))
        .for_each(|(activated, x)| norm.activate::<M>(x, activated));
    Cow::Owned(activated)
}
