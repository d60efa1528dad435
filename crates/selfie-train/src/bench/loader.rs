//! The loader alone: the batches of a recipe as training makes them, and nobody to train on them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use selfie_data::{DataError, DataSet, LabelledSource, Loader, PretrainSource};
use selfie_eval::record::Task;
use serde::Serialize;

use super::per_second;
use crate::config::Resolved;
use crate::network::require_side;
use crate::plan::{FinetunePlan, LoaderPlan, PretrainPlan, Request};
use crate::{TrainError, finetune, machine, pretrain};

/// How often memory is looked at: seldom enough to take no time that counts.
const N_LOOKS: u64 = 32;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BenchLoader {
    /// Whose batches: pretraining's patches and masks, or fine-tuning's images and labels, of all of the training set.
    pub task: Task,
    /// Batches to make.
    pub batches: u64,
    /// Seed of every draw.
    pub seed: u64,
}

/// What was measured, and what was asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoaderResult {
    /// What was asked.
    #[serde(flatten)]
    pub asked: BenchLoader,
    /// The recipe.
    pub recipe: String,
    /// Images of the training set.
    pub n_examples: usize,
    /// Images a batch.
    pub batch: usize,
    /// Threads that make batches; with none, the one that takes them does.
    pub workers: usize,
    /// All images over the time from the loader's start to its last batch.
    pub images_per_s: f64,
    /// All images over the time that all threads computed: what one core makes, whoever else computes beside; none where the
    /// system does not say.
    pub images_per_cpu_s: Option<f64>,
    /// Memory that no file backs before the loader's start, MiB; the data set is open.
    pub anonymous_mib_before: Option<u64>,
    /// The most of it while batches were made.
    pub anonymous_mib_most: Option<u64>,
    /// Images that could not be read.
    pub n_bad: usize,
}

/// Makes batches of a recipe's training images as fast as its loader can.
///
/// # Errors
///
/// If the configuration is illegal, its images have another size, no batch is asked for, or images cannot be read and none stands in.
pub fn loader(resolved: &Resolved, data: &DataSet, asked: BenchLoader) -> Result<LoaderResult, TrainError> {
    if asked.batches == 0 {
        return Err(TrainError::bad_flag("batches", "at least one", "0"));
    }
    require_side(resolved, &data.train)?;
    let images = data.train.clone();
    let request = Request { n_examples: images.len() as u64, seed: asked.seed, stop_after: None };
    let (plan, batch, measured) = match asked.task {
        Task::Pretrain => {
            let plan = PretrainPlan::new(resolved, request)?;
            let source = PretrainSource::new(images, None, pretrain::settings(&plan, asked.seed)?)?;
            let make = move |step| source.batch(step).map(|batch| (batch.patches, batch.bad.len()));
            (plan.loader, plan.training.batch, measure(make, plan.loader, asked.batches)?)
        }
        Task::Finetune => {
            let plan = FinetunePlan::new(resolved, request, 1.0)?;
            let all = (0..images.len() as u32).collect();
            let source = LabelledSource::new(images, all, finetune::settings(&plan, asked.seed))?;
            let make = move |step| source.batch(step).map(|batch| (batch.images, batch.bad.len()));
            (plan.loader, plan.training.batch, measure(make, plan.loader, asked.batches)?)
        }
    };
    let n_images = (asked.batches * batch as u64) as f64;
    Ok(LoaderResult {
        asked,
        recipe: resolved.recipe.clone(),
        n_examples: data.train.len(),
        batch,
        workers: plan.workers,
        images_per_s: n_images / measured.seconds,
        images_per_cpu_s: measured
            .cpu_seconds
            .and_then(|seconds| per_second(n_images, Duration::from_secs_f64(seconds))),
        anonymous_mib_before: measured.anonymous_mib_before,
        anonymous_mib_most: measured.anonymous_mib_most,
        n_bad: measured.n_bad,
    })
}

struct Measured {
    seconds: f64,
    cpu_seconds: Option<f64>,
    anonymous_mib_before: Option<u64>,
    anonymous_mib_most: Option<u64>,
    n_bad: usize,
}

/// Takes the batches of a source, each its pixels and how many images were bad, as they come.
fn measure(
    make: impl Fn(u64) -> Result<(Vec<u8>, usize), DataError> + Send + Sync + 'static,
    plan: LoaderPlan,
    batches: u64,
) -> Result<Measured, TrainError> {
    let anonymous_mib_before = machine::anonymous_mib();
    let (clock, cpu_before) = (Instant::now(), machine::cpu_seconds());
    let mut loader = Loader::new(make, 0..batches, plan.workers, plan.queue);
    let (mut n_bad, mut anonymous_mib_most) = (0, anonymous_mib_before);
    for step in 0..batches {
        let Some(batch) = loader.next_batch() else { break };
        let (pixels, bad) = batch?;
        black_box(pixels.first());
        n_bad += bad;
        if step.is_multiple_of(batches.div_ceil(N_LOOKS)) {
            anonymous_mib_most = anonymous_mib_most.max(machine::anonymous_mib());
        }
    }
    let seconds = clock.elapsed().as_secs_f64();
    let cpu_seconds = machine::cpu_seconds().zip(cpu_before).map(|(after, before)| after - before);
    Ok(Measured { seconds, cpu_seconds, anonymous_mib_before, anonymous_mib_most, n_bad })
}
