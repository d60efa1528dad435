//! A convolution's two backward products, and the way on through ReLU and norm.

use super::cut::Piece;
use super::weight::Pairing;
use super::{Conv, Input, ReadScratch, Reading};
use crate::Real;
use crate::kernels::memory::unwritten;
use crate::kernels::norm::{Norm, NormBackward, NormSums};
use crate::kernels::numbers::Numbers;
use crate::kernels::pieces::{cut_by_weight, gradient_pieces};
use crate::kernels::product::{Addend, Panels, Source};
use crate::kernels::scratch::{Scratch, with_scratch};
use crate::profile::{OpClass, Work, span};
use rayon::prelude::*;

/// What the backward of a convolution reads.
pub(crate) struct Backward<'a, M: Numbers> {
    pub(crate) input: Input<'a, M>,
    pub(crate) weight: &'a [M::Sum],
    pub(crate) dy: &'a [M::Stored],
}

/// Where a unit's parameter gradients go.
pub(crate) struct UnitGradients<'a, T> {
    pub(crate) weight: &'a mut [T],
    pub(crate) gain: &'a mut [T],
    pub(crate) bias: &'a mut [T],
}

/// Which gradient of the input is wanted, added to what other convolutions of the same input contributed.
enum Wanted<S> {
    Nothing,
    /// That of the activated input, before its ReLU's mask.
    Activated(Option<Vec<S>>),
    /// That of the normalised input, and its sums.
    Normalised(Option<Vec<S>>),
}

/// How the gradient of the input is computed.
struct InputProduct<S> {
    /// The weight, `[kernel · kernel · out, in]`, its taps in reverse.
    weight: Panels<S>,
    /// For each band.
    readings: Vec<Reading>,
    accumulate: bool,
    /// Whether the norm of the input follows.
    through_norm: bool,
}

/// What every job of a backward shares.
struct Shared<'a, M: Numbers> {
    backward: &'a Backward<'a, M>,
    /// How the weight's gradient is read; none where it is not cut by pieces.
    weight_readings: Option<WeightReadings>,
    input_product: Option<InputProduct<M::Stored>>,
}

/// How the pieces' parts of the weight's gradient read.
struct WeightReadings {
    readings: Vec<Reading>,
    /// For each band, of as many images as its first piece has.
    pairings: Vec<(usize, Pairing)>,
}

/// A run of pieces and where their results go.
struct Job<'a, M: Numbers> {
    pieces: &'a [Piece],
    da: Option<&'a mut [M::Stored]>,
    /// Empty where the weight's gradient is not cut by pieces.
    dw: &'a mut [M::Sum],
    sums: &'a mut [M::Sum],
}

impl Conv {
    /// Writes the weight's gradient alone: the input is the image.
    pub(crate) fn backward_weight<M: Numbers>(&self, backward: &Backward<'_, M>, d_weight: &mut [M::Sum]) {
        self.run_backward(backward, Wanted::Nothing, d_weight);
    }

    /// Writes the weight's gradient and returns that of the convolution's (activated) input, added to `so_far`.
    pub(crate) fn backward_input<M: Numbers>(
        &self,
        backward: &Backward<'_, M>,
        so_far: Option<Vec<M::Stored>>,
        d_weight: &mut [M::Sum],
    ) -> Vec<M::Stored> {
        self.run_backward(backward, Wanted::Activated(so_far), d_weight).0
    }

