//! The steps that are measured. Those of `bench step` are the same work as the peer's (`xtask/peer`).

use candle_core::{DType, Device, Tensor};
use selfie_model::{Classifier, ClassifierConfig, ClassifierKind, Mode, Selfie, SelfieConfig, Training};
use selfie_model::{Positions, Stem};
use selfie_ops::{backward, cross_entropy};
use selfie_random::{Purpose, Stream};

use super::{BenchStep, BenchTask};
use crate::config::OnNonFinite;
use crate::optimizer::Optimizer;
use crate::plan::{OptimizerPlan, TrainingPlan};
use crate::schedule::Schedule;
use crate::{NumberType, TrainError};

const SEED: u64 = 1;
/// The peer's labels are below this, however many classes there are.
const PEER_LABELS: usize = 10;

/// What a measured step computes, on noise.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) task: BenchTask,
    pub(crate) network: SelfieConfig,
    /// What turns the patch network into a classifier, and how many classes it has; none in pretraining.
    pub(crate) classifier: Option<(ClassifierKind, usize)>,
    /// Images a step.
    pub(crate) batch: usize,
    /// Images that go through the network at once; it divides `batch`.
    pub(crate) micro_batch: usize,
    pub(crate) dtype: NumberType,
}

impl From<&BenchStep> for Work {
    fn from(asked: &BenchStep) -> Self {
        let small = asked.image_size <= 32;
        let patch_size = if small { 8 } else { 32 };
        let network = SelfieConfig {
            width: asked.width,
            stem: if small { Stem::ThreeByThree } else { Stem::SevenBySeven },
            image_size: asked.image_size,
            patch_size,
            n_targets: (asked.image_size / patch_size).pow(2) / 4,
            positions: if small { Positions::PerPatch } else { Positions::RowColumn },
            ..SelfieConfig::default()
        };
        let classifier = Some((ClassifierKind::Stage4, if small { 10 } else { 1000 }));
        let BenchStep { task, batch, micro_batch, dtype, .. } = *asked;
        Self { task, network, classifier, batch, micro_batch, dtype }
    }
}

/// Makes the step of a number, and returns its loss.
pub(super) type Step<'a> = &'a mut dyn FnMut(u32) -> Result<f64, TrainError>;

