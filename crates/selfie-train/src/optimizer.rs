//! The optimizer of a run: gradients of several micro-batches, clipping, the update, the averages of parameters and running
//! statistics, and all of it by name.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use selfie_model::{ParameterUnit, Training, WeightsFile, is_finite, tensors_from_bytes, tensors_to_bytes};
use selfie_ops::{AdamW, SgdNesterov, accumulate, adamw, exponential_average, global_norm, sgd_nesterov};

use crate::TrainError;
use crate::plan::{OptimizerPlan, TrainingPlan};

#[cfg(test)]
mod tests;

/// Added to the second moment's root: PyTorch's default.
const ADAMW_EPSILON: f64 = 1e-8;
/// Added to the norm that clipping divides by, as in PyTorch.
const CLIP_EPSILON: f64 = 1e-6;

/// The state of every parameter of a network, unit by unit.
pub(crate) struct Optimizer<'a> {
    plan: OptimizerPlan,
    clip_norm: Option<f64>,
    ema_decay: Option<f64>,
    units: Vec<UnitState<'a>>,
}

/// The state of one unit's flat parameter tensor. Momentum is `slots[0]`; AdamW's moments are both slots.
struct UnitState<'a> {
    unit: &'a ParameterUnit,
    slots: Vec<Var>,
    average: Option<Average>,
    gradient: Option<Gradient>,
}

/// The averages over the steps: of the flat parameter tensor, and of each running statistic by its name.
struct Average {
    parameters: Var,
    statistics: Vec<(String, Var)>,
}

impl Average {
    fn new(unit: &ParameterUnit) -> candle_core::Result<Self> {
        let statistic = |(name, tensor): (String, Tensor)| Ok((name, Var::from_tensor(&tensor)?));
        let statistics = unit.named_statistics()?.into_iter().map(statistic).collect::<candle_core::Result<_>>()?;
        Ok(Self { parameters: Var::from_tensor(&unit.parameters().copy()?)?, statistics })
    }

    fn follow(&self, unit: &ParameterUnit, decay: f64) -> candle_core::Result<()> {
        exponential_average(&self.parameters, unit.parameters(), decay)?;
        let mut pairs = self.statistics.iter().zip(unit.named_statistics()?);
        pairs.try_for_each(|((_, average), (_, now))| exponential_average(average, &now, decay))
    }
}

/// A gradient: as it came, or a sum over micro-batches.
enum Gradient {
    One(Tensor),
    Sum(Var),
}

impl Gradient {
    fn tensor(&self) -> &Tensor {
        match self {
            Self::One(tensor) => tensor,
            Self::Sum(var) => var.as_tensor(),
        }
    }
}

fn non_finite(tensors: Vec<(String, Tensor)>) -> Result<Vec<String>, TrainError> {
    let mut names = Vec::new();
    for (name, tensor) in tensors {
        if !is_finite(&tensor)? {
            names.push(name);
        }
    }
    Ok(names)
}

