//! Matrix products by register tiles, on the calling thread but for [`contraction_on_all_cores`]; the callers cut the work.
//!
//! The right operand is packed in [`Panels`] a tile wide. The left one is read where it lies: its rows may be anywhere, and a
//! row may be several runs, so that a convolution needs neither columns nor products with its padding's zeros.
#![expect(unsafe_code, reason = "the tiles take raw pointers; every extent is checked here first")]

#[cfg(target_arch = "x86_64")]
#[macro_use]
mod simd;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
mod panels;
mod portable;
#[cfg(test)]
mod tests;

pub use isa::instruction_sets;
pub(crate) use isa::{Kernels, RowsFn, Tiles, kernels_bf16, kernels_bf16_f64, kernels_f32, kernels_f64};
pub(crate) use panels::{NOWHERE, Panels, Source};

use super::memory::{Aligned, LINE};
use super::numbers::{Kept, Numbers};
use super::scratch::{Scratch, with_scratch};
use crate::Real;
use rayon::prelude::*;
use std::ops::Range;

/// Bounds of every instruction set's tile.
pub(crate) const MAX_TILE_ROWS: usize = 12;
const MAX_TILE_COLUMNS: usize = 32;

/// Rows that go by all panels of a block before the next ones do: they stay in the second-level cache. A multiple of every
/// tile's rows.
const ROWS_PER_BLOCK: usize = 120;

/// Panels for which left rows may be gathered first: a copied element is then multiplied often enough.
const PANELS_WORTH_GATHERING: usize = 4;
/// Rows this many bytes apart, or a multiple, share the first-level cache's few places for such addresses.
const CROWDED_STEP: usize = 2048;

/// A stretch of a contraction: `len` elements from `a` on in each left row, against the right operand's rows from `b` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) a: usize,
    pub(crate) b: usize,
    pub(crate) len: usize,
}

/// The runs of a contraction, cut into blocks whose panel stays in the first-level cache.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    blocks: Vec<Block>,
    a_end: usize,
    b_end: usize,
    /// Divides where every run begins in the right operand, and its length.
    granule: usize,
}

/// Runs that are multiplied in one go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Block {
    runs: Vec<Run>,
    /// The same runs of left rows in which they lie end to end.
    gathered: Vec<Run>,
    len: usize,
}

impl Block {
    /// Where each run begins in a gathered row.
    fn starts(&self) -> impl Iterator<Item = usize> {
        self.runs.iter().scan(0, |end, run| Some(std::mem::replace(end, *end + run.len)))
    }

    fn push(&mut self, run: Run) {
        self.runs.push(run);
        push_joined(&mut self.gathered, Run { a: self.len, ..run });
        self.len += run.len;
    }
}

/// Adds a run, to the last one where it goes on from there in both operands.
fn push_joined(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if last.a + last.len == run.a && last.b + last.len == run.b => last.len += run.len,
        _ => runs.push(run),
    }
}

impl Runs {
    /// One run over all `len` elements of both operands.
    pub(crate) fn whole(len: usize, depth: usize) -> Self {
        Self::new([Run { a: 0, b: 0, len }], depth)
    }

    /// Joins neighbours, then cuts blocks of at most `depth` elements.
    pub(crate) fn new(runs: impl IntoIterator<Item = Run>, depth: usize) -> Self {
        let mut joined: Vec<Run> = Vec::new();
        runs.into_iter().for_each(|run| push_joined(&mut joined, run));
        let mut cut = Self::default();
        let mut block = Block::default();
        for Run { mut a, mut b, mut len } in joined {
            cut.a_end = cut.a_end.max(a + len);
            cut.b_end = cut.b_end.max(b + len);
            cut.granule = greatest_common_divisor(cut.granule, greatest_common_divisor(b, len));
            while len > 0 {
                let here = len.min(depth - block.len);
                block.push(Run { a, b, len: here });
                (a, b, len) = (a + here, b + here, len - here);
                if block.len == depth {
                    cut.blocks.push(std::mem::take(&mut block));
                }
            }
        }
        if block.len > 0 || cut.blocks.is_empty() {
            cut.blocks.push(block);
        }
        cut
    }

