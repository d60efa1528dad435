//! What a run would take, without running it: steps, arithmetic, memory, and a time from a few steps on noise.

use std::path::Path;

use candle_core::Device;
use selfie_data::{DataError, DataSet, SetName};
use selfie_eval::record::{Task, to_pretty_json};
use selfie_model::{ClassifierKind, Normalization, SelfieConfig};
use serde::Serialize;

use crate::bench::{BenchTask, Work, gflop_per_image, images_per_s};
use crate::config::{Resolved, Stem};
use crate::finetune::{Labels, chosen};
use crate::network::network_config;
use crate::plan::{DataPlan, FinetunePlan, PretrainPlan, Request, TrainingPlan};
use crate::{NumberType, TrainError};

#[cfg(test)]
mod tests;

/// Arithmetic of a step that is measured, at most, 10⁹ operations: about a second of two cores.
const MEASURED_GFLOP: f64 = 60.0;
/// The same on a GPU.
const MEASURED_GFLOP_GPU: f64 = 4000.0;
/// A run that takes longer gets a hint.
const LONG_HOURS: f64 = 48.0;
/// Bytes a parameter takes in training: itself, its gradient, its momentum and a partial gradient.
const BYTES_A_PARAMETER: f64 = 16.0;

/// Where and how a run would compute.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// Seed of the run.
    pub seed: u64,
    /// Number type of activations and products.
    pub number_type: NumberType,
    /// The device.
    pub device: &'a Device,
}

/// What a run would take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Pretraining or fine-tuning.
    pub task: Task,
    /// Channels of the stem.
    pub width: usize,
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
    /// Images a second of a step, measured just now on noise; what loading takes is not in it.
    pub images_per_s: f64,
    /// Images of the step that was measured: the micro-batch, or fewer of a large network.
    pub measured_batch: usize,
    /// Time of the schedule at that speed, hours.
    pub hours: f64,
}

/// What a pretraining on these examples would take.
///
/// # Errors
///
/// If the configuration is illegal, or memory is short.
pub fn pretrain(resolved: &Resolved, examples: &Examples, at: Conditions<'_>) -> Result<Estimate, TrainError> {
    let n_examples = examples.data.as_ref().map_or(examples.published, |data| data.train.len() as u64);
    let plan = PretrainPlan::new(resolved, Request { n_examples, seed: at.seed, stop_after: None })?;
    let network = network_config(&plan.model, &plan.data, Normalization::default());
    let patches = stages(&network, plan.data.patch_size, 3).times(plan.data.n_patches as f64);
    let kept = patches.and(attention_pooling(&network, plan.data.n_patches - plan.data.n_targets + 1));
    let subject = Subject { task: BenchTask::Pretrain, network, classifier: None, kept };
    estimate(resolved, (n_examples, examples.data.is_some()), (&plan.data, &plan.training), subject, at)
}

/// What a fine-tuning on these labels would take.
///
/// # Errors
///
/// As [`pretrain`]; or if the data set is there and has no classes, or not the examples that were asked for.
pub fn finetune(
    resolved: &Resolved,
    examples: &Examples,
    labels: &Labels,
    at: Conditions<'_>,
) -> Result<Estimate, TrainError> {
    let Examples { data, published, published_classes } = examples;
    let (n_examples, n_total) = match (data, &labels.subset) {
        (Some(data), _) => {
            data.require_classes()?;
            let (subset, _) = chosen(&data.train, labels, at.seed)?;
            (subset.examples.len() as u64, data.train.len() as u64)
        }
        (None, Some(subset)) => (subset.len() as u64, *published),
        (None, None) => {
            let share = (*published as f64 * labels.fraction).round() as u64;
            (share.max(*published_classes), *published)
        }
    };
    let fraction = labels.share(n_examples, n_total);
    let plan = FinetunePlan::new(resolved, Request { n_examples, seed: at.seed, stop_after: None }, fraction)?;
    let network = network_config(&plan.model, &plan.data, Normalization::default());
    let kind = plan.classifier.kind();
    let n_stages = if kind == ClassifierKind::Stage4 { 4 } else { 3 };
    let stages = stages(&network, plan.data.image_size, n_stages);
    let kept = match kind {
        ClassifierKind::AttentionPooling => stages.and(attention_pooling(&network, plan.data.n_patches + 1)),
        ClassifierKind::Stage4 | ClassifierKind::PatchNetwork => stages,
    };
    let n_classes = data.as_ref().map_or(*published_classes as usize, |data| data.train.n_classes());
    let subject = Subject { task: BenchTask::Finetune, network, classifier: Some((kind, n_classes)), kept };
    estimate(resolved, (n_examples, data.is_some()), (&plan.data, &plan.training), subject, at)
}

/// The network of a run, and what it holds.
struct Subject {
    task: BenchTask,
    network: SelfieConfig,
    classifier: Option<(ClassifierKind, usize)>,
    kept: Kept,
}

/// Numbers that are kept for backward, of one image; and the parameters.
#[derive(Clone, Copy, Debug)]
struct Kept {
    maps: f64,
    parameters: f64,
}

impl Kept {
    /// The same parameters, for `n` inputs.
    fn times(self, n: f64) -> Self {
        Self { maps: self.maps * n, ..self }
    }

    fn and(self, other: Self) -> Self {
        Self { maps: self.maps + other.maps, parameters: self.parameters + other.parameters }
    }
}

