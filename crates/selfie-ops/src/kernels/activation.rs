//! GELU and dropout.

use super::pieces::{ELEMENTS_PER_PIECE, zip_map};
use crate::Real;
use crate::profile::{OpClass, Work, span};
use rayon::prelude::*;
use selfie_random::DropoutKey;

/// GELU with the error function: `x · Φ(x)`.
pub(crate) fn gelu<T: Real>(x: &[T]) -> Vec<T> {
    zip_map(x, x, |x, _| x * normal_cdf(x))
}

/// `dy · (Φ(x) + x φ(x))`.
pub(crate) fn gelu_backward<T: Real>(x: &[T], dy: &[T]) -> Vec<T> {
    let density_scale = T::from_f64((2.0 * std::f64::consts::PI).sqrt().recip());
    let minus_half = T::from_f64(-0.5);
    zip_map(x, dy, |x: T, dy| dy * (normal_cdf(x) + x * density_scale * (minus_half * x * x).exp()))
}

fn normal_cdf<T: Real>(x: T) -> T {
    T::from_f64(0.5) * (T::one() + (x * T::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

/// Dropout of one tensor: which elements are kept is a function of the key and their index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The share of elements set to zero, 0 ≤ p < 1.
    pub p: f64,
    /// What the keep decisions are keyed by.
    pub key: DropoutKey,
}

impl Dropout {
    /// Multiplies `values`, whose first element has index `offset` in the tensor, by 0 or 1/(1 − p).
    pub(crate) fn apply_at<T: Real>(&self, offset: u64, values: &mut [T]) {
        let keep_scale = T::from_f64(1.0 / (1.0 - self.p));
        let mut kept = [false; 1024];
        for (i, values) in values.chunks_mut(kept.len()).enumerate() {
            let kept = &mut kept[..values.len()];
            self.key.keep_mask(self.p, offset + (i * 1024) as u64, kept);
            for (v, &keep) in values.iter_mut().zip(kept.iter()) {
                *v = if keep { *v * keep_scale } else { T::zero() };
            }
        }
    }

    /// As [`Self::apply_at`], the whole tensor on all cores.
    pub(crate) fn apply<T: Real>(&self, values: &mut [T]) {
        let _span = span(OpClass::Activation, Work::elementwise::<T>(values.len(), 1, 2));
        values
            .par_chunks_mut(ELEMENTS_PER_PIECE)
            .enumerate()
            .for_each(|(i, values)| self.apply_at((i * ELEMENTS_PER_PIECE) as u64, values));
    }
}
