//! Pretraining: which hidden patch belongs at which hidden place.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use selfie_data::{DataSet, Loader, PretrainBatch, PretrainSettings, PretrainSource};
use selfie_eval::collapse;
use selfie_eval::record::{RunRecord, Task};
use selfie_model::{Mode, Prediction, Selfie, Training};
use selfie_ops::{backward, cross_entropy};

use crate::TrainError;
use crate::config::Resolved;
use crate::network::{grid_and_masks, network_config, require_side};
use crate::optimizer::Optimizer;
use crate::plan::{PretrainPlan, Request};
use crate::session::{Ended, Measured, Opened, Run, Session, weights_of};

/// Pretrains on all training images of `data`, from where the run folder stands.
///
/// # Errors
///
/// If the configuration is illegal, the run folder belongs to another run or cannot be written, or a number is not finite.
pub fn run(resolved: &Resolved, data: &DataSet, session: &Session) -> Result<Ended, TrainError> {
    let images = &data.train;
    let request = Request { n_examples: images.len() as u64, seed: session.seed, stop_after: session.stop_after };
    let plan = PretrainPlan::new(resolved, request)?;
    require_side(resolved, images)?;

    let config = network_config(&plan.model, &plan.data, images);
    let network = Selfie::new(&config, session.number_type.on(&session.device)?, &session.device, session.seed)?;
    let mut optimizer = Optimizer::new(network.units(), &plan.training)?;
    let training = &plan.training;
    let source = PretrainSource::new(images.clone(), None, settings(&plan, session.seed)?)?;

    // What can be refused was refused above: no run folder is left by a run that cannot be.
    let record = session.record(record(resolved, data));
    let (mut run, resumed) = match Run::open(session, &record, &plan.training, plan.checkpoint)? {
        Opened::Ready(run, resumed) => (*run, resumed),
        Opened::Finished(result) => return Ok(Ended::Finished { result, earlier: true }),
    };
    if let Some(checkpoint) = &resumed {
        network.load(&weights_of(checkpoint, &config)?)?;
        optimizer.load(&checkpoint.snapshot.optimizer, &checkpoint.path)?;
    }
    let mut loader =
        Loader::new(move |step| source.batch(step), run.remaining(), plan.loader.workers, plan.loader.queue);

    run.bad_samples.allow(plan.loader.max_bad_share, images.len());
    run.start_clock();
    for step_idx in run.remaining() {
        let Some(batch) = loader.next_batch() else { break };
        let batch = batch?;
        run.bad_samples.note(&batch.bad, &mut run.progress)?;
        let mut measured = Measured::start(training.schedule.at(step_idx), 1.0 / plan.data.n_targets as f64);
        let mut passes = Vec::with_capacity(training.n_micro_batches());
        for micro in 0..training.n_micro_batches() {
            let pass = Training::new(session.seed, pass_number(step_idx, micro, training.n_micro_batches()));
            let (patches, order) = tensors(&batch, &plan, micro, session)?;
            let prediction = network.forward(&patches, &order, Mode::Training(&pass))?;
            let (loss, accuracy) = pretext_loss(&prediction.logits, training.label_smoothing)?;
            measured.add(&loss, accuracy, training.n_micro_batches())?;
            if micro == 0 {
                measured.collapse = spread(&prediction)?;
            }
            optimizer.add(backward(&(loss / training.n_micro_batches() as f64)?)?)?;
            passes.push(pass);
        }
        let step = step_idx + 1;
        measured.grad_norm = optimizer.gradient_norm()?;
        run.require_finite(step, &measured, &batch.examples)?;
        optimizer.update(measured.lr, measured.grad_norm, step)?;
        passes.iter().try_for_each(|pass| network.follow(pass))?;
        optimizer.average(step)?;
        run.record(step, training.batch, &measured, loader.waited())?;
        let snapshot = || Ok((network.weights()?.to_bytes()?, optimizer.to_bytes()?));
        if let Some(ended) = run.save_when_due(step, snapshot)? {
            return Ok(ended);
        }
    }
    if let Some(stopped) = run.stopped_before() {
        return Ok(stopped);
    }
    let outcome = run.pretext_outcome()?;
    run.finish(&optimizer.averaged(network.weights()?)?, outcome, training.batch)
}

/// How the batches of a plan are made.
pub(crate) fn settings(plan: &PretrainPlan, seed: u64) -> Result<PretrainSettings, TrainError> {
    let (grid, masks) = grid_and_masks(&plan.data)?;
    let (augmentation, patches) = (plan.data.augmentation, plan.data.patches);
    Ok(PretrainSettings { grid, masks, augmentation, patches, seed, batch: plan.training.batch })
}

/// Numbers the forward passes of a run, so that no two share their dropout.
pub(crate) fn pass_number(step_idx: u64, micro: usize, n_micro_batches: usize) -> u32 {
    (step_idx * n_micro_batches as u64 + micro as u64) as u32
}

fn record(resolved: &Resolved, data: &DataSet) -> RunRecord {
    RunRecord {
        data_name: Some(data.name.clone()),
        data_hashes: BTreeMap::from([("train".to_owned(), data.train.content_hash())]),
        ..RunRecord::new(Task::Pretrain, &resolved.recipe, resolved.to_json(), resolved.sources())
    }
}

/// One micro-batch: patches `[B, N, P, P, 3]` and orders `[B, N]`.
fn tensors(
    batch: &PretrainBatch,
    plan: &PretrainPlan,
    micro: usize,
    session: &Session,
) -> Result<(Tensor, Tensor), TrainError> {
    let (b, n, p) = (plan.training.micro_batch, plan.data.n_patches, plan.data.patch_size);
    let image = n * p * p * 3;
    let patches = &batch.patches[micro * b * image..(micro + 1) * b * image];
    let order = &batch.order[micro * b * n..(micro + 1) * b * n];
    Ok((
        Tensor::from_slice(patches, (b, n, p, p, 3), &session.device)?,
        Tensor::from_slice(order, (b, n), &session.device)?,
    ))
}

/// Mean cross entropy of `[B, T, T]` logits and the share of queries whose best candidate is the right one.
fn pretext_loss(logits: &Tensor, label_smoothing: f64) -> Result<(Tensor, f64), TrainError> {
    let (b, t, _) = logits.dims3()?;
    let rows = logits.reshape((b * t, t))?;
    let labels: Vec<u32> = (0..b * t).map(|row| (row % t) as u32).collect();
    let loss = cross_entropy(&rows, &labels, label_smoothing)?;
    Ok((loss, top1_share(&rows, &labels)?))
}

/// The share of rows whose largest logit is their label's; among equals the first counts.
pub(crate) fn top1_share(logits: &Tensor, labels: &[u32]) -> Result<f64, TrainError> {
    let rows = logits.detach().to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let best = |row: &Vec<f32>| (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
    let right = rows.iter().zip(labels).filter(|(row, label)| best(row) == **label as usize).count();
    Ok(right as f64 / labels.len().max(1) as f64)
}

fn spread(prediction: &Prediction) -> Result<Option<f64>, TrainError> {
    let width = prediction.h.dim(2)?;
    let embeddings = prediction.h.detach().flatten_all()?.to_vec1::<f32>()?;
    Ok(collapse(&embeddings, width))
}
