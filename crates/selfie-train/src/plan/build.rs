//! From the configuration to the plans: every condition on a value, alone or beside another.

use selfie_data::SetName;
use selfie_eval::record::Task;

use super::augment::{augmentation, mixing, patch_augmentation};
use super::check::Check;
use super::{
    CheckpointPlan, ClassifierPlan, DataPlan, FinetunePlan, LoaderPlan, LogitScalePlan, ModelPlan, OptimizerPlan,
    PretrainPlan, ProbePlan, Request, TrainingPlan,
};
use crate::TrainError;
use crate::config::{
    Architecture, ClassifierKind, EmbeddingAt, LogitScale, OptimizerKind, Resolved, Stem, TrainingConfig,
};
use crate::schedule::Schedule;

impl PretrainPlan {
    /// The checked plan of a pretraining run.
    ///
    /// # Errors
    ///
    /// At the first value that cannot be used, alone or beside another; the error names its key and where it came from.
    pub fn new(resolved: &Resolved, request: Request) -> Result<Self, TrainError> {
        let data = data_plan(resolved)?;
        Ok(Self {
            model: model_plan(resolved, &data)?,
            data,
            loader: loader_plan(resolved)?,
            checkpoint: checkpoint_plan(resolved)?,
            probe: probe_plan(resolved)?,
            training: training_plan(resolved, Task::Pretrain, request)?,
        })
    }
}

impl FinetunePlan {
    /// The checked plan of a fine-tuning run on `fraction` of the labels.
    ///
    /// # Errors
    ///
    /// At the first value that cannot be used, alone or beside another; the error names its key and where it came from.
    pub fn new(resolved: &Resolved, request: Request, fraction: f64) -> Result<Self, TrainError> {
        if !(fraction > 0.0 && fraction <= 1.0) {
            let expected = "a share of the labels above 0 and at most 1, such as 0.05".to_owned();
            let got = fraction.to_string();
            return Err(TrainError::Usage { argument: "--fraction".to_owned(), expected, got });
        }
        let finetune = &resolved.config.finetune;
        let norm_from_patch_network = finetune.stage4_norm_from_patch_network;
        let is_v2 = resolved.config.model.architecture == Architecture::Resnet50V2;
        Check::new(resolved, "finetune.stage4_norm_from_patch_network").require(
            !norm_from_patch_network || (is_v2 && finetune.classifier == ClassifierKind::Stage4),
            "false, or model.architecture = \"resnet50v2\" and finetune.classifier = \"stage4\", which have that norm",
            norm_from_patch_network,
        )?;
        let data = data_plan(resolved)?;
        Ok(Self {
            model: model_plan(resolved, &data)?,
            data,
            loader: loader_plan(resolved)?,
            checkpoint: checkpoint_plan(resolved)?,
            training: training_plan(resolved, Task::Finetune, request)?,
            classifier: match finetune.classifier {
                ClassifierKind::Stage4 => ClassifierPlan::Stage4 { norm_from_patch_network },
                ClassifierKind::AttentionPooling => ClassifierPlan::AttentionPooling,
                ClassifierKind::PatchNetwork => ClassifierPlan::PatchNetwork,
            },
            last_layer_only: finetune.last_layer_only,
            mixing: mixing(resolved)?,
            fraction,
        })
    }
}

fn data_plan(resolved: &Resolved) -> Result<DataPlan, TrainError> {
    let check = |key| Check::new(resolved, key);
    let data = &resolved.config.data;
    let known = SetName::ALL.into_iter().find(|set| set.as_str() == data.set);
    let Some(set) = known else {
        let names = SetName::ALL.map(SetName::as_str).join(", ");
        let (key, expected) = ("data.set".to_owned(), format!("one of {names}"));
        let (origin, got) = (resolved.source(&key), data.set.clone());
        return Err(TrainError::BadValue { key, origin, expected, got });
    };
    check("data.image_size").within(data.image_size, 2..=1024)?;
    check("data.patch_size").within(data.patch_size, 1..=data.image_size)?;
    check("data.patch_size").require(
        data.image_size.is_multiple_of(data.patch_size),
        format!("a divisor of data.image_size = {}", data.image_size),
        data.patch_size,
    )?;
    let grid_side = data.image_size / data.patch_size;
    let n_patches = grid_side * grid_side;
    check("data.n_targets").require(
        data.n_targets >= 2 && data.n_targets < n_patches,
        format!("at least 2 and fewer than the {n_patches} patches of the {grid_side}×{grid_side} grid"),
        data.n_targets,
    )?;
    Ok(DataPlan {
        set,
        image_size: data.image_size,
        patch_size: data.patch_size,
        grid_side,
        n_patches,
        n_targets: data.n_targets,
        augmentation: augmentation(resolved)?,
        patches: patch_augmentation(resolved)?,
    })
}