    /// Joins neighbours; contractions read both operands in order, so that they need not stay in a cache.
    pub(crate) fn uncut(runs: impl IntoIterator<Item = Run>) -> Self {
        Self::new(runs, usize::MAX)
    }

    fn require_groups_of(&self, group: usize) {
        assert!(self.granule.is_multiple_of(group), "a run is no multiple of {group}");
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Where rows begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At<'a> {
    /// Row `i` at `i · step`.
    Evenly(usize),
    /// Row `i` at the `i`-th of these.
    Listed(&'a [u32]),
}

impl At<'_> {
    #[inline(always)]
    fn of(self, row: usize) -> usize {
        match self {
            At::Evenly(step) => row * step,
            At::Listed(at) => at[row] as usize,
        }
    }

    /// Whether the row is one of zeros, as only packed operands have.
    #[inline(always)]
    fn is_nowhere(self, row: usize) -> bool {
        matches!(self, At::Listed(at) if at[row] == NOWHERE)
    }

    /// From the first row to the second, in elements; none where there is but one.
    fn step(self) -> Option<usize> {
        match self {
            At::Evenly(step) => Some(step),
            At::Listed(&[first, second, ..]) => Some(second.abs_diff(first) as usize),
            At::Listed(_) => None,
        }
    }

    /// The furthest beginning among the first `n` rows; `n` is positive.
    fn furthest(self, n: usize) -> usize {
        match self {
            At::Evenly(step) => (n - 1) * step,
            At::Listed(at) => at[..n].iter().copied().max().unwrap_or(0) as usize,
        }
    }
}

/// The rows of a product: where they begin in the left operand and in the result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) n: usize,
    pub(crate) a: At<'a>,
    pub(crate) c: At<'a>,
}

impl Rows<'_> {
    /// `n` rows end to end in both.
    pub(crate) fn evenly(n: usize, a_step: usize, c_step: usize) -> Self {
        Self { n, a: At::Evenly(a_step), c: At::Evenly(c_step) }
    }
}

/// What a product is added to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Addend<'a, C> {
    Nothing,
    /// What the result holds.
    Result,
    /// A map that lies as the result does.
    Map(&'a [C]),
    /// The same row for each of the result's.
    Row(&'a [C]),
}

/// One register tile of [`rows_product`]: `c[r][j] = addend[r][j] + Σ a[r][run.a + k] · b[run.b + k][j]`.
pub(crate) struct RowsTile<'a, M: Numbers, C> {
    /// Where the left rows begin; as many as the tile has, as in the next two.
    a: &'a [*const M::Stored],
    c: &'a [*mut C],
    addend: Option<&'a [*const C]>,
    /// From the beginnings of `c` and `addend`.
    column: usize,
    b: *const M::Stored,
    runs: &'a [Run],
}

impl<M: Numbers, C> RowsTile<'_, M, C> {
    /// Where row `r` of the result goes.
    ///
    /// # Safety
    ///
    /// The tile must have the row, and the row the column.
    #[inline(always)]
    unsafe fn c(&self, r: usize) -> *mut C {
        // SAFETY: the caller's.
        unsafe { self.c.get_unchecked(r).add(self.column) }
    }

    /// What row `r` is added to.
    ///
    /// # Safety
    ///
    /// As [`Self::c`].
    #[inline(always)]
    unsafe fn addend(&self, r: usize) -> Option<*const C> {
        // SAFETY: the caller's.
        self.addend.map(|addend| unsafe { addend.get_unchecked(r).add(self.column) })
    }
}

/// One register tile of [`contraction`]: `c[i][j] (+)= Σ a[run.a + k][i] · b[run.b + k][j]`.
pub(crate) struct PanelTile<'a, M: Numbers> {
    a: *const M::Stored,
    b: *const M::Stored,
    c: *mut M::Sum,
    c_step: usize,
    runs: &'a [Run],
    accumulate: bool,
}

