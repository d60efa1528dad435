//! What a run would take, without running it: steps, arithmetic, memory, and a time from a few steps on noise.

use std::path::Path;

use candle_core::Device;
use selfie_data::{DataError, DataSet, N_CHANNELS, SetName};
use selfie_eval::record::{Task, to_pretty_json};
use selfie_model::{ClassifierKind, Normalization, SelfieConfig};
use serde::Serialize;

use crate::bench::blocks::{self, Block};
use crate::bench::{BenchTask, Work, gflop_per_image, images_per_s};
use crate::config::Resolved;
use crate::finetune::{Labels, chosen};
use crate::network::network_config;
use crate::plan::{DataPlan, FinetunePlan, LoaderPlan, PretrainPlan, Request, TrainingPlan};
use crate::session::Standing;
use crate::{NumberType, TrainError, machine};

#[cfg(test)]
mod tests;

/// Arithmetic of a step that is measured, at most, 10⁹ operations: about a second of two cores.
const MEASURED_GFLOP: f64 = 60.0;
/// The same on a GPU.
const MEASURED_GFLOP_GPU: f64 = 20_000.0;
/// A run that takes longer gets a hint.
const LONG_HOURS: f64 = 48.0;
/// The batch that is suggested for a run of hours.
const SHORT_BATCH: usize = 64;
/// At its start, a run that takes longer by this rough speed of a thread gets one too.
const FAR_TOO_LONG_HOURS: f64 = 24.0;
const GFLOP_PER_S: f64 = 60.0;
/// Bytes a parameter takes in training: itself, its gradient, its momentum and a partial gradient.
const BYTES_A_PARAMETER: f64 = 16.0;

/// And while a checkpoint is written: itself, its momentum, and one of the two read back.
const BYTES_OF_CHECKPOINT: f64 = 12.0;

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
    /// The data set: a published one's name, or that of the user's own folder.
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
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Images a forward pass.
    pub micro_batch: usize,
    /// Arithmetic of a training step for one image, 10⁹ operations.
    pub gflop_per_image: f64,
    /// Memory of the whole process, MB: program, images as far as they are here, a micro-batch's maps, parameters, batches
    /// that wait. On a GPU, of maps and parameters.
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
    let plans = (&plan.data, &plan.training, &plan.loader);
    estimate(resolved, (n_examples, examples), plans, subject, at)
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
            let (subset, _) = chosen(data, labels, at.seed)?;
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
    let plans = (&plan.data, &plan.training, &plan.loader);
    estimate(resolved, (n_examples, examples), plans, subject, at)
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
    /// Bytes of one image's maps: backward holds the gradients of one stage's beside what forward kept.
    fn bytes_an_image(self) -> f64 {
        self.maps * 4.0 * 1.5
    }

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
    let stem = blocks::stem(network, side);
    let stem = Kept { parameters: stem.parameters as f64, maps: (network.width * stem.out_pixels) as f64 };
    let of_block = |block: &Block| Kept {
        parameters: (block.first() + block.others()) as f64,
        maps: (block.mid * block.pixels + (block.mid + block.outputs) * block.out_pixels) as f64,
    };
    blocks::blocks(network, side, n_stages).iter().map(of_block).fold(stem, Kept::and)
}

/// The transformer layers over `tokens`.
fn attention_pooling(network: &SelfieConfig, tokens: usize) -> Kept {
    let (d, f, s) = (network.embedding_width() as f64, network.ffn as f64, tokens as f64);
    let layers = network.layers as f64;
    Kept { parameters: layers * (4.0 * d * d + 2.0 * d * f), maps: layers * s * (8.0 * d + 2.0 * f) }
}

/// The most memory that this process has had so far, images and a measured step included; `None` where the system does
/// not say.
fn resident_bytes() -> Option<f64> {
    let mib = machine::peak_rss_mib();
    (mib > 0).then_some((mib << 20) as f64)
}