fn model_plan(resolved: &Resolved, data: &DataPlan) -> Result<ModelPlan, TrainError> {
    let check = |key| Check::new(resolved, key);
    let model = &resolved.config.model;
    check("model.width").within(model.width, 1..=512)?;
    for depth in model.depths {
        check("model.depths").within(depth, 1..=64)?;
    }
    let embedding = 16 * model.width;
    check("model.heads").require(
        model.heads > 0 && embedding.is_multiple_of(model.heads),
        format!("a divisor of the embedding's {embedding} channels (16 × model.width)"),
        model.heads,
    )?;
    check("model.ffn").within(model.ffn, 1..=65_536)?;
    check("model.layers").within(model.layers, 1..=64)?;
    check("model.dropout").share(model.dropout)?;
    // Strides of the stem and of stages 2 and 3: a patch must be whole cells of stage 3's output.
    let stride = match model.stem {
        Stem::ThreeByThree => 4,
        Stem::SevenBySeven => 16,
    };
    check("model.stem").require(
        data.patch_size.is_multiple_of(stride),
        format!("a stem whose stride up to stage 3 divides data.patch_size = {} (3x3: 4, 7x7: 16)", data.patch_size),
        format!("stride {stride}"),
    )?;
    let logit_scale = match model.logit_scale {
        LogitScale::Raw => LogitScalePlan::Raw,
        LogitScale::InverseSqrt => LogitScalePlan::InverseSqrt,
        LogitScale::Cosine => {
            check("model.temperature").positive(model.temperature)?;
            LogitScalePlan::Cosine { temperature: model.temperature }
        }
    };
    Ok(ModelPlan {
        architecture: model.architecture,
        width: model.width,
        depths: model.depths,
        stem: model.stem,
        embedding,
        heads: model.heads,
        ffn: model.ffn,
        layers: model.layers,
        dropout: model.dropout,
        norm_first: model.norm_first,
        positions: model.positions,
        context_positions: model.context_positions,
        logit_scale,
    })
}

fn loader_plan(resolved: &Resolved) -> Result<LoaderPlan, TrainError> {
    let loader = &resolved.config.loader;
    Check::new(resolved, "loader.workers").within(loader.workers, 0..=256)?;
    Check::new(resolved, "loader.queue").within(loader.queue, 1..=1024)?;
    Check::new(resolved, "loader.max_bad_share").share(loader.max_bad_share)?;
    Ok(LoaderPlan { workers: loader.workers, queue: loader.queue, max_bad_share: loader.max_bad_share })
}

fn checkpoint_plan(resolved: &Resolved) -> Result<CheckpointPlan, TrainError> {
    let checkpoint = &resolved.config.checkpoint;
    Check::new(resolved, "checkpoint.every_steps").within(checkpoint.every_steps, 1..=u64::from(u32::MAX))?;
    Check::new(resolved, "checkpoint.keep").within(checkpoint.keep, 2..=1_000_000)?;
    Ok(CheckpointPlan { every_steps: checkpoint.every_steps, keep: checkpoint.keep })
}

fn probe_plan(resolved: &Resolved) -> Result<ProbePlan, TrainError> {
    let probe = &resolved.config.probe;
    Check::new(resolved, "probe.every_steps").within(probe.every_steps, 0..=u64::from(u32::MAX))?;
    Check::new(resolved, "probe.n_examples").within(probe.n_examples, 2..=1_000_000)?;
    let expected = "a place of the pretraining network: stage1, stage2, stage3, h or u";
    Check::new(resolved, "probe.at").require(probe.at != EmbeddingAt::Stage4, expected, probe.at)?;
    Ok(ProbePlan { every_steps: probe.every_steps, n_examples: probe.n_examples, at: probe.at })
}

