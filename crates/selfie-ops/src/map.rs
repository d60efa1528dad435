//! A map on its way from stage to stage, past candle's graph.
//!
//! candle's graph holds f32, and adds every gradient to zeros. A map between two stages stays as they keep it: the graph has
//! a token of one number in its place, by which candle knows in which order to go back, and the map's gradient waits beside
//! the map.

use crate::Precision;
use crate::kernels::norm::Moments;
use crate::kernels::numbers::Numbers;
use crate::unit::{on_cpu, runs_composed};
use candle_core::backend::BackendStorage;
#[cfg(feature = "cuda")]
use candle_core::cuda_backend::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, WithDType, bail};
use std::sync::{Arc, Mutex, PoisonError};

/// A map between stages, `[B, H, W, C]`, as stages of its precision keep it.
#[derive(Clone, Debug)]
pub struct StageMap(pub(crate) Inner);

#[derive(Clone, Debug)]
pub(crate) enum Inner {
    /// Where operations are compositions of candle's.
    Tensor(Tensor),
    Beside(Beside),
}

/// A map beside the graph.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    /// One number of the graph.
    pub(crate) token: Tensor,
    /// `[B, H, W, C]`, no part of the graph.
    pub(crate) values: Tensor,
    /// Of the channels, where whoever wrote the map took them.
    pub(crate) moments: Option<Moments<f64>>,
    pub(crate) gradient: Gradient,
}

/// The gradient of a map, kept as the map is: with several readers it is rounded at each addition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gradient(Arc<Mutex<Option<Tensor>>>);

/// Runs `$body` with `$M` as the numbers that are added up in `$sum` and kept with `$precision`.
macro_rules! with_numbers {
    ($sum:expr, $precision:expr, $M:ident => $body:expr) => {{
        use $crate::kernels::numbers::{Bf16, Exact};
        match ($sum, $precision) {
            (candle_core::DType::F32, $crate::Precision::Full) => {
                type $M = Exact<f32>;
                $body
            }
            (candle_core::DType::F32, $crate::Precision::Bf16) => {
                type $M = Bf16<f32>;
                $body
            }
            (candle_core::DType::F64, $crate::Precision::Full) => {
                type $M = Exact<f64>;
                $body
            }
            (candle_core::DType::F64, $crate::Precision::Bf16) => {
                type $M = Bf16<f64>;
                $body
            }
            (other, _) => candle_core::bail!("a map: expected f32 or f64, got {other:?}"),
        }
    }};
}
pub(crate) use with_numbers;

impl StageMap {
    /// Takes `x`, `[B, H, W, C]`, to stages of `precision`.
    ///
    /// # Errors
    ///
    /// If `x` has another rank, or is neither f32 nor f64.
    pub fn new(x: &Tensor, precision: Precision) -> Result<Self> {
        x.dims4()?;
        if runs_composed(x.device()) {
            return Ok(Self(Inner::Tensor(x.clone())));
        }
        let gradient = Gradient::default();
        let values = kept(x, precision)?;
        let token = x.apply_op1(Enter { gradient: gradient.clone(), precision })?;
        Ok(Self(Inner::Beside(Beside { token, values, moments: None, gradient })))
    }

    /// A copy of the map as a tensor of the graph, `[B, H, W, C]`.
    ///
    /// # Errors
    ///
    /// If an operation fails.
    pub fn tensor(&self) -> Result<Tensor> {
        match &self.0 {
            Inner::Tensor(x) => Ok(x.clone()),
            Inner::Beside(map) => map.token.apply_op1(Leave {
                values: Mutex::new(Some(map.values.clone())),
                gradient: map.gradient.clone(),
                precision: map.precision(),
            }),
        }
    }
}

impl Beside {
    pub(crate) fn precision(&self) -> Precision {
        if self.values.dtype() == self.token.dtype() { Precision::Full } else { Precision::Bf16 }
    }
}

