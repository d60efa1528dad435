//! The bridge between the kernels and candle's graph, for operations from tensor to tensor; [`crate::map`] has the one between stages.

use crate::Real;
#[cfg(feature = "cuda")]
use crate::cuda::CudaUnit as OnDevice;
use candle_core::backprop::GradStore;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Storage, Tensor, TensorId, WithDType, bail,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// An operation on (x, one flat parameter tensor) whose forward keeps what its backward needs.
pub(crate) trait Unit: Send + Sync + 'static {
    /// For error messages.
    const NAME: &'static str;
    /// What forward leaves for backward besides x and the parameters.
    type Saved<T: Real>: Send;

    /// The shape of the result, or why x or the parameters do not fit.
    fn output_shape(&self, x: &[usize], n_parameters: usize) -> Result<Vec<usize>>;

    /// Computes the result.
    fn forward<T: Real>(&self, x: Argument<'_, T>, parameters: &[T]) -> Result<Forward<T, Self::Saved<T>>>;

    /// Computes the gradients of x and of the parameters from `dy`.
    fn backward<T: Real>(&self, context: Context<'_, T, Self::Saved<T>>) -> Result<Gradients<T>>;
}

/// A contiguous tensor as the kernels see it.
#[derive(Clone, Copy)]
pub(crate) struct Argument<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) dims: &'a [usize],
}

/// What a unit's forward returns.
pub(crate) struct Forward<T, S> {
    pub(crate) y: Vec<T>,
    pub(crate) saved: S,
    /// Batch statistics, `[mean…, unbiased variance…]` of every norm in layout order.
    pub(crate) statistics: Vec<T>,
}

impl<T, S> Forward<T, S> {
    pub(crate) fn new(y: Vec<T>, saved: S) -> Self {
        Self { y, saved, statistics: Vec::new() }
    }
}

/// What a unit's backward reads.
pub(crate) struct Context<'a, T, S> {
    pub(crate) x: Argument<'a, T>,
    pub(crate) parameters: &'a [T],
    pub(crate) saved: S,
    pub(crate) dy: &'a [T],
    /// False where x needs no gradient.
    pub(crate) wants_dx: bool,
}

/// What a unit's backward returns.
pub(crate) struct Gradients<T> {
    /// `None` exactly where it was not wanted.
    pub(crate) x: Option<Vec<T>>,
    /// As long as the parameters.
    pub(crate) parameters: Vec<T>,
}

/// A unit's result, a tensor or a map, and the batch statistics it took.
pub struct Normalised<Y = Tensor> {
    /// The result.
    pub y: Y,
    /// `[mean…, unbiased variance…]` of every norm in layout order; none where running statistics were used.
    pub statistics: Option<Tensor>,
}

/// Every unit, where this crate has kernels for no device.
#[cfg(not(feature = "cuda"))]
pub(crate) trait OnDevice {}

#[cfg(not(feature = "cuda"))]
impl<U> OnDevice for U {}

/// Whether operations run as compositions of candle's primitives: on Metal, and under `SELFIE_OPS=composed`.
pub fn runs_composed(device: &Device) -> bool {
    static FORCED: OnceLock<bool> = OnceLock::new();
    device.is_metal() || *FORCED.get_or_init(|| std::env::var("SELFIE_OPS").is_ok_and(|value| value == "composed"))
}

/// The most bytes that were allocated at once on a GPU; none on the CPU, or where the GPU does not say.
///
/// # Errors
///
/// If the GPU does not answer.
pub fn device_memory_high(device: &Device) -> Result<Option<u64>> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => crate::cuda::most_memory(device),
        _ => Ok(None),
    }
}

/// Applies `unit` to x and its flat parameters, by the kernels of x's device.
pub(crate) fn apply<U: Unit + OnDevice>(unit: U, x: &Tensor, parameters: Option<&Tensor>) -> Result<Normalised> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return crate::cuda::apply(unit, x, parameters);
    }
    match x.dtype() {
        DType::F32 => apply_typed::<U, f32>(unit, x, parameters),
        DType::F64 => apply_typed::<U, f64>(unit, x, parameters),
        other => bail!("{}: expected f32 or f64, got {other:?}", U::NAME),
    }
}

fn apply_typed<U: Unit, T: Real>(unit: U, x: &Tensor, parameters: Option<&Tensor>) -> Result<Normalised> {
    let shape = unit.output_shape(x.dims(), parameters.map_or(0, Tensor::elem_count))?;
    let left = Arc::new(Mutex::new(None));
    let op = UnitOp::<U, T> { unit, shape, saved: Mutex::new(None), statistics: left.clone() };
    let x = x.contiguous()?;
    let y = match parameters {
        Some(parameters) => x.apply_op2(&parameters.contiguous()?, op)?,
        None => x.apply_op1(op)?,
    };
    let statistics = left.lock().unwrap_or_else(PoisonError::into_inner).take();
    let statistics = statistics
        .filter(|values: &Vec<T>| !values.is_empty())
        .map(|values| Tensor::from_vec(values, ((),), &Device::Cpu))
        .transpose()?;
    Ok(Normalised { y, statistics })
}

