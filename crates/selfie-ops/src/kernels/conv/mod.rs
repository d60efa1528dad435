//! Channels-last convolutions as products, with normalisation and ReLU of the input applied on the way in.
//!
//! A piece is a few whole images, or a band of rows of a large one; its activated input lives in scratch memory that stays in
//! cache. What a product reads is decided here (`Reading`), once for all pieces.

mod backward;
mod cut;
mod forward;
mod plan;
mod weight;
mod winograd;

pub(crate) use backward::{Backward, UnitGradients};

use super::memory::{Aligned, Unwritten};
use super::norm::Norm;
use super::numbers::Numbers;
use super::product::{Addend, At, Panels, Rows, Source, even_product, rows_product};
use crate::profile::Work;
use cut::Piece;
use plan::PiecePlan;
use std::borrow::Cow;
use winograd::TilePlan;

/// Channels below which the taps of an output pixel are unfolded into one run.
const SHORT_RUN: usize = 16;

/// Bounds above which tiles win. Below, transforming them costs more than the products they save: of few channels, and of small
/// maps, most of whose pixels see less than the whole kernel.
const TILED_SIDE: usize = 8;
const TILED_CHANNELS: usize = 32;
const TILED_SIDE_BY_CHANNELS: usize = 1024;

/// A square convolution without bias. Weights are `[kernel, kernel, in, out]` in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvSpec {
    /// Side of the kernel in pixels.
    pub kernel: usize,
    /// Pixels from one output to the next.
    pub stride: usize,
    /// Rings of zeros around the input.
    pub padding: usize,
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
}

impl ConvSpec {
    /// A 1×1 convolution.
    #[must_use]
    pub fn pointwise(in_channels: usize, out_channels: usize, stride: usize) -> Self {
        Self { kernel: 1, stride, padding: 0, in_channels, out_channels }
    }

    /// A 3×3 convolution with padding 1.
    #[must_use]
    pub fn three(in_channels: usize, out_channels: usize, stride: usize) -> Self {
        Self { kernel: 3, stride, padding: 1, in_channels, out_channels }
    }

    /// Elements of the weight.
    #[must_use]
    pub fn weight_len(&self) -> usize {
        self.depth() * self.out_channels
    }

    /// The output's side for an input's; `None` where the kernel does not fit.
    #[must_use]
    pub fn output_side(&self, side: usize) -> Option<usize> {
        (side + 2 * self.padding).checked_sub(self.kernel).map(|room| room / self.stride + 1)
    }

    /// The product's inner size.
    pub(crate) fn depth(&self) -> usize {
        self.kernel * self.kernel * self.in_channels
    }

    pub(crate) fn is_direct(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }

    /// Whether the input is unfolded to columns: a tap of few channels is too short a run.
    fn unfolds(&self) -> bool {
        self.kernel > 1 && self.in_channels < SHORT_RUN
    }
}

/// A convolution of maps of one size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conv {
    pub(crate) spec: ConvSpec,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
}

/// What a convolution reads: maps, and the normalisation + ReLU to apply to them first.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a, M: Numbers> {
    pub(crate) x: &'a [M::Stored],
    pub(crate) norm: Option<&'a Norm<M::Sum>>,
}

/// How the product of a piece reads its left operand.
enum Reading {
    /// Row after row: the operand itself, or its columns.
    Evenly,
    /// By classes of pixels.
    ByClass(PiecePlan),
    /// In transformed tiles.
    ByTile(TilePlan),
}

impl Reading {
    /// The tiles, of a reading by tiles.
    fn tiles(&self) -> Option<&TilePlan> {
        match self {
            Reading::ByTile(plan) => Some(plan),
            Reading::Evenly | Reading::ByClass(_) => None,
        }
    }

