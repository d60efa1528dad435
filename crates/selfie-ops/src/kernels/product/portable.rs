//! Tiles in plain Rust: every processor, and f64.

use super::isa::Kernels;
use super::{PanelTile, RowsTile};
use crate::Real;

const ROWS: usize = 4;
const COLUMNS: usize = 8;

pub(super) static F32: Kernels<f32> = kernels();
pub(super) static F64: Kernels<f64> = kernels();

const fn kernels<T: Real>() -> Kernels<T> {
    Kernels {
        name: "portable",
        rows: ROWS,
        columns: COLUMNS,
        depth: 512,
        rows_tile: rows_tile::<T>,
        panel_tile: panel_tile::<T>,
    }
}

type Sums<T> = [[T; COLUMNS]; ROWS];

#[inline(always)]
fn multiply_add<T: Real>(sums: &mut Sums<T>, a: [T; ROWS], b: [T; COLUMNS]) {
    for (sums, a) in sums.iter_mut().zip(a) {
        for (sum, b) in sums.iter_mut().zip(b) {
            *sum += a * b;
        }
    }
}

/// # Safety
///
/// As [`RowsTile`] says: every address that its runs reach must be readable, its results writable.
unsafe fn rows_tile<T: Real>(tile: &RowsTile<'_, T>) {
    let mut sums: Sums<T> = [[T::zero(); COLUMNS]; ROWS];
    for run in tile.runs {
        // SAFETY: the caller's.
        unsafe {
            let b = tile.b.add(run.b * COLUMNS).cast::<[T; COLUMNS]>();
            let a: [*const T; ROWS] = std::array::from_fn(|r| tile.a[r].add(run.a));
            for k in 0..run.len {
                multiply_add(&mut sums, a.map(|a| *a.add(k)), *b.add(k));
            }
        }
    }
    for (sums, &c) in sums.iter().zip(&tile.c) {
        // SAFETY: the caller's.
        unsafe { store(sums, c, tile.accumulate) };
    }
}

/// # Safety
///
/// As [`PanelTile`] says: every address that its runs reach must be readable, its results writable.
unsafe fn panel_tile<T: Real>(tile: &PanelTile<'_, T>) {
    let mut sums: Sums<T> = [[T::zero(); COLUMNS]; ROWS];
    for run in tile.runs {
        // SAFETY: the caller's.
        unsafe {
            let a = tile.a.add(run.a * ROWS).cast::<[T; ROWS]>();
            let b = tile.b.add(run.b * COLUMNS).cast::<[T; COLUMNS]>();
            for k in 0..run.len {
                multiply_add(&mut sums, *a.add(k), *b.add(k));
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's.
        unsafe { store(sums, tile.c.add(i * tile.c_step), tile.accumulate) };
    }
}

/// # Safety
///
/// `c` must be writable for a row.
unsafe fn store<T: Real>(sums: &[T; COLUMNS], c: *mut T, accumulate: bool) {
    for (j, &sum) in sums.iter().enumerate() {
        // SAFETY: the caller's.
        unsafe { *c.add(j) = if accumulate { *c.add(j) + sum } else { sum } };
    }
}
