//! Which register tiles this processor has.

use super::{PanelTile, RowsTile, portable};
use std::sync::LazyLock;

/// The tiles of one instruction set for one number type.
pub(crate) struct Kernels<T: 'static> {
    /// Of the instruction set, as `SELFIE_ISA` takes it.
    pub(crate) name: &'static str,
    /// Rows of a tile.
    pub(crate) rows: usize,
    /// Columns of a tile: the width of a right operand's panel.
    pub(crate) columns: usize,
    /// Rows of a right operand's panel that stay in the first-level cache.
    pub(crate) depth: usize,
    /// A tile whose left rows lie anywhere. The processor must have the instruction set.
    pub(crate) rows_tile: unsafe fn(&RowsTile<'_, T>),
    /// A tile whose left operand is packed.
    pub(crate) panel_tile: unsafe fn(&PanelTile<'_, T>),
}

/// The fastest tiles for f32, or those that the environment variable `SELFIE_ISA` names.
pub(crate) fn kernels_f32() -> &'static Kernels<f32> {
    static CHOSEN: LazyLock<&'static Kernels<f32>> = LazyLock::new(|| {
        let wanted = std::env::var("SELFIE_ISA").unwrap_or_default();
        let mut available = available_f32();
        let named = available.iter().position(|kernels| kernels.name == wanted);
        available.swap_remove(named.unwrap_or(0))
    });
    *CHOSEN
}

/// The instruction sets that products can run on here, the fastest first. The environment variable `SELFIE_ISA` may name
/// another than the first. Any other value of it counts for nothing here; the program refuses it.
#[must_use]
pub fn instruction_sets() -> Vec<&'static str> {
    available_f32().iter().map(|kernels| kernels.name).collect()
}

/// Tiles for f64, which only checks gradients.
pub(crate) fn kernels_f64() -> &'static Kernels<f64> {
    &portable::F64
}

/// Every set of tiles this processor can run, fastest first.
pub(crate) fn available_f32() -> Vec<&'static Kernels<f32>> {
    let mut available = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            available.push(&super::avx512::F32);
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            available.push(&super::avx2::F32);
        }
    }
    available.push(&portable::F32);
    available
}