    /// `c = addend + a × b` for a piece of `images` images.
    fn product<M: Numbers>(
        &self,
        c: &mut [M::Stored],
        (a, images): (&[M::Stored], usize),
        b: &Panels<M::Stored>,
        addend: Addend<'_, M::Stored>,
    ) {
        let plan = match self {
            Reading::Evenly => return even_product::<M, M::Stored>(c, a, b, addend),
            Reading::ByClass(plan) => plan,
            Reading::ByTile(plan) => return plan.product::<M>(c, (a, images), b, addend),
        };
        for class in &plan.classes {
            let (from, to) = class.pixels(images);
            let rows = Rows { n: from.len(), a: At::Listed(from), c: At::Listed(to) };
            rows_product::<M, M::Stored>(c, (a, rows), b, &class.runs, addend);
        }
    }
}

impl Conv {
    /// `None` where the kernel does not fit the maps.
    pub(crate) fn new(spec: ConvSpec, height: usize, width: usize) -> Option<Self> {
        let (out_height, out_width) = (spec.output_side(height)?, spec.output_side(width)?);
        Some(Self { spec, height, width, out_height, out_width })
    }

    /// Whether it is computed by transformed tiles; by its shape alone, so that an image's result is the same in any batch.
    fn is_tiled(&self) -> bool {
        let ConvSpec { kernel, stride, padding, in_channels, out_channels } = self.spec;
        let (side, channels) = (self.height.min(self.width), in_channels.min(out_channels));
        (kernel, stride, padding) == (3, 1, 1)
            && side >= TILED_SIDE
            && channels >= TILED_CHANNELS
            && side * channels >= TILED_SIDE_BY_CHANNELS
            // bf16 is multiplied in pairs.
            && in_channels.is_multiple_of(2)
            && out_channels.is_multiple_of(2)
    }

    fn input_len(&self) -> usize {
        self.height * self.width * self.spec.in_channels
    }

    fn output_len(&self) -> usize {
        self.out_height * self.out_width * self.spec.out_channels
    }

    /// Multiplications and additions of one product over `images` images, without those by the padding, and the bytes of
    /// maps and weight.
    fn work<T>(&self, images: usize) -> Work {
        let spec = self.spec;
        // Taps inside the map, over all output rows or columns: a pixel's taps are a row's times a column's.
        let met = |out: usize, side: usize| -> usize {
            let inside = |at: usize| (spec.padding..side + spec.padding).contains(&at);
            (0..out).map(|i| (0..spec.kernel).filter(|tap| inside(i * spec.stride + tap)).count()).sum()
        };
        let met = met(self.out_height, self.height) * met(self.out_width, self.width);
        let multiplications = images * met * spec.in_channels * spec.out_channels;
        let elements = images * (self.input_len() + self.output_len()) + spec.weight_len();
        Work { flop: 2 * multiplications as u64, bytes: (elements * size_of::<T>()) as u64 }
    }

    /// How the pieces of each band read the input, for forward and the weight's gradient.
    fn readings<M: Numbers>(&self, pieces: &[Piece]) -> Vec<Reading> {
        by_band(pieces, |piece| {
            if self.spec.is_direct() || self.spec.unfolds() {
                return Reading::Evenly;
            }
            if self.is_tiled() {
                return Reading::ByTile(TilePlan::forward(piece, (self.height, self.width), self.spec.in_channels));
            }
            let (out_y, read_y) = (piece.out_y.clone(), piece.read_y.clone());
            Reading::ByClass(PiecePlan::forward(self, piece.images.len(), out_y, read_y, M::kernels().depth))
        })
    }

    /// How the pieces of each band read the output's gradient, for the input's.
    fn backward_readings<M: Numbers>(&self, pieces: &[Piece]) -> Vec<Reading> {
        by_band(pieces, |piece| {
            if self.spec.is_direct() {
                return Reading::Evenly;
            }
            if self.is_tiled() {
                return Reading::ByTile(TilePlan::backward(piece, (self.height, self.width), self.spec.out_channels));
            }
            Reading::ByClass(PiecePlan::backward(self, piece.images.len(), piece.own_y.clone(), M::kernels().depth))
        })
    }

