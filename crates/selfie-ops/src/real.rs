//! The two number types of the CPU kernels: f32 for training, f64 for gradient checks.

use crate::kernels::memory::Unwritten;
use crate::kernels::numbers::{Bf16, Exact};
use crate::kernels::product::{Kernels, kernels_bf16, kernels_bf16_f64, kernels_f32, kernels_f64};
use crate::kernels::scratch::Pool;
use candle_core::WithDType;
use half::bf16;

/// A floating-point number the kernels work on.
///
/// The transcendental functions give the same bits on every system: for f64 they are `libm`'s, for f32 `exp` and `erf` are
/// polynomials that a loop can be vectorised with.
pub(crate) trait Real: WithDType + Unwritten {
    /// 0, by a name that generic code over number types can say.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The nearest bf16, among equals the even one; of an f64, that of its nearest f32.
    fn to_bf16(self) -> bf16;
    /// A bf16 as this type.
    fn from_bf16(value: bf16) -> Self;
    /// The register tiles of this machine.
    fn exact_kernels() -> &'static Kernels<Exact<Self>>;
    /// The register tiles of this machine for factors in bf16.
    fn bf16_kernels() -> &'static Kernels<Bf16<Self>>;
    /// Scratch memory of this type.
    fn exact_scratch() -> &'static Pool<Exact<Self>>;
    /// Scratch memory of this type and bf16.
    fn bf16_scratch() -> &'static Pool<Bf16<Self>>;
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
    fn exact_kernels() -> &'static Kernels<Exact<Self>> {
        kernels_f32()
    }
    #[inline]
    fn bf16_kernels() -> &'static Kernels<Bf16<Self>> {
        kernels_bf16()
    }
    fn exact_scratch() -> &'static Pool<Exact<Self>> {
        static POOL: Pool<Exact<f32>> = Pool::new(Vec::new());
        &POOL
    }
    fn bf16_scratch() -> &'static Pool<Bf16<Self>> {
        static POOL: Pool<Bf16<f32>> = Pool::new(Vec::new());
        &POOL
    }
    #[inline(always)]
    fn exp(self) -> Self {
        exp(self)
    }
    fn ln(self) -> Self {
        libm::logf(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn erf(self) -> Self {
        erf(self)
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
    fn exact_kernels() -> &'static Kernels<Exact<Self>> {
        kernels_f64()
    }
    #[inline]
    fn bf16_kernels() -> &'static Kernels<Bf16<Self>> {
        kernels_bf16_f64()
    }
    fn exact_scratch() -> &'static Pool<Exact<Self>> {
        static POOL: Pool<Exact<f64>> = Pool::new(Vec::new());
        &POOL
    }
    fn bf16_scratch() -> &'static Pool<Bf16<Self>> {
        static POOL: Pool<Bf16<f64>> = Pool::new(Vec::new());
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

/// e to the power of `x`, to about 1e-7 of itself; below −87 and above 88 as there.
///
/// 2ⁿ eʳ with |r| ≤ ln 2 / 2; the polynomial is Cephes' (expf.c).
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Adding and taking away 1.5 · 2²³ rounds to the nearest whole number.
    const ROUND: f32 = 12_582_912.0;
    // A NaN passes both comparisons by and stays one.
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let coefficients = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];
    let mut p = 0.0;
    for c in coefficients {
        p = p * r + c;
    }
    let power = f32::from_bits(((n as i32 + 127) << 23) as u32);
    (p * r * r + r + 1.0) * power
}

/// The error function, to about 1e-7.
///
/// x · P(x²) / Q(x²) on [−4, 4], beyond which it stays; the coefficients are Eigen's.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = if x < -4.0 { -4.0 } else { x };
    let x = if x > 4.0 { 4.0 } else { x };
    let numerator = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    let denominator = [-1.456_607_2e-5, -2.133_740_5e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    let square = x * x;
    let (mut p, mut q) = (0.0, 0.0);
    for c in numerator {
        p = p * square + c;
    }
    for c in denominator {
        q = q * square + c;
    }
    x * p / q
}

#[cfg(test)]
mod tests {
    use super::{Real, bf16};

    #[test]
    fn exp_and_erf_are_libms_to_seven_digits() {
        for i in -1_000_000..=1_000_000 {
            let x = i as f32 * 9e-5;
            if x > -87.0 && x < 88.0 {
                let (got, expected) = (f64::from(Real::exp(x)), libm::exp(f64::from(x)));
                assert!((got - expected).abs() <= 3e-7 * expected, "exp({x}): expected {expected}, got {got}");
            }
            let (got, expected) = (f64::from(Real::erf(x)), libm::erf(f64::from(x)));
            assert!((got - expected).abs() <= 5e-7, "erf({x}): expected {expected}, got {got}");
        }
        assert!(Real::exp(f32::NAN).is_nan() && Real::erf(f32::NAN).is_nan());
        assert_eq!(Real::exp(f32::NEG_INFINITY), Real::exp(-87f32));
    }

    #[test]
    fn bf16_is_the_nearest_and_among_equals_the_even_one() {
        let halves = [1.0f32, 1.003_906_3, 1.011_718_8, -3.0e-39, 3.4e38, f32::MIN_POSITIVE, 0.0, -0.0, f32::INFINITY];
        let spread = (0..100_000u32).map(|i| f32::from_bits(i.wrapping_mul(42_949_673)));
        for value in halves.into_iter().chain(spread) {
            let (got, expected) = (value.to_bf16(), bf16::from_f32(value));
            assert!(got == expected || (got.is_nan() && expected.is_nan()), "{value}: expected {expected}, got {got}");
        }
    }
}
