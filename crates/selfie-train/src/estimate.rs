//! What a run would take, without running it: steps, arithmetic, memory and a rough time.

use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use selfie_data::{DataError, DataSet, SetName};
use selfie_eval::record::to_pretty_json;
use serde::Serialize;

use crate::TrainError;
use crate::config::{Resolved, Stem};
use crate::finetune::{Labels, chosen};
use crate::plan::{ClassifierPlan, DataPlan, FinetunePlan, ModelPlan, PretrainPlan, Request, TrainingPlan};

#[cfg(test)]
mod tests;

/// The share of the machine's own product rate that a step is assumed to reach.
const ASSUMED_EFFICIENCY: f64 = 0.4;
/// A run that takes longer gets a hint.
const LONG_HOURS: f64 = 48.0;
const LONG: &str = "\n          shorter and smaller, say: --steps 2000 --set batch=64 --set model.width=16 --set model.heads=8 --set model.ffn=160";
/// A training step's arithmetic over the forward pass's: forward, gradient of the input, gradient of the weights.
const STEP_OVER_FORWARD: f64 = 3.0;
/// Bytes a parameter takes in training: itself, its gradient, its momentum and a partial gradient.
const BYTES_A_PARAMETER: f64 = 16.0;

/// What a run would take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The recipe.
    pub recipe: String,
    /// The data set.
    pub set: String,
    /// Training examples; those published where the set is not there.
    pub n_examples: u64,
    /// Whether the data set is there.
    pub data_found: bool,
    /// Patches of an image.
    pub n_patches: usize,
    /// Patches hidden in an image.
    pub n_targets: usize,
    /// Updates.
    pub steps: u64,
    /// Updates of warm-up.
    pub warmup_steps: u64,
    /// Images an update.
    pub batch: usize,
    /// Images a forward pass.
    pub micro_batch: usize,
    /// Arithmetic of a training step for one image, 10⁹ operations.
    pub gflop_per_image: f64,
    /// Memory of a micro-batch's maps and the parameters, MB.
    pub memory_mb: f64,
    /// The device's rate of matrix products, measured just now, 10⁹ operations a second.
    pub product_gflop_per_s: f64,
    /// Images a second at the assumed share of that rate.
    pub images_per_s: f64,
    /// Time of the schedule at that speed, hours.
    pub hours: f64,
}

/// What a pretraining would take.
///
/// # Errors
///
/// If the configuration is illegal, or the data set is there and wrong.
pub fn pretrain(resolved: &Resolved, data: Option<&Path>, seed: u64, device: &Device) -> Result<Estimate, TrainError> {
    let (data, published) = data_set(resolved, data)?;
    let (n_examples, found) =
        (data.as_ref().map_or(published.examples, |data| data.train.len() as u64), data.is_some());
    let plan = PretrainPlan::new(resolved, Request { n_examples, seed, stop_after: None })?;
    let patch = stages(&plan.model, plan.data.patch_size, 3);
    let pooling = attention_pooling(&plan.model, plan.data.n_patches - plan.data.n_targets + 1);
    let n_patches = plan.data.n_patches as f64;
    let cost = Cost {
        mac: patch.mac * n_patches + pooling.mac,
        parameters: patch.parameters + pooling.parameters,
        maps: patch.maps * n_patches + pooling.maps,
    };
    estimate(resolved, (n_examples, found), (&plan.data, &plan.training), &cost, device)
}

