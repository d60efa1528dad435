//! Which register tiles this processor has.

use super::panels::PanelShape;
use super::{PanelTile, RowsTile, portable};
use crate::kernels::numbers::{Bf16, Exact, Kept, Numbers};
use std::sync::LazyLock;

/// The tiles of one instruction set for one kind of numbers.
pub(crate) struct Kernels<M: Numbers> {
    /// Rows of a tile.
    pub(crate) rows: usize,
    /// Rows of a contraction's tile: the width of its left operand's panel.
    pub(crate) panel_rows: usize,
    /// Columns of a tile: the width of a right operand's panel.
    pub(crate) columns: usize,
    /// Factors along the contraction that one instruction multiplies: they lie side by side, and runs are multiples of it.
    pub(crate) group: usize,
    /// Rows of a right operand's panel that are multiplied in one go; no limit where results may be rounded, which must happen
    /// once.
    pub(crate) depth: usize,
    /// Tiles of whole panels.
    pub(crate) tiles: Tiles<M>,
    /// Tiles of the first columns of a panel.
    pub(crate) narrow: Option<(usize, Tiles<M>)>,
}

/// A tile whose left rows lie anywhere. The processor must have the instruction set.
pub(crate) type RowsFn<M, C> = unsafe fn(&RowsTile<'_, M, C>);

/// The tiles of one number of columns.
pub(crate) struct Tiles<M: Numbers> {
    /// Results are kept as they are added up.
    pub(crate) rows_to_sums: RowsFn<M, <M as Numbers>::Sum>,
    /// Results are kept as maps are.
    pub(crate) rows_to_stored: RowsFn<M, <M as Numbers>::Stored>,
    /// A tile whose left operand is packed. The processor must have the instruction set.
    pub(crate) panels: unsafe fn(&PanelTile<'_, M>),
}

impl<M: Numbers> Kernels<M> {
    /// How a contraction's left operand is packed.
    pub(crate) fn left(&self) -> PanelShape {
        PanelShape { width: self.panel_rows, group: self.group }
    }

    /// The tiles for so many columns; none where they do not fill one.
    fn tiles_of(&self, columns: usize) -> Option<&Tiles<M>> {
        if columns == self.columns {
            return Some(&self.tiles);
        }
        self.narrow.as_ref().and_then(|(narrow, tiles)| (*narrow == columns).then_some(tiles))
    }

    /// The tile of whole rows for so many columns; none where they do not fill one.
    pub(super) fn rows_tile_of<C: Kept<M>>(&self, columns: usize) -> Option<RowsFn<M, C>> {
        self.tiles_of(columns).map(C::rows_tile)
    }

    /// As [`Self::rows_tile_of`], of a contraction.
    pub(super) fn panel_tile_of(&self, columns: usize) -> Option<unsafe fn(&PanelTile<'_, M>)> {
        self.tiles_of(columns).map(|tiles| tiles.panels)
    }

    /// How a right operand is packed.
    pub(crate) fn right(&self) -> PanelShape {
        PanelShape { width: self.columns, group: self.group }
    }
}

/// The tiles of one instruction set.
#[derive(Clone, Copy)]
pub(super) struct InstructionSet {
    /// As `SELFIE_ISA` takes it.
    pub(super) name: &'static str,
    pub(super) exact: &'static Kernels<Exact<f32>>,
    pub(super) bf16: &'static Kernels<Bf16<f32>>,
}

/// The fastest tiles for f32, or those that the environment variable `SELFIE_ISA` names.
pub(crate) fn kernels_f32() -> &'static Kernels<Exact<f32>> {
    chosen().exact
}

/// As [`kernels_f32`], for factors in bf16.
pub(crate) fn kernels_bf16() -> &'static Kernels<Bf16<f32>> {
    chosen().bf16
}

fn chosen() -> &'static InstructionSet {
    static CHOSEN: LazyLock<InstructionSet> = LazyLock::new(|| {
        let wanted = std::env::var("SELFIE_ISA").unwrap_or_default();
        let mut available = available();
        let named = available.iter().position(|set| set.name == wanted);
        available.swap_remove(named.unwrap_or(0))
    });
    &CHOSEN
}

/// The instruction sets that products can run on here, the fastest first. The environment variable `SELFIE_ISA` may name
/// another than the first. Any other value of it counts for nothing here; the program refuses it.
#[must_use]
pub fn instruction_sets() -> Vec<&'static str> {
    available().iter().map(|set| set.name).collect()
}

/// Tiles for f64, which only checks gradients.
pub(crate) fn kernels_f64() -> &'static Kernels<Exact<f64>> {
    &portable::F64
}

/// Tiles for factors in bf16 that are added up in f64.
pub(crate) fn kernels_bf16_f64() -> &'static Kernels<Bf16<f64>> {
    &portable::BF16_F64
}

/// Every set of tiles this processor can run, fastest first.
pub(super) fn available() -> Vec<InstructionSet> {
    let mut available = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use super::{avx2, avx512};
        use std::arch::is_x86_feature_detected;
        if is_x86_feature_detected!("avx512f") {
            let exact = &avx512::exact::F32;
            if is_x86_feature_detected!("avx512bf16") {
                available.push(InstructionSet { name: "avx512bf16", exact, bf16: &avx512::pairs::BF16 });
            }
            available.push(InstructionSet { name: "avx512", exact, bf16: &avx512::widened::BF16 });
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            available.push(InstructionSet { name: "avx2", exact: &avx2::exact::F32, bf16: &avx2::pairs::BF16 });
        }
    }
    available.push(InstructionSet { name: "portable", exact: &portable::F32, bf16: &portable::BF16 });
    available
}
