//! The number type of a run's activations and products.

use std::fmt;

use candle_core::{DType, Device};
use selfie_ops::runs_composed;
use serde::Serialize;

use crate::TrainError;

/// Number type of activations and products. Parameters, statistics, softmax, loss and optimizer are f32 in either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberType {
    /// Single precision.
    #[default]
    F32,
    /// Single precision, but for the factors of products, which keep ten of their bits: CUDA's TF32.
    Tf32,
    /// Maps kept in bfloat16 and factors rounded to it; sums in f32.
    Bf16,
}

impl fmt::Display for NumberType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        })
    }
}

impl NumberType {
    /// The number type of that name in a record.
    ///
    /// # Errors
    ///
    /// If there is none of that name.
    pub fn named(name: &str) -> Result<Self, TrainError> {
        match [Self::F32, Self::Tf32, Self::Bf16].into_iter().find(|number_type| number_type.to_string() == name) {
            Some(number_type) => Ok(number_type),
            None => Err(TrainError::bad_flag("dtype", "f32, tf32 or bf16", name)),
        }
    }

    /// What networks on `device` are made with.
    ///
    /// # Errors
    ///
    /// If the device does not compute in it: bf16 is for selfie-ops' own kernels, on the CPU and on CUDA.
    pub fn on(self, device: &Device) -> Result<DType, TrainError> {
        // candle's own switch, of the whole process, which selfie-ops heeds too.
        candle_core::cuda::set_gemm_reduced_precision_f32(self == Self::Tf32);
        match self {
            Self::F32 => Ok(DType::F32),
            Self::Tf32 if device.is_cuda() => Ok(DType::F32),
            Self::Tf32 => {
                Err(TrainError::bad_flag("dtype", "f32 or bf16 on this device", "tf32, which CUDA alone has"))
            }
            Self::Bf16 if !runs_composed(device) => Ok(DType::BF16),
            Self::Bf16 => {
                let expected = "f32 where operations are compositions of candle's";
                Err(TrainError::bad_flag("dtype", expected, "bf16, which the operations on the CPU and on CUDA have"))
            }
        }
    }
}
