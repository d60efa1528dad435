//! Tiles in plain Rust: every processor, and f64.

use super::isa::Kernels;
use super::{PanelTile, RowsTile};
use crate::Real;
use crate::kernels::numbers::{Bf16, Exact, Numbers};

const ROWS: usize = 4;
const COLUMNS: usize = 8;

pub(super) static F32: Kernels<Exact<f32>> = kernels();
pub(super) static F64: Kernels<Exact<f64>> = kernels();
pub(super) static BF16: Kernels<Bf16<f32>> = kernels();
pub(super) static BF16_F64: Kernels<Bf16<f64>> = kernels();

const fn kernels<M: Numbers>() -> Kernels<M> {
    Kernels {
        rows: ROWS,
        panel_rows: ROWS,
        columns: COLUMNS,
        group: 1,
        depth: 512,
        rows_tile: rows_tile::<M>,
        panel_tile: panel_tile::<M>,
        narrow: None,
    }
}

type Sums<T> = [[T; COLUMNS]; ROWS];

#[inline(always)]
fn multiply_add<M: Numbers>(sums: &mut Sums<M::Sum>, a: [M::Stored; ROWS], b: [M::Stored; COLUMNS]) {
    for (sums, a) in sums.iter_mut().zip(a) {
        for (sum, b) in sums.iter_mut().zip(b) {
            *sum += M::load(a) * M::load(b);
        }
    }
}

/// # Safety
///
/// As [`RowsTile`] says: every address that its runs reach must be readable, its results writable.
unsafe fn rows_tile<M: Numbers>(tile: &RowsTile<'_, M>) {
    let mut sums: Sums<M::Sum> = [[M::Sum::ZERO; COLUMNS]; ROWS];
    for run in tile.runs {
        // SAFETY: the caller's.
        unsafe {
            let b = tile.b.add(run.b * COLUMNS).cast::<[M::Stored; COLUMNS]>();
            let a: [*const M::Stored; ROWS] = std::array::from_fn(|r| tile.a[r].add(run.a));
            for k in 0..run.len {
                multiply_add::<M>(&mut sums, a.map(|a| *a.add(k)), *b.add(k));
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
unsafe fn panel_tile<M: Numbers>(tile: &PanelTile<'_, M>) {
    let mut sums: Sums<M::Sum> = [[M::Sum::ZERO; COLUMNS]; ROWS];
    for run in tile.runs {
        // SAFETY: the caller's.
        unsafe {
            let a = tile.a.add(run.a * ROWS).cast::<[M::Stored; ROWS]>();
            let b = tile.b.add(run.b * COLUMNS).cast::<[M::Stored; COLUMNS]>();
            for k in 0..run.len {
                multiply_add::<M>(&mut sums, *a.add(k), *b.add(k));
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
