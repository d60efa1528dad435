//! How work on rows is cut: by shapes alone, so that sums have a fixed order.

use super::launch::THREADS;
use super::memory::PACK_BYTES;
use super::{CudaNumbers, Grid};

/// Blocks that sums over rows are cut into, about; enough for the largest device.
const BLOCKS: usize = 1056;
/// At most so many pieces of rows, which one block joins.
const MOST_PIECES: usize = 512;

/// Rows that a thread goes over where it adds nothing up.
const ROWS_PER_THREAD: usize = 8;

/// Rows of channels, and how threads go over them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channels {
    pub(super) rows: usize,
    pub(super) channels: usize,
    /// Neighbouring channels a thread reads at once.
    pack: usize,
}

/// Rows cut into pieces, each of which a row of blocks adds up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces {
    pub(super) count: usize,
    pub(super) rows_of_piece: usize,
    pub(super) grid: Grid,
}

impl Pieces {
    /// Of `rows` of `packs` packs, with `sums` sums in each thread, `size` bytes each.
    fn new(rows: usize, packs: usize, (sums, size): (usize, usize)) -> Self {
        let (threads, tiles) = threads_and_tiles(packs);
        let wanted = (BLOCKS / tiles).clamp(1, MOST_PIECES);
        let rows_of_piece = rows.div_ceil(wanted).max(threads.1);
        let count = rows.div_ceil(rows_of_piece);
        let shared = threads.0 * threads.1 * sums * size;
        Self { count, rows_of_piece, grid: Grid { blocks: (count, tiles), threads, shared } }
    }

    /// Of `rows` of `width` numbers, with `sums` sums for each column.
    pub(super) fn of_rows<T>(rows: usize, width: usize, sums: usize) -> Self {
        Self::new(rows, width, (sums, size_of::<T>()))
    }
}

/// The threads of a block, packs by rows, and how many blocks lie side by side.
fn threads_and_tiles(packs: usize) -> ((usize, usize), usize) {
    let columns = packs.clamp(1, 32);
    ((columns, THREADS / columns), packs.div_ceil(columns))
}

impl Channels {
    /// Of a map of `len` numbers; `aligned` where packs can be read from all that is read.
    pub(super) fn of<M: CudaNumbers>(len: usize, channels: usize, aligned: bool) -> Self {
        let wide = PACK_BYTES as usize / size_of::<M::Stored>();
        let pack = if aligned && channels.is_multiple_of(wide) { wide } else { 1 };
        Self { rows: len / channels, channels, pack }
    }

    pub(super) fn packs(self) -> usize {
        self.channels / self.pack
    }

    /// All packs of all rows.
    pub(super) fn all_packs(self) -> usize {
        self.rows * self.packs()
    }

    /// Pieces of `rows` rows, of which every thread has [`ROWS_PER_THREAD`].
    pub(super) fn pieces_of_threads(self, rows: usize) -> Pieces {
        let (threads, tiles) = threads_and_tiles(self.packs());
        let rows_of_piece = threads.1 * ROWS_PER_THREAD;
        let count = rows.div_ceil(rows_of_piece);
        Pieces { count, rows_of_piece, grid: Grid { blocks: (count, tiles), threads, shared: 0 } }
    }

    /// Whether a thread reads several channels at once.
    pub(super) fn is_wide(self) -> bool {
        self.pack > 1
    }

    /// The kernel `name` for packs of this size.
    pub(super) fn kernel(self, name: &str) -> String {
        format!("{name}_{}", if self.pack == 1 { "single" } else { "wide" })
    }

    pub(super) fn pieces<T>(self) -> Pieces {
        Pieces::new(self.rows, self.packs(), (2 * self.pack, size_of::<T>()))
    }
}