/// `c = addend + a × b`, row by row of `rows`.
///
/// # Panics
///
/// If a row or a run reaches beyond its operand, or a run is no multiple of the group that is multiplied at once.
pub(crate) fn rows_product<M: Numbers, C: Kept<M>>(
    c: &mut [C],
    left: (&[M::Stored], Rows<'_>),
    b: &Panels<M::Stored>,
    runs: &Runs,
    addend: Addend<'_, C>,
) {
    rows_product_by(M::kernels(), c, left, (b, runs), addend);
}

/// `c = addend + a × b`, the rows of both end to end.
///
/// # Panics
///
/// If `c` has not a row for each of `a`'s.
pub(crate) fn even_product<M: Numbers, C: Kept<M>>(
    c: &mut [C],
    a: &[M::Stored],
    b: &Panels<M::Stored>,
    addend: Addend<'_, C>,
) {
    let runs = Runs::whole(b.rows(), M::kernels().depth);
    rows_product(c, (a, Rows::evenly(a.len() / b.rows(), b.rows(), b.columns())), b, &runs, addend);
}

fn rows_product_by<M: Numbers, C: Kept<M>>(
    kernels: &Kernels<M>,
    c: &mut [C],
    (a, rows): (&[M::Stored], Rows<'_>),
    (b, runs): (&Panels<M::Stored>, &Runs),
    addend: Addend<'_, C>,
) {
    if rows.n == 0 {
        return;
    }
    assert!(b.shape() == kernels.right() && runs.b_end <= b.rows(), "the right operand is packed for another product");
    runs.require_groups_of(kernels.group);
    assert!(runs.a_end == 0 || rows.a.furthest(rows.n) + runs.a_end <= a.len(), "a left row is too short");
    let c_end = rows.c.furthest(rows.n) + b.columns();
    assert!(c_end <= c.len(), "the result is too short");
    match addend {
        Addend::Map(map) => assert!(c_end <= map.len(), "the addend is too short"),
        Addend::Row(row) => assert!(b.columns() <= row.len(), "the addend is too short"),
        Addend::Nothing | Addend::Result => {}
    }
    let crowded = |step: usize| (step * size_of::<M::Stored>()).is_multiple_of(CROWDED_STEP);
    let gathers = b.n_panels() >= PANELS_WORTH_GATHERING && rows.a.step().is_some_and(crowded);
    for (i, block) in runs.blocks.iter().enumerate() {
        let addend = if i == 0 { addend } else { Addend::Result };
        let job = RowsJob { kernels, a, rows, first_a: 0, runs: &block.runs, addend };
        for first in (0..rows.n).step_by(ROWS_PER_BLOCK) {
            let here = first..(first + ROWS_PER_BLOCK).min(rows.n);
            if gathers {
                with_scratch(|Scratch { gathered, .. }: &mut Scratch<M>| {
                    job.gather(block, here.clone(), gathered).panels(c, here, b)
                });
            } else {
                job.panels(c, here, b);
            }
        }
    }
}

/// One block of a [`rows_product`].
struct RowsJob<'a, M: Numbers, C> {
    kernels: &'a Kernels<M>,
    a: &'a [M::Stored],
    rows: Rows<'a>,
    /// The row that `rows.a` begins with.
    first_a: usize,
    runs: &'a [Run],
    addend: Addend<'a, C>,
}

impl<'a, M: Numbers, C: Kept<M>> RowsJob<'a, M, C> {
    /// The same job for some rows, copied to where they lie side by side.
    fn gather(&self, block: &'a Block, rows: Range<usize>, to: &'a mut Aligned<M::Stored>) -> RowsJob<'a, M, C> {
        let line = LINE / size_of::<M::Stored>();
        // An odd number of lines apart, rows are spread over all places.
        let step = (block.len.div_ceil(line) | 1) * line;
        to.resize(rows.len() * step);
        for (row, to) in rows.clone().zip(to.as_mut_slice().chunks_exact_mut(step)) {
            let from = &self.a[self.rows.a.of(row)..];
            for (run, at) in block.runs.iter().zip(block.starts()) {
                to[at..][..run.len].copy_from_slice(&from[run.a..][..run.len]);
            }
        }
        let here = Rows { a: At::Evenly(step), ..self.rows };
        RowsJob { a: to.as_slice(), rows: here, first_a: rows.start, runs: &block.gathered, ..*self }
    }

    /// Some rows against all panels.
    fn panels(&self, c: &mut [C], rows: Range<usize>, b: &Panels<M::Stored>) {
        let kernels = self.kernels;
        let n = rows.len();
        let (a_start, c_start) = (self.a.as_ptr(), c.as_mut_ptr());
        let mut a = [a_start; ROWS_PER_BLOCK];
        let mut c = [c_start; ROWS_PER_BLOCK];
        let mut addend = [c_start.cast_const(); ROWS_PER_BLOCK];
        for (i, row) in rows.enumerate() {
            let c_at = self.rows.c.of(row);
            a[i] = a_start.wrapping_add(self.rows.a.of(row - self.first_a));
            c[i] = c_start.wrapping_add(c_at);
            addend[i] = match self.addend {
                Addend::Nothing | Addend::Result => c[i],
                Addend::Map(map) => map.as_ptr().wrapping_add(c_at),
                Addend::Row(row) => row.as_ptr(),
            };
        }
        let adds = !matches!(self.addend, Addend::Nothing);
        for panel_idx in 0..b.n_panels() {
            let column = panel_idx * kernels.columns;
            let n_columns = kernels.columns.min(b.columns() - column);
            let rows_tile = kernels.rows_tile_of::<C>(n_columns);
            for first in (0..n).step_by(kernels.rows) {
                let n_rows = kernels.rows.min(n - first);
                let tile = RowsTile {
                    a: &a[first..],
                    c: &c[first..],
                    addend: adds.then_some(&addend[first..]),
                    column,
                    b: b.panel(panel_idx).as_ptr(),
                    runs: self.runs,
                };
                // SAFETY: `rows_product` checked the furthest row of every operand, a run's end and the columns; `kernels` were
                // chosen for this processor, and a panel is at least as wide as the tile.
                unsafe {
                    match rows_tile {
                        Some(rows_tile) if n_rows == kernels.rows => rows_tile(&tile),
                        _ => edge(kernels, &tile, n_rows, n_columns),
                    }
                }
            }
        }
    }
}