impl Gradient {
    /// The gradient, once everything that read the map has gone back.
    pub(crate) fn take(&self) -> Result<Tensor> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(gradient) => Ok(gradient),
            None => bail!("a map: backward came to where no gradient is, or came twice"),
        }
    }

    /// Adds to it, and returns the gradient of a token, which nobody reads.
    pub(crate) fn add(&self, more: Tensor, token: &Tensor) -> Result<Tensor> {
        let mut gradient = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *gradient = Some(match gradient.take() {
            Some(so_far) => (so_far + more)?,
            None => more,
        });
        token.zeros_like()
    }
}

/// `x` as stages of `precision` keep it, without its history.
fn kept(x: &Tensor, precision: Precision) -> Result<Tensor> {
    if precision == Precision::Full {
        return Ok(x.contiguous()?.detach());
    }
    if !x.device().is_cpu() {
        return x.detach().to_dtype(DType::BF16)?.contiguous();
    }
    with_numbers!(x.dtype(), precision, M => {
        let x = x.contiguous()?;
        let (storage, layout) = x.storage_and_layout();
        Tensor::from_vec(M::stored(on_cpu(&storage, layout)?).into_owned(), x.shape(), x.device())
    })
}

/// What was kept with `precision` as `sum` again.
fn summed(kept: &Tensor, sum: DType, precision: Precision) -> Result<Tensor> {
    if precision == Precision::Full {
        return Ok(kept.clone());
    }
    if !kept.device().is_cpu() {
        return kept.to_dtype(sum);
    }
    with_numbers!(sum, precision, M => {
        let (storage, layout) = kept.storage_and_layout();
        Tensor::from_vec(M::sums(on_cpu(&storage, layout)?), kept.shape(), kept.device())
    })
}

/// From a tensor to a map.
struct Enter {
    gradient: Gradient,
    precision: Precision,
}

impl CustomOp1 for Enter {
    fn name(&self) -> &'static str {
        "tensor to map"
    }

    fn cpu_fwd(&self, x: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        token(x.dtype())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        token_on(x.device(), x.dtype())
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        summed(&self.gradient.take()?, x.dtype(), self.precision).map(Some)
    }
}

/// From a map to a tensor.
struct Leave {
    /// The map, until forward has read it: backward has no use for it.
    values: Mutex<Option<Tensor>>,
    gradient: Gradient,
    precision: Precision,
}

impl Leave {
    fn values(&self) -> Result<Tensor> {
        match self.values.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(values) => Ok(values),
            None => bail!("a map: forward ran twice"),
        }
    }
}

impl CustomOp1 for Leave {
    fn name(&self) -> &'static str {
        "map to tensor"
    }

    fn cpu_fwd(&self, token: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let values = self.values()?;
        with_numbers!(token.dtype(), self.precision, M => {
            let (storage, layout) = values.storage_and_layout();
            let sums = M::sums(on_cpu(&storage, layout)?);
            Ok((<M as Numbers>::Sum::to_cpu_storage_owned(sums), values.shape().clone()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, token: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        let values = self.values()?;
        let (storage, layout) = values.storage_and_layout();
        match &*storage {
            candle_core::Storage::Cuda(values) => Ok((values.to_dtype(layout, token.dtype())?, layout.shape().clone())),
            _ => bail!("a map: expected it where its token is"),
        }
    }

    fn bwd(&self, token: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        self.gradient.add(kept(dy, self.precision)?, token).map(Some)
    }
}

/// As [`token`], on a CUDA device.
#[cfg(feature = "cuda")]
pub(crate) fn token_on(device: &candle_core::CudaDevice, dtype: DType) -> Result<(CudaStorage, Shape)> {
    let shape = Shape::from(1);
    Ok((candle_core::backend::BackendDevice::zeros_impl(device, &shape, dtype)?, shape))
}

/// The number that stands for a map in a graph of `dtype`.
pub(crate) fn token(dtype: DType) -> Result<(CpuStorage, Shape)> {
    let number = match dtype {
        DType::F32 => CpuStorage::F32(vec![0.0]),
        DType::F64 => CpuStorage::F64(vec![0.0]),
        other => bail!("a map: expected f32 or f64, got {other:?}"),
    };
    Ok((number, Shape::from(1)))
}