fn training_plan(resolved: &Resolved, task: Task, request: Request) -> Result<TrainingPlan, TrainError> {
    let check = |key: &str| Check::new(resolved, &format!("{task}.{key}"));
    let training = match task {
        Task::Pretrain => &resolved.config.pretrain,
        Task::Finetune => &resolved.config.finetune.training,
    };
    check("batch").within(training.batch, 1..=1 << 20)?;
    // One micro-batch cannot hold more than the batch: `--set batch=32` alone is enough to train small.
    let micro_batch = if training.micro_batch == 0 { training.batch } else { training.micro_batch.min(training.batch) };
    check("micro_batch").require(
        training.batch.is_multiple_of(micro_batch),
        format!("a divisor of {task}.batch = {}", training.batch),
        micro_batch,
    )?;
    let steps = steps(resolved, task, training, micro_batch, request.n_examples)?;
    if request.stop_after == Some(0) {
        let expected = "a step to stop after, at least 1".to_owned();
        return Err(TrainError::Usage { argument: "--stop-after".to_owned(), expected, got: "0".to_owned() });
    }
    check("learning_rate").positive(training.learning_rate)?;
    check("clip_norm").not_negative(training.clip_norm)?;
    check("ema_decay").share(training.ema_decay)?;
    check("label_smoothing").share(training.label_smoothing)?;
    let warmup_steps = training.warmup_steps.min(steps / 10);
    Ok(TrainingPlan {
        seed: request.seed,
        steps,
        stop_at: request.stop_after.unwrap_or(steps).min(steps),
        batch: training.batch,
        micro_batch,
        schedule: Schedule::new(training.learning_rate, warmup_steps, steps),
        warmup_asked: (warmup_steps < training.warmup_steps).then_some(training.warmup_steps),
        optimizer: optimizer_plan(resolved, task, training)?,
        clip_norm: (training.clip_norm > 0.0).then_some(training.clip_norm),
        ema_decay: (training.ema_decay > 0.0).then_some(training.ema_decay),
        label_smoothing: training.label_smoothing,
        on_non_finite: training.on_non_finite,
    })
}

fn optimizer_plan(resolved: &Resolved, task: Task, training: &TrainingConfig) -> Result<OptimizerPlan, TrainError> {
    let check = |key: &str| Check::new(resolved, &format!("{task}.{key}"));
    let weight_decay = training.weight_decay;
    check("weight_decay").not_negative(weight_decay)?;
    match training.optimizer {
        OptimizerKind::Sgd => {
            check("momentum").share(training.momentum)?;
            Ok(OptimizerPlan::Sgd { momentum: training.momentum, weight_decay })
        }
        OptimizerKind::AdamW => {
            check("beta1").share(training.beta1)?;
            check("beta2").share(training.beta2)?;
            Ok(OptimizerPlan::AdamW { beta1: training.beta1, beta2: training.beta2, weight_decay })
        }
    }
}

/// The length in updates, rounded up: a length of a few examples is one update, never none. `micro_batch` divides the batch.
fn steps(
    resolved: &Resolved,
    task: Task,
    training: &TrainingConfig,
    micro_batch: usize,
    n_examples: u64,
) -> Result<u64, TrainError> {
    let batch = training.batch as u64;
    let (key, steps) = match (training.steps, training.epochs, training.examples) {
        (Some(steps), None, None) => ("steps", steps),
        (None, Some(epochs), None) => {
            Check::new(resolved, &format!("{task}.epochs")).positive(epochs)?;
            if n_examples == 0 {
                return Err(TrainError::Internal("a plan was asked for without examples".to_owned()));
            }
            // `as` saturates: too many epochs are refused below.
            ("epochs", (epochs * n_examples as f64 / batch as f64).ceil() as u64)
        }
        (None, None, Some(examples)) => ("examples", examples.div_ceil(batch)),
        (steps, epochs, examples) => {
            let got = format!("steps {steps:?}, epochs {epochs:?}, examples {examples:?}");
            Check::new(resolved, &format!("{task}.steps")).require(
                false,
                "exactly one of steps, epochs and examples",
                got,
            )?;
            ("steps", 0)
        }
    };
    // Draws are keyed by the 32-bit number of a forward pass.
    let longest = u64::from(u32::MAX) / (training.batch / micro_batch) as u64;
    Check::new(resolved, &format!("{task}.{key}")).require(
        (1..=longest).contains(&steps),
        format!("a length of 1 to {longest} updates"),
        format!("{steps} updates"),
    )?;
    Ok(steps)
}
