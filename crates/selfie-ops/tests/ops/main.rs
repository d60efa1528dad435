//! The operations against finite differences, against PyTorch, against their definitions, and against themselves on other numbers of threads.
//!
//! Run with `SELFIE_OPS=composed` the same tests check the compositions of candle's primitives.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for code outside tests")]

mod cuda_kernels;
mod definition;
#[path = "../../../../tests/support/device.rs"]
mod device;
mod gradients;
mod maps;
mod oracle;
mod precision;
mod threads;
mod tiles;

use candle_core::{DType, Result, Tensor};
use device::device;
use selfie_ops::{NormMode, Normalised, StageMap, StageSpec};
use selfie_random::{Purpose, Stream};

/// Standard normal numbers, a function of `tag`.
pub(crate) fn normal(tag: u32, shape: &[usize]) -> Tensor {
    let mut stream = Stream::new(7, Purpose::Synthetic, 0, tag);
    let values: Vec<f64> = (0..shape.iter().product::<usize>()).map(|_| stream.normal()).collect();
    Tensor::from_vec(values, shape, device()).unwrap()
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// A stage from tensor to tensor.
pub(crate) fn stage(x: &Tensor, parameters: &Tensor, spec: StageSpec, mode: NormMode<'_>) -> Result<Normalised> {
    let Normalised { y, statistics } = selfie_ops::stage(&StageMap::new(x, spec.precision)?, parameters, spec, mode)?;
    Ok(Normalised { y: y.tensor()?, statistics })
}
