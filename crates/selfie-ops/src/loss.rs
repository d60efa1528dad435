//! Cross entropy.

use crate::Real;
use crate::composed;
use crate::kernels::loss;
use crate::profile::{OpClass, Work, span};
use crate::unit::{Argument, Context, Forward, Gradients, Unit, apply, runs_composed};
use candle_core::{Result, Tensor, bail};

/// The mean cross entropy of rows of logits against labels, with label smoothing as PyTorch defines it.
///
/// # Shapes
///
/// - `logits`: `[R, L]`
/// - `labels`: R class indices below L
/// - returns a scalar
///
/// # Errors
///
/// If a label is no class, or there are no rows.
pub fn cross_entropy(logits: &Tensor, labels: &[u32], smoothing: f64) -> Result<Tensor> {
    let (rows, classes) = logits.dims2()?;
    if rows != labels.len() || rows == 0 {
        bail!("cross_entropy: expected {rows} > 0 labels for logits {:?}, got {}", logits.dims(), labels.len())
    }
    if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
        bail!("cross_entropy: expected labels below {classes}, got {label}")
    }
    if runs_composed(logits.device()) {
        return composed::cross_entropy(logits, labels, smoothing);
    }
    Ok(apply(CrossEntropy { labels: labels.to_vec(), smoothing }, logits, None)?.y)
}

/// Operations a logit: maximum, difference, exponential, sum and division of the softmax.
const FLOP: u64 = 5;
/// Operations a logit's gradient: difference and product.
const FLOP_BACKWARD: u64 = 2;

pub(crate) struct CrossEntropy {
    pub(crate) labels: Vec<u32>,
    pub(crate) smoothing: f64,
}

impl Unit for CrossEntropy {
    const NAME: &'static str = "cross_entropy";
    type Saved<T: Real> = Vec<T>;

    fn output_shape(&self, _: &[usize], _: usize) -> Result<Vec<usize>> {
        Ok(Vec::new())
    }

    fn forward<T: Real>(&self, x: Argument<'_, T>, _: &[T]) -> Result<Forward<T, Vec<T>>> {
        let _span = span(OpClass::Loss, Work::elementwise::<T>(x.values.len(), FLOP, 2));
        let (loss, probs) = loss::cross_entropy(x.values, &self.labels, self.smoothing);
        Ok(Forward::new(vec![loss], probs))
    }

    fn backward<T: Real>(&self, context: Context<'_, T, Vec<T>>) -> Result<Gradients<T>> {
        let _span = span(OpClass::Loss, Work::elementwise::<T>(context.saved.len(), FLOP_BACKWARD, 2));
        let dx = loss::cross_entropy_backward(&context.saved, &self.labels, self.smoothing, context.dy[0]);
        Ok(Gradients { x: context.wants_dx.then_some(dx), parameters: Vec::new() })
    }
}
