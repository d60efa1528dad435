//! Operands packed in panels: every row of a panel lies next to the row before it.

use super::At;
use crate::Real;
use crate::kernels::memory::Aligned;
use rayon::prelude::*;

/// A matrix `[rows, columns]` cut into panels of `width` columns, the last filled up with zeros.
#[derive(Debug, Default)]
pub(crate) struct Panels<T> {
    data: Aligned<T>,
    rows: usize,
    columns: usize,
    width: usize,
}

/// Where the elements of a packed matrix come from.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a, T> {
    /// Row `r` begins at `at(r)`; its columns follow each other.
    Rows { data: &'a [T], at: At<'a> },
    /// Blocks of `columns` rows of `block_rows` elements, `step` apart, each transposed; the last block comes first.
    Transposed { data: &'a [T], block_rows: usize, step: usize },
}

impl<T: Real> Panels<T> {
    /// Packs on the calling thread, into the memory that is there.
    pub(crate) fn pack(&mut self, (rows, columns): (usize, usize), width: usize, source: Source<'_, T>) {
        self.reshape(rows, columns, width);
        let panels = self.data.as_mut_slice().chunks_exact_mut((rows * width).max(1));
        panels.enumerate().for_each(|(i, panel)| fill(panel, (i * width, columns, width), source));
    }

    /// Packs on all cores.
    pub(crate) fn pack_on_all_cores((rows, columns): (usize, usize), width: usize, source: Source<'_, T>) -> Self {
        let mut packed = Self::default();
        packed.reshape(rows, columns, width);
        let panels = packed.data.as_mut_slice().par_chunks_exact_mut((rows * width).max(1));
        panels.enumerate().for_each(|(i, panel)| fill(panel, (i * width, columns, width), source));
        packed
    }

    fn reshape(&mut self, rows: usize, columns: usize, width: usize) {
        (self.rows, self.columns, self.width) = (rows, columns, width);
        self.data.resize(columns.div_ceil(width) * rows * width);
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn n_panels(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// `[rows, width]`.
    pub(crate) fn panel(&self, panel_idx: usize) -> &[T] {
        let len = self.rows * self.width;
        &self.data.as_slice()[panel_idx * len..][..len]
    }
}

/// Fills one panel: `width` of the matrix's `columns` from `first` on.
fn fill<T: Real>(panel: &mut [T], (first, columns, width): (usize, usize, usize), source: Source<'_, T>) {
    let here = width.min(columns - first);
    match source {
        Source::Rows { data, at } if here == width => match width {
            // A copy of a known length is a few moves, of an unknown one a call.
            4 => copy_rows::<T, 4>(panel, first, data, at),
            6 => copy_rows::<T, 6>(panel, first, data, at),
            8 => copy_rows::<T, 8>(panel, first, data, at),
            12 => copy_rows::<T, 12>(panel, first, data, at),
            16 => copy_rows::<T, 16>(panel, first, data, at),
            32 => copy_rows::<T, 32>(panel, first, data, at),
            _ => copy_some(panel, (first, here, width), data, at),
        },
        Source::Rows { data, at } => copy_some(panel, (first, here, width), data, at),
        Source::Transposed { data, block_rows, step } => {
            for (i, block) in panel.chunks_exact_mut(block_rows * width).rev().enumerate() {
                for j in 0..here {
                    let column = &data[(i * columns + first + j) * step..][..block_rows];
                    for (row, &value) in block.chunks_exact_mut(width).zip(column) {
                        row[j] = value;
                    }
                }
                block.chunks_exact_mut(width).for_each(|row| row[here..].fill(T::zero()));
            }
        }
    }
}

fn copy_rows<T: Real, const WIDTH: usize>(panel: &mut [T], first: usize, data: &[T], at: At<'_>) {
    for (i, row) in panel.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
        row.copy_from_slice(&data[at.of(i) + first..][..WIDTH]);
    }
}

fn copy_some<T: Real>(panel: &mut [T], (first, here, width): (usize, usize, usize), data: &[T], at: At<'_>) {
    for (i, row) in panel.chunks_exact_mut(width).enumerate() {
        row[..here].copy_from_slice(&data[at.of(i) + first..][..here]);
        row[here..].fill(T::zero());
    }
}
