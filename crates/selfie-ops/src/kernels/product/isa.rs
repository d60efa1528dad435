//! Which register tiles this processor has.

use super::panels::PanelShape;
use super::{PanelTile, RowsTile, portable};
use crate::kernels::numbers::{Bf16, Exact, Numbers};
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
    /// Rows of a right operand's panel that stay in the first-level cache.
    pub(crate) depth: usize,
    /// A tile whose left rows lie anywhere. The processor must have the instruction set.
    pub(crate) rows_tile: unsafe fn(&RowsTile<'_, M>),
    /// A tile whose left operand is packed.
    pub(crate) panel_tile: unsafe fn(&PanelTile<'_, M>),
    /// Tiles of the first columns of a panel.
    pub(crate) narrow: Option<Narrow<M>>,
}

/// Tiles of fewer columns, for the last panel of an operand.
pub(crate) struct Narrow<M: Numbers> {
    pub(crate) columns: usize,
    pub(crate) rows_tile: unsafe fn(&RowsTile<'_, M>),
    pub(crate) panel_tile: unsafe fn(&PanelTile<'_, M>),
}

impl<M: Numbers> Kernels<M> {
    /// How a contraction's left operand is packed.
    pub(crate) fn left(&self) -> PanelShape {
        PanelShape { width: self.panel_rows, group: self.group }
    }

    /// The tile of whole rows for so many columns; none where they do not fill one.
    pub(super) fn rows_tile_of(&self, columns: usize) -> Option<unsafe fn(&RowsTile<'_, M>)> {
        let narrow = self.narrow.as_ref().filter(|narrow| narrow.columns == columns);
        if columns == self.columns { Some(self.rows_tile) } else { narrow.map(|narrow| narrow.rows_tile) }
    }

    /// As [`Self::rows_tile_of`], of a contraction.
    pub(super) fn panel_tile_of(&self, columns: usize) -> Option<unsafe fn(&PanelTile<'_, M>)> {
        let narrow = self.narrow.as_ref().filter(|narrow| narrow.columns == columns);
        if columns == self.columns { Some(self.panel_tile) } else { narrow.map(|narrow| narrow.panel_tile) }
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
