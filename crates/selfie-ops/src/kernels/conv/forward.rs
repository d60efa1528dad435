//! A convolution's forward product.

use super::cut::Piece;
use super::{Conv, Input, ReadScratch};
use crate::kernels::memory::unwritten;
use crate::kernels::norm::{Moments, piece_moments};
use crate::kernels::numbers::Numbers;
use crate::kernels::product::Addend;
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
        let pieces = self.pieces::<M::Stored>(images);
        let rows: Vec<usize> = pieces.iter().map(|piece| piece.rows(self)).collect();
        let readings = self.readings::<M>(&pieces);
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
            with_scratch(|Scratch { activated, columns, .. }: &mut Scratch<M>| {
                let Work { piece, y, moments: piece_moments_out } = work;
                let a = self.read(input, &piece, ReadScratch { activated, columns });
                let addend = residual.map_or(Addend::Nothing, |residual| Addend::Map(&residual[piece.output(self)]));
                readings[piece.band].product::<M>(y, (a, piece.images.len()), &weight, addend);
                if moments {
                    piece_moments::<M>(y, piece_moments_out);
                }
            });
        });
        let moments = moments.then(|| Moments::combine(&partial, channels, &rows));
        (y, moments)
    }
}
