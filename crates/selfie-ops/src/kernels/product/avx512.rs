//! Tiles of 12 × 32 for AVX-512: twenty-four sums of the thirty-two registers.

use super::isa::Kernels;
use super::{PanelTile, RowsTile, Run};
use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

const ROWS: usize = 12;
const VECTORS: usize = 2;
const LANES: usize = 16;
const DEPTH: usize = 192;

/// The element in every lane; AVX-512 has no such load of its own, the compiler folds this one into the product.
#[target_feature(enable = "avx512f")]
fn broadcast(element: &f32) -> __m512 {
    _mm512_set1_ps(*element)
}

tiles!(
    "avx512",
    "avx512f",
    __m512,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_add_ps,
    _mm512_fmadd_ps,
    broadcast
);
