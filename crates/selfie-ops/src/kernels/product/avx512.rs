//! Tiles of 12 × 32 for AVX-512: twenty-four sums of the thirty-two registers.

use super::isa::{Kernels, Tiles};
use super::{PanelTile, RowsTile};
use half::bf16;
use std::arch::x86_64::{
    __m512, __m512i, _mm256_loadu_si256, _mm256_storeu_si256, _mm512_add_ps, _mm512_castsi512_ps,
    _mm512_cvtepu16_epi32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_slli_epi32, _mm512_storeu_ps,
};

const ROWS: usize = 12;
/// Channels are multiples of 8 more often than of 12.
const PANEL_ROWS: usize = 8;
const VECTORS: usize = 2;
const LANES: usize = 16;

/// Sixteen bf16 as f32: a bf16 is the upper half of one.
///
/// # Safety
///
/// They must be readable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn widen_kept(at: *const bf16) -> __m512 {
    // SAFETY: the caller's.
    let halves = unsafe { _mm256_loadu_si256(at.cast()) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
}

pub(super) mod exact {
    use super::*;
    use crate::kernels::numbers::{Exact, Numbers};

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
    use crate::kernels::numbers::{Bf16, Numbers};
    use std::arch::x86_64::{__m256bh, __m256i, __m512bh, _mm512_cvtneps_pbh, _mm512_dpbf16_ps};

    const DEPTH: usize = usize::MAX;

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

    /// The nearest bf16, among equals the even one; zero for what is too small for a normal f32.
    ///
    /// # Safety
    ///
    /// Sixteen must be writable.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn round(at: *mut bf16, sums: __m512) {
        // SAFETY: both are 256 bits of which every pattern is a value; the caller's.
        unsafe { _mm256_storeu_si256(at.cast(), std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(sums))) };
    }

    tiles!(
        BF16: Bf16<f32>, "avx512f,avx512bf16", u32, 2,
        __m512bh, load, broadcast, multiply_add,
        __m512, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps,
        kept: bf16, widen_kept, round
    );
}

/// Pairs of bf16 that become two f32 on the way in, in both operands.
pub(super) mod widened {
    use super::*;
    use crate::kernels::numbers::{Bf16, Numbers};
    use std::arch::x86_64::{
        _CMP_UNORD_Q, _mm512_add_epi32, _mm512_and_si512, _mm512_castps_si512, _mm512_cmp_ps_mask,
        _mm512_cvtepi32_epi16, _mm512_mask_or_epi32, _mm512_srli_epi32,
    };

    const DEPTH: usize = usize::MAX;

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

    /// The nearest bf16, among equals the even one.
    ///
    /// # Safety
    ///
    /// Sixteen must be writable.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn round(at: *mut bf16, sums: __m512) {
        let bits = _mm512_castps_si512(sums);
        let upper = _mm512_srli_epi32::<16>(bits);
        let half = _mm512_add_epi32(_mm512_set1_epi32(0x7fff), _mm512_and_si512(upper, _mm512_set1_epi32(1)));
        let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, half));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(sums, sums);
        let kept = _mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x40));
        // SAFETY: the caller's.
        unsafe { _mm256_storeu_si256(at.cast(), _mm512_cvtepi32_epi16(kept)) };
    }

    tiles!(
        BF16: Bf16<f32>, "avx512f", u32, 2,
        [__m512; 2], load, broadcast, multiply_add,
        __m512, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps,
        kept: bf16, widen_kept, round
    );
}