/// What a fine-tuning on these labels would take.
///
/// # Errors
///
/// As [`pretrain`]; or if the data set is there and has no classes, or not the examples that were asked for.
pub fn finetune(
    resolved: &Resolved,
    data: Option<&Path>,
    seed: u64,
    labels: &Labels,
    device: &Device,
) -> Result<Estimate, TrainError> {
    let (data, published) = data_set(resolved, data)?;
    let found = data.is_some();
    let (n_examples, n_total) = match (data, &labels.subset) {
        (Some(data), _) => {
            data.require_classes()?;
            let (subset, _) = chosen(&data.train, labels, seed)?;
            (subset.examples.len() as u64, data.train.len() as u64)
        }
        (None, Some(subset)) => (subset.len() as u64, published.examples),
        (None, None) => {
            let share = (published.examples as f64 * labels.fraction).round() as u64;
            (share.max(published.classes), published.examples)
        }
    };
    let fraction = labels.share(n_examples, n_total);
    let plan = FinetunePlan::new(resolved, Request { n_examples, seed, stop_after: None }, fraction)?;
    let n_stages = if matches!(plan.classifier, ClassifierPlan::Stage4 { .. }) { 4 } else { 3 };
    let stages = stages(&plan.model, plan.data.image_size, n_stages);
    let pooling = match plan.classifier {
        ClassifierPlan::AttentionPooling => attention_pooling(&plan.model, plan.data.n_patches + 1),
        ClassifierPlan::Stage4 { .. } | ClassifierPlan::PatchNetwork => Cost::default(),
    };
    let cost = Cost {
        mac: stages.mac + pooling.mac,
        parameters: stages.parameters + pooling.parameters,
        maps: stages.maps + pooling.maps,
    };
    estimate(resolved, (n_examples, found), (&plan.data, &plan.training), &cost, device)
}

/// Of one image: multiply-adds of a forward pass, numbers kept for backward; and the parameters.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    mac: f64,
    parameters: f64,
    maps: f64,
}

/// Stem and stages on a square of `side` pixels.
fn stages(model: &ModelPlan, side: usize, n_stages: usize) -> Cost {
    let width = model.width as f64;
    let (kernel, mut side) = match model.stem {
        Stem::ThreeByThree => (3.0, side as f64),
        Stem::SevenBySeven => (7.0, side as f64 / 2.0),
    };
    let weight = kernel * kernel * 3.0 * width;
    let mut cost = Cost { mac: weight * side * side, parameters: weight, maps: width * side * side };
    if model.stem == Stem::SevenBySeven {
        side /= 2.0;
    }
    let mut channels = width;
    for (stage, &depth) in model.depths.iter().take(n_stages).enumerate() {
        let mid = width * f64::from(1u32 << stage);
        for block in 0..depth {
            let stride = if stage > 0 && block == 0 { 2.0 } else { 1.0 };
            let (before, after) = (side * side, (side / stride) * (side / stride));
            let shortcut = if block == 0 { channels * 4.0 * mid } else { 0.0 };
            cost.mac += channels * mid * before + (9.0 * mid * mid + 4.0 * mid * mid + shortcut) * after;
            cost.parameters += channels * mid + 13.0 * mid * mid + shortcut;
            cost.maps += mid * before + (mid + 4.0 * mid) * after;
            (channels, side) = (4.0 * mid, side / stride);
        }
    }
    cost
}

/// The transformer layers over `tokens`.
fn attention_pooling(model: &ModelPlan, tokens: usize) -> Cost {
    let (d, f, s) = (model.embedding as f64, model.ffn as f64, tokens as f64);
    let layers = model.layers as f64;
    let parameters = layers * (4.0 * d * d + 2.0 * d * f);
    let mac = parameters * s + layers * 2.0 * s * s * d;
    Cost { mac, parameters, maps: layers * s * (8.0 * d + 2.0 * f) }
}

fn estimate(
    resolved: &Resolved,
    (n_examples, data_found): (u64, bool),
    (data, training): (&DataPlan, &TrainingPlan),
    cost: &Cost,
    device: &Device,
) -> Result<Estimate, TrainError> {
    let gflop_per_image = STEP_OVER_FORWARD * 2.0 * cost.mac / 1e9;
    // Backward holds the gradients of one stage's maps beside what forward kept.
    let memory_mb = (training.micro_batch as f64 * cost.maps * 4.0 * 1.5 + cost.parameters * BYTES_A_PARAMETER) / 1e6;
    let rate = product_rate(device)?;
    let images_per_s = rate * ASSUMED_EFFICIENCY / gflop_per_image;
    Ok(Estimate {
        recipe: resolved.recipe.clone(),
        set: resolved.config.data.set.clone(),
        n_examples,
        data_found,
        n_patches: data.n_patches,
        n_targets: data.n_targets,
        steps: training.steps,
        warmup_steps: training.schedule.warmup_steps(),
        batch: training.batch,
        micro_batch: training.micro_batch,
        gflop_per_image,
        memory_mb,
        product_gflop_per_s: rate,
        images_per_s,
        hours: (training.steps * training.batch as u64) as f64 / images_per_s / 3600.0,
    })
}