    /// The weight as products read it, `[taps, in, out]`, and how many taps it has: the kernel's, or a transformed tile's
    /// places.
    fn weight_by_taps<'a, M: Numbers>(&self, weight: &'a [M::Sum]) -> (Cow<'a, [M::Stored]>, usize) {
        if self.is_tiled() {
            let places = winograd::transformed_weight(weight);
            return (Cow::Owned(M::keep(places)), winograd::PLACES);
        }
        (M::stored(weight), self.spec.kernel * self.spec.kernel)
    }

    /// The weight as the right operand `[taps · in, out]` of forward.
    fn pack_weight<M: Numbers>(&self, weight: &[M::Sum]) -> Panels<M::Stored> {
        let n = self.spec.out_channels;
        let (weight, taps) = self.weight_by_taps::<M>(weight);
        let source = Source::Rows { data: &weight, at: At::Evenly(n) };
        Panels::pack_on_all_cores((taps * self.spec.in_channels, n), M::kernels().right(), source)
    }

    /// The piece as the product sees it: itself, normalised and rectified, or unfolded.
    fn read<'a, M: Numbers>(
        &self,
        input: Input<'a, M>,
        piece: &Piece,
        scratch: ReadScratch<'a, M::Stored>,
    ) -> &'a [M::Stored] {
        let row = self.width * self.spec.in_channels;
        let start = piece.images.start * self.input_len() + piece.read_y.start * row;
        let mut x = &input.x[start..start + piece.images.len() * piece.read_y.len() * row];
        if let Some(norm) = input.norm {
            scratch.activated.resize(x.len());
            norm.activate::<M>(x, scratch.activated.as_mut_slice());
            x = scratch.activated.as_slice();
        }
        if !self.spec.unfolds() {
            return x;
        }
        self.unfold(x, piece, scratch.columns);
        scratch.columns.as_slice()
    }

    /// Writes the piece's columns `[rows, kernel · kernel · in]`.
    fn unfold<T: Unwritten>(&self, x: &[T], piece: &Piece, columns: &mut Aligned<T>) {
        let ConvSpec { kernel, stride, padding, in_channels, .. } = self.spec;
        columns.resize(piece.rows(self) * self.spec.depth());
        let mut rows = columns.as_mut_slice().chunks_exact_mut(self.spec.depth());
        let pixels = (0..piece.images.len())
            .flat_map(|image| piece.out_y.clone().flat_map(move |y| (0..self.out_width).map(move |x| (image, y, x))));
        for ((image, out_y, out_x), row) in pixels.zip(&mut rows) {
            // A row of the kernel meets pixels that lie side by side, less those beyond the map's edges.
            let left = (out_x * stride).saturating_sub(padding).min(self.width);
            let skipped = padding.saturating_sub(out_x * stride).min(kernel);
            let met = (kernel - skipped).min(self.width - left);
            for (tap_y, row) in row.chunks_exact_mut(kernel * in_channels).enumerate() {
                let y = out_y * stride + tap_y;
                if y < padding || y >= self.height + padding {
                    row.fill(T::default());
                    continue;
                }
                let y = image * piece.read_y.len() + y - padding - piece.read_y.start;
                let (before, rest) = row.split_at_mut(skipped * in_channels);
                let (inside, after) = rest.split_at_mut(met * in_channels);
                before.fill(T::default());
                inside.copy_from_slice(&x[(y * self.width + left) * in_channels..][..met * in_channels]);
                after.fill(T::default());
            }
        }
    }
}

/// A reading for each band, for as many images as a piece holds at most: those of the first pieces.
fn by_band(pieces: &[Piece], reading: impl Fn(&Piece) -> Reading) -> Vec<Reading> {
    pieces.iter().take_while(|piece| piece.images.start == 0).map(reading).collect()
}

/// The scratch that [`Conv::read`] writes.
struct ReadScratch<'a, T> {
    activated: &'a mut Aligned<T>,
    columns: &'a mut Aligned<T>,
}