/// Stem and stages on a square of `side` pixels.
fn stages(network: &SelfieConfig, side: usize, n_stages: usize) -> Kept {
    let width = network.width as f64;
    let (kernel, mut side) = match network.stem {
        Stem::ThreeByThree => (3.0, side as f64),
        Stem::SevenBySeven => (7.0, side as f64 / 2.0),
    };
    let mut kept = Kept { parameters: kernel * kernel * 3.0 * width, maps: width * side * side };
    if network.stem == Stem::SevenBySeven {
        side /= 2.0;
    }
    let mut channels = width;
    for (stage, &depth) in network.depths.iter().take(n_stages).enumerate() {
        let mid = width * f64::from(1u32 << stage);
        for block in 0..depth {
            let stride = if stage > 0 && block == 0 { 2.0 } else { 1.0 };
            let (before, after) = (side * side, (side / stride) * (side / stride));
            let shortcut = if block == 0 { channels * 4.0 * mid } else { 0.0 };
            kept.parameters += channels * mid + 13.0 * mid * mid + shortcut;
            kept.maps += mid * before + (mid + 4.0 * mid) * after;
            (channels, side) = (4.0 * mid, side / stride);
        }
    }
    kept
}

/// The transformer layers over `tokens`.
fn attention_pooling(network: &SelfieConfig, tokens: usize) -> Kept {
    let (d, f, s) = (network.embedding_width() as f64, network.ffn as f64, tokens as f64);
    let layers = network.layers as f64;
    Kept { parameters: layers * (4.0 * d * d + 2.0 * d * f), maps: layers * s * (8.0 * d + 2.0 * f) }
}

fn estimate(
    resolved: &Resolved,
    (n_examples, data_found): (u64, bool),
    (data, training): (&DataPlan, &TrainingPlan),
    subject: Subject,
    at: Conditions<'_>,
) -> Result<Estimate, TrainError> {
    let Subject { task, network, classifier, kept } = subject;
    let width = network.width;
    let micro_batch = training.micro_batch;
    let mut work = Work { task, network, classifier, batch: micro_batch, micro_batch, dtype: at.number_type };
    let gflop_per_image = gflop_per_image(&work);
    // Backward holds the gradients of one stage's maps beside what forward kept.
    let memory_mb = (micro_batch as f64 * kept.maps * 4.0 * 1.5 + kept.parameters * BYTES_A_PARAMETER) / 1e6;
    let most = if at.device.is_cpu() { MEASURED_GFLOP } else { MEASURED_GFLOP_GPU };
    let measured_batch = ((most / gflop_per_image) as usize).max(2).min(micro_batch);
    (work.batch, work.micro_batch) = (measured_batch, measured_batch);
    let images_per_s = images_per_s(&work, at.device)?;
    Ok(Estimate {
        task: if task == BenchTask::Pretrain { Task::Pretrain } else { Task::Finetune },
        width,
        recipe: resolved.recipe.clone(),
        set: resolved.config.data.set.clone(),
        n_examples,
        data_found,
        n_patches: data.n_patches,
        n_targets: data.n_targets,
        steps: training.steps,
        warmup_steps: training.schedule.warmup_steps(),
        batch: training.batch,
        micro_batch,
        gflop_per_image,
        memory_mb,
        images_per_s,
        measured_batch,
        hours: (training.steps * training.batch as u64) as f64 / images_per_s / 3600.0,
    })
}

/// The examples of a run, or those published where the set is not there.
#[derive(Clone, Debug)]
pub struct Examples {
    data: Option<DataSet>,
    published: u64,
    published_classes: u64,
}

impl Examples {
    /// Looks for the data set of a configuration.
    ///
    /// # Errors
    ///
    /// If it is there and wrong, or not where `dir` says.
    pub fn find(resolved: &Resolved, dir: Option<&Path>) -> Result<Self, TrainError> {
        let name: SetName = resolved.config.data.set.parse()?;
        let (published, published_classes) = match name {
            SetName::Shapes32 => (10_000, 10),
            SetName::Cifar10 => (50_000, 10),
            SetName::Cifar100 => (50_000, 100),
            SetName::Imagenet32 | SetName::Imagenet224 => (1_281_167, 1000),
        };
        let data = match selfie_data::open(name, dir) {
            Ok(data) => Some(data),
            Err(DataError::MissingSet { .. }) if dir.is_none() => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self { data, published, published_classes })
    }
}

impl Estimate {
    /// What makes the run shorter, in keys that every command takes.
    fn shorter(&self) -> String {
        let task = self.task;
        let mut keys = vec![format!("{task}.steps=2000"), format!("{task}.batch=64")];
        if self.width > 16 {
            keys.extend(["model.width=16", "model.heads=8", "model.ffn=160"].map(str::to_owned));
        }
        let keys: Vec<String> = keys.into_iter().map(|key| format!("--set {key}")).collect();
        format!("\n          shorter and smaller, say: {}", keys.join(" "))
    }

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
        let long = if self.hours > LONG_HOURS { self.shorter() } else { String::new() };
        Ok(format!(
            "recipe    {} on {}\nexamples  {}{missing}\npatches   {} an image, {} hidden\nsteps     {} of {} images{pieces}, {} of them warm-up: {passes:.1} passes\n\
             compute   {:.3} GFLOP an image\nmemory    about {:.0} MB\n\
             time      about {} at {:.1} images/s, measured just now on {} images of noise{long}",
            self.recipe,
            self.set,
            self.n_examples,
            self.n_patches,
            self.n_targets,
            self.steps,
            self.batch,
            self.warmup_steps,
            self.gflop_per_image,
            self.memory_mb,
            duration(self.hours),
            self.images_per_s,
            self.measured_batch
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
