//! A convolution's forward product.

use super::cut::Piece;
use super::{Conv, Input, ReadScratch, Reading};
use crate::kernels::memory::unwritten;
use crate::kernels::norm::{Moments, piece_moments};
use crate::kernels::numbers::{Numbers, convert};
use crate::kernels::product::Panels;
use crate::kernels::scratch::{Scratch, with_scratch};
use crate::profile::{OpClass, span};
use rayon::prelude::*;

/// One piece's work and where its results go.
struct Work<'a, M: Numbers> {
    piece: Piece,
    y: &'a mut [M::Stored],
    moments: &'a mut [M::Sum],
}

impl Conv {
    /// The convolution of `input`, plus `residual`; with the moments of the result where `moments` asks.
    pub(crate) fn forward<M: Numbers>(
        &self,
        input: Input<'_, M>,
        weight: &[M::Sum],
        residual: Option<&[M::Stored]>,
        moments: bool,
    ) -> (Vec<M::Stored>, Option<Moments<M::Sum>>) {
        let images = input.x.len() / self.input_len();
        let _span = span(OpClass::ConvolutionForward, self.work::<M::Stored>(images));
        let channels = self.spec.out_channels;
        let pieces = self.pieces(images);
        let rows: Vec<usize> = pieces.iter().map(|piece| piece.rows(self)).collect();
        let readings = self.readings::<M::Sum>(&pieces);
        let weight = self.pack_weight::<M>(weight);
        let mut y = unwritten(images * self.output_len());
        let mut partial = unwritten(pieces.len() * 2 * channels);
        let mut rest = y.as_mut_slice();
        let mut work = Vec::with_capacity(pieces.len());
        for (piece, moments) in pieces.into_iter().zip(partial.chunks_exact_mut(2 * channels)) {
            let (y, after) = rest.split_at_mut(piece.output(self).len());
            rest = after;
            work.push(Work::<M> { piece, y, moments });
        }
        work.into_par_iter().for_each(|work| {
            with_scratch(|Scratch { activated, columns, sums, .. }: &mut Scratch<M::Sum>| {
                let a = self.read(input, &work.piece, ReadScratch { activated, columns });
                let reading = (a, &readings[work.piece.band], &work.piece);
                let residual = residual.map(|residual| &residual[work.piece.output(self)]);
                if let Some(y) = M::as_sums(work.y) {
                    self.forward_piece::<M>(reading, &weight, y, residual);
                } else {
                    sums.resize(work.y.len());
                    self.forward_piece::<M>(reading, &weight, sums.as_mut_slice(), residual);
                    convert(sums.as_slice(), work.y, M::store);
                }
                if moments {
                    piece_moments::<M>(work.y, work.moments);
                }
            });
        });
        let moments = moments.then(|| Moments::combine(&partial, channels, &rows));
        (y, moments)
    }

    fn forward_piece<M: Numbers>(
        &self,
        (a, reading, piece): (&[M::Sum], &Reading, &Piece),
        weight: &Panels<M::Sum>,
        y: &mut [M::Sum],
        residual: Option<&[M::Stored]>,
    ) {
        if let Some(residual) = residual {
            convert(residual, y, M::load);
        }
        reading.product(y, (a, piece.images.len()), weight, residual.is_some());
    }
}
