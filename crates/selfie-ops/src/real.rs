//! The two number types of the CPU kernels: f32 for training, f64 for gradient checks.

use candle_core::WithDType;

/// A floating-point number the kernels work on.
///
/// The transcendental functions come from `libm`, so that they give the same bits on every system.
pub trait Real: WithDType {
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
