//! Fine-tuning on a fraction of the labels, from pretrained weights or from scratch.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use selfie_data::{
    DataSet, Images, LabelledBatch, LabelledSettings, LabelledSource, Loader, MixedLabels, Splits, Subset, SubsetFile,
    classes_in_words, labelled_subset,
};
use selfie_eval::record::{ClassAccuracy, Outcome, PretrainedFrom, RunRecord, Split, Task};
use selfie_eval::{AccuracyMeter, evaluate};
use selfie_model::{Classifier, ClassifierConfig, Metadata, Mode, ModelError, SelfieConfig, Training, WeightsFile};
use selfie_ops::{backward, cross_entropy};

use crate::TrainError;
use crate::checkpoint::require_intact;
use crate::config::Resolved;
use crate::estimate::too_long;
use crate::fault::{self, About, Capture, Fault};
use crate::files::Files;
use crate::network::{network_config, normalization, require_side};
use crate::number_type::NumberType;
use crate::optimizer::Optimizer;
use crate::plan::{ClassifierPlan, FinetunePlan, Request};
use crate::pretrain::{pass_number, top1_share};
use crate::session::{At, Ended, Measured, Opened, Run, Session, Standing, go_on_from};

/// The labelled examples of a run, in the run folder.
pub const SUBSET: &str = "subset.txt";

/// What a fine-tuning starts from and which labels it may see.
#[derive(Clone, Debug)]
pub struct Labels {
    /// Share of the full training set's labels, above 0 and at most 1; not looked at where there is a `subset`.
    pub fraction: f64,
    /// The user's own choice of examples.
    pub subset: Option<SubsetFile>,
    /// Pretrained weights; none from scratch.
    pub pretrained: Option<Pretrained>,
    /// The split that the finished classifier is measured on: the test set, unless a choice is still to be made.
    pub split: Split,
}

impl Labels {
    /// The share of the labels that a run on `n_examples` of `n_train_total` sees: the one asked for, or the subset's own.
    pub(crate) fn share(&self, n_examples: u64, n_train_total: u64) -> f64 {
        // A subset of a set that is not here may name more examples than were published.
        let own = (n_examples as f64 / n_train_total as f64).min(1.0);
        if self.subset.is_some() { own } else { self.fraction }
    }
}

/// Pretrained weights and where they came from.
#[derive(Clone, Debug)]
pub struct Pretrained {
    weights: WeightsFile,
    from: PretrainedFrom,
}

impl Pretrained {
    /// Reads a weights file; the hash is of the bytes that were read.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is no weights file, or is not what the result of its run names.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let bytes = std::fs::read(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        let hash = blake3::hash(&bytes).to_hex().to_string();
        let from = PretrainedFrom { path: path.display().to_string(), hash };
        require_intact(path)?;
        let weights = WeightsFile::from_bytes(&bytes, path)?;
        if !matches!(weights.metadata, Metadata::Pretraining(_)) {
            let (expected, got) = ("a pretraining network", weights.metadata.kind());
            return Err(ModelError::Kind { path: path.to_owned(), expected, got }.into());
        }
        Ok(Self { weights, from })
    }

    /// The network they are of.
    #[must_use]
    pub fn network(&self) -> &SelfieConfig {
        self.weights.metadata.network()
    }

    /// Where the weights came from.
    #[must_use]
    pub fn from(&self) -> &PretrainedFrom {
        &self.from
    }
}

