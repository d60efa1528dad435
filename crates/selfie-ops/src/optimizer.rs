//! In-place optimizer updates over flat parameter tensors.

use crate::Real;
#[cfg(feature = "cuda")]
use crate::cuda::CudaRule;
use crate::kernels::pieces::{ELEMENTS_PER_PIECE, Loop, vectorised};
use crate::profile::{OpClass, Work, span};
use crate::unit::{runs_composed, values};
#[cfg(feature = "cuda")]
use candle_core::cuda_backend::CudaStorage;
use candle_core::{CpuStorage, DType, InplaceOp3, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;
use std::ops::Range;

/// One step of SGD with Nesterov momentum, as PyTorch computes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdNesterov {
    /// Learning rate.
    pub lr: f64,
    /// Momentum, 0 ≤ μ < 1.
    pub momentum: f64,
    /// Decay added to the gradient of decayed parameters.
    pub weight_decay: f64,
    /// Factor on the gradient, for clipping.
    pub gradient_scale: f64,
}

/// One step of AdamW, as PyTorch computes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled decay of decayed parameters.
    pub weight_decay: f64,
    /// Factor on the gradient, for clipping.
    pub gradient_scale: f64,
    /// This step's number, from 1: corrects the moments' bias.
    pub step: u32,
}

/// Updates `parameter` and its momentum buffer; `decayed` are the ranges that weight decay applies to.
///
/// # Errors
///
/// If the three are not flat tensors of one length and type.
pub fn sgd_nesterov(
    parameter: &Var,
    momentum: &Var,
    gradient: &Tensor,
    step: SgdNesterov,
    decayed: &[Range<usize>],
) -> Result<()> {
    let gradient = gradient.contiguous()?;
    run(momentum, &gradient, parameter, Momentum(step), decayed)?;
    run(parameter, momentum, &gradient, SgdUpdate(step), decayed)
}

/// Updates `parameter` and its two moments; `decayed` are the ranges that weight decay applies to.
///
/// # Errors
///
/// If the four are not flat tensors of one length and type.
pub fn adamw(
    parameter: &Var,
    moments: (&Var, &Var),
    gradient: &Tensor,
    step: AdamW,
    decayed: &[Range<usize>],
) -> Result<()> {
    let gradient = gradient.contiguous()?;
    run(moments.0, &gradient, &gradient, FirstMoment(step), &[])?;
    run(moments.1, &gradient, &gradient, SecondMoment(step), &[])?;
    run(parameter, moments.0, moments.1, AdamUpdate::new(step), decayed)
}

/// `sum += gradient`.
///
/// # Errors
///
/// If the two differ in length or type.
pub fn accumulate(sum: &Var, gradient: &Tensor) -> Result<()> {
    let gradient = gradient.contiguous()?;
    run(sum, &gradient, &gradient, Sum, &[])
}

/// `average = decay · average + (1 − decay) · parameter`.
///
/// # Errors
///
/// If the two differ in length or type.
pub fn exponential_average(average: &Var, parameter: &Tensor, decay: f64) -> Result<()> {
    run(average, parameter, parameter, Average(decay), &[])
}

/// The Euclidean norm of all gradients together; NaN or infinite exactly where one of them is.
///
/// # Errors
///
/// If a gradient is of another type than f32 or f64.
pub fn global_norm(gradients: &[Tensor]) -> Result<f64> {
    #[cfg(feature = "cuda")]
    if gradients.iter().all(|gradient| gradient.device().is_cuda() && !runs_composed(gradient.device())) {
        return Ok(crate::cuda::sums_of_squares(gradients)?.iter().sum::<f64>().sqrt());
    }
    let mut sum = 0.0;
    for gradient in gradients {
        sum += if runs_composed(gradient.device()) {
            composed_sum_of_squares(gradient)?
        } else {
            match gradient.dtype() {
                DType::F32 => sum_of_squares::<f32>(gradient)?,
                _ => sum_of_squares::<f64>(gradient)?,
            }
        };
    }
    Ok(sum.sqrt())
}