/// The training set as its authors published it.
#[derive(Clone, Copy)]
struct Published {
    examples: u64,
    classes: u64,
}

/// The data set, where it is there.
fn data_set(resolved: &Resolved, dir: Option<&Path>) -> Result<(Option<DataSet>, Published), TrainError> {
    let name: SetName = resolved.config.data.set.parse()?;
    let (examples, classes) = match name {
        SetName::Shapes32 => (10_000, 10),
        SetName::Cifar10 => (50_000, 10),
        SetName::Cifar100 => (50_000, 100),
        SetName::Imagenet32 | SetName::Imagenet224 => (1_281_167, 1000),
    };
    let published = Published { examples, classes };
    match selfie_data::open(name, dir) {
        Ok(data) => Ok((Some(data), published)),
        Err(DataError::MissingSet { .. }) if dir.is_none() => Ok((None, published)),
        Err(error) => Err(error.into()),
    }
}

/// The rate of a square matrix product on all of a device, 10⁹ operations a second: the best of a few.
///
/// # Errors
///
/// If memory is short.
pub fn product_rate(device: &Device) -> Result<f64, TrainError> {
    let side = if device.is_cpu() { 1024 } else { 4096 };
    let a = Tensor::ones((side, side), DType::F32, device)?;
    device.synchronize()?;
    let mut best = f64::INFINITY;
    for _ in 0..6 {
        let clock = Instant::now();
        a.matmul(&a)?;
        device.synchronize()?;
        best = best.min(clock.elapsed().as_secs_f64());
    }
    Ok(2.0 * (side as f64).powi(3) / best / 1e9)
}

impl Estimate {
    /// The estimate for a reader, or as JSON.
    ///
    /// # Errors
    ///
    /// If a number is not finite.
    pub fn text(&self, json: bool) -> Result<String, TrainError> {
        if json {
            return Ok(to_pretty_json("the estimate", self)?.trim_end().to_owned());
        }
        let missing = if self.data_found { "" } else { " (as published: the set is not here yet)" };
        let passes = (self.steps * self.batch as u64) as f64 / self.n_examples.max(1) as f64;
        let pieces = self.batch / self.micro_batch.max(1);
        let pieces = if pieces > 1 { format!(" as {pieces} × {}", self.micro_batch) } else { String::new() };
        let long = if self.hours > LONG_HOURS { LONG } else { "" };
        Ok(format!(
            "recipe    {} on {}\nexamples  {}{missing}\npatches   {} an image, {} hidden\nsteps     {} of {} images{pieces}, {} of them warm-up: {passes:.1} passes\n\
             compute   {:.2} GFLOP an image; products run at {:.0} GFLOP/s here\nmemory    about {:.0} MB\n\
             time      about {} at {:.1} images/s (a guess from {:.0} % of the product rate; `bench step` measures){long}",
            self.recipe,
            self.set,
            self.n_examples,
            self.n_patches,
            self.n_targets,
            self.steps,
            self.batch,
            self.warmup_steps,
            self.gflop_per_image,
            self.product_gflop_per_s,
            self.memory_mb,
            duration(self.hours),
            self.images_per_s,
            100.0 * ASSUMED_EFFICIENCY
        ))
    }
}

/// Minutes below an hour, days above two: 97,101 h say little to a person.
#[must_use]
pub fn duration(hours: f64) -> String {
    match hours {
        below if below < 1.0 => format!("{:.0} min", (60.0 * below).max(1.0)),
        above if above > 48.0 => format!("{:.0} days", above / 24.0),
        _ => format!("{hours:.1} h"),
    }
}
