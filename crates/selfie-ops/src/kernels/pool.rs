//! Max-pooling 3×3 stride 2 padding 1, and averages over cells.

use super::pieces::{Loop, vectorised};
use crate::Real;
use crate::profile::{OpClass, Work, span};
use rayon::prelude::*;

/// Maps of one size, `[images, height, width, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Maps {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

impl Maps {
    pub(crate) fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// The maps after the max-pool.
    pub(crate) fn halved(&self) -> Self {
        Self { height: self.height.div_ceil(2), width: self.width.div_ceil(2), channels: self.channels }
    }

    /// The input pixels of a window, in the order that decides ties, and their place in it.
    fn window(&self, y: usize, x: usize) -> impl Iterator<Item = (u8, usize)> + use<> {
        let (height, width) = (self.height, self.width);
        (0..9u8).filter_map(move |at| {
            let (y, x) = (2 * y + usize::from(at / 3), 2 * x + usize::from(at % 3));
            let inside = y >= 1 && x >= 1 && y <= height && x <= width;
            inside.then(|| (at, (y - 1) * width + x - 1))
        })
    }
}

/// The largest of each window, and which of its nine places it came from (the first among equals; a NaN wins).
pub(crate) fn max<T: Real>(maps: Maps, x: &[T]) -> (Vec<T>, Vec<u8>) {
    let out = maps.halved();
    let _span = span(OpClass::Pool, Work::elementwise::<T>(x.len(), 2, 1));
    let images = x.len() / maps.len();
    let mut y = vec![T::zero(); images * out.len()];
    let mut places = vec![0; y.len()];
    y.par_chunks_mut(out.len())
        .zip(places.par_chunks_mut(out.len()))
        .zip(x.par_chunks(maps.len()))
        .for_each(|((y, places), x)| vectorised(MaxImage { maps, x, y, places }));
    (y, places)
}

/// The largest of each window of one image.
struct MaxImage<'a, T> {
    maps: Maps,
    x: &'a [T],
    y: &'a mut [T],
    places: &'a mut [u8],
}

impl<T: Real> Loop for MaxImage<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Self { maps, x, y, places } = self;
        let out = maps.halved();
        let rows = y.chunks_exact_mut(maps.channels).zip(places.chunks_exact_mut(maps.channels));
        for (i, (y, places)) in rows.enumerate() {
            for (n, (place, pixel)) in maps.window(i / out.width, i % out.width).enumerate() {
                let x = &x[pixel * maps.channels..][..maps.channels];
                for ((y, p), &x) in y.iter_mut().zip(places.iter_mut()).zip(x) {
                    // Without a branch, so that the loop is vectorised.
                    let larger = (n == 0) | (x > *y) | x.partial_cmp(&x).is_none();
                    *y = if larger { x } else { *y };
                    *p = if larger { place } else { *p };
                }
            }
        }
    }
}

/// Sends each gradient to the place its maximum came from.
pub(crate) fn max_backward<T: Real>(maps: Maps, places: &[u8], dy: &[T]) -> Vec<T> {
    let _span = span(OpClass::Pool, Work::elementwise::<T>(dy.len(), 1, 5));
    let out = maps.halved();
    let mut dx = vec![T::zero(); dy.len() / out.len() * maps.len()];
    dx.par_chunks_mut(maps.len())
        .zip(places.par_chunks(out.len()).zip(dy.par_chunks(out.len())))
        .for_each(|(dx, (places, dy))| vectorised(MaxImageBackward { maps, places, dy, dx }));
    dx
}

/// The gradients of one image's windows, each to the place that its maximum came from.
struct MaxImageBackward<'a, T> {
    maps: Maps,
    places: &'a [u8],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Real> Loop for MaxImageBackward<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Self { maps, places, dy, dx } = self;
        let out = maps.halved();
        for (i, (places, dy)) in places.chunks_exact(maps.channels).zip(dy.chunks_exact(maps.channels)).enumerate() {
            for (place, pixel) in maps.window(i / out.width, i % out.width) {
                let dx = &mut dx[pixel * maps.channels..][..maps.channels];
                for ((dx, &p), &dy) in dx.iter_mut().zip(places).zip(dy) {
                    *dx += if p == place { dy } else { T::ZERO };
                }
            }
        }
    }
}

/// The average of each of `cells × cells` equal cells: `[images, cells, cells, channels]`.
pub(crate) fn average<T: Real>(maps: Maps, cells: usize, x: &[T]) -> Vec<T> {
    let _span = span(OpClass::Pool, Work::elementwise::<T>(x.len(), 1, 1));
    let out_len = cells * cells * maps.channels;
    let scale = T::from_f64(((cells * cells) as f64) / (maps.height * maps.width) as f64);
    let mut y = vec![T::zero(); x.len() / maps.len() * out_len];
    y.par_chunks_mut(out_len).zip(x.par_chunks(maps.len())).for_each(|(y, x)| {
        for (pixel, x) in x.chunks_exact(maps.channels).enumerate() {
            let y = &mut y[cell_of(maps, cells, pixel) * maps.channels..][..maps.channels];
            for (y, &x) in y.iter_mut().zip(x) {
                *y += x;
            }
        }
        for y in y.iter_mut() {
            *y *= scale;
        }
    });
    y
}

/// Spreads each cell's gradient evenly over its pixels.
pub(crate) fn average_backward<T: Real>(maps: Maps, cells: usize, dy: &[T]) -> Vec<T> {
    let _span = span(OpClass::Pool, Work::elementwise::<T>(dy.len() * maps.height * maps.width / cells.pow(2), 1, 1));
    let out_len = cells * cells * maps.channels;
    let scale = T::from_f64(((cells * cells) as f64) / (maps.height * maps.width) as f64);
    let mut dx = vec![T::zero(); dy.len() / out_len * maps.len()];
    dx.par_chunks_mut(maps.len()).zip(dy.par_chunks(out_len)).for_each(|(dx, dy)| {
        for (pixel, dx) in dx.chunks_exact_mut(maps.channels).enumerate() {
            let dy = &dy[cell_of(maps, cells, pixel) * maps.channels..][..maps.channels];
            for (dx, &dy) in dx.iter_mut().zip(dy) {
                *dx = dy * scale;
            }
        }
    });
    dx
}

fn cell_of(maps: Maps, cells: usize, pixel: usize) -> usize {
    let (y, x) = (pixel / maps.width, pixel % maps.width);
    y * cells / maps.height * cells + x * cells / maps.width
}