/// Scaled by the largest element, so that a sum in f32 does not overflow where the norm does not.
fn composed_sum_of_squares(gradient: &Tensor) -> Result<f64> {
    let scalar = |t: Tensor| match t.dtype() {
        DType::F32 => t.to_scalar::<f32>().map(f64::from),
        _ => t.to_scalar::<f64>(),
    };
    let largest = scalar(gradient.abs()?.flatten_all()?.max(0)?)?;
    // NaN is not above zero either: the sum then says so.
    let scale = if largest > 0.0 && largest.is_finite() { largest } else { 1.0 };
    Ok(scalar((gradient / scale)?.sqr()?.sum_all()?)? * scale * scale)
}

fn sum_of_squares<T: Real>(gradient: &Tensor) -> Result<f64> {
    let gradient = gradient.contiguous()?;
    let (storage, layout) = gradient.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else { bail!("global_norm: expected a tensor on the CPU") };
    let values = values::<T>(storage, layout)?;
    let _span = span(OpClass::Optimizer, Work::elementwise::<T>(values.len(), 2, 1));
    let pieces: Vec<f64> = values
        .par_chunks(ELEMENTS_PER_PIECE)
        .map(|piece| piece.iter().map(|v| v.to_f64() * v.to_f64()).sum())
        .collect();
    Ok(pieces.iter().sum())
}