impl<'a> Optimizer<'a> {
    pub(crate) fn new(units: Vec<&'a ParameterUnit>, plan: &TrainingPlan) -> Result<Self, TrainError> {
        let n_slots = match plan.optimizer {
            OptimizerPlan::Sgd { .. } => 1,
            OptimizerPlan::AdamW { .. } => 2,
        };
        let state = |unit: &'a ParameterUnit| {
            let zeros = || Var::from_tensor(&unit.parameters().zeros_like()?);
            let slots = (0..n_slots).map(|_| zeros()).collect::<Result<_, _>>()?;
            let average = plan.ema_decay.map(|_| Average::new(unit)).transpose()?;
            Ok(UnitState { unit, slots, average, gradient: None })
        };
        let units = units.into_iter().map(state).collect::<Result<_, candle_core::Error>>()?;
        Ok(Self { plan: plan.optimizer, clip_norm: plan.clip_norm, ema_decay: plan.ema_decay, units })
    }

    /// Adds a micro-batch's gradients to this step's.
    pub(crate) fn add(&mut self, mut gradients: GradStore) -> Result<(), TrainError> {
        for state in &mut self.units {
            let Some(gradient) = gradients.remove(state.unit.parameters()) else {
                return Err(TrainError::Internal(format!("no gradient of `{}`", state.unit.prefix())));
            };
            state.gradient = Some(match state.gradient.take() {
                None => Gradient::One(gradient),
                Some(Gradient::One(first)) => {
                    let sum = Var::from_tensor(&first)?;
                    accumulate(&sum, &gradient)?;
                    Gradient::Sum(sum)
                }
                Some(Gradient::Sum(sum)) => {
                    accumulate(&sum, &gradient)?;
                    Gradient::Sum(sum)
                }
            });
        }
        Ok(())
    }

    /// The norm of this step's gradients together; not finite exactly where one of them is not.
    pub(crate) fn gradient_norm(&self) -> Result<f64, TrainError> {
        let gradients: Vec<Tensor> =
            self.units.iter().filter_map(|state| Some(state.gradient.as_ref()?.tensor().clone())).collect();
        Ok(global_norm(&gradients)?)
    }

    /// Updates every parameter by this step's gradients, whose norm is `gradient_norm`; `step` counts from 1.
    pub(crate) fn update(&mut self, lr: f64, gradient_norm: f64, step: u64) -> Result<(), TrainError> {
        let gradient_scale = self.clip_norm.map_or(1.0, |largest| (largest / (gradient_norm + CLIP_EPSILON)).min(1.0));
        for state in &mut self.units {
            let Some(gradient) = state.gradient.take() else {
                return Err(TrainError::Internal(format!("no gradient of `{}`", state.unit.prefix())));
            };
            let (parameters, decayed) = (state.unit.parameters(), state.unit.decayed());
            match (self.plan, &state.slots[..]) {
                (OptimizerPlan::Sgd { momentum, weight_decay }, [buffer]) => {
                    let rule = SgdNesterov { lr, momentum, weight_decay, gradient_scale };
                    sgd_nesterov(parameters, buffer, gradient.tensor(), rule, &decayed)?;
                }
                (OptimizerPlan::AdamW { beta1, beta2, weight_decay }, [first, second]) => {
                    let step = u32::try_from(step).unwrap_or(u32::MAX);
                    let rule = AdamW { lr, beta1, beta2, epsilon: ADAMW_EPSILON, weight_decay, gradient_scale, step };
                    adamw(parameters, (first, second), gradient.tensor(), rule, &decayed)?;
                }
                _ => return Err(TrainError::Internal("an optimizer with another number of slots".to_owned())),
            }
        }
        Ok(())
    }

    /// Moves the averages, where they are kept, towards the parameters and running statistics that step `step`, counted from
    /// 1, ended with: after [`Self::update`], and after the running statistics followed.
    pub(crate) fn average(&self, step: u64) -> Result<(), TrainError> {
        // The average of the first steps would otherwise be mostly the initial weights.
        let largest = (1.0 + step as f64) / (10.0 + step as f64);
        for state in &self.units {
            if let (Some(average), Some(decay)) = (&state.average, self.ema_decay) {
                average.follow(state.unit, decay.min(largest))?;
            }
        }
        Ok(())
    }

    /// Drops this step's gradients.
    pub(crate) fn drop_gradients(&mut self) {
        self.units.iter_mut().for_each(|state| state.gradient = None);
    }

    /// The tensors whose gradient is not finite, by name.
    pub(crate) fn non_finite_gradients(&self) -> Result<Vec<String>, TrainError> {
        let mut names = Vec::new();
        for state in &self.units {
            if let Some(gradient) = &state.gradient {
                names.extend(non_finite(state.unit.named(gradient.tensor())?)?);
            }
        }
        Ok(names)
    }

    /// The parameters that are not finite, by name.
    pub(crate) fn non_finite_parameters(&self) -> Result<Vec<String>, TrainError> {
        let mut names = Vec::new();
        for state in &self.units {
            names.extend(non_finite(state.unit.named(&state.unit.parameters().as_detached_tensor())?)?);
        }
        Ok(names)
    }

    /// The first norm of a unit, by name, of which `pass` took statistics that are not finite.
    pub(crate) fn non_finite_norm(&self, unit: &str, pass: &Training) -> Result<Option<String>, TrainError> {
        let found = self.units.iter().find(|state| state.unit.prefix() == unit);
        Ok(found.map(|state| state.unit.non_finite_norm(pass)).transpose()?.flatten())
    }

    /// Makes a number of the first unit's gradient not finite: for tests of what happens then.
    pub(crate) fn damage_gradient(&mut self) -> Result<(), TrainError> {
        if let Some(state) = self.units.first_mut()
            && let Some(gradient) = state.gradient.take()
        {
            let mut values = gradient.tensor().flatten_all()?.to_vec1::<f32>()?;
            values.iter_mut().take(1).for_each(|value| *value = f32::NAN);
            let damaged = Tensor::from_vec(values, gradient.tensor().shape(), gradient.tensor().device())?;
            state.gradient = Some(Gradient::One(damaged));
        }
        Ok(())
    }

    fn slot_names(&self) -> &'static [&'static str] {
        match self.plan {
            OptimizerPlan::Sgd { .. } => &["momentum"],
            OptimizerPlan::AdamW { .. } => &["first_moment", "second_moment"],
        }
    }

    /// The state by name, as the bytes of a safetensors file.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, TrainError> {
        let mut tensors = BTreeMap::new();
        for state in &self.units {
            let slots = self.slot_names().iter().copied().zip(&state.slots);
            for (slot, flat) in slots.chain(state.average.iter().map(|average| ("average", &average.parameters))) {
                let named = state.unit.named(&flat.as_detached_tensor())?;
                tensors.extend(named.into_iter().map(|(name, tensor)| (format!("{slot}.{name}"), tensor)));
            }
            for (name, average) in state.average.iter().flat_map(|average| &average.statistics) {
                tensors.insert(format!("average.{name}"), average.as_detached_tensor());
            }
        }
        Ok(tensors_to_bytes(&tensors, HashMap::new())?)
    }

    /// Takes over what [`Self::to_bytes`] wrote; `path` is for messages.
    pub(crate) fn load(&mut self, bytes: &[u8], path: &Path) -> Result<(), TrainError> {
        let other = |reason| TrainError::OtherState { path: path.to_owned(), reason };
        let mut tensors = tensors_from_bytes(bytes, path)?;
        let mut take = |slot: &str, name: &str| {
            let full = format!("{slot}.{name}");
            tensors.remove(&full).ok_or_else(|| other(format!("tensor `{full}` of the optimizer state is missing")))
        };
        let slot_names = self.slot_names();
        for state in &self.units {
            let slots = slot_names.iter().copied().zip(&state.slots);
            for (slot, flat) in slots.chain(state.average.iter().map(|average| ("average", &average.parameters))) {
                let mut parts = BTreeMap::new();
                for (name, _) in state.unit.named(&flat.as_detached_tensor())? {
                    let part = take(slot, &name)?;
                    parts.insert(name, part);
                }
                let assembled = state.unit.assemble(&parts).map_err(|error| other(format!("{slot}: {error}")))?;
                flat.set(&assembled)?;
            }
            for (name, average) in state.average.iter().flat_map(|average| &average.statistics) {
                average.set(&take("average", name)?.to_dtype(average.dtype())?.to_device(average.device())?)?;
            }
        }
        match tensors.keys().next() {
            None => Ok(()),
            Some(extra) => Err(other(format!("tensor `{extra}` of the optimizer state is unexpected"))),
        }
    }

    /// The weights a run results in: `weights`, or where averages are kept, those in the place of all of them.
    pub(crate) fn averaged(&self, mut weights: WeightsFile) -> Result<WeightsFile, TrainError> {
        for state in &self.units {
            if let Some(average) = &state.average {
                weights.tensors.extend(state.unit.named(&average.parameters.as_detached_tensor())?);
                let statistics = average.statistics.iter();
                weights.tensors.extend(statistics.map(|(name, average)| (name.clone(), average.as_detached_tensor())));
            }
        }
        Ok(weights)
    }
}
