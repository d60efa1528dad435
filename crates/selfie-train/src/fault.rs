//! Numbers that are not finite: where one began, and a file that repeats it. Losses that spike.
//!
//! What is done about a fault is the session's business; nothing here writes a file.

use std::fmt;

use selfie_model::Training;
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::optimizer::Optimizer;
use crate::session::Measured;

mod capture;
mod spikes;

#[cfg(test)]
mod tests;

pub(crate) use capture::{About, Capture};
pub(crate) use spikes::Spikes;

/// A step of which a number is not finite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The update that was being made, counted from 1.
    pub step: u64,
    /// Where the number is, as near to its origin as can be told.
    pub cause: Cause,
    /// The tensors or layers it was found in, by name; none for the loss.
    pub layers: Vec<String>,
    /// The examples of the step's batch.
    pub examples: Vec<u32>,
}

/// Where a number that is not finite was found. What comes first is named: everything after it is spoilt too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// In a parameter, before the step: the update before overflowed.
    Parameter,
    /// In the mean or variance of a layer's input.
    Statistic,
    /// In the loss, behind the last batch norm.
    Loss,
    /// In a gradient.
    Gradient,
}

impl Fault {
    /// Where the number is, in words.
    #[must_use]
    pub fn place(&self) -> String {
        let layer = match &self.layers[..] {
            [] => String::new(),
            [layer] => format!(" of `{layer}`"),
            [first, others @ ..] => format!(" of `{first}` and {} more", others.len()),
        };
        match self.cause {
            Cause::Parameter => format!("a parameter{layer}, since the update before,"),
            Cause::Statistic => format!("a batch statistic{layer}"),
            Cause::Loss => "the loss".to_owned(),
            Cause::Gradient => format!("the gradient{layer}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Examples that a message lists.
        const SHOWN: usize = 8;
        let shown: Vec<String> = self.examples.iter().take(SHOWN).map(u32::to_string).collect();
        let more = if self.examples.len() > SHOWN { ", …" } else { "" };
        let (place, step) = (self.place(), self.step);
        write!(f, "{place} is not finite at step {step}, of training examples {}{more}", shown.join(", "))
    }
}

/// Where a test makes a number not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Injected {
    /// In the batch's numbers.
    Batch,
    /// In the loss.
    Loss,
    /// In a gradient.
    Gradient,
}

/// A number that a test makes not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The update, counted from 1.
    pub step: u64,
    /// Where.
    pub into: Injected,
}

/// Looks for numbers of a step that are not finite, before its update. Where all are finite that is a few thousand
/// comparisons: the gradient's norm is at hand, and a convolution's outputs are in the next layer's statistics.
pub(crate) fn find(
    step: u64,
    measured: &Measured,
    passes: &[Training],
    optimizer: &Optimizer<'_>,
    examples: &[u32],
) -> Result<Option<Fault>, TrainError> {
    let mut spoilt = None;
    for pass in passes {
        spoilt = spoilt.or(pass.first_non_finite()?.map(|unit| (pass, unit)));
    }
    if spoilt.is_none() && measured.loss.is_finite() && measured.grad_norm.is_finite() {
        return Ok(None);
    }
    let parameters = optimizer.non_finite_parameters()?;
    let (cause, layers) = if !parameters.is_empty() {
        (Cause::Parameter, parameters)
    } else if let Some((pass, unit)) = spoilt {
        (Cause::Statistic, vec![optimizer.non_finite_norm(&unit, pass)?.unwrap_or(unit)])
    } else if !measured.loss.is_finite() {
        (Cause::Loss, Vec::new())
    } else {
        (Cause::Gradient, optimizer.non_finite_gradients()?)
    };
    Ok(Some(Fault { step, cause, layers, examples: examples.to_vec() }))
}
