//! The bridge from a device's kernels to candle's graph, for operations from tensor to tensor.

use super::{Array, Cuda, CudaReal, View};
use crate::unit::{Normalised, Unit, parameter_gradient};
use candle_core::cuda_backend::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use std::sync::{Mutex, PoisonError};

/// A [`Unit`] that can also run on a device.
pub(crate) trait CudaUnit: Unit {
    /// What forward leaves for backward besides x and the parameters.
    type CudaSaved<T: CudaReal>: Send;

    /// Computes the result.
    fn forward<T: CudaReal>(
        &self,
        cuda: &Cuda,
        x: Argument<'_, T>,
        parameters: View<'_, T>,
    ) -> Result<Forward<T, Self::CudaSaved<T>>>;

    /// Computes the gradients of x and of the parameters from `dy`.
    fn backward<T: CudaReal>(&self, cuda: &Cuda, context: Context<'_, T, Self::CudaSaved<T>>) -> Result<Gradients<T>>;
}

/// A contiguous tensor as the kernels see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Argument<'a, T> {
    pub(crate) values: View<'a, T>,
    pub(crate) dims: &'a [usize],
}

/// What a unit's forward returns.
pub(crate) struct Forward<T, L> {
    pub(crate) y: Array<T>,
    pub(crate) saved: L,
    /// Batch statistics, `[mean…, unbiased variance…]` of every norm in layout order.
    pub(crate) statistics: Option<Array<T>>,
}

impl<T, L> Forward<T, L> {
    pub(crate) fn new(y: Array<T>, saved: L) -> Self {
        Self { y, saved, statistics: None }
    }
}

/// What a unit's backward reads.
pub(crate) struct Context<'a, T, L> {
    pub(crate) x: Argument<'a, T>,
    pub(crate) parameters: View<'a, T>,
    pub(crate) saved: L,
    pub(crate) dy: View<'a, T>,
    /// False where x needs no gradient.
    pub(crate) wants_dx: bool,
}

/// What a unit's backward returns.
pub(crate) struct Gradients<T> {
    /// `None` exactly where it was not wanted.
    pub(crate) x: Option<Array<T>>,
    /// As long as the parameters, where there are some.
    pub(crate) parameters: Option<Array<T>>,
}

/// Applies `unit` to x and its flat parameters on x's device.
pub(crate) fn apply<U: CudaUnit>(unit: U, x: &Tensor, parameters: Option<&Tensor>) -> Result<Normalised> {
    match x.dtype() {
        DType::F32 => apply_typed::<U, f32>(unit, x, parameters),
        DType::F64 => apply_typed::<U, f64>(unit, x, parameters),
        other => bail!("{}: expected f32 or f64, got {other:?}", U::NAME),
    }
}

fn apply_typed<U: CudaUnit, T: CudaReal>(unit: U, x: &Tensor, parameters: Option<&Tensor>) -> Result<Normalised> {
    let shape = unit.output_shape(x.dims(), parameters.map_or(0, Tensor::elem_count))?;
    let cuda = Cuda::of(x.device())?;
    let x = x.contiguous()?;
    let parameters = parameters.map(Tensor::contiguous).transpose()?;
    let Forward { y, saved, statistics } = {
        let (storage, layout) = x.storage_and_layout();
        let operand = Argument { values: cuda.view(&storage, layout)?, dims: x.dims() };
        let held = parameters.as_ref().map(Tensor::storage_and_layout);
        let parameters = match &held {
            Some((storage, layout)) => cuda.view(storage, layout)?,
            None => View::none(),
        };
        CudaUnit::forward(&unit, &cuda, operand, parameters)?
    };
    let op = UnitOp::<U, T> {
        unit,
        shape,
        y: Mutex::new(Some(y.into_storage(&cuda))),
        saved: Mutex::new(Some(saved)),
        cuda: cuda.clone(),
    };
    let y = match &parameters {
        Some(parameters) => x.apply_op2(parameters, op)?,
        None => x.apply_op1(op)?,
    };
    let statistics = statistics.map(|statistics| statistics.into_vector(&cuda));
    Ok(Normalised { y, statistics })
}

/// The operation in candle's graph. Its result was computed before; candle asks for it once.
struct UnitOp<U: CudaUnit, T: CudaReal> {
    unit: U,
    shape: Vec<usize>,
    y: Mutex<Option<CudaStorage>>,
    saved: Mutex<Option<U::CudaSaved<T>>>,
    cuda: Cuda,
}

impl<U: CudaUnit, T: CudaReal> UnitOp<U, T> {
    fn result(&self) -> Result<(CudaStorage, Shape)> {
        match take(&self.y) {
            Some(y) => Ok((y, Shape::from(self.shape.clone()))),
            None => bail!("{}: forward ran twice", U::NAME),
        }
    }

    fn backward(&self, x: &Tensor, parameters: Option<&Tensor>, dy: &Tensor) -> Result<Gradients<T>> {
        let Some(saved) = take(&self.saved) else { bail!("{}: backward ran twice through one forward", U::NAME) };
        let dy = dy.contiguous()?;
        let (x_storage, x_layout) = x.storage_and_layout();
        let (dy_storage, dy_layout) = dy.storage_and_layout();
        let parameters = parameters.map(Tensor::storage_and_layout);
        let context = Context {
            x: Argument { values: self.cuda.view(&x_storage, x_layout)?, dims: x.dims() },
            parameters: match &parameters {
                Some((storage, layout)) => self.cuda.view(storage, layout)?,
                None => View::none(),
            },
            saved,
            dy: self.cuda.view(&dy_storage, dy_layout)?,
            wants_dx: x.track_op(),
        };
        CudaUnit::backward(&self.unit, &self.cuda, context)
    }
}

fn take<T>(once: &Mutex<Option<T>>) -> Option<T> {
    once.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// candle asks every operation for a way on the CPU, which [`crate::unit`] has.
pub(super) fn not_here<T>(name: &str) -> Result<T> {
    bail!("{name}: made for a CUDA device, got tensors on the CPU")
}

impl<U: CudaUnit, T: CudaReal> CustomOp1 for UnitOp<U, T> {
    fn name(&self) -> &'static str {
        U::NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        not_here(U::NAME)
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.result()
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let gradients = self.backward(x, None, dy)?;
        Ok(gradients.x.map(|dx| dx.into_tensor(&self.cuda, x.shape())))
    }
}

impl<U: CudaUnit, T: CudaReal> CustomOp2 for UnitOp<U, T> {
    fn name(&self) -> &'static str {
        U::NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        not_here(U::NAME)
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.result()
    }

    fn bwd(&self, x: &Tensor, p: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Gradients { x: dx, parameters } = self.backward(x, Some(p), dy)?;
        let dx = dx.map(|dx| dx.into_tensor(&self.cuda, x.shape()));
        let Some(parameters) = parameters else { bail!("{}: no gradient of its parameters", U::NAME) };
        Ok((dx, parameter_gradient(p, || Ok(parameters.into_tensor(&self.cuda, p.shape())))?))
    }
}
