//! Shears, shifts and turns of a square image. A pixel becomes the nearest one of the source, black outside of it.

use crate::N_CHANNELS;

/// Where the pixel at (x, y) comes from: x and y from the image's centre, columns to the right and rows down, px.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// The source's x: factor of x, factor of y, and what is added.
    pub x: [f64; 3],
    /// The source's y: factor of x, factor of y, and what is added.
    pub y: [f64; 3],
}

impl Affine {
    /// Moves the content by so many columns and rows.
    #[must_use]
    pub fn translation(columns: f64, rows: f64) -> Self {
        Self { x: [1.0, 0.0, -columns], y: [0.0, 1.0, -rows] }
    }

    /// Every row takes its pixels from `slope` columns further than the row above it; the upper left corner stays.
    #[must_use]
    pub fn shear_x(slope: f64, side: usize) -> Self {
        Self { x: [1.0, slope, slope * side as f64 / 2.0], y: [0.0, 1.0, 0.0] }
    }

    /// Every column takes its pixels from `slope` rows further than the column before it; the upper left corner stays.
    #[must_use]
    pub fn shear_y(slope: f64, side: usize) -> Self {
        Self { x: [1.0, 0.0, 0.0], y: [slope, 1.0, slope * side as f64 / 2.0] }
    }

    /// Turns the content about the centre, counter-clockwise.
    #[must_use]
    pub fn rotation(degrees: f64) -> Self {
        let (sin, cos) = libm::sincos(degrees.to_radians());
        Self { x: [cos, -sin, 0.0], y: [sin, cos, 0.0] }
    }

    /// Replaces an image by what lies at its pixels' sources.
    ///
    /// # Shapes
    ///
    /// `image`: `[H, W, C]` with H = W = `side`
    pub fn apply(&self, image: &mut [u8], side: usize) {
        let source = image.to_vec();
        let source = source.as_chunks::<N_CHANNELS>().0;
        let middle = (side as f64 - 1.0) / 2.0;
        for (y, line) in image.as_chunks_mut::<N_CHANNELS>().0.chunks_exact_mut(side).enumerate() {
            let y = y as f64 - middle;
            let at = |of: [f64; 3]| (of[1] * y + of[2]) + middle;
            let (x_start, y_start) = (at(self.x), at(self.y));
            for (x, pixel) in line.iter_mut().enumerate() {
                let x = x as f64 - middle;
                let column = nearest(self.x[0] * x + x_start, side);
                let row = nearest(self.y[0] * x + y_start, side);
                *pixel = match (row, column) {
                    (Some(row), Some(column)) => source[row * side + column],
                    _ => [0; N_CHANNELS],
                };
            }
        }
    }
}

/// The pixel at a coordinate, halves to the even one; none outside.
fn nearest(at: f64, side: usize) -> Option<usize> {
    let rounded = at.round_ties_even();
    (rounded >= 0.0 && rounded < side as f64).then_some(rounded as usize)
}