    /// Backward through convolution, ReLU and norm: the gradient of the raw input, plus `residual`.
    ///
    /// `so_far` is what other convolutions of the same activated input contributed.
    pub(crate) fn backward_unit<M: Numbers>(
        &self,
        (backward, norm): (&Backward<'_, M>, &Norm<M::Sum>),
        so_far: Option<Vec<M::Stored>>,
        residual: Option<&[M::Stored]>,
        gradients: UnitGradients<'_, M::Sum>,
    ) -> Vec<M::Stored> {
        let (mut dz, sums) = self.run_backward(backward, Wanted::Normalised(so_far), gradients.weight);
        let sums = NormSums::join(&sums, norm.channels());
        let through = NormBackward { x: backward.input.x, dz: &mut dz, sums: &sums, residual };
        norm.backward::<M>(through, gradients.gain, gradients.bias);
        dz
    }

    /// Returns the wanted gradient (empty where none is) and its sums by job.
    fn run_backward<M: Numbers>(
        &self,
        backward: &Backward<'_, M>,
        wanted: Wanted<M::Stored>,
        d_weight: &mut [M::Sum],
    ) -> (Vec<M::Stored>, Vec<M::Sum>) {
        let images = backward.input.x.len() / self.input_len();
        let pieces = self.pieces::<M::Stored>(images);
        let (wants, through_norm, so_far) = match wanted {
            Wanted::Nothing => (false, false, None),
            Wanted::Activated(so_far) => (true, false, so_far),
            Wanted::Normalised(so_far) => (true, true, so_far),
        };
        let work = self.work::<M::Stored>(images);
        let products = if wants { 2 } else { 1 };
        let work = Work { flop: products * work.flop, bytes: products * work.bytes };
        let _span = span(OpClass::ConvolutionBackward, work);
        let accumulate = so_far.is_some();
        let input_product =
            wants.then(|| self.input_product::<M>(backward.weight, &pieces, (accumulate, through_norm)));
        let whole_weight = cut_by_weight(self.spec.weight_len()) && !self.spec.unfolds();
        let weight_readings = (!whole_weight).then(|| self.weight_readings::<M>(&pieces));
        let shared = Shared::<M> { backward, weight_readings, input_product };
        let mut da = match so_far {
            Some(so_far) => so_far,
            None if wants => unwritten(backward.input.x.len()),
            None => Vec::new(),
        };

        let weight_len = self.gradient_len();
        let n_jobs = if whole_weight { pieces.len() } else { gradient_pieces(pieces.len(), weight_len) };
        let per_job = pieces.len().div_ceil(n_jobs);
        let n_jobs = pieces.len().div_ceil(per_job);
        let sums_len = 2 * self.spec.in_channels;
        let mut dw_partial = unwritten(if whole_weight { 0 } else { n_jobs * weight_len });
        let mut sums_partial = vec![M::Sum::ZERO; n_jobs * sums_len];
        let mut rest = da.as_mut_slice();
        let mut dw_rest = dw_partial.as_mut_slice();
        let mut jobs = Vec::with_capacity(n_jobs);
        for (pieces, sums) in pieces.chunks(per_job).zip(sums_partial.chunks_exact_mut(sums_len)) {
            let own = pieces.iter().map(|piece| piece.own_input(self).len()).sum();
            let (da, after) = rest.split_at_mut(if wants { own } else { 0 });
            let (dw, dw_after) = dw_rest.split_at_mut(if whole_weight { 0 } else { weight_len });
            (rest, dw_rest) = (after, dw_after);
            jobs.push(Job::<M> { pieces, da: wants.then_some(da), dw, sums });
        }
        jobs.into_par_iter().for_each(|job| with_scratch(|scratch| self.backward_job(&shared, job, scratch)));
        if whole_weight {
            self.large_weight_product(backward.input, backward.dy, d_weight);
        } else {
            self.join_gradients(&dw_partial, d_weight);
        }
        (da, sums_partial)
    }

    fn weight_readings<M: Numbers>(&self, pieces: &[Piece]) -> WeightReadings {
        let readings = self.readings::<M>(pieces);
        let pairing =
            |(reading, piece): (&Reading, &Piece)| (piece.images.len(), Pairing::new::<M>(self, reading, piece));
        let pairings = readings.iter().zip(pieces).map(pairing).collect();
        WeightReadings { readings, pairings }
    }

    fn input_product<M: Numbers>(
        &self,
        weight: &[M::Sum],
        pieces: &[Piece],
        (accumulate, through_norm): (bool, bool),
    ) -> InputProduct<M::Stored> {
        let (weight, taps) = self.weight_by_taps::<M>(weight);
        let spec = self.spec;
        let source = Source::Transposed { data: &weight, block_rows: spec.out_channels, step: spec.out_channels };
        InputProduct {
            weight: Panels::pack_on_all_cores(
                (taps * spec.out_channels, spec.in_channels),
                M::kernels().right(),
                source,
            ),
            readings: self.backward_readings::<M>(pieces),
            accumulate,
            through_norm,
        }
    }

    fn backward_job<M: Numbers>(&self, shared: &Shared<'_, M>, job: Job<'_, M>, scratch: &mut Scratch<M>) {
        let Job { pieces, da, dw, sums } = job;
        let mut rest = da;
        for (i, piece) in pieces.iter().enumerate() {
            if let Some(readings) = &shared.weight_readings {
                self.weight_product_piece(readings, (shared.backward, piece), (dw, i > 0), scratch);
            }
            let (Some(product), Some(da)) = (&shared.input_product, rest.take()) else { continue };
            let own = piece.own_input(self);
            let (da, after) = da.split_at_mut(own.len());
            rest = Some(after);
            self.input_product_piece::<M>(product, shared.backward.dy, piece, da);
            if let (true, Some(norm)) = (product.through_norm, shared.backward.input.norm) {
                norm.mask_and_sum_piece::<M>(&shared.backward.input.x[own], da, sums, true);
            }
        }
    }

    /// The piece's part of the weight's gradient.
    fn weight_product_piece<M: Numbers>(
        &self,
        WeightReadings { readings, pairings }: &WeightReadings,
        (backward, piece): (&Backward<'_, M>, &Piece),
        dw: (&mut [M::Sum], bool),
        scratch: &mut Scratch<M>,
    ) {
        let (images, pairing) = &pairings[piece.band];
        let last = (*images != piece.images.len()).then(|| Pairing::new::<M>(self, &readings[piece.band], piece));
        let Scratch { activated, columns, left, right, .. } = scratch;
        let a = self.read(backward.input, piece, ReadScratch { activated, columns });
        let dy = &backward.dy[piece.output(self)];
        self.weight_product::<M>(last.as_ref().unwrap_or(pairing), (a, dy, piece.images.len()), dw, (left, right));
    }

    /// The piece's part of the input's gradient.
    fn input_product_piece<M: Numbers>(
        &self,
        product: &InputProduct<M::Stored>,
        dy: &[M::Stored],
        piece: &Piece,
        da: &mut [M::Stored],
    ) {
        let reading = &product.readings[piece.band];
        let addend = if product.accumulate { Addend::Result } else { Addend::Nothing };
        let read = match reading {
            Reading::Evenly => piece.output(self),
            // A band's first and last rows read beyond the band.
            Reading::ByClass(_) | Reading::ByTile(_) => {
                piece.images.start * self.output_len()..piece.images.end * self.output_len()
            }
        };
        reading.product::<M>(da, (&dy[read], piece.images.len()), &product.weight, addend);
    }
}