fn estimate(
    resolved: &Resolved,
    (n_examples, examples): (u64, &Examples),
    (data, training, loader): (&DataPlan, &TrainingPlan, &LoaderPlan),
    subject: Subject,
    at: Conditions<'_>,
) -> Result<Estimate, TrainError> {
    let Subject { task, network, classifier, kept } = subject;
    let width = network.width;
    let micro_batch = training.micro_batch;
    let mut work = Work { task, network, classifier, batch: micro_batch, micro_batch, dtype: at.number_type };
    let gflop_per_image = gflop_per_image(&work);
    let most = if at.device.is_cpu() { MEASURED_GFLOP } else { MEASURED_GFLOP_GPU };
    let measured_batch = ((most / gflop_per_image) as usize).max(2).min(micro_batch);
    (work.batch, work.micro_batch) = (measured_batch, measured_batch);
    let images_per_s = images_per_s(&work, at.device)?;
    let image_bytes = (data.image_size * data.image_size * N_CHANNELS) as f64;
    let queue = ((loader.queue + 1) * training.batch) as f64 * image_bytes;
    let bytes = match resident_bytes().filter(|_| at.device.is_cpu()) {
        // What the measured step left out: the rest of the micro-batch, batches that wait, a checkpoint.
        Some(resident) => {
            let rest = (micro_batch - measured_batch) as f64 * kept.bytes_an_image();
            resident + rest + queue + kept.parameters * BYTES_OF_CHECKPOINT
        }
        None => micro_batch as f64 * kept.bytes_an_image() + kept.parameters * BYTES_A_PARAMETER,
    };
    Ok(Estimate {
        task: if task == BenchTask::Pretrain { Task::Pretrain } else { Task::Finetune },
        width,
        recipe: resolved.recipe.clone(),
        set: examples.data.as_ref().map_or_else(|| resolved.config.data.set.clone(), |found| found.name.clone()),
        n_examples,
        data_found: examples.data.is_some(),
        n_patches: data.n_patches,
        n_targets: data.n_targets,
        steps: training.steps,
        warmup_steps: training.schedule.warmup_steps(),
        batch: training.batch,
        learning_rate: training.schedule.peak(),
        micro_batch,
        gflop_per_image,
        memory_mb: bytes / 1e6,
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
    /// The data set, where it is there.
    #[must_use]
    pub fn data(&self) -> Option<&DataSet> {
        self.data.as_ref()
    }

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
    /// Hours of what a run that goes on has still to do.
    fn left(&self, standing: &Standing) -> Option<f64> {
        let Standing::Resumes { step, steps, .. } = standing else { return None };
        Some(self.hours * steps.saturating_sub(*step) as f64 / (*steps).max(1) as f64)
    }

    /// The estimate for a reader, or as JSON, with what a start in the run folder would do.
    ///
    /// # Errors
    ///
    /// If a number is not finite.
    pub fn text(&self, run: Option<(&Path, &Standing)>, json: bool) -> Result<String, TrainError> {
        if json {
            let mut values = serde_json::to_value(self).map_err(|error| TrainError::Internal(error.to_string()))?;
            if let Some((folder, standing)) = run {
                values["run"] = standing.to_json(folder);
            }
            return Ok(to_pretty_json("the estimate", &values)?.trim_end().to_owned());
        }
        let missing = if self.data_found { "" } else { " (as published: the set is not here yet)" };
        let passes = (self.steps * self.batch as u64) as f64 / self.n_examples.max(1) as f64;
        let pieces = self.batch / self.micro_batch.max(1);
        let pieces = if pieces > 1 { format!(" as {pieces} × {}", self.micro_batch) } else { String::new() };
        let long = match self.hours > LONG_HOURS {
            true => format!("\n          {}", shorter(self.task, self.width, (self.batch, self.learning_rate))),
            false => String::new(),
        };
        let images = if self.data_found { "" } else { " and the images" };
        let left = run.and_then(|(_, standing)| self.left(standing));
        let left = left.map_or_else(String::new, |hours| format!(", {} of it left", duration(hours)));
        let run = run.map_or_else(String::new, |(folder, run)| format!("\nrun       {}", run.text(folder)));
        Ok(format!(
            "recipe    {} on {}\nexamples  {}{missing}\npatches   {} an image, {} hidden\nsteps     {} of {} images{pieces}, {} of them warm-up: {passes:.1} passes\n\
             compute   {:.3} GFLOP an image\nmemory    about {:.0} MB{images}\n\
             time      about {}{left} at {:.1} images/s, measured just now on {} images of noise{run}{long}",
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

/// What makes a run shorter, in keys that every command takes. The learning rate goes down with the batch.
fn shorter(task: Task, width: usize, (batch, learning_rate): (usize, f64)) -> String {
    let mut keys = vec![format!("{task}.steps=2000")];
    if batch > SHORT_BATCH {
        let learning_rate = learning_rate * SHORT_BATCH as f64 / batch as f64;
        keys.extend([
            format!("{task}.batch={SHORT_BATCH}"),
            format!("{task}.learning_rate={}", two_digits(learning_rate)),
        ]);
    }
    if width > 16 {
        keys.extend(["model.width=16", "model.heads=8", "model.ffn=160"].map(str::to_owned));
    }
    let keys: Vec<String> = keys.into_iter().map(|key| format!("--set {key}")).collect();
    format!("shorter and smaller, say: {}", keys.join(" "))
}

/// A number with two digits that count.
fn two_digits(value: f64) -> String {
    let decimals = (1.0 - value.log10().floor()).max(0.0) as usize;
    format!("{value:.decimals$}")
}

/// What to tell who begins a run that is far too long for the processor, from its arithmetic alone; nothing of others.
pub(crate) fn too_long(
    network: &SelfieConfig,
    classifier: Option<(ClassifierKind, usize)>,
    training: &TrainingPlan,
    number_type: NumberType,
    device: &Device,
) -> Option<String> {
    let (task, bench_task) = match classifier {
        None => (Task::Pretrain, BenchTask::Pretrain),
        Some(_) => (Task::Finetune, BenchTask::Finetune),
    };
    let (batch, micro_batch) = (training.batch, training.micro_batch);
    let network = network.clone();
    let width = network.width;
    let work = Work { task: bench_task, network, classifier, batch, micro_batch, dtype: number_type };
    let n_threads = rayon::current_num_threads();
    let gflop = gflop_per_image(&work) * (training.stop_at * batch as u64) as f64;
    let hours = gflop / (GFLOP_PER_S * n_threads as f64) / 3600.0;
    (device.is_cpu() && hours > FAR_TOO_LONG_HOURS).then(|| {
        let threads = if n_threads == 1 { "one thread".to_owned() } else { format!("{n_threads} threads") };
        let took = duration(hours);
        format!(
            "this takes roughly {took} on {threads} (--dry-run measures it); {}",
            shorter(task, width, (batch, training.schedule.peak()))
        )
    })
}

/// Seconds below a minute, minutes below an hour, days above two: 97,101 h say little to a person.
#[must_use]
pub fn duration(hours: f64) -> String {
    match hours {
        below if 60.0 * below < 1.0 => format!("{:.0} s", (3600.0 * below).max(1.0)),
        below if below < 1.0 => format!("{:.0} min", 60.0 * below),
        above if above > 48.0 => format!("{:.0} days", above / 24.0),
        _ => format!("{hours:.1} h"),
    }
}
