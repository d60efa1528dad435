//! Which pixels meet which taps: the classes of a convolution's output pixels that see the same part of the kernel.
//!
//! Within a class the contraction is the same for every pixel, so a class is one product whose left rows lie at its pixels,
//! and no product is ever taken with the zeros around a map. On the 2×2 maps of small patches that saves five ninths.

use super::Conv;
use crate::kernels::product::{Run, Runs};
use std::collections::BTreeMap;
use std::ops::Range;

/// The product of one piece, for as many images as it may hold.
pub(super) struct PiecePlan {
    pub(super) classes: Vec<Class>,
}

/// Pixels of the result that meet the same taps.
pub(super) struct Class {
    pub(super) runs: Runs,
    /// Bit `t` is set where tap `t` is met.
    pub(super) taps: u64,
    /// Pixels of one image; the lists hold the images one after the other.
    per_image: usize,
    /// Where the first tap's element of each pixel lies in the operand that is read.
    a: Vec<u32>,
    /// Where each pixel lies in the result.
    c: Vec<u32>,
}

impl Class {
    /// The first `images` images' pixels: where they read and where they write.
    pub(super) fn pixels(&self, images: usize) -> (&[u32], &[u32]) {
        let n = images * self.per_image;
        (&self.a[..n], &self.c[..n])
    }
}

/// A tap that a pixel meets: its number in the order of the packed weights, and the pixel it reads.
type Meeting = (usize, usize);

/// A class while it is collected: the taps its first pixel met, and every pixel's first read and own place.
#[derive(Default)]
struct Collected {
    met: Vec<Meeting>,
    pixels: Vec<(usize, usize)>,
}

/// Sizes of the maps that a product reads and writes, in elements.
struct Maps {
    a_channels: usize,
    a_image: usize,
    c_channels: usize,
    c_image: usize,
}

impl PiecePlan {
    /// The forward product of the output rows `out_y`; the operand begins at input row `in_y`.
    pub(super) fn forward(conv: &Conv, images: usize, out_y: Range<usize>, in_y: Range<usize>, depth: usize) -> Self {
        let spec = conv.spec;
        let maps = Maps {
            a_channels: spec.in_channels,
            a_image: in_y.len() * conv.width * spec.in_channels,
            c_channels: spec.out_channels,
            c_image: out_y.len() * conv.out_width * spec.out_channels,
        };
        let meet = |y: usize, x: usize| {
            (0..spec.kernel * spec.kernel).filter_map(move |tap| {
                let y = (y * spec.stride + tap / spec.kernel).checked_sub(spec.padding)?;
                let x = (x * spec.stride + tap % spec.kernel).checked_sub(spec.padding)?;
                (y < conv.height && x < conv.width).then(|| (tap, (y - in_y.start) * conv.width + x))
            })
        };
        Self::new(&maps, images, (out_y.clone(), conv.out_width), depth, meet)
    }

    /// The product that gives the input's gradient at the input rows `in_y`; the operand is the whole output's gradient.
    ///
    /// The packed weights have their taps in reverse.
    pub(super) fn backward(conv: &Conv, images: usize, in_y: Range<usize>, depth: usize) -> Self {
        let spec = conv.spec;
        let maps = Maps {
            a_channels: spec.out_channels,
            a_image: conv.output_len(),
            c_channels: spec.in_channels,
            c_image: in_y.len() * conv.width * spec.in_channels,
        };
        let reach = |at: usize, tap: usize, side: usize| {
            let at = (at + spec.padding).checked_sub(tap)?;
            (at % spec.stride == 0 && at / spec.stride < side).then_some(at / spec.stride)
        };
        let meet = |y: usize, x: usize| {
            let last = spec.kernel * spec.kernel - 1;
            (0..=last).filter_map(move |reversed| {
                let tap = last - reversed;
                let y = reach(y, tap / spec.kernel, conv.out_height)?;
                let x = reach(x, tap % spec.kernel, conv.out_width)?;
                Some((reversed, y * conv.out_width + x))
            })
        };
        Self::new(&maps, images, (in_y.clone(), conv.width), depth, meet)
    }

    fn new<I: Iterator<Item = Meeting>>(
        maps: &Maps,
        images: usize,
        (rows, width): (Range<usize>, usize),
        depth: usize,
        meet: impl Fn(usize, usize) -> I,
    ) -> Self {
        let mut classes: BTreeMap<u64, Collected> = BTreeMap::new();
        for y in rows.clone() {
            for x in 0..width {
                let met: Vec<Meeting> = meet(y, x).collect();
                let taps = met.iter().fold(0u64, |taps, (tap, _)| taps | 1 << tap);
                let first = met.first().map_or(0, |&(_, pixel)| pixel);
                let class = classes.entry(taps).or_default();
                class.pixels.push((first * maps.a_channels, ((y - rows.start) * width + x) * maps.c_channels));
                class.met = met;
            }
        }
        Self { classes: classes.into_iter().map(|(taps, class)| class.laid_out(taps, maps, images, depth)).collect() }
    }
}

impl Collected {
    fn laid_out(self, taps: u64, maps: &Maps, images: usize, depth: usize) -> Class {
        let Self { met, pixels } = self;
        let first = met.first().map_or(0, |&(_, pixel)| pixel);
        let len = maps.a_channels;
        // How far apart a class's taps read is the same for all of its pixels.
        let runs = met.iter().map(|&(tap, pixel)| Run { a: (pixel - first) * len, b: tap * len, len });
        let runs = Runs::new(runs, depth);
        let all = |per_image: usize, at: fn(&(usize, usize)) -> usize| -> Vec<u32> {
            let images = (0..images).flat_map(|image| pixels.iter().map(move |pixel| image * per_image + at(pixel)));
            images.map(offset).collect()
        };
        let (a, c) = (all(maps.a_image, |pixel| pixel.0), all(maps.c_image, |pixel| pixel.1));
        Class { runs, taps, per_image: pixels.len(), a, c }
    }
}

/// Where tap `t`'s element lies in the operand, from that of the class's first tap on.
pub(super) fn tap_offset(conv: &Conv, taps: u64, tap: usize) -> usize {
    let kernel = conv.spec.kernel;
    let pixel = |tap: usize| tap / kernel * conv.width + tap % kernel;
    (pixel(tap) - pixel(taps.trailing_zeros() as usize)) * conv.spec.in_channels
}

/// An element's place, in the half of a machine word that the lists are kept in.
///
/// # Panics
///
/// If an image has more than 2³² elements, which no memory of ours holds a training step of.
fn offset(at: usize) -> u32 {
    assert!(at <= u32::MAX as usize, "a map of {at} elements an image is too large");
    at as u32
}
