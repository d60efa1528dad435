//! The rate of one large product: what no step can exceed.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use selfie_ops::{Precision, linear};
use serde::Serialize;

use super::{median, per_second};
use crate::session::device_name;
use crate::{NumberType, TrainError};

/// Products before the measured ones.
const WARMUP_PRODUCTS: usize = 2;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BenchRate {
    /// Number type.
    pub dtype: NumberType,
    /// Rows and columns of the two factors.
    pub size: usize,
    /// Products measured.
    pub products: usize,
}

/// What was measured, and what was asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RateResult {
    /// What was asked.
    #[serde(flatten)]
    pub asked: BenchRate,
    /// Where it ran.
    pub device: String,
    /// CPU threads.
    pub threads: usize,
    /// Rate of the fastest product, 10⁹ operations a second: the limit.
    pub gflop_per_s: f64,
    /// Rate of the median product.
    pub median_gflop_per_s: f64,
}

/// Multiplies two square matrices several times.
///
/// # Errors
///
/// If the number type is not there yet, the size is none, or memory is short.
pub fn rate(asked: BenchRate, device: &Device) -> Result<RateResult, TrainError> {
    if asked.size == 0 || asked.products == 0 {
        let got = format!("{} products of {} rows", asked.products, asked.size);
        return Err(TrainError::bad_flag("size", "at least one product of at least one row", &got));
    }
    let seconds = product_seconds(asked, device)?;
    let gflop = 2.0 * (asked.size as f64).powi(3) / 1e9;
    let rate = |seconds: f64| per_second(gflop, Duration::from_secs_f64(seconds)).unwrap_or(0.0);
    Ok(RateResult {
        asked,
        device: device_name(device),
        threads: rayon::current_num_threads(),
        gflop_per_s: rate(seconds.iter().copied().fold(f64::INFINITY, f64::min)),
        median_gflop_per_s: rate(median(&seconds)),
    })
}

/// The time of each product of this program's own, s.
fn product_seconds(asked: BenchRate, device: &Device) -> Result<Vec<f64>, TrainError> {
    let precision = match asked.dtype.on(device)? {
        DType::BF16 => Precision::Bf16,
        _ => Precision::Full,
    };
    let x = Tensor::randn(0f32, 1f32, (asked.size, asked.size), device)?;
    let parameters = Tensor::randn(0f32, 1f32, (asked.size + 1) * asked.size, device)?;
    let mut seconds = Vec::with_capacity(asked.products);
    for i in 0..WARMUP_PRODUCTS + asked.products {
        let clock = Instant::now();
        let product = linear(&x, &parameters, asked.size, precision)?;
        device.synchronize()?;
        if i >= WARMUP_PRODUCTS {
            seconds.push(clock.elapsed().as_secs_f64());
        }
        drop(product);
    }
    Ok(seconds)
}
