//! Exact sums over pixels, from which means and deviations follow.

use serde::{Deserialize, Serialize};

use crate::N_CHANNELS;

/// Sums per channel. Whole numbers, so that they are the same in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Moments {
    n_pixels: u64,
    sums: [u64; N_CHANNELS],
    squares: [u64; N_CHANNELS],
}

impl Moments {
    /// Adds pixels, `[n, C]`.
    pub(crate) fn with(mut self, pixels: &[u8]) -> Self {
        for pixel in pixels.chunks_exact(N_CHANNELS) {
            for (channel, &value) in pixel.iter().enumerate() {
                self.sums[channel] += u64::from(value);
                self.squares[channel] += u64::from(value) * u64::from(value);
            }
        }
        self.n_pixels += (pixels.len() / N_CHANNELS) as u64;
        self
    }

    pub(crate) fn and(self, other: Self) -> Self {
        let add = |a: [u64; N_CHANNELS], b: [u64; N_CHANNELS]| std::array::from_fn(|channel| a[channel] + b[channel]);
        Self {
            n_pixels: self.n_pixels + other.n_pixels,
            sums: add(self.sums, other.sums),
            squares: add(self.squares, other.squares),
        }
    }

    /// Mean and standard deviation in units where 255 is 1; zeros if there is no pixel.
    pub(crate) fn mean_std(&self) -> ([f32; N_CHANNELS], [f32; N_CHANNELS]) {
        let n = self.n_pixels.max(1) as f64;
        let mean = self.sums.map(|sum| sum as f64 / n / 255.0);
        let std = std::array::from_fn(|channel| {
            let mean_square = self.squares[channel] as f64 / n / (255.0 * 255.0);
            (mean_square - mean[channel] * mean[channel]).max(0.0).sqrt() as f32
        });
        (mean.map(|mean| mean as f32), std)
    }
}
