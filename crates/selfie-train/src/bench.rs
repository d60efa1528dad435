//! Images a second of a step, on a resident synthetic batch.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use selfie_model::{
    Classifier, ClassifierConfig, ClassifierKind, Mode, Positions, Selfie, SelfieConfig, Stem, Training,
};
use selfie_ops::cross_entropy;
use selfie_random::{Purpose, Stream};
use serde::Serialize;

use crate::TrainError;
use crate::machine;
use crate::optimizer::Optimizer;
use crate::plan::{OptimizerPlan, TrainingPlan};
use crate::schedule::Schedule;
use crate::session::device_name;

/// Steps before the measured ones.
const WARMUP_STEPS: u32 = 2;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BenchTask {
    /// A whole pretraining step: forward, backward, update.
    Pretrain,
    /// A whole fine-tuning step of the four stages and a classifier.
    Finetune,
    /// The four stages and the pool, inference.
    Embed,
}

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BenchStep {
    /// What a step does.
    pub task: BenchTask,
    /// Side of an image in pixels: 32 (patches of 8, 10 classes) or larger (patches of 32, 1000 classes).
    pub image_size: usize,
    /// Channels of the stem; nothing else follows it.
    pub width: usize,
    /// Images a step.
    pub batch: usize,
    /// Steps measured.
    pub steps: u32,
}

/// What was measured, and what was asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchResult {
    /// What was asked.
    #[serde(flatten)]
    pub asked: BenchStep,
    /// Where it ran.
    pub device: String,
    /// Number type.
    pub dtype: &'static str,
    /// CPU threads.
    pub threads: usize,
    /// Batch over the median step.
    pub images_per_s: f64,
    /// Median wall time of a step, s.
    pub median_step_s: f64,
    /// Fastest step, s.
    pub best_step_s: f64,
    /// The process's largest resident memory, MiB; 0 where the system does not say.
    pub peak_rss_mb: u64,
    /// Share of time spent waiting for data: none, the batch is resident.
    pub data_wait: f64,
    /// Loss of the last step; the mean feature of `embed`.
    pub loss: f64,
}

/// Measures.
///
/// # Errors
///
/// If the width is illegal or memory is short.
pub fn step(asked: BenchStep, device: &Device) -> Result<BenchResult, TrainError> {
    let config = network(&asked);
    let mut times = Vec::new();
    let mut run = steps(&asked, &config, device)?;
    let mut loss = 0.0;
    for i in 0..WARMUP_STEPS + asked.steps {
        let clock = Instant::now();
        loss = run(i)?;
        if i >= WARMUP_STEPS {
            times.push(clock.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    let median_step_s = (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2.0;
    Ok(BenchResult {
        asked,
        device: device_name(device),
        dtype: "f32",
        threads: rayon::current_num_threads(),
        images_per_s: asked.batch as f64 / median_step_s,
        median_step_s,
        best_step_s: times[0],
        peak_rss_mb: machine::peak_rss_mib(),
        data_wait: 0.0,
        loss,
    })
}

fn network(asked: &BenchStep) -> SelfieConfig {
    let small = asked.image_size <= 32;
    let patch_size = if small { 8 } else { 32 };
    SelfieConfig {
        width: asked.width,
        stem: if small { Stem::ThreeByThree } else { Stem::SevenBySeven },
        image_size: asked.image_size,
        patch_size,
        n_targets: (asked.image_size / patch_size).pow(2) / 4,
        positions: if small { Positions::PerPatch } else { Positions::RowColumn },
        ..SelfieConfig::default()
    }
}

/// A step, by its number; it returns the loss.
type Step = Box<dyn FnMut(u32) -> Result<f64, TrainError>>;

fn steps(asked: &BenchStep, config: &SelfieConfig, device: &Device) -> Result<Step, TrainError> {
    let (b, side) = (asked.batch, asked.image_size);
    let mut draws = Stream::new(0, Purpose::Synthetic, 0, 0);
    let pixels: Vec<u8> = (0..b * side * side * 3).map(|_| draws.below(256) as u8).collect();
    let n_classes = if side <= 32 { 10 } else { 1000 };
    let plan = training_plan(asked);
    if asked.task == BenchTask::Pretrain {
        let (n, p, t) = (config.n_patches(), config.patch_size, config.n_targets);
        let patches = Tensor::from_vec(pixels, (b, n, p, p, 3), device)?;
        let network: &'static Selfie = Box::leak(Box::new(Selfie::new(config, DType::F32, device, 1)?));
        let mut optimizer = Optimizer::new(network.units(), &plan)?;
        let labels: Vec<u32> = (0..b * t).map(|row| (row % t) as u32).collect();
        return Ok(Box::new(move |i| {
            let order = Tensor::from_vec(orders(b, n, i), (b, n), patches.device())?;
            let pass = Training::new(1, i);
            let logits = network.forward(&patches, &order, Mode::Training(&pass))?.logits;
            let loss = cross_entropy(&logits.reshape((b * t, t))?, &labels, 0.0)?;
            finish_step(&mut optimizer, &loss, i)?;
            network.follow(&pass)?;
            Ok(f64::from(loss.to_scalar::<f32>()?))
        }));
    }
    let images = Tensor::from_vec(pixels, (b, side, side, 3), device)?;
    let classes = (0..n_classes).map(|class| class.to_string()).collect();
    let config = ClassifierConfig { network: config.clone(), kind: ClassifierKind::Stage4, classes };
    let network: &'static Classifier = Box::leak(Box::new(Classifier::new(&config, DType::F32, device, 1)?));
    if asked.task == BenchTask::Embed {
        return Ok(Box::new(move |_| {
            let features = network.features(&images, Mode::Inference)?;
            Ok(f64::from(features.mean_all()?.to_scalar::<f32>()?))
        }));
    }
    let mut optimizer = Optimizer::new(network.units(), &plan)?;
    let labels: Vec<u32> = (0..b).map(|_| draws.below(10)).collect();
    Ok(Box::new(move |i| {
        let pass = Training::new(1, i);
        let loss = cross_entropy(&network.forward(&images, Mode::Training(&pass))?.logits, &labels, 0.0)?;
        finish_step(&mut optimizer, &loss, i)?;
        network.follow(&pass)?;
        Ok(f64::from(loss.to_scalar::<f32>()?))
    }))
}

fn finish_step(optimizer: &mut Optimizer<'_>, loss: &Tensor, i: u32) -> Result<(), TrainError> {
    optimizer.add(loss.backward()?)?;
    let norm = optimizer.gradient_norm()?;
    optimizer.update(1e-3, norm, u64::from(i) + 1)
}

fn training_plan(asked: &BenchStep) -> TrainingPlan {
    TrainingPlan {
        seed: 1,
        steps: 1,
        stop_at: 1,
        batch: asked.batch,
        micro_batch: asked.batch,
        schedule: Schedule::new(1e-3, 0, 1),
        optimizer: OptimizerPlan::Sgd { momentum: 0.9, weight_decay: 1e-4 },
        clip_norm: None,
        ema_decay: None,
        label_smoothing: 0.0,
    }
}

/// A permutation of the patches of each image, new in each step as the peer's are.
fn orders(batch: usize, n_patches: usize, step: u32) -> Vec<u32> {
    let mut all = Vec::with_capacity(batch * n_patches);
    for image in 0..batch {
        let mut order: Vec<u32> = (0..n_patches as u32).collect();
        Stream::new(1, Purpose::Mask, step, image as u32).shuffle(&mut order);
        all.extend(order);
    }
    all
}
