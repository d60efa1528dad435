//! Operands packed in panels: every row of a panel lies next to the row before it.

use super::At;
use crate::kernels::memory::{Aligned, LINE, Unwritten};
use crate::kernels::pieces::{Loop, vectorised};
use rayon::prelude::*;

/// In a list of where rows begin: a row of zeros.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// How an operand is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PanelShape {
    /// Columns of a panel.
    pub(crate) width: usize,
    /// Rows whose elements of one column lie side by side.
    pub(crate) group: usize,
}

/// A matrix `[rows, columns]` cut into panels of so many columns, the last filled up with zeros, as are the rows to whole
/// groups.
#[derive(Debug, Default)]
pub(crate) struct Panels<T> {
    data: Aligned<T>,
    rows: usize,
    columns: usize,
    shape: PanelShape,
}

/// Where the elements of a packed matrix come from.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a, T> {
    /// Row `r` begins at `at(r)`; its columns follow each other.
    Rows { data: &'a [T], at: At<'a> },
    /// Blocks of `columns` rows of `block_rows` elements, `step` apart, each transposed; the last block comes first.
    Transposed { data: &'a [T], block_rows: usize, step: usize },
}

/// Panels that are filled together.
const PANELS_AT_ONCE: usize = 4;

impl<T: Unwritten> Panels<T> {
    /// Packs on the calling thread, into the memory that is there.
    pub(crate) fn pack(&mut self, (rows, columns): (usize, usize), shape: PanelShape, source: Source<'_, T>) {
        self.reshape(rows, columns, shape);
        let len = self.rows * shape.width;
        let panels = self.data.as_mut_slice().chunks_mut((PANELS_AT_ONCE * len).max(1));
        for (i, panels) in panels.enumerate() {
            vectorised(Fill { panels, len, first: i * PANELS_AT_ONCE * shape.width, rows, columns, shape, source });
        }
    }

    /// Packs on all cores.
    pub(crate) fn pack_on_all_cores((rows, columns): (usize, usize), shape: PanelShape, source: Source<'_, T>) -> Self {
        let mut packed = Self::default();
        packed.reshape(rows, columns, shape);
        let len = packed.rows * shape.width;
        let panels = packed.data.as_mut_slice().par_chunks_mut((PANELS_AT_ONCE * len).max(1));
        panels.enumerate().for_each(|(i, panels)| {
            let first = i * PANELS_AT_ONCE * shape.width;
            vectorised(Fill { panels, len, first, rows, columns, shape, source });
        });
        packed
    }

    fn reshape(&mut self, rows: usize, columns: usize, shape: PanelShape) {
        self.rows = rows.next_multiple_of(shape.group);
        (self.columns, self.shape) = (columns, shape);
        self.data.resize(columns.div_ceil(shape.width) * self.rows * shape.width);
    }

    /// Rows, filled up to whole groups.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn shape(&self) -> PanelShape {
        self.shape
    }

    pub(crate) fn n_panels(&self) -> usize {
        self.columns.div_ceil(self.shape.width)
    }

    /// `[rows / group, width, group]`.
    pub(crate) fn panel(&self, panel_idx: usize) -> &[T] {
        let len = self.rows * self.shape.width;
        &self.data.as_slice()[panel_idx * len..][..len]
    }
}

/// Fills some panels, `len` elements each: columns from `first` on.
struct Fill<'a, T> {
    panels: &'a mut [T],
    len: usize,
    first: usize,
    rows: usize,
    columns: usize,
    shape: PanelShape,
    source: Source<'a, T>,
}

impl<T: Unwritten> Loop for Fill<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Self { panels, len, first, rows, columns, shape, source } = self;
        match source {
            Source::Rows { data, at } => {
                let from = RowsFrom { data, at, first, rows };
                // Copies of a known length are a few moves, of an unknown one a call.
                if columns - first >= panels.len() / len * shape.width {
                    match (shape.group, shape.width) {
                        (1, 4) => return from.copy::<4>(panels, len),
                        (1, 6) => return from.copy::<6>(panels, len),
                        (1, 8) => return from.copy::<8>(panels, len),
                        (1, 16) => return from.copy::<16>(panels, len),
                        (1, 32) => return from.copy::<32>(panels, len),
                        (2, 4) => return from.interleave::<4>(panels, len),
                        (2, 8) => return from.interleave::<8>(panels, len),
                        (2, 16) => return from.interleave::<16>(panels, len),
                        (2, 32) => return from.interleave::<32>(panels, len),
                        _ => {}
                    }
                }
                for (panel, first) in panels.chunks_exact_mut(len).zip((first..columns).step_by(shape.width)) {
                    let from = RowsFrom { first, ..from };
                    let here = shape.width.min(columns - first);
                    match (shape.group, shape.width, here) {
                        (1, 4, 4) => from.copy_one::<4, 4>(panel),
                        (1, 6, 6) => from.copy_one::<6, 6>(panel),
                        (1, 8, 8) => from.copy_one::<8, 8>(panel),
                        (1, 16, 16) => from.copy_one::<16, 16>(panel),
                        (1, 32, 16) => from.copy_one::<16, 32>(panel),
                        (1, 32, 32) => from.copy_one::<32, 32>(panel),
                        (2, 4, 4) => from.interleave_one::<4, 4>(panel),
                        (2, 8, 8) => from.interleave_one::<8, 8>(panel),
                        (2, 16, 16) => from.interleave_one::<16, 16>(panel),
                        (2, 32, 16) => from.interleave_one::<16, 32>(panel),
                        (2, 32, 32) => from.interleave_one::<32, 32>(panel),
                        _ => from.copy_some(panel, here, shape),
                    }
                }
            }
            Source::Transposed { data, block_rows, step } => {
                for (panel, first) in panels.chunks_exact_mut(len).zip((first..columns).step_by(shape.width)) {
                    let (data, here) = (&data[first * step..], shape.width.min(columns - first));
                    let from = ColumnsFrom { data, here, columns, block_rows, step };
                    match shape.group {
                        2 => from.transpose::<2>(panel, shape.width),
                        _ => from.transpose::<1>(panel, shape.width),
                    }
                }
            }
        }
    }
}