/// Fine-tunes on a labelled subset of `data` and measures the result, from where the run folder stands.
///
/// # Errors
///
/// If the configuration is illegal, the pretrained weights do not fit, the run folder belongs to another run or cannot be written, or a
/// number is not finite.
pub fn run(resolved: &Resolved, data: &DataSet, labels: &Labels, session: &Session) -> Result<Ended, TrainError> {
    data.require_classes()?;
    let images = &data.train;
    let (subset, measured_on) = chosen(data, labels, session.seed)?;
    let n_examples = subset.examples.len();
    let plan = plan(resolved, labels, images, (&subset, session))?;
    require_side(resolved, images)?;

    let network = classifier(&plan, images, labels, session)?;
    let started_from = format!("{n_examples} labelled images; {}", start_from(&network, &plan, labels)?);
    let trained = if plan.last_layer_only { vec![network.last_layer()] } else { network.units() };
    let mut optimizer = Optimizer::new(trained, &plan.training)?;
    let training = &plan.training;
    let source = LabelledSource::new(images.clone(), subset.examples.as_slice().into(), settings(&plan, session.seed))?;

    // What can be refused was refused above: no run folder is left by a run that cannot be.
    let record = session.record(record(resolved, data, labels, (&plan, &subset)));
    let (run, resumed) = match Run::open(session, &record, &plan.training, plan.checkpoint)? {
        Opened::Ready(run, resumed) => (*run, resumed),
        Opened::Finished(result) => return Ok(Ended::Finished { result, earlier: true }),
    };
    run.until_it_ends(|run| {
        match &resumed {
            Some(checkpoint) => go_on_from(checkpoint, |weights| network.load(weights), &mut optimizer)
                .map_err(|error| run.misfit(error))?,
            None => {
                run.progress.note(&started_from);
                let classifier = Some((plan.classifier.kind(), images.n_classes()));
                let network = &network.config().network;
                run.note_hints(too_long(network, classifier, training, session.number_type, &session.device));
                without_labels(images, &subset).iter().for_each(|warning| run.progress.warn(warning));
                Files::disk().write_atomic(&session.out.join(SUBSET), subset.to_text(images).as_bytes())?;
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
            let (measured, passes) = passes(&network, &mut optimizer, &batch, &plan, at)?;
            if let Some(fault) = fault::find(step, &measured, &passes, &optimizer, &batch.examples)? {
                optimizer.drop_gradients();
                let capture = |fault: &Fault| capture(&network, &batch, About::new(&record, n_examples, fault, at));
                if let Some(checkpoint) = run.go_past(fault, training.on_non_finite, capture)? {
                    go_on_from(&checkpoint, |weights| network.load(weights), &mut optimizer)?;
                }
            } else {
                optimizer.update(measured.lr, measured.grad_norm, step)?;
                passes.iter().try_for_each(|pass| network.follow(pass))?;
                optimizer.average(step)?;
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
        let weights = optimizer.averaged(network.weights()?)?;
        network.load(&weights)?;
        let measured_images = if measured_on.is_some() { images } else { &data.test };
        let evaluated = evaluate(&network, measured_images, measured_on, &session.device)?;
        let n_measured = evaluated.meter.n_examples() as usize + evaluated.bad.len();
        run.bad_samples.allow(plan.loader.max_bad_share, n_measured);
        run.bad_samples.note_left_out(&evaluated.bad, labels.split, &mut run.progress)?;
        run.finish(&weights, outcome(&evaluated.meter, data.train.class_names(), labels.split)?, training.batch)
    })
}

/// How the batches of a plan are made.
pub(crate) fn settings(plan: &FinetunePlan, seed: u64) -> LabelledSettings {
    LabelledSettings { augmentation: plan.data.augmentation, mixing: plan.mixing, seed, batch: plan.training.batch }
}

/// One step's passes: what they measured; their gradients are in `optimizer`.
fn passes(
    network: &Classifier,
    optimizer: &mut Optimizer<'_>,
    batch: &LabelledBatch,
    plan: &FinetunePlan,
    at: At<'_>,
) -> Result<(Measured, Vec<Training>), TrainError> {
    let training = &plan.training;
    let n = training.n_micro_batches();
    let chance = 1.0 / network.config().classes.len() as f64;
    let mut measured = Measured::start(training.schedule.at(at.step_idx), chance);
    let mut passes = Vec::with_capacity(n);
    for micro in 0..n {
        let pass = Training::new(training.seed, pass_number(at.step_idx, micro, n));
        let of = micro * training.micro_batch..(micro + 1) * training.micro_batch;
        let images = at.batch(pixels(batch, plan, of.clone(), at.device)?)?;
        let logits = logits(network, &images, plan, Mode::Training(&pass))?;
        let loss = at.loss(loss(&logits, batch, of.clone(), training.label_smoothing)?)?;
        optimizer.add(backward(&(&loss / n as f64)?)?)?;
        // Whoever reads a number waits for the device, which has the backward pass to do meanwhile.
        measured.add(&loss, accuracy(&logits, batch, of)?, n)?;
        passes.push(pass);
    }
    at.gradient(optimizer)?;
    measured.grad_norm = optimizer.gradient_norm()?;
    Ok((measured, passes))
}

/// What repeats a step whose numbers are not finite.
fn capture(network: &Classifier, batch: &LabelledBatch, about: About) -> Result<Capture, TrainError> {
    let mut indices = BTreeMap::from([(LABELS.to_owned(), batch.labels.clone())]);
    if let Some(mixed) = &batch.mixed {
        indices.insert(MIXED_LABELS.to_owned(), mixed.labels.clone());
    }
    Ok(Capture {
        about: About { mixed_share: batch.mixed.as_ref().map(|mixed| mixed.share), ..about },
        weights: network.weights()?.to_bytes()?,
        pixels: batch.images.clone(),
        indices,
    })
}

/// The names of a batch's labels in a capture.
const LABELS: &str = "labels";
const MIXED_LABELS: &str = "mixed_labels";

/// Makes the passes of a captured step again; `path` is the capture's, for messages.
pub(crate) fn replay(
    mut capture: Capture,
    resolved: &Resolved,
    path: &Path,
    device: &Device,
) -> Result<Option<Fault>, TrainError> {
    let weights = capture.weights_file(path)?;
    let About { record, n_examples, fault, injected, mixed_share } = capture.about.clone();
    let request = Request { n_examples, seed: record.seed, stop_after: None };
    let plan = FinetunePlan::new(resolved, request, record.fraction.unwrap_or(1.0))?;
    let network = Classifier::of_file(&weights, path, NumberType::named(&record.dtype)?.on(device)?, device)?;
    let (b, side, n_classes) = (plan.training.batch, plan.data.image_size, network.config().classes.len());
    let mixed = match mixed_share {
        Some(share) => Some(MixedLabels { labels: capture.take(MIXED_LABELS, b, n_classes, path)?, share }),
        None => None,
    };
    let batch = LabelledBatch {
        images: capture.take_pixels(b * side * side * 3, path)?,
        labels: capture.take(LABELS, b, n_classes, path)?,
        examples: fault.examples,
        mixed,
        bad: Vec::new(),
    };
    let mut optimizer = Optimizer::new(network.units(), &plan.training)?;
    let at = At { step_idx: fault.step.saturating_sub(1), device, injected };
    let (measured, passes) = passes(&network, &mut optimizer, &batch, &plan, at)?;
    fault::find(fault.step, &measured, &passes, &optimizer, &batch.examples)
}

/// The examples to train on, and the validation examples where those are what is measured.
pub(crate) type Chosen = (Subset, Option<Arc<[u32]>>);

pub(crate) fn chosen(data: &DataSet, labels: &Labels, seed: u64) -> Result<Chosen, TrainError> {
    let images = &data.train;
    let splits = Splits::new(images.labels());
    let validates = labels.split == Split::Validation;
    // Here, and not after all steps.
    if validates {
        splits.require_validation(&images.class_counts())?;
    } else {
        data.require_test_images()?;
    }
    let drawn = |fraction| labelled_subset(images.labels(), &splits.train, images.len(), fraction, seed);
    let subset = match &labels.subset {
        Some(file) => file.of(images, if validates { &splits.validation } else { &[] })?,
        // The whole set would contain what is measured: a choice at 1.0 is made on the nine tenths.
        None if validates && labels.fraction == 1.0 => drawn(splits.train.len() as f64 / images.len() as f64)?,
        None => drawn(labels.fraction)?,
    };
    Ok((subset, validates.then(|| splits.validation.into())))
}

/// Names the classes without an example, which a user's own choice may leave.
fn without_labels(images: &Images, subset: &Subset) -> Option<String> {
    let mut counts = vec![0; images.n_classes()];
    subset.examples.iter().for_each(|&example| counts[usize::from(images.labels()[example as usize])] += 1);
    let missing: Vec<String> =
        images.class_names().iter().zip(counts).filter(|(_, n)| *n == 0).map(|(name, _)| name.clone()).collect();
    let words = (!missing.is_empty()).then(|| classes_in_words(&missing))?;
    Some(format!("no labelled image of {words}: what has none cannot be learnt"))
}

/// What [`run`] would do in the session's folder, which is left as it is.
#[must_use]
pub fn standing(resolved: &Resolved, data: &DataSet, labels: &Labels, session: &Session) -> Standing {
    let planned = || {
        data.require_classes()?;
        let (subset, _) = chosen(data, labels, session.seed)?;
        let plan = plan(resolved, labels, &data.train, (&subset, session))?;
        require_side(resolved, &data.train)?;
        start_from(&classifier(&plan, &data.train, labels, session)?, &plan, labels)?;
        let record = session.record(record(resolved, data, labels, (&plan, &subset)));
        Ok::<_, TrainError>((plan, record))
    };
    match planned() {
        Ok((plan, record)) => Standing::of(session, &record, (&plan.training, plan.checkpoint)),
        Err(error) => Standing::Refused(error),
    }
}

fn plan(
    resolved: &Resolved,
    labels: &Labels,
    images: &Images,
    (subset, session): (&Subset, &Session),
) -> Result<FinetunePlan, TrainError> {
    let n_examples = subset.examples.len() as u64;
    let request = Request { n_examples, seed: session.seed, stop_after: session.stop_after };
    FinetunePlan::new(resolved, request, labels.share(n_examples, images.len() as u64))
}

fn record(resolved: &Resolved, data: &DataSet, labels: &Labels, (plan, subset): (&FinetunePlan, &Subset)) -> RunRecord {
    let hashes = [("train", &data.train), ("test", &data.test)];
    RunRecord {
        fraction: Some(plan.fraction),
        subset_hash: Some(subset.hash.clone()),
        pretrained_from: labels.pretrained.as_ref().map(|pretrained| pretrained.from.clone()),
        data_name: Some(data.name.clone()),
        data_hashes: hashes
            .map(|(split, images)| (split.to_owned(), images.content_hash()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        split: Some(labels.split),
        subset_file: labels.subset.as_ref().map(|file| file.path().display().to_string()),
        ..RunRecord::new(Task::Finetune, &resolved.recipe, resolved.to_json(), resolved.sources())
    }
}

/// The classifier before training. A pretrained one normalises as its pretraining did.
fn classifier(
    plan: &FinetunePlan,
    images: &Images,
    labels: &Labels,
    session: &Session,
) -> Result<Classifier, TrainError> {
    let normalization = match &labels.pretrained {
        Some(Pretrained { weights, .. }) => weights.metadata.normalization(),
        None => normalization(images),
    };
    let network = network_config(&plan.model, &plan.data, normalization);
    let kind = plan.classifier.kind();
    let config = ClassifierConfig { network, kind, classes: images.class_names().to_vec() };
    Ok(Classifier::new(&config, session.number_type.on(&session.device)?, &session.device, session.seed)?)
}

/// Puts the starting weights in place and says what they are.
fn start_from(network: &Classifier, plan: &FinetunePlan, labels: &Labels) -> Result<String, TrainError> {
    let Some(Pretrained { weights, from }) = &labels.pretrained else {
        return Ok("from scratch: every tensor starts fresh".to_owned());
    };
    let norm = matches!(plan.classifier, ClassifierPlan::Stage4 { norm_from_patch_network: true });
    let transferred = network
        .transfer_from(weights, norm)
        .map_err(|source| TrainError::Misfit { path: PathBuf::from(&from.path), source })?;
    let (loaded, fresh) = (transferred.loaded.len(), transferred.fresh.len());
    let groups = groups(&transferred.fresh).join(", ");
    Ok(format!("from {}: {loaded} tensors loaded, {fresh} start fresh ({groups})", from.path))
}

/// The first two parts of the names, each once: `stages.3`, `head.fc`.
fn groups(names: &[String]) -> Vec<String> {
    let mut groups: Vec<String> =
        names.iter().map(|name| name.split('.').take(2).collect::<Vec<_>>().join(".")).collect();
    groups.sort();
    groups.dedup();
    groups
}

/// The images of a micro-batch, `[B, H, W, 3]`.
fn pixels(
    batch: &LabelledBatch,
    plan: &FinetunePlan,
    micro: Range<usize>,
    device: &Device,
) -> Result<Tensor, TrainError> {
    let side = plan.data.image_size;
    let image = side * side * 3;
    let pixels = &batch.images[micro.start * image..micro.end * image];
    Ok(Tensor::from_slice(pixels, (micro.len(), side, side, 3), device)?)
}

/// Scores of a micro-batch, `[B, L]`. A frozen network takes no batch statistics, drops nothing out and gets no gradients.
fn logits(network: &Classifier, pixels: &Tensor, plan: &FinetunePlan, mode: Mode<'_>) -> Result<Tensor, TrainError> {
    if plan.last_layer_only {
        return Ok(network.scores(&network.features(pixels, Mode::Inference)?, mode)?);
    }
    Ok(network.forward(pixels, mode)?.logits)
}

/// Mean cross entropy of a micro-batch's `[B, L]` logits, and the share of images whose best class is the right one; of mixed images,
/// the means over both labels, each with its share.
fn loss(logits: &Tensor, batch: &LabelledBatch, micro: Range<usize>, smoothing: f64) -> Result<Tensor, TrainError> {
    let first = cross_entropy(logits, &batch.labels[micro.clone()], smoothing)?;
    let Some(mixed) = &batch.mixed else { return Ok(first) };
    let second = cross_entropy(logits, &mixed.labels[micro], smoothing)?;
    Ok(((first * mixed.share)? + (second * (1.0 - mixed.share))?)?)
}

/// The share of images whose largest logit is their label's; of mixed ones, by the shares of both labels.
fn accuracy(logits: &Tensor, batch: &LabelledBatch, micro: Range<usize>) -> Result<f64, TrainError> {
    let first = top1_share(logits, &batch.labels[micro.clone()])?;
    let Some(mixed) = &batch.mixed else { return Ok(first) };
    let second = top1_share(logits, &mixed.labels[micro])?;
    Ok(mixed.share * first + (1.0 - mixed.share) * second)
}

/// A finished classifier's measurements on a split.
///
/// # Errors
///
/// If the split was empty.
pub fn outcome(meter: &AccuracyMeter, classes: &[String], split: Split) -> Result<Outcome, TrainError> {
    let (Some(top1_accuracy), Some(loss)) = (meter.top1_accuracy(), meter.mean_cross_entropy()) else {
        return Err(TrainError::Internal("the split to measure on is empty".to_owned()));
    };
    let class = |(i, accuracy): (usize, &Option<f64>)| ClassAccuracy {
        class: classes.get(i).cloned().unwrap_or_else(|| i.to_string()),
        n_examples: meter.n_examples_of(i),
        top1_accuracy: *accuracy,
    };
    let per_class = meter.per_class().iter().enumerate().map(class).collect();
    Ok(Outcome::Classification { split, top1_accuracy, loss, n_examples: meter.n_examples(), per_class })
}
