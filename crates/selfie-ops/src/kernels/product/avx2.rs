//! Tiles of 6 × 16 for AVX2 with FMA: twelve sums, two columns and one broadcast in sixteen registers.

use super::isa::Kernels;
use super::{PanelTile, RowsTile, Run};
use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps,
};

const ROWS: usize = 6;
const VECTORS: usize = 2;
const LANES: usize = 8;
const COLUMNS: usize = VECTORS * LANES;

pub(super) static F32: Kernels<f32> =
    Kernels { name: "avx2", rows: ROWS, columns: COLUMNS, depth: 384, rows_tile, panel_tile };

type Sums = [[__m256; VECTORS]; ROWS];

/// # Safety
///
/// The processor must have the instruction set; every address that the tile's runs reach must be readable, its results
/// writable.
#[target_feature(enable = "avx2,fma")]
unsafe fn rows_tile(tile: &RowsTile<'_, f32>) {
    if let &[run] = tile.runs {
        // SAFETY: the caller's.
        return unsafe { whole_tile(tile, run) };
    }
    let mut sums: Sums = [[_mm256_setzero_ps(); VECTORS]; ROWS];
    for run in tile.runs {
        // SAFETY: the caller's.
        unsafe {
            let a: [*const f32; ROWS] = std::array::from_fn(|r| tile.a[r].add(run.a));
            add_run(&mut sums, &a, tile.b.add(run.b * COLUMNS), run.len);
        }
    }
    for (sums, &c) in sums.iter().zip(&tile.c) {
        // SAFETY: the caller's.
        unsafe { store(sums, c, tile.accumulate) };
    }
}

/// A tile of one run, whose sums never leave the registers.
///
/// # Safety
///
/// As [`rows_tile`].
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn whole_tile(tile: &RowsTile<'_, f32>, run: Run) {
    let mut sums: Sums = [[_mm256_setzero_ps(); VECTORS]; ROWS];
    // SAFETY: the caller's.
    let (a, b): ([*const f32; ROWS], _) =
        unsafe { (std::array::from_fn(|r| tile.a[r].add(run.a)), tile.b.add(run.b * COLUMNS)) };
    for k in 0..run.len {
        // SAFETY: the caller's.
        unsafe {
            let b: [__m256; VECTORS] = std::array::from_fn(|v| _mm256_loadu_ps(b.add(k * COLUMNS + v * LANES)));
            for (sums, a) in sums.iter_mut().zip(a) {
                let a = _mm256_broadcast_ss(&*a.add(k));
                for v in 0..VECTORS {
                    sums[v] = _mm256_fmadd_ps(a, b[v], sums[v]);
                }
            }
        }
    }
    for (sums, &c) in sums.iter().zip(&tile.c) {
        // SAFETY: the caller's.
        unsafe { store(sums, c, tile.accumulate) };
    }
}

/// One run of [`rows_tile`]. A function of its own, or the compiler keeps some of the sums in memory.
///
/// # Safety
///
/// As [`rows_tile`].
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_run(sums_out: &mut Sums, a: &[*const f32; ROWS], b: *const f32, len: usize) {
    let (mut sums, a) = (*sums_out, *a);
    for k in 0..len {
        // SAFETY: the caller's.
        unsafe {
            let b: [__m256; VECTORS] = std::array::from_fn(|v| _mm256_loadu_ps(b.add(k * COLUMNS + v * LANES)));
            for (sums, a) in sums.iter_mut().zip(a) {
                let a = _mm256_broadcast_ss(&*a.add(k));
                for v in 0..VECTORS {
                    sums[v] = _mm256_fmadd_ps(a, b[v], sums[v]);
                }
            }
        }
    }
    *sums_out = sums;
}

/// # Safety
///
/// As [`rows_tile`].
#[target_feature(enable = "avx2,fma")]
unsafe fn panel_tile(tile: &PanelTile<'_, f32>) {
    let mut sums: Sums = [[_mm256_setzero_ps(); VECTORS]; ROWS];
    for run in tile.runs {
        // SAFETY: the caller's.
        unsafe { add_panel_run(&mut sums, tile.a.add(run.a * ROWS), tile.b.add(run.b * COLUMNS), run.len) };
    }
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's.
        unsafe { store(sums, tile.c.add(i * tile.c_step), tile.accumulate) };
    }
}

/// One run of [`panel_tile`], as [`add_run`].
///
/// # Safety
///
/// As [`rows_tile`].
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_panel_run(sums_out: &mut Sums, a: *const f32, b: *const f32, len: usize) {
    let mut sums = *sums_out;
    for k in 0..len {
        // SAFETY: the caller's.
        unsafe {
            let b: [__m256; VECTORS] = std::array::from_fn(|v| _mm256_loadu_ps(b.add(k * COLUMNS + v * LANES)));
            for (r, sums) in sums.iter_mut().enumerate() {
                let a = _mm256_broadcast_ss(&*a.add(k * ROWS + r));
                for v in 0..VECTORS {
                    sums[v] = _mm256_fmadd_ps(a, b[v], sums[v]);
                }
            }
        }
    }
    *sums_out = sums;
}

/// # Safety
///
/// `c` must be writable for a row; the processor must have the instruction set.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store(sums: &[__m256; VECTORS], c: *mut f32, accumulate: bool) {
    for (v, &sum) in sums.iter().enumerate() {
        // SAFETY: the caller's.
        unsafe {
            let c = c.add(v * LANES);
            let sum = if accumulate { _mm256_add_ps(_mm256_loadu_ps(c), sum) } else { sum };
            _mm256_storeu_ps(c, sum);
        }
    }
}
