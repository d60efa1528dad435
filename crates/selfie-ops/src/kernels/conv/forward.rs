//! A convolution's forward product.

use super::cut::Piece;
use super::{Conv, Input, ReadScratch, Reading};
use crate::Real;
use crate::kernels::memory::unwritten;
use crate::kernels::norm::{Moments, piece_moments};
use crate::kernels::product::{At, Panels, Rows, rows_product};
use crate::kernels::scratch::{Scratch, with_scratch};
use rayon::prelude::*;

/// One piece's work and where its results go.
struct Work<'a, T> {
    piece: Piece,
    y: &'a mut [T],
    moments: &'a mut [T],
}

impl Conv {
    /// The convolution of `input`, plus `residual`; with the moments of the result where `moments` asks.
    pub(crate) fn forward<T: Real>(
        &self,
        input: Input<'_, T>,
        weight: &[T],
        residual: Option<&[T]>,
        moments: bool,
    ) -> (Vec<T>, Option<Moments<T>>) {
        let images = input.x.len() / self.input_len();
        let channels = self.spec.out_channels;
        let pieces = self.pieces(images);
        let rows: Vec<usize> = pieces.iter().map(|piece| piece.rows(self)).collect();
        let readings = self.readings::<T>(&pieces);
        let weight = self.pack_weight(weight);
        let mut y = unwritten(images * self.output_len());
        let mut partial = unwritten(pieces.len() * 2 * channels);
        let mut rest = y.as_mut_slice();
        let mut work = Vec::with_capacity(pieces.len());
        for (piece, moments) in pieces.into_iter().zip(partial.chunks_exact_mut(2 * channels)) {
            let (y, after) = rest.split_at_mut(piece.output(self).len());
            rest = after;
            work.push(Work { piece, y, moments });
        }
        work.into_par_iter().for_each(|work| {
            with_scratch(|scratch: &mut Scratch<T>| {
                let scratch = ReadScratch { activated: &mut scratch.activated, columns: &mut scratch.columns };
                let a = self.read(input, &work.piece, scratch);
                if let Some(residual) = residual {
                    work.y.copy_from_slice(&residual[work.piece.output(self)]);
                }
                let reading = &readings[work.piece.band];
                self.forward_piece((a, reading, &work.piece), &weight, work.y, residual.is_some());
                if moments {
                    piece_moments(work.y, work.moments);
                }
            });
        });
        let moments = moments.then(|| Moments::combine(&partial, channels, &rows));
        (y, moments)
    }

    /// How each band is read, for as many images as a piece holds at most.
    pub(super) fn readings<T: Real>(&self, pieces: &[Piece]) -> Vec<Reading> {
        let bands = pieces.iter().map_while(|piece| (piece.images.start == 0).then_some(piece));
        bands.map(|piece| self.reading::<T>(piece)).collect()
    }

    fn forward_piece<T: Real>(
        &self,
        (a, reading, piece): (&[T], &Reading, &Piece),
        weight: &Panels<T>,
        y: &mut [T],
        accumulate: bool,
    ) {
        match reading {
            Reading::Evenly(runs) => rows_product(y, (a, self.even_rows(piece)), weight, runs, accumulate),
            Reading::ByClass(plan) => {
                for class in &plan.classes {
                    let (from, to) = class.pixels(piece.images.len());
                    let rows = Rows { n: from.len(), a: At::Listed(from), c: At::Listed(to) };
                    rows_product(y, (a, rows), weight, &class.runs, accumulate);
                }
            }
        }
    }
}
