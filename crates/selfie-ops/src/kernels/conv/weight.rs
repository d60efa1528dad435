//! A convolution's weight gradient: for every tap, one contraction over the pixels that meet it.

use super::cut::Piece;
use super::plan::{PiecePlan, tap_offset};
use super::{Conv, Input, Reading};
use crate::kernels::memory::unwritten;
use crate::kernels::numbers::Numbers;
use crate::kernels::pieces::ROWS_PER_PIECE;
use crate::kernels::product::{At, NOWHERE, Panels, Run, Runs, Source, Target, contraction, contraction_on_all_cores};
use rayon::prelude::*;
use std::borrow::Cow;

/// Which rows of the input meet which rows of the output's gradient.
pub(super) struct Pairing {
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
            Reading::Evenly => Self::evenly::<M>((rows, conv.spec.depth()), conv.spec.out_channels),
            Reading::ByClass(plan) => Self::by_class::<M>(conv, plan, piece.images.len()),
        }
    }

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

impl Conv {
    /// A piece's part of the weight's gradient, on the calling thread: the gradient's rows are packed once, the input's tap by
    /// tap.
    pub(super) fn weight_product<M: Numbers>(
        &self,
        pairing: &Pairing,
        (a, dy): (&[M::Stored], &[M::Stored]),
        (dw, accumulate): (&mut [M::Sum], bool),
        (left, right): (&mut Panels<M::Stored>, &mut Panels<M::Stored>),
    ) {
        let (kernels, n) = (M::kernels(), self.spec.out_channels);
        right.pack((pairing.dy.len(), n), kernels.right(), pairing.dy(dy));
        for (tap, data) in pairing.taps.iter().zip(dw.chunks_exact_mut(pairing.columns * n)) {
            let rows = Source::Rows { data: a, at: At::Listed(&tap.at) };
            left.pack((tap.at.len(), pairing.columns), kernels.left(), rows);
            contraction::<M>(Target { data, step: n, accumulate }, left, right, &tap.runs);
        }
    }

    /// The whole gradient of a large weight, cut by the weight's own rows: pieces of the maps would each have to add to all of
    /// it.
    pub(super) fn large_weight_product<M: Numbers>(
        &self,
        input: Input<'_, M>,
        dy: &[M::Stored],
        d_weight: &mut [M::Sum],
    ) {
        let (kernels, n) = (M::kernels(), self.spec.out_channels);
        let all = Piece::whole(self, input.x.len() / self.input_len());
        let [reading] = &self.readings::<M>(std::slice::from_ref(&all))[..] else { return };
        let pairing = Pairing::new::<M>(self, reading, &all);
        let a = activated_on_all_cores(input);
        let right = Panels::pack_on_all_cores((pairing.dy.len(), n), kernels.right(), pairing.dy(dy));
        let taps = pairing.taps.par_iter().zip(d_weight.par_chunks_exact_mut(pairing.columns * n));
        taps.for_each(|(tap, dw)| {
            contraction_on_all_cores::<M>(dw, (&a, At::Listed(&tap.at), tap.at.len()), &right, &tap.runs);
        });
    }
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