/// Rows of a matrix that become columns of a panel.
struct ColumnsFrom<'a, T> {
    data: &'a [T],
    here: usize,
    columns: usize,
    block_rows: usize,
    step: usize,
}

impl<T: Unwritten> ColumnsFrom<'_, T> {
    /// A cache line of each column at a time, in groups of `GROUP`, of which a block holds a whole number.
    #[inline(always)]
    fn transpose<const GROUP: usize>(&self, panel: &mut [T], width: usize) {
        let panel = panel.as_chunks_mut::<GROUP>().0;
        let per_line = LINE / size_of::<[T; GROUP]>();
        for (i, block) in panel.chunks_exact_mut(self.block_rows / GROUP * width).rev().enumerate() {
            for (line, rows) in block.chunks_mut(per_line * width).enumerate() {
                let at = |column: usize| (i * self.columns + column) * self.step + line * per_line * GROUP;
                for column in 0..self.here {
                    let values = &self.data[at(column)..][..rows.len() / width * GROUP];
                    for (row, &value) in rows.chunks_exact_mut(width).zip(values.as_chunks::<GROUP>().0) {
                        row[column] = value;
                    }
                }
                rows.chunks_exact_mut(width).for_each(|row| row[self.here..].fill([T::default(); GROUP]));
            }
        }
    }
}

/// Rows that a panel is filled from.
#[derive(Clone, Copy)]
struct RowsFrom<'a, T> {
    data: &'a [T],
    at: At<'a>,
    first: usize,
    rows: usize,
}

impl<T: Unwritten> RowsFrom<'_, T> {
    /// The row's columns of the panel; none of a row of zeros, or beyond the last.
    #[inline(always)]
    fn row(&self, row: usize) -> Option<&[T]> {
        if row >= self.rows || self.at.is_nowhere(row) {
            return None;
        }
        Some(&self.data[self.at.of(row) + self.first..])
    }

    /// Fills whole panels side by side, so that a row of the source is read in one go for all of them.
    #[inline(always)]
    fn copy<const WIDTH: usize>(&self, panels: &mut [T], len: usize) {
        let zeros = [[T::default(); WIDTH]; PANELS_AT_ONCE];
        for i in 0..len / WIDTH {
            let row = self.row(i).map_or(zeros.as_slice(), |row| row.as_chunks().0);
            for (panel, row) in panels.chunks_exact_mut(len).zip(row) {
                panel[i * WIDTH..][..WIDTH].copy_from_slice(row);
            }
        }
    }

    /// Fills one panel of `WIDTH` columns, of which so many are there.
    #[inline(always)]
    fn copy_one<const HERE: usize, const WIDTH: usize>(&self, panel: &mut [T]) {
        for (i, to) in panel.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
            let (to, rest) = to.split_at_mut(HERE);
            match self.row(i) {
                Some(from) => to.copy_from_slice(&from[..HERE]),
                None => to.fill(T::default()),
            }
            rest.fill(T::default());
        }
    }

    /// As [`Self::copy`], two rows at a time, the elements of a column side by side.
    #[inline(always)]
    fn interleave<const WIDTH: usize>(&self, panels: &mut [T], len: usize) {
        let zeros = [[T::default(); WIDTH]; PANELS_AT_ONCE];
        for i in 0..len / (2 * WIDTH) {
            let first = self.row(2 * i).map_or(zeros.as_slice(), |row| row.as_chunks().0);
            let second = self.row(2 * i + 1).map_or(zeros.as_slice(), |row| row.as_chunks().0);
            for (panel, (first, second)) in panels.chunks_exact_mut(len).zip(first.iter().zip(second)) {
                interleave(first, second, &mut panel[i * 2 * WIDTH..][..2 * WIDTH]);
            }
        }
    }

    /// As [`Self::copy_one`], two rows at a time.
    #[inline(always)]
    fn interleave_one<const HERE: usize, const WIDTH: usize>(&self, panel: &mut [T]) {
        let zeros = [T::default(); HERE];
        for (i, pairs) in panel.chunks_exact_mut(2 * WIDTH).enumerate() {
            let first = self.row(2 * i).and_then(|row| row.first_chunk()).unwrap_or(&zeros);
            let second = self.row(2 * i + 1).and_then(|row| row.first_chunk()).unwrap_or(&zeros);
            let (pairs, rest) = pairs.split_at_mut(2 * HERE);
            interleave(first, second, pairs);
            rest.fill(T::default());
        }
    }

    /// Any number of columns in groups of any size.
    fn copy_some(&self, panel: &mut [T], here: usize, PanelShape { width, group }: PanelShape) {
        panel.fill(T::default());
        for row in 0..self.rows {
            let Some(from) = self.row(row) else { continue };
            for (column, &value) in from[..here].iter().enumerate() {
                panel[(row / group * width + column) * group + row % group] = value;
            }
        }
    }
}

/// Both rows are loaded whole before either is written, so that this is a few shuffles.
#[inline(always)]
fn interleave<T: Copy, const WIDTH: usize>(first: &[T; WIDTH], second: &[T; WIDTH], pairs: &mut [T]) {
    let (first, second) = (*first, *second);
    let both: [[T; 2]; WIDTH] = std::array::from_fn(|i| [first[i], second[i]]);
    pairs.copy_from_slice(both.as_flattened());
}