/// A tile of which so many rows and columns are there, by way of a whole one.
///
/// # Safety
///
/// As that of the tile, for what is there.
#[cold]
unsafe fn edge<M: Numbers, C: Kept<M>>(
    kernels: &Kernels<M>,
    tile: &RowsTile<'_, M, C>,
    n_rows: usize,
    n_columns: usize,
) {
    let mut whole = [M::Sum::ZERO; MAX_TILE_ROWS * MAX_TILE_COLUMNS];
    let start = whole.as_mut_ptr();
    // Rows that are not there repeat the first one.
    let mut a = [tile.a[0]; MAX_TILE_ROWS];
    a[..n_rows].copy_from_slice(&tile.a[..n_rows]);
    let c: [_; MAX_TILE_ROWS] = std::array::from_fn(|r| start.wrapping_add(r * kernels.columns));
    let whole_tile = RowsTile { a: &a, c: &c, addend: None, column: 0, b: tile.b, runs: tile.runs };
    // SAFETY: the caller's; `whole` holds the largest tile.
    unsafe { (kernels.tiles.rows_to_sums)(&whole_tile) };
    for (r, sums) in whole.chunks_exact(kernels.columns).take(n_rows).enumerate() {
        for (column, &sum) in sums[..n_columns].iter().enumerate() {
            // SAFETY: the caller's.
            unsafe {
                let sum = tile.addend(r).map_or(sum, |addend| (*addend.add(column)).sum() + sum);
                tile.c(r).add(column).write(C::keep(sum));
            }
        }
    }
}

fn merge<T: Real>(c: &mut [T], sums: &[T], accumulate: bool) {
    for (c, &sum) in c.iter_mut().zip(sums) {
        *c = if accumulate { *c + sum } else { sum };
    }
}

/// Where a [`contraction`] goes: `[a's columns, b's columns]`, its rows `step` apart.
pub(crate) struct Target<'a, T> {
    pub(crate) data: &'a mut [T],
    pub(crate) step: usize,
    pub(crate) accumulate: bool,
}