/// Builds what a step needs and hands the step to `measure`.
pub(super) fn with_steps<R>(
    work: &Work,
    device: &Device,
    measure: impl FnOnce(Step<'_>) -> Result<R, TrainError>,
) -> Result<R, TrainError> {
    match work.task {
        BenchTask::Pretrain => pretrain(work, device, measure),
        BenchTask::Finetune => finetune(work, device, measure),
        BenchTask::Embed => embed(work, device, measure),
    }
}

fn pretrain<R>(
    work: &Work,
    device: &Device,
    measure: impl FnOnce(Step<'_>) -> Result<R, TrainError>,
) -> Result<R, TrainError> {
    let config = &work.network;
    let network = Selfie::new(config, work.dtype.on(device)?, device, SEED)?;
    let mut optimizer = Optimizer::new(network.units(), &training_plan(work))?;
    let (b, n, p, t) = (work.micro_batch, config.n_patches(), config.patch_size, config.n_targets);
    let micro_batches = pixels(work, &[b, n, p, p, 3], device)?;
    let labels: Vec<u32> = (0..b * t).map(|row| (row % t) as u32).collect();
    measure(&mut |step| {
        let loss_of = |micro: usize, patches: &Tensor, pass: &Training| {
            let order = Tensor::from_vec(orders(b, n, step, micro * b), (b, n), device)?;
            let logits = network.forward(patches, &order, Mode::Training(pass))?.logits;
            Ok(cross_entropy(&logits.reshape((b * t, t))?, &labels, 0.0)?)
        };
        update(&mut optimizer, &micro_batches, step, loss_of, |pass| Ok(network.follow(pass)?))
    })
}

fn finetune<R>(
    work: &Work,
    device: &Device,
    measure: impl FnOnce(Step<'_>) -> Result<R, TrainError>,
) -> Result<R, TrainError> {
    let network = classifier(work, device)?;
    let mut optimizer = Optimizer::new(network.units(), &training_plan(work))?;
    let (b, side) = (work.micro_batch, work.network.image_size);
    let micro_batches = pixels(work, &[b, side, side, 3], device)?;
    let mut draws = Stream::new(SEED, Purpose::Synthetic, 1, 0);
    let labels: Vec<u32> =
        (0..work.batch).map(|_| draws.below(network.config().classes.len().min(PEER_LABELS) as u32)).collect();
    measure(&mut |step| {
        let loss_of = |micro: usize, images: &Tensor, pass: &Training| {
            let logits = network.forward(images, Mode::Training(pass))?.logits;
            Ok(cross_entropy(&logits, &labels[micro * b..(micro + 1) * b], 0.0)?)
        };
        update(&mut optimizer, &micro_batches, step, loss_of, |pass| Ok(network.follow(pass)?))
    })
}

fn embed<R>(
    work: &Work,
    device: &Device,
    measure: impl FnOnce(Step<'_>) -> Result<R, TrainError>,
) -> Result<R, TrainError> {
    let network = classifier(work, device)?;
    let side = work.network.image_size;
    let micro_batches = pixels(work, &[work.micro_batch, side, side, 3], device)?;
    measure(&mut |_| {
        let mut mean = 0.0;
        for images in &micro_batches {
            let features = network.features(images, Mode::Inference)?;
            mean += scalar(&features.mean_all()?)? / micro_batches.len() as f64;
        }
        Ok(mean)
    })
}

/// A step: forward and backward of each micro-batch, then the update; `follow` moves the running statistics.
fn update(
    optimizer: &mut Optimizer<'_>,
    micro_batches: &[Tensor],
    step: u32,
    loss_of: impl Fn(usize, &Tensor, &Training) -> Result<Tensor, TrainError>,
    follow: impl FnMut(&Training) -> Result<(), TrainError>,
) -> Result<f64, TrainError> {
    let n = micro_batches.len();
    let (mut mean, mut passes) = (0.0, Vec::with_capacity(n));
    for (micro, input) in micro_batches.iter().enumerate() {
        let pass = Training::new(SEED, step * n as u32 + micro as u32);
        let loss = loss_of(micro, input, &pass)?;
        mean += scalar(&loss)? / n as f64;
        optimizer.add(backward(&(loss / n as f64)?)?)?;
        passes.push(pass);
    }
    let norm = optimizer.gradient_norm()?;
    optimizer.update(1e-3, norm, u64::from(step) + 1)?;
    passes.iter().try_for_each(follow)?;
    Ok(mean)
}

fn classifier(work: &Work, device: &Device) -> Result<Classifier, TrainError> {
    let Some((kind, n_classes)) = work.classifier else {
        return Err(TrainError::Internal("a classifier's step without a classifier".to_owned()));
    };
    let classes = (0..n_classes).map(|class| class.to_string()).collect();
    let config = ClassifierConfig { network: work.network.clone(), kind, classes };
    Ok(Classifier::new(&config, work.dtype.on(device)?, device, SEED)?)
}

/// A batch of noise, a tensor of `shape` for each micro-batch.
fn pixels(work: &Work, shape: &[usize], device: &Device) -> Result<Vec<Tensor>, TrainError> {
    let mut draws = Stream::new(SEED, Purpose::Synthetic, 0, 0);
    let mut micro_batch = |_| {
        let pixels: Vec<u8> = (0..shape.iter().product()).map(|_| draws.below(256) as u8).collect();
        Ok(Tensor::from_vec(pixels, shape, device)?)
    };
    (0..work.batch / work.micro_batch).map(&mut micro_batch).collect()
}

fn scalar(tensor: &Tensor) -> Result<f64, TrainError> {
    Ok(f64::from(tensor.to_dtype(DType::F32)?.to_scalar::<f32>()?))
}

fn training_plan(work: &Work) -> TrainingPlan {
    TrainingPlan {
        warmup_asked: None,
        seed: SEED,
        steps: 1,
        stop_at: 1,
        batch: work.batch,
        micro_batch: work.micro_batch,
        schedule: Schedule::new(1e-3, 0, 1),
        optimizer: OptimizerPlan::Sgd { momentum: 0.9, weight_decay: 1e-4 },
        clip_norm: None,
        ema_decay: None,
        label_smoothing: 0.0,
        on_non_finite: OnNonFinite::Abort,
    }
}

/// A permutation of the patches of each image from `first` on, new in each step as the peer's are.
fn orders(images: usize, n_patches: usize, step: u32, first: usize) -> Vec<u32> {
    let mut all = Vec::with_capacity(images * n_patches);
    for image in first..first + images {
        let mut order: Vec<u32> = (0..n_patches as u32).collect();
        Stream::new(SEED, Purpose::Mask, step, image as u32).shuffle(&mut order);
        all.extend(order);
    }
    all
}
