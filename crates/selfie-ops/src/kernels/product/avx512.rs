//! Tiles of 12 × 32 for AVX-512: twenty-four sums of the thirty-two registers.

use super::isa::{Kernels, Narrow};
use super::{PanelTile, RowsTile, Run};
use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

const ROWS: usize = 12;
/// Channels are multiples of 8 more often than of 12.
const PANEL_ROWS: usize = 8;
const VECTORS: usize = 2;
const LANES: usize = 16;

pub(super) mod exact {
    use super::*;
    use crate::kernels::numbers::Exact;

    const DEPTH: usize = 192;

    /// The element in every lane; AVX-512 has no such load of its own, the compiler folds this one into the product.
    ///
    /// # Safety
    ///
    /// The element must be readable.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn broadcast(element: *const f32) -> __m512 {
        // SAFETY: the caller's.
        _mm512_set1_ps(unsafe { *element })
    }

    tiles!(
        F32: Exact<f32>, "avx512f", f32, 1,
        __m512, _mm512_loadu_ps, broadcast, _mm512_fmadd_ps,
        __m512, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps
    );
}

/// Pairs of bf16 by the instruction that multiplies and adds them.
pub(super) mod pairs {
    use super::*;
    use crate::kernels::numbers::Bf16;
    use std::arch::x86_64::{__m512bh, _mm512_dpbf16_ps};

    const DEPTH: usize = 2304;

    /// The sixteen pairs as the instruction takes them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn pairs(bits: __m512i) -> __m512bh {
        // SAFETY: both are 512 bits of which every pattern is a value.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(bits) }
    }

    /// # Safety
    ///
    /// Sixteen pairs must be readable.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn load(at: *const u32) -> __m512bh {
        // SAFETY: the caller's.
        pairs(unsafe { _mm512_loadu_si512(at.cast()) })
    }

    /// # Safety
    ///
    /// The pair must be readable.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn broadcast(pair: *const u32) -> __m512bh {
        // SAFETY: the caller's.
        pairs(_mm512_set1_epi32(unsafe { pair.read_unaligned() } as i32))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn multiply_add(a: __m512bh, b: __m512bh, sum: __m512) -> __m512 {
        _mm512_dpbf16_ps(sum, a, b)
    }

    tiles!(
        BF16: Bf16<f32>, "avx512f,avx512bf16", u32, 2,
        __m512bh, load, broadcast, multiply_add,
        __m512, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps
    );
}

/// Pairs of bf16 that become two f32 on the way in, in both operands.
pub(super) mod widened {
    use super::*;
    use crate::kernels::numbers::Bf16;
    use std::arch::x86_64::{_mm512_and_si512, _mm512_castsi512_ps, _mm512_slli_epi32};

    const DEPTH: usize = 2304;

    /// The first and the second of each pair, as f32: a bf16 is the upper half of one.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn widen(pairs: __m512i) -> [__m512; 2] {
        let second = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
        [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(second)]
    }

    /// # Safety
    ///
    /// Sixteen pairs must be readable.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(pairs: *const u32) -> [__m512; 2] {
        // SAFETY: the caller's.
        widen(unsafe { _mm512_loadu_si512(pairs.cast()) })
    }

    /// # Safety
    ///
    /// The pair must be readable.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn broadcast(pair: *const u32) -> [__m512; 2] {
        // SAFETY: the caller's.
        widen(_mm512_set1_epi32(unsafe { pair.read_unaligned() } as i32))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn multiply_add(a: [__m512; 2], b: [__m512; 2], sum: __m512) -> __m512 {
        _mm512_fmadd_ps(a[1], b[1], _mm512_fmadd_ps(a[0], b[0], sum))
    }

    tiles!(
        BF16: Bf16<f32>, "avx512f", u32, 2,
        [__m512; 2], load, broadcast, multiply_add,
        __m512, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps
    );
}