struct UnitOp<U: Unit, T: Real> {
    unit: U,
    shape: Vec<usize>,
    saved: Mutex<Option<U::Saved<T>>>,
    statistics: Arc<Mutex<Option<Vec<T>>>>,
}

impl<U: Unit, T: Real> UnitOp<U, T> {
    fn forward(&self, x: (&CpuStorage, &Layout), parameters: &[T]) -> Result<(CpuStorage, Shape)> {
        let x = Argument { values: values(x.0, x.1)?, dims: x.1.dims() };
        let Forward { y, saved, statistics } = self.unit.forward(x, parameters)?;
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
        *self.statistics.lock().unwrap_or_else(PoisonError::into_inner) = Some(statistics);
        Ok((T::to_cpu_storage_owned(y), Shape::from(self.shape.clone())))
    }

    fn backward(&self, x: &Tensor, parameters: Option<&Tensor>, dy: &Tensor) -> Result<Gradients<T>> {
        let Some(saved) = self.saved.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            bail!("{}: backward ran twice through one forward", U::NAME)
        };
        let dy = dy.contiguous()?;
        let (x_storage, x_layout) = x.storage_and_layout();
        let (dy_storage, dy_layout) = dy.storage_and_layout();
        let parameters = parameters.map(Tensor::storage_and_layout);
        self.unit.backward(Context {
            x: Argument { values: on_cpu(&x_storage, x_layout)?, dims: x.dims() },
            parameters: match &parameters {
                Some((storage, layout)) => on_cpu(storage, layout)?,
                None => &[],
            },
            saved,
            dy: on_cpu(&dy_storage, dy_layout)?,
            wants_dx: x.track_op(),
        })
    }
}

impl<U: Unit, T: Real> CustomOp1 for UnitOp<U, T> {
    fn name(&self) -> &'static str {
        U::NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward((storage, layout), &[])
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let gradients = self.backward(x, None, dy)?;
        gradients.x.map(|dx| Tensor::from_vec(dx, x.shape(), &Device::Cpu)).transpose()
    }
}

impl<U: Unit, T: Real> CustomOp2 for UnitOp<U, T> {
    fn name(&self) -> &'static str {
        U::NAME
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward((s1, l1), values(s2, l2)?)
    }

    fn bwd(&self, x: &Tensor, p: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradients = self.backward(x, Some(p), dy)?;
        let dx = gradients.x.map(|dx| Tensor::from_vec(dx, x.shape(), &Device::Cpu)).transpose()?;
        Ok((dx, parameter_gradient(p, || Tensor::from_vec(gradients.parameters, p.shape(), &Device::Cpu))?))
    }
}

thread_local! {
    /// Gradients of parameters, while [`backward`] runs on this thread.
    static ASIDE: RefCell<Option<HashMap<TensorId, Tensor>>> = const { RefCell::new(None) };
}

/// The gradients of `loss` with respect to every variable, as [`Tensor::backward`] gives them.
///
/// candle adds each gradient to zeros; those of the units' parameters, which are most of all numbers, go past that.
///
/// # Errors
///
/// If an operation's backward fails.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    let outer = ASIDE.replace(Some(HashMap::new()));
    let gradients = loss.backward();
    let aside = ASIDE.replace(outer);
    let mut gradients = gradients?;
    for (id, gradient) in aside.unwrap_or_default() {
        let gradient = match gradients.get_id(id) {
            Some(so_far) => (so_far + gradient)?,
            None => gradient,
        };
        gradients.insert_id(id, gradient);
    }
    Ok(gradients)
}

/// The gradient of flat parameters, where they are tracked. That of a variable is kept for [`backward`]; it is returned where
/// that does not run, or more of the graph lies behind it.
pub(crate) fn parameter_gradient(
    parameters: &Tensor,
    gradient: impl FnOnce() -> Result<Tensor>,
) -> Result<Option<Tensor>> {
    if !parameters.track_op() {
        return Ok(None);
    }
    let gradient = gradient()?;
    ASIDE.with_borrow_mut(|aside| {
        let Some(aside) = aside.as_mut().filter(|_| parameters.is_variable()) else { return Ok(Some(gradient)) };
        let gradient = match aside.remove(&parameters.id()) {
            Some(so_far) => (so_far + gradient)?,
            None => gradient,
        };
        aside.insert(parameters.id(), gradient);
        Ok(None)
    })
}

/// A storage's values; the layouts that come here are contiguous, because whoever reads a tensor makes it so.
pub(crate) fn values<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => bail!("expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}

pub(crate) fn on_cpu<'a, T: WithDType>(storage: &'a Storage, layout: &Layout) -> Result<&'a [T]> {
    match storage {
        Storage::Cpu(storage) => values(storage, layout),
        _ => bail!("expected a tensor on the CPU"),
    }
}
