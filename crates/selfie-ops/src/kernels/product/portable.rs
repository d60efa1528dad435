//! Tiles in plain Rust: every processor, and f64.

use super::isa::{Kernels, Tiles};
use super::{PanelTile, RowsTile};
use crate::Real;
use crate::kernels::numbers::{Bf16, Exact, Kept, Numbers};

const ROWS: usize = 4;
const COLUMNS: usize = 8;

pub(super) static F32: Kernels<Exact<f32>> = kernels(512);
pub(super) static F64: Kernels<Exact<f64>> = kernels(512);
pub(super) static BF16: Kernels<Bf16<f32>> = kernels(usize::MAX);
pub(super) static BF16_F64: Kernels<Bf16<f64>> = kernels(usize::MAX);

const fn kernels<M: Numbers>(depth: usize) -> Kernels<M> {
    Kernels {
        rows: ROWS,
        panel_rows: ROWS,
        columns: COLUMNS,
        group: 1,
        depth,
        tiles: Tiles {
            rows_to_sums: rows_tile::<M, M::Sum>,
            rows_to_stored: rows_tile::<M, M::Stored>,
            panels: panel_tile::<M>,
        },
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
unsafe fn rows_tile<M: Numbers, C: Kept<M>>(tile: &RowsTile<'_, M, C>) {
    let mut sums: Sums<M::Sum> = [[M::Sum::ZERO; COLUMNS]; ROWS];
    for run in tile.runs {
        // SAFETY: the caller's.
        unsafe {
            let b = tile.b.add(run.b * COLUMNS).cast::<[M::Stored; COLUMNS]>();
            let a: [*const M::Stored; ROWS] = std::array::from_fn(|r| tile.a.get_unchecked(r).add(run.a));
            for k in 0..run.len {
                multiply_add::<M>(&mut sums, a.map(|a| *a.add(k)), *b.add(k));
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's.
        unsafe { store::<M, C>(sums, tile.c(r), tile.addend(r)) };
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
        unsafe {
            let c = tile.c.add(i * tile.c_step);
            store::<M, M::Sum>(sums, c, tile.accumulate.then_some(c.cast_const()));
        }
    }
}

/// # Safety
///
/// `c` must be writable for a row, the addend readable.
unsafe fn store<M: Numbers, C: Kept<M>>(sums: &[M::Sum; COLUMNS], c: *mut C, addend: Option<*const C>) {
    for (j, &sum) in sums.iter().enumerate() {
        // SAFETY: the caller's.
        unsafe {
            *c.add(j) = C::keep(match addend {
                Some(addend) => (*addend.add(j)).sum() + sum,
                None => sum,
            });
        }
    }
}
