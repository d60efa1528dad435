//! The two number types of the CPU kernels: f32 for training, f64 for gradient checks.

use crate::kernels::product::{Kernels, kernels_f32, kernels_f64};
use crate::kernels::scratch::Pool;
use crate::kernels::memory::Unwritten;
use candle_core::WithDType;
use half::bf16;

/// A floating-point number the kernels work on.
///
/// The transcendental functions come from `libm`, so that they give the same bits on every system.
pub(crate) trait Real: WithDType + Unwritten {
    /// 0, by a name that generic code over number types can say.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The nearest bf16, among equals the even one.
    fn to_bf16(self) -> bf16;
    /// A bf16 as this type.
    fn from_bf16(value: bf16) -> Self;
    /// The register tiles of this machine.
    fn kernels() -> &'static Kernels<Self>;
    /// Scratch memory of this type.
    fn scratch_pool() -> &'static Pool<Self>;
    /// e to the power of `self`.
    #[must_use]
    fn exp(self) -> Self;
    /// The natural logarithm.
    #[must_use]
    fn ln(self) -> Self;
    /// The square root.
    #[must_use]
    fn sqrt(self) -> Self;
    /// The error function.
    #[must_use]
    fn erf(self) -> Self;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    #[inline(always)]
    fn to_bf16(self) -> bf16 {
        // Without a branch, so that loops of it are vectorised.
        let bits = self.to_bits();
        let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
        let nan = (bits >> 16) as u16 | 0x40;
        bf16::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { nan } else { rounded })
    }
    #[inline(always)]
    fn from_bf16(value: bf16) -> Self {
        f32::from_bits(u32::from(value.to_bits()) << 16)
    }
    #[inline]
    fn kernels() -> &'static Kernels<Self> {
        kernels_f32()
    }
    fn scratch_pool() -> &'static Pool<Self> {
        static POOL: Pool<f32> = Pool::new(Vec::new());
        &POOL
    }
    fn exp(self) -> Self {
        libm::expf(self)
    }
    fn ln(self) -> Self {
        libm::logf(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    fn erf(self) -> Self {
        libm::erff(self)
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    #[inline(always)]
    fn to_bf16(self) -> bf16 {
        (self as f32).to_bf16()
    }
    #[inline(always)]
    fn from_bf16(value: bf16) -> Self {
        f64::from(f32::from_bf16(value))
    }
    #[inline]
    fn kernels() -> &'static Kernels<Self> {
        kernels_f64()
    }
    fn scratch_pool() -> &'static Pool<Self> {
        static POOL: Pool<f64> = Pool::new(Vec::new());
        &POOL
    }
    fn exp(self) -> Self {
        libm::exp(self)
    }
    fn ln(self) -> Self {
        libm::log(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    fn erf(self) -> Self {
        libm::erf(self)
    }
}
