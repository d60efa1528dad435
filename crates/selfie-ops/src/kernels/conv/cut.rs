//! How a convolution's work is cut into pieces: by shapes alone, never by the number of threads.

use super::Conv;
use super::winograd::{OUTPUTS, PLACES};
use std::ops::Range;

/// Bytes of a piece's larger map: its operands stay in the second-level cache.
const PIECE_BYTES: usize = 1 << 19;
/// Bounds of a piece's column of one channel, in bytes: enough rows to make up for reading the whole weight, few enough to
/// share out.
const MIN_COLUMN_BYTES: usize = 1 << 9;
const MAX_COLUMN_BYTES: usize = 1 << 12;
/// Bytes of a piece's transformed tiles and their products, and bounds of the number of tiles.
const TILES_BYTES: usize = 1 << 19;
const MIN_TILES: usize = 48;
const MAX_TILES: usize = 256;

/// A few whole images, or a band of rows of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) images: Range<usize>,
    /// Rows of the output.
    pub(super) out_y: Range<usize>,
    /// Rows of the input that they read.
    pub(super) read_y: Range<usize>,
    /// Rows of the input whose gradient belongs to this piece; the bands' together are all.
    pub(super) own_y: Range<usize>,
    /// Which band this is: pieces of one band and one number of images differ in nothing but where they begin.
    pub(super) band: usize,
}

impl Piece {
    /// All of `images` whole images.
    pub(super) fn whole(conv: &Conv, images: usize) -> Self {
        let (out_y, in_y) = (0..conv.out_height, 0..conv.height);
        Self { images: 0..images, out_y, read_y: in_y.clone(), own_y: in_y, band: 0 }
    }

    /// Output pixels.
    pub(super) fn rows(&self, conv: &Conv) -> usize {
        self.images.len() * self.out_y.len() * conv.out_width
    }

    /// Where the piece lies in the output.
    pub(super) fn output(&self, conv: &Conv) -> Range<usize> {
        let row = conv.out_width * conv.spec.out_channels;
        let start = self.images.start * conv.output_len() + self.out_y.start * row;
        start..start + self.images.len() * self.out_y.len() * row
    }

    /// Where the rows whose gradient is this piece's lie in the input.
    pub(super) fn own_input(&self, conv: &Conv) -> Range<usize> {
        let row = conv.width * conv.spec.in_channels;
        let start = self.images.start * conv.input_len() + self.own_y.start * row;
        start..start + self.images.len() * self.own_y.len() * row
    }
}

impl Conv {
    /// The pieces of `images` images of numbers `S`, in the order of memory.
    pub(super) fn pieces<S>(&self, images: usize) -> Vec<Piece> {
        let spec = self.spec;
        let widest = spec.out_channels.max(spec.in_channels * spec.stride * spec.stride);
        let (rows, band_step) = if self.is_tiled() {
            let tile_bytes = PLACES * widest * (size_of::<S>() + size_of::<f32>());
            ((TILES_BYTES / tile_bytes).clamp(MIN_TILES, MAX_TILES) * OUTPUTS * OUTPUTS, OUTPUTS)
        } else {
            ((PIECE_BYTES / widest).clamp(MIN_COLUMN_BYTES, MAX_COLUMN_BYTES) / size_of::<S>(), 1)
        };
        let per_image = self.out_height * self.out_width;
        let (images_per_piece, band) = if per_image > 2 * rows {
            (1, (rows / self.out_width / band_step).max(1) * band_step)
        } else {
            ((rows / per_image).max(1), self.out_height)
        };
        let bands = self.out_height.div_ceil(band);
        let groups = (0..images).step_by(images_per_piece);
        groups
            .flat_map(|first| {
                let images = first..(first + images_per_piece).min(images);
                (0..bands).map(move |i| {
                    let out_y = i * band..((i + 1) * band).min(self.out_height);
                    let own_end = if i + 1 == bands { self.height } else { (out_y.end * spec.stride).min(self.height) };
                    Piece {
                        images: images.clone(),
                        // Several images lie end to end only as a whole.
                        read_y: if bands == 1 { 0..self.height } else { self.rows_read(&out_y) },
                        own_y: (out_y.start * spec.stride).min(own_end)..own_end,
                        out_y,
                        band: i,
                    }
                })
            })
            .collect()
    }

    fn rows_read(&self, out_y: &Range<usize>) -> Range<usize> {
        let spec = self.spec;
        let start = (out_y.start * spec.stride).saturating_sub(spec.padding);
        let end = ((out_y.end - 1) * spec.stride + spec.kernel).saturating_sub(spec.padding).min(self.height);
        start.min(end)..end
    }
}
