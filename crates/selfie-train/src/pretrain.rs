//! Pretraining: which hidden patch belongs at which hidden place.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use selfie_data::{DataSet, Loader, PretrainBatch, PretrainSettings, PretrainSource};
use selfie_eval::record::{RunRecord, Task};
use selfie_eval::{collapse, collapse_of_sums};
use selfie_model::{Mode, Prediction, Selfie, Training};
use selfie_ops::{backward, cross_entropy};

use crate::TrainError;
use crate::config::Resolved;
use crate::estimate::too_long;
use crate::fault::{self, About, Capture, Fault};
use crate::network::{grid_and_masks, network_config, normalization, require_side};
use crate::number_type::NumberType;
use crate::optimizer::Optimizer;
use crate::plan::{PretrainPlan, Request};
use crate::probe::Probe;
use crate::session::{At, Ended, Measured, Opened, Run, Session, Standing, go_on_from};

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

    let config = network_config(&plan.model, &plan.data, normalization(images));
    let network = Selfie::new(&config, session.number_type.on(&session.device)?, &session.device, session.seed)?;
    let mut optimizer = Optimizer::new(network.units(), &plan.training)?;
    let training = &plan.training;
    let source = PretrainSource::new(images.clone(), None, settings(&plan, session.seed)?)?;
    let probe = Probe::new(plan.probe, data, &session.device)?;

    // What can be refused was refused above: no run folder is left by a run that cannot be.
    let record = session.record(record(resolved, data));
    let (run, resumed) = match Run::open(session, &record, &plan.training, plan.checkpoint)? {
        Opened::Ready(run, resumed) => (*run, resumed),
        Opened::Finished(result) => return Ok(Ended::Finished { result, earlier: true }),
    };
    run.until_it_ends(|run| {
        match &resumed {
            Some(checkpoint) => go_on_from(checkpoint, |weights| network.load(weights), &mut optimizer)
                .map_err(|error| run.misfit(error))?,
            None => {
                let too_long = too_long(&config, None, training, session.number_type, &session.device);
                run.note_hints(too_long.into_iter().chain(probe.why_none()));
            }
        }
        let mut loader =
            Loader::new(move |step| source.batch(step), run.remaining(), plan.loader.workers, plan.loader.queue);

        run.bad_samples.allow(plan.loader.max_bad_share, images.len());
        run.start()?;
        for step_idx in run.remaining() {
            let Some(batch) = loader.next_batch() else { break };
            let batch = batch?;
            run.bad_samples.note(&batch.bad, &mut run.progress)?;
            let step = step_idx + 1;
            let at = At { step_idx, device: &session.device, injected: session.injected(step) };
            let (mut measured, passes) = passes(&network, &mut optimizer, &batch, &plan, at)?;
            if let Some(fault) = fault::find(step, &measured, &passes, &optimizer, &batch.examples)? {
                optimizer.drop_gradients();
                let capture = |fault: &Fault| capture(&network, &batch, About::new(&record, images.len(), fault, at));
                if let Some(checkpoint) = run.go_past(fault, training.on_non_finite, capture)? {
                    go_on_from(&checkpoint, |weights| network.load(weights), &mut optimizer)?;
                }
            } else {
                optimizer.update(measured.lr, measured.grad_norm, step)?;
                passes.iter().try_for_each(|pass| network.follow(pass))?;
                optimizer.average(step)?;
                probe.measure_when_due(step, &network, &mut measured)?;
                run.record(step, &batch.examples, &measured, loader.waited())?;
            }
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
    })
}

/// What [`run`] would do in the session's folder, which is left as it is.
#[must_use]
pub fn standing(resolved: &Resolved, data: &DataSet, session: &Session) -> Standing {
    let n_examples = data.train.len() as u64;
    let request = Request { n_examples, seed: session.seed, stop_after: session.stop_after };
    match require_side(resolved, &data.train).and_then(|()| PretrainPlan::new(resolved, request)) {
        Ok(plan) => Standing::of(session, &session.record(record(resolved, data)), (&plan.training, plan.checkpoint)),
        Err(error) => Standing::Refused(error),
    }
}

/// How the batches of a plan are made.
pub(crate) fn settings(plan: &PretrainPlan, seed: u64) -> Result<PretrainSettings, TrainError> {
    let (grid, masks) = grid_and_masks(&plan.data)?;
    let (augmentation, patches) = (plan.data.augmentation, plan.data.patches);
    Ok(PretrainSettings { grid, masks, augmentation, patches, seed, batch: plan.training.batch })
}