/// A new value of one element from its old one and two others; `decayed` says whether weight decay applies to it.
trait Rule: Sync {
    const NAME: &'static str;
    /// Operations an element.
    const FLOP: u64;
    /// Tensors read and written.
    const TENSORS: u64;
    fn element<T: Real>(&self, decayed: bool, target: T, a: T, b: T) -> T;
    /// The same as a device's kernel.
    #[cfg(feature = "cuda")]
    fn on_cuda(&self) -> CudaRule;
    /// The same on whole tensors; `decay` is 1 where weight decay applies, else 0.
    fn composed(&self, decay: &Tensor, target: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor>;
}

struct Momentum(SgdNesterov);
struct SgdUpdate(SgdNesterov);
struct FirstMoment(AdamW);
struct SecondMoment(AdamW);
/// With the corrections of the two moments' bias.
struct AdamUpdate(AdamW, f64, f64);
struct Sum;
struct Average(f64);

impl Rule for Momentum {
    const NAME: &'static str = "momentum";
    const FLOP: u64 = 5;
    const TENSORS: u64 = 4;
    #[inline(always)]
    fn element<T: Real>(&self, decayed: bool, momentum: T, gradient: T, parameter: T) -> T {
        let decay = T::from_f64(if decayed { self.0.weight_decay } else { 0.0 });
        T::from_f64(self.0.momentum) * momentum + (gradient * T::from_f64(self.0.gradient_scale) + decay * parameter)
    }
    #[cfg(feature = "cuda")]
    fn on_cuda(&self) -> CudaRule {
        CudaRule { kernel: Self::NAME, constants: [self.0.momentum, self.0.weight_decay, self.0.gradient_scale, 0.0] }
    }
    fn composed(&self, decay: &Tensor, momentum: &Tensor, gradient: &Tensor, parameter: &Tensor) -> Result<Tensor> {
        let decayed = ((gradient * self.0.gradient_scale)? + ((parameter * decay)? * self.0.weight_decay)?)?;
        (momentum * self.0.momentum)? + decayed
    }
}

impl Rule for SgdUpdate {
    const NAME: &'static str = "sgd_nesterov";
    const FLOP: u64 = 7;
    const TENSORS: u64 = 4;
    #[inline(always)]
    fn element<T: Real>(&self, decayed: bool, parameter: T, momentum: T, gradient: T) -> T {
        let decay = T::from_f64(if decayed { self.0.weight_decay } else { 0.0 });
        let gradient = gradient * T::from_f64(self.0.gradient_scale) + decay * parameter;
        parameter - T::from_f64(self.0.lr) * (gradient + T::from_f64(self.0.momentum) * momentum)
    }
    #[cfg(feature = "cuda")]
    fn on_cuda(&self) -> CudaRule {
        CudaRule {
            kernel: Self::NAME,
            constants: [self.0.momentum, self.0.weight_decay, self.0.gradient_scale, self.0.lr],
        }
    }
    fn composed(&self, decay: &Tensor, parameter: &Tensor, momentum: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let decayed = ((gradient * self.0.gradient_scale)? + ((parameter * decay)? * self.0.weight_decay)?)?;
        parameter - ((decayed + (momentum * self.0.momentum)?)? * self.0.lr)?
    }
}

impl Rule for FirstMoment {
    const NAME: &'static str = "first_moment";
    const FLOP: u64 = 4;
    const TENSORS: u64 = 3;
    #[inline(always)]
    fn element<T: Real>(&self, _: bool, moment: T, gradient: T, _: T) -> T {
        let gradient = gradient * T::from_f64(self.0.gradient_scale);
        T::from_f64(self.0.beta1) * moment + T::from_f64(1.0 - self.0.beta1) * gradient
    }
    #[cfg(feature = "cuda")]
    fn on_cuda(&self) -> CudaRule {
        CudaRule { kernel: Self::NAME, constants: [self.0.beta1, 1.0 - self.0.beta1, self.0.gradient_scale, 0.0] }
    }
    fn composed(&self, _: &Tensor, moment: &Tensor, gradient: &Tensor, _: &Tensor) -> Result<Tensor> {
        (moment * self.0.beta1)? + (gradient * ((1.0 - self.0.beta1) * self.0.gradient_scale))?
    }
}

impl Rule for SecondMoment {
    const NAME: &'static str = "second_moment";
    const FLOP: u64 = 5;
    const TENSORS: u64 = 3;
    #[inline(always)]
    fn element<T: Real>(&self, _: bool, moment: T, gradient: T, _: T) -> T {
        let gradient = gradient * T::from_f64(self.0.gradient_scale);
        T::from_f64(self.0.beta2) * moment + T::from_f64(1.0 - self.0.beta2) * gradient * gradient
    }
    #[cfg(feature = "cuda")]
    fn on_cuda(&self) -> CudaRule {
        CudaRule { kernel: Self::NAME, constants: [self.0.beta2, 1.0 - self.0.beta2, self.0.gradient_scale, 0.0] }
    }
    fn composed(&self, _: &Tensor, moment: &Tensor, gradient: &Tensor, _: &Tensor) -> Result<Tensor> {
        let gradient = (gradient * self.0.gradient_scale)?;
        (moment * self.0.beta2)? + (gradient.sqr()? * (1.0 - self.0.beta2))?
    }
}

impl AdamUpdate {
    fn new(step: AdamW) -> Self {
        let correction = |beta: f64| 1.0 - libm::pow(beta, f64::from(step.step));
        Self(step, correction(step.beta1), correction(step.beta2).sqrt())
    }
}

impl Rule for AdamUpdate {
    const NAME: &'static str = "adamw";
    const FLOP: u64 = 7;
    const TENSORS: u64 = 4;
    #[inline(always)]
    fn element<T: Real>(&self, decayed: bool, parameter: T, first: T, second: T) -> T {
        let (correction1, correction2) = (self.1, self.2);
        let decay = if decayed { self.0.lr * self.0.weight_decay } else { 0.0 };
        let denominator = second.sqrt() / T::from_f64(correction2) + T::from_f64(self.0.epsilon);
        parameter * T::from_f64(1.0 - decay) - T::from_f64(self.0.lr / correction1) * first / denominator
    }
    #[cfg(feature = "cuda")]
    fn on_cuda(&self) -> CudaRule {
        let AdamW { lr, weight_decay, epsilon, .. } = self.0;
        CudaRule { kernel: Self::NAME, constants: [lr * weight_decay, lr / self.1, 1.0 / self.2, epsilon] }
    }
    fn composed(&self, decay: &Tensor, parameter: &Tensor, first: &Tensor, second: &Tensor) -> Result<Tensor> {
        let (correction1, correction2) = (self.1, self.2);
        let keep = decay.affine(-self.0.lr * self.0.weight_decay, 1.0)?;
        let denominator = ((second.sqrt()? / correction2)? + self.0.epsilon)?;
        (parameter * keep)? - ((first / denominator)? * (self.0.lr / correction1))?
    }
}

impl Rule for Sum {
    const NAME: &'static str = "accumulate";
    const FLOP: u64 = 1;
    const TENSORS: u64 = 3;
    #[inline(always)]
    fn element<T: Real>(&self, _: bool, sum: T, gradient: T, _: T) -> T {
        sum + gradient
    }
    #[cfg(feature = "cuda")]
    fn on_cuda(&self) -> CudaRule {
        CudaRule { kernel: Self::NAME, constants: [0.0; 4] }
    }
    fn composed(&self, _: &Tensor, sum: &Tensor, gradient: &Tensor, _: &Tensor) -> Result<Tensor> {
        sum + gradient
    }
}

impl Rule for Average {
    const NAME: &'static str = "exponential_average";
    const FLOP: u64 = 3;
    const TENSORS: u64 = 3;
    #[inline(always)]
    fn element<T: Real>(&self, _: bool, average: T, parameter: T, _: T) -> T {
        T::from_f64(self.0) * average + T::from_f64(1.0 - self.0) * parameter
    }
    #[cfg(feature = "cuda")]
    fn on_cuda(&self) -> CudaRule {
        CudaRule { kernel: Self::NAME, constants: [self.0, 1.0 - self.0, 0.0, 0.0] }
    }
    fn composed(&self, _: &Tensor, average: &Tensor, parameter: &Tensor, _: &Tensor) -> Result<Tensor> {
        (average * self.0)? + (parameter * (1.0 - self.0))?
    }
}

fn run<R: Rule>(target: &Var, a: &Tensor, b: &Tensor, rule: R, decayed: &[Range<usize>]) -> Result<()> {
    if target.shape() != a.shape() || target.shape() != b.shape() {
        bail!("{}: expected one shape, got {:?}, {:?} and {:?}", R::NAME, target.dims(), a.dims(), b.dims())
    }
    let (a, b) = (a.detach(), b.detach());
    if !runs_composed(target.device()) {
        return target.as_tensor().inplace_op3(&a, &b, &InPlace { rule, decayed });
    }
    let mut mask = vec![0f32; target.elem_count()];
    for range in decayed {
        mask[range.clone()].fill(1.0);
    }
    let mask = Tensor::from_vec(mask, target.shape(), target.device())?.to_dtype(target.dtype())?;
    target.set(&rule.composed(&mask, &target.as_tensor().detach(), &a, &b)?)
}

struct InPlace<'a, R> {
    rule: R,
    decayed: &'a [Range<usize>],
}

