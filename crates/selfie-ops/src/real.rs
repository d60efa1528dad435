//! The two number types of the CPU kernels: f32 for training, f64 for gradient checks.

use crate::kernels::product::{Kernels, kernels_f32, kernels_f64};
use crate::kernels::scratch::Pool;
use candle_core::WithDType;

/// A floating-point number the kernels work on.
///
/// The transcendental functions come from `libm`, so that they give the same bits on every system.
pub(crate) trait Real: WithDType + Default {
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
