//! Tiles of 6 × 16 for AVX2 with FMA: twelve sums, two columns and one broadcast in sixteen registers.

use super::isa::Kernels;
use super::{PanelTile, RowsTile, Run};
use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps,
};

const ROWS: usize = 6;
const VECTORS: usize = 2;
const LANES: usize = 8;
const DEPTH: usize = 384;

tiles!(
    "avx2",
    "avx2,fma",
    __m256,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_add_ps,
    _mm256_fmadd_ps,
    _mm256_broadcast_ss
);
