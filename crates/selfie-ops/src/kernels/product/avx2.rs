//! Tiles for AVX2 with FMA, in sixteen registers.

use super::isa::{Kernels, Tiles};
use super::{PanelTile, RowsTile};
use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps,
};

const VECTORS: usize = 2;
const LANES: usize = 8;

/// 6 × 16: twelve sums, two columns and one broadcast.
pub(super) mod exact {
    use super::*;
    use crate::kernels::numbers::{Exact, Numbers};

    const ROWS: usize = 6;
    const PANEL_ROWS: usize = 6;
    const DEPTH: usize = 384;

    /// # Safety
    ///
    /// The element must be readable.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn broadcast(element: *const f32) -> __m256 {
        // SAFETY: the caller's.
        unsafe { _mm256_broadcast_ss(&*element) }
    }

    tiles!(
        F32: Exact<f32>, "avx2,fma", f32, 1,
        __m256, _mm256_loadu_ps, broadcast, _mm256_fmadd_ps,
        __m256, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps
    );
}

/// 4 × 16: eight sums; a pair of bf16 becomes two f32 on the way in, in both operands.
pub(super) mod pairs {
    use super::*;
    use crate::kernels::numbers::{Bf16, Numbers};
    use half::bf16;
    use std::arch::x86_64::{
        __m256i, _CMP_UNORD_Q, _mm_loadu_si128, _mm_storeu_si128, _mm256_add_epi32, _mm256_and_si256,
        _mm256_blendv_epi8, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cmp_ps,
        _mm256_cvtepu16_epi32, _mm256_loadu_si256, _mm256_or_si256, _mm256_packus_epi32, _mm256_permute4x64_epi64,
        _mm256_set1_epi32, _mm256_slli_epi32, _mm256_srli_epi32,
    };

    const ROWS: usize = 4;
    const PANEL_ROWS: usize = 4;
    const DEPTH: usize = usize::MAX;

    /// The first and the second of each pair, as f32: a bf16 is the upper half of one.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn widen(pairs: __m256i) -> [__m256; 2] {
        let second = _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff_0000_u32 as i32));
        [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)), _mm256_castsi256_ps(second)]
    }

    /// # Safety
    ///
    /// Eight pairs must be readable.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn load(pairs: *const u32) -> [__m256; 2] {
        // SAFETY: the caller's.
        widen(unsafe { _mm256_loadu_si256(pairs.cast()) })
    }

    /// # Safety
    ///
    /// The pair must be readable.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn broadcast(pair: *const u32) -> [__m256; 2] {
        // SAFETY: the caller's.
        widen(_mm256_set1_epi32(unsafe { pair.read_unaligned() } as i32))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn multiply_add(a: [__m256; 2], b: [__m256; 2], sum: __m256) -> __m256 {
        _mm256_fmadd_ps(a[1], b[1], _mm256_fmadd_ps(a[0], b[0], sum))
    }

    /// Eight bf16 as f32.
    ///
    /// # Safety
    ///
    /// They must be readable.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn widen_kept(at: *const bf16) -> __m256 {
        // SAFETY: the caller's.
        let halves = unsafe { _mm_loadu_si128(at.cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
    }

    /// The nearest bf16, among equals the even one.
    ///
    /// # Safety
    ///
    /// Eight must be writable.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn round(at: *mut bf16, sums: __m256) {
        let bits = _mm256_castps_si256(sums);
        let upper = _mm256_srli_epi32::<16>(bits);
        let half = _mm256_add_epi32(_mm256_set1_epi32(0x7fff), _mm256_and_si256(upper, _mm256_set1_epi32(1)));
        let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, half));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(sums, sums));
        let quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
        let kept = _mm256_blendv_epi8(rounded, quiet, nan);
        // Packing works within either half of the register: the quarters 0 and 2 hold the eight.
        let packed = _mm256_permute4x64_epi64::<0b10_00>(_mm256_packus_epi32(kept, kept));
        // SAFETY: the caller's.
        unsafe { _mm_storeu_si128(at.cast(), _mm256_castsi256_si128(packed)) };
    }

    tiles!(
        BF16: Bf16<f32>, "avx2,fma", u32, 2,
        [__m256; 2], load, broadcast, multiply_add,
        __m256, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps,
        kept: bf16, widen_kept, round
    );
}