/// One step's passes: what they measured; their gradients are in `optimizer`.
fn passes(
    network: &Selfie,
    optimizer: &mut Optimizer<'_>,
    batch: &PretrainBatch,
    plan: &PretrainPlan,
    at: At<'_>,
) -> Result<(Measured, Vec<Training>), TrainError> {
    let training = &plan.training;
    let n = training.n_micro_batches();
    let mut measured = Measured::start(training.schedule.at(at.step_idx), 1.0 / plan.data.n_targets as f64);
    let mut passes = Vec::with_capacity(n);
    for micro in 0..n {
        let pass = Training::new(training.seed, pass_number(at.step_idx, micro, n));
        let (patches, order) = tensors(batch, plan, micro, at.device)?;
        let prediction = network.forward(&at.batch(patches)?, &order, Mode::Training(&pass))?;
        let (loss, labels) = pretext_loss(&prediction.logits, training.label_smoothing)?;
        let loss = at.loss(loss)?;
        optimizer.add(backward(&(&loss / n as f64)?)?)?;
        // Whoever reads a number waits for the device, which has the backward pass to do meanwhile.
        measured.add(&loss, top1_share(&prediction.logits.flatten(0, 1)?, &labels)?, n)?;
        if micro == 0 {
            measured.collapse = spread(&prediction)?;
        }
        passes.push(pass);
    }
    at.gradient(optimizer)?;
    measured.grad_norm = optimizer.gradient_norm()?;
    Ok((measured, passes))
}

/// What repeats a step whose numbers are not finite.
fn capture(network: &Selfie, batch: &PretrainBatch, about: About) -> Result<Capture, TrainError> {
    Ok(Capture {
        about,
        weights: network.weights()?.to_bytes()?,
        pixels: batch.patches.clone(),
        indices: BTreeMap::from([(ORDER.to_owned(), batch.order.clone())]),
    })
}

/// The name of a batch's orders in a capture.
const ORDER: &str = "order";

/// Makes the passes of a captured step again; `path` is the capture's, for messages.
pub(crate) fn replay(
    mut capture: Capture,
    resolved: &Resolved,
    path: &Path,
    device: &Device,
) -> Result<Option<Fault>, TrainError> {
    let weights = capture.weights_file(path)?;
    let About { record, n_examples, fault, injected, .. } = capture.about.clone();
    let plan = PretrainPlan::new(resolved, Request { n_examples, seed: record.seed, stop_after: None })?;
    let network = Selfie::of_file(&weights, path, NumberType::named(&record.dtype)?.on(device)?, device)?;
    let (b, n) = (plan.training.batch, plan.data.n_patches);
    let n_pixels = b * n * plan.data.patch_size * plan.data.patch_size * 3;
    let batch = PretrainBatch {
        patches: capture.take_pixels(n_pixels, path)?,
        order: capture.take(ORDER, b * n, n, path)?,
        examples: fault.examples,
        bad: Vec::new(),
    };
    let mut optimizer = Optimizer::new(network.units(), &plan.training)?;
    let at = At { step_idx: fault.step.saturating_sub(1), device, injected };
    let (measured, passes) = passes(&network, &mut optimizer, &batch, &plan, at)?;
    fault::find(fault.step, &measured, &passes, &optimizer, &batch.examples)
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
    device: &Device,
) -> Result<(Tensor, Tensor), TrainError> {
    let (b, n, p) = (plan.training.micro_batch, plan.data.n_patches, plan.data.patch_size);
    let image = n * p * p * 3;
    let patches = &batch.patches[micro * b * image..(micro + 1) * b * image];
    let order = &batch.order[micro * b * n..(micro + 1) * b * n];
    Ok((Tensor::from_slice(patches, (b, n, p, p, 3), device)?, Tensor::from_slice(order, (b, n), device)?))
}

/// Mean cross entropy of `[B, T, T]` logits, and the right candidate of each query.
fn pretext_loss(logits: &Tensor, label_smoothing: f64) -> Result<(Tensor, Vec<u32>), TrainError> {
    let (b, t, _) = logits.dims3()?;
    let rows = logits.reshape((b * t, t))?;
    let labels: Vec<u32> = (0..b * t).map(|row| (row % t) as u32).collect();
    let loss = cross_entropy(&rows, &labels, label_smoothing)?;
    Ok((loss, labels))
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
    if prediction.h.device().is_cuda() {
        return spread_on_device(&prediction.h.detach().reshape(((), width))?);
    }
    let embeddings = prediction.h.detach().flatten_all()?.to_vec1::<f32>()?;
    Ok(collapse(&embeddings, width))
}

/// [`collapse`] of `[rows, width]`, of which only sums leave the device.
fn spread_on_device(embeddings: &Tensor) -> Result<Option<f64>, TrainError> {
    /// A length by which a row of zeros may be divided.
    const SHORTEST: f64 = 1e-30;
    let rows = embeddings.dim(0)?;
    // In f64, since products in f32 may be TF32's.
    let embeddings = embeddings.to_dtype(DType::F64)?;
    let lengths = (embeddings.sqr()?.sum_keepdim(1)?.sqrt()? + SHORTEST)?;
    let normalised = embeddings.broadcast_div(&lengths)?;
    let ones = Tensor::ones((1, rows), embeddings.dtype(), embeddings.device())?;
    let sums = |of: &Tensor| ones.matmul(of)?.flatten_all()?.to_vec1::<f64>();
    Ok(collapse_of_sums(&sums(&normalised)?, &sums(&normalised.sqr()?)?, rows))
}