/// `target (+)= aᵀ × b` over the rows that `runs` pairs; both packed, `a` as high as a tile, `b` as wide.
///
/// # Panics
///
/// If a run reaches beyond an operand or the target is too short.
pub(crate) fn contraction<M: Numbers>(
    target: Target<'_, M::Sum>,
    a: &Panels<M::Stored>,
    b: &Panels<M::Stored>,
    runs: &Runs,
) {
    contraction_by(M::kernels(), target, (a, b), runs);
}

/// Panels of the left operand that one task of [`contraction_on_all_cores`] packs.
const PANELS_PER_TASK: usize = 8;

/// `target = aᵀ × b` as [`contraction`], cut by `a`'s columns, of which there are `target`'s rows; `a`'s rows begin where `at`
/// says.
///
/// # Panics
///
/// As [`contraction`], and if a row is too short.
pub(crate) fn contraction_on_all_cores<M: Numbers>(
    target: &mut [M::Sum],
    (a, at, rows): (&[M::Stored], At<'_>, usize),
    b: &Panels<M::Stored>,
    runs: &Runs,
) {
    let kernels = M::kernels();
    let (n, columns) = (b.columns(), PANELS_PER_TASK * kernels.panel_rows);
    target.par_chunks_mut(columns * n).enumerate().for_each(|(i, data)| {
        with_scratch(|Scratch { left, .. }: &mut Scratch<M>| {
            let source = Source::Rows { data: &a[i * columns..], at };
            left.pack((rows, data.len() / n), kernels.left(), source);
            contraction::<M>(Target { data, step: n, accumulate: false }, left, b, runs);
        });
    });
}

fn contraction_by<M: Numbers>(
    kernels: &Kernels<M>,
    target: Target<'_, M::Sum>,
    (a, b): (&Panels<M::Stored>, &Panels<M::Stored>),
    runs: &Runs,
) {
    let Target { data, step, accumulate } = target;
    let (m, n) = (a.columns(), b.columns());
    if m == 0 || n == 0 {
        return;
    }
    assert!(a.shape() == kernels.left() && b.shape() == kernels.right(), "operands are packed for another product");
    runs.require_groups_of(kernels.group);
    assert!(runs.a_end <= a.rows() && runs.b_end <= b.rows(), "a run is too long");
    assert!(step >= n && (m - 1) * step + n <= data.len(), "the target is too short");
    for (i, block) in runs.blocks.iter().enumerate() {
        let target = Target { data: &mut *data, step, accumulate: accumulate || i > 0 };
        contract_block(kernels, target, (a, b), &block.runs);
    }
}

/// One block of a [`contraction`], whose extents were checked.
fn contract_block<M: Numbers>(
    kernels: &Kernels<M>,
    target: Target<'_, M::Sum>,
    (a, b): (&Panels<M::Stored>, &Panels<M::Stored>),
    runs: &[Run],
) {
    let Target { data, step, accumulate } = target;
    let (m, n) = (a.columns(), b.columns());
    for (column, b_panel) in (0..n).step_by(kernels.columns).zip(0..) {
        for (row, a_panel) in (0..m).step_by(kernels.panel_rows).zip(0..) {
            let (n_rows, n_columns) = (kernels.panel_rows.min(m - row), kernels.columns.min(n - column));
            let (a, b) = (a.panel(a_panel).as_ptr(), b.panel(b_panel).as_ptr());
            let c = &mut data[row * step + column..];
            if let (Some(panel_tile), true) = (kernels.panel_tile_of(n_columns), n_rows == kernels.panel_rows) {
                let tile = PanelTile { a, b, c: c.as_mut_ptr(), c_step: step, runs, accumulate };
                // SAFETY: the assertions bound every address; `kernels` were chosen for this processor.
                unsafe { panel_tile(&tile) };
                continue;
            }
            let mut whole = [M::Sum::ZERO; MAX_TILE_ROWS * MAX_TILE_COLUMNS];
            let c_step = kernels.columns;
            let tile = PanelTile { a, b, c: whole.as_mut_ptr(), c_step, runs, accumulate: false };
            // SAFETY: as above; `whole` holds the largest tile.
            unsafe { (kernels.tiles.panels)(&tile) };
            for r in 0..n_rows {
                merge(&mut c[r * step..][..n_columns], &whole[r * kernels.columns..], accumulate);
            }
        }
    }
}