impl<R: Rule> InPlace<'_, R> {
    fn update<T: Real>(&self, target: &mut [T], a: &[T], b: &[T]) {
        let _span = span(OpClass::Optimizer, Work::elementwise::<T>(target.len(), R::FLOP, R::TENSORS));
        let mut at = 0;
        for range in self.decayed {
            self.segment(false, (&mut target[at..range.start], &a[at..range.start], &b[at..range.start]));
            self.segment(true, (&mut target[range.clone()], &a[range.clone()], &b[range.clone()]));
            at = range.end;
        }
        self.segment(false, (&mut target[at..], &a[at..], &b[at..]));
    }

    fn segment<T: Real>(&self, decayed: bool, (target, a, b): (&mut [T], &[T], &[T])) {
        target
            .par_chunks_mut(ELEMENTS_PER_PIECE)
            .zip(a.par_chunks(ELEMENTS_PER_PIECE))
            .zip(b.par_chunks(ELEMENTS_PER_PIECE))
            .for_each(|((target, a), b)| vectorised(Elements { rule: &self.rule, decayed, target, a, b }));
    }
}

/// A rule over one piece.
struct Elements<'a, R, T> {
    rule: &'a R,
    decayed: bool,
    target: &'a mut [T],
    a: &'a [T],
    b: &'a [T],
}

impl<R: Rule, T: Real> Loop for Elements<'_, R, T> {
    #[inline(always)]
    fn run(self) {
        for ((t, &a), &b) in self.target.iter_mut().zip(self.a).zip(self.b) {
            *t = self.rule.element(self.decayed, *t, a, b);
        }
    }
}

impl<R: Rule> InplaceOp3 for InPlace<'_, R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn cpu_fwd(
        &self,
        s1: &mut CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<()> {
        let Some((start, end)) = l1.contiguous_offsets() else { bail!("{}: expected a contiguous target", R::NAME) };
        match s1 {
            CpuStorage::F32(target) => self.update(&mut target[start..end], values(s2, l2)?, values(s3, l3)?),
            CpuStorage::F64(target) => self.update(&mut target[start..end], values(s2, l2)?, values(s3, l3)?),
            _ => bail!("{}: expected f32 or f64", R::NAME),
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &mut CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<()> {
        self.rule.on_cuda().update((s1, l1), (s2, l2), (s3, l3), self.decayed)
    }
}
