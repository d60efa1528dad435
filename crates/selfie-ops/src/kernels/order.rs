//! Rows in the order that every image has of its own.

use super::memory::unwritten;
use crate::Real;
use candle_core::{Result, bail};
use rayon::prelude::*;

/// Whether each image's `n` places are named once.
pub(crate) fn check(order: &[u32], n: usize) -> Result<()> {
    let mut seen = vec![false; n];
    for (image, places) in order.chunks_exact(n).enumerate() {
        seen.fill(false);
        for &place in places {
            match seen.get_mut(place as usize) {
                Some(seen) if !*seen => *seen = true,
                _ => bail!("rows_in_order: expected a permutation of {n} places for image {image}, got {places:?}"),
            }
        }
    }
    Ok(())
}

/// `[B, N, D]` from the rows of each image, or of one table, `[1, N, D]`.
pub(crate) fn take<T: Real>(x: &[T], order: &[u32], (n, d): (usize, usize)) -> Vec<T> {
    let mut y = unwritten(order.len() * d);
    y.par_chunks_mut(n * d).zip(order.par_chunks(n)).enumerate().for_each(|(image, (y, order))| {
        let x = if x.len() == n * d { x } else { &x[image * n * d..][..n * d] };
        for (y, &place) in y.chunks_exact_mut(d).zip(order) {
            y.copy_from_slice(&x[place as usize * d..][..d]);
        }
    });
    y
}

/// The gradient of what [`take`] took from: `[images, N, D]`; those of one table are added up image by image.
pub(crate) fn put<T: Real>(dy: &[T], order: &[u32], (images, n, d): (usize, usize, usize)) -> Vec<T> {
    let put_image = |dx: &mut [T], dy: &[T], order: &[u32]| {
        for (dy, &place) in dy.chunks_exact(d).zip(order) {
            for (dx, &dy) in dx[place as usize * d..][..d].iter_mut().zip(dy) {
                *dx += dy;
            }
        }
    };
    let mut dx = vec![T::ZERO; images * n * d];
    if images * n == order.len() {
        let parts = dy.par_chunks(n * d).zip(order.par_chunks(n));
        dx.par_chunks_mut(n * d).zip(parts).for_each(|(dx, (dy, order))| put_image(dx, dy, order));
    } else {
        dy.chunks_exact(n * d).zip(order.chunks_exact(n)).for_each(|(dy, order)| put_image(&mut dx, dy, order));
    }
    dx
}
