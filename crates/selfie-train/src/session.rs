//! What the two loops share around a step: where a run lives, how it starts again, when it saves and how it ends.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use candle_core::{Device, Tensor};
use selfie_eval::record::{
    Event, Happened, Outcome, PRETEXT_STEPS, ProbeMetrics, ResultRecord, RunRecord, StepMetrics, StepTime, utc,
};
use selfie_model::{ModelError, WeightsFile};

use crate::TrainError;
use crate::bad_samples::BadSamples;
use crate::checkpoint::{Loaded, Saved, Saver, Snapshot};
use crate::fault::{Injected, Injection, Spikes};
use crate::machine;
use crate::number_type::NumberType;
use crate::optimizer::Optimizer;
use crate::plan::{CheckpointPlan, TrainingPlan};
use crate::progress::{self, FAILED, Progress, STOPPED};
use crate::resume::{self, accepted_hashes, changed, identity_hash};
use crate::run_folder::{
    Begin, Finish, LineLog, RunFolder, TensorBoardLog, read_events, read_last_metrics, read_metrics, read_result,
};
use crate::signals::{Signals, StopSignal};

mod look;
mod past;

pub use look::Standing;

/// Where and how a run runs; what it computes is in its configuration.
#[derive(Clone, Debug)]
pub struct Session {
    /// The run folder.
    pub out: PathBuf,
    /// The data set's folder, where one was named; a later command finds it in the record.
    pub data_dir: Option<PathBuf>,
    /// Seed of every draw.
    pub seed: u64,
    /// Stop after this many steps in all, with a checkpoint; the schedule stays as it is.
    pub stop_after: Option<u64>,
    /// Where tensors live.
    pub device: Device,
    /// Number type of activations and products.
    pub number_type: NumberType,
    /// How progress is shown.
    pub progress: progress::Mode,
    /// Signals that end the run with a checkpoint.
    pub signals: Option<Signals>,
    /// Keys that may differ from the run's that is there, each with its table or without.
    pub allow_change: Vec<String>,
    /// Numbers to make not finite, for tests of what happens then; elsewhere none.
    pub inject: Vec<Injection>,
}

impl Session {
    /// Where a number of this step is to be made not finite.
    pub(crate) fn injected(&self, step: u64) -> Option<Injected> {
        self.inject.iter().find(|injection| injection.step == step).map(|injection| injection.into)
    }

    /// The part of a record that is the same for every run of this program on this machine.
    pub(crate) fn record(&self, record: RunRecord) -> RunRecord {
        RunRecord {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: self.seed,
            data_dir: self.data_dir.as_ref().map(|dir| dir.display().to_string()),
            device: device_name(&self.device),
            dtype: self.number_type.to_string(),
            machine: machine::describe(),
            created: utc(SystemTime::now()),
            ..record
        }
    }
}

/// A device's name in a record: `cpu`, `cuda:0`.
pub(crate) fn device_name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// Its schedule is done; `earlier` if it was before this process began.
    Finished {
        /// What came out.
        result: ResultRecord,
        /// It was finished already.
        earlier: bool,
    },
    /// It stopped after a checkpoint, because it was asked to.
    Stopped {
        /// Steps made.
        step: u64,
        /// By which signal; none for `stop_after`.
        signal: Option<StopSignal>,
    },
}

/// A run between its first and its last step in this process.
pub(crate) struct Run {
    pub(crate) progress: Progress,
    /// Images that cannot be read.
    pub(crate) bad_samples: BadSamples,
    /// Steps made before this process.
    pub(crate) start: u64,
    /// Before the folder: a checkpoint that is being written needs the folder's lock.
    saver: Saver,
    folder: RunFolder,
    config_hash: String,
    /// Those that the run's checkpoints may have.
    config_hashes: Vec<String>,
    /// The record of a run whose change was allowed, until it is on disk.
    changed: Option<RunRecord>,
    metrics: LineLog,
    /// Whether the last line could not be written.
    metrics_fail: bool,
    tensorboard: TensorBoardLog,
    events: LineLog,
    spikes: Spikes,
    /// The last steps whose numbers were not finite.
    fault_steps: Vec<u64>,
    every_steps: u64,
    steps: u64,
    stop_at: u64,
    signals: Option<Signals>,
    clock: Instant,
    waited: Duration,
}

/// Whether a run has steps to make.
pub(crate) enum Opened {
    /// It has; the checkpoint to go on from, if there is one.
    Ready(Box<Run>, Option<Loaded>),
    /// It is finished.
    Finished(ResultRecord),
}

/// Where a step's passes are, beside the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    /// The step, counted from 0.
    pub(crate) step_idx: u64,
    /// Where tensors live.
    pub(crate) device: &'a Device,
    /// Where a number is to be made not finite.
    pub(crate) injected: Option<Injected>,
}

impl At<'_> {
    /// The batch's pixels, as they are but for an injection.
    pub(crate) fn batch(&self, pixels: Tensor) -> Result<Tensor, TrainError> {
        if self.injected != Some(Injected::Batch) {
            return Ok(pixels);
        }
        let mut values = pixels.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        values.iter_mut().take(1).for_each(|value| *value = f32::NAN);
        Ok(Tensor::from_vec(values, pixels.shape(), self.device)?)
    }

    /// The loss, as it is but for an injection.
    pub(crate) fn loss(&self, loss: Tensor) -> Result<Tensor, TrainError> {
        Ok(if self.injected == Some(Injected::Loss) { (loss * f64::NAN)? } else { loss })
    }

    /// The step's gradients, as they are but for an injection.
    pub(crate) fn gradient(&self, optimizer: &mut Optimizer<'_>) -> Result<(), TrainError> {
        if self.injected == Some(Injected::Gradient) { optimizer.damage_gradient() } else { Ok(()) }
    }
}

/// A step's measurements, without its times.
pub(crate) struct Measured {
    pub(crate) loss: f64,
    pub(crate) accuracy: f64,
    pub(crate) chance: f64,
    pub(crate) collapse: Option<f64>,
    pub(crate) lr: f64,
    pub(crate) grad_norm: f64,
    /// What the probes found, if they were due.
    pub(crate) probe: Option<ProbeMetrics>,
    /// How long they took, which is no part of the step.
    pub(crate) probe_time: Duration,
}

impl Measured {
    /// Nothing measured yet.
    pub(crate) fn start(lr: f64, chance: f64) -> Self {
        let (probe, probe_time) = (None, Duration::ZERO);
        Self { loss: 0.0, accuracy: 0.0, chance, collapse: None, lr, grad_norm: 0.0, probe, probe_time }
    }

    /// Adds one of `n` equal micro-batches.
    pub(crate) fn add(&mut self, loss: &Tensor, accuracy: f64, n: usize) -> Result<(), TrainError> {
        self.loss += f64::from(loss.to_scalar::<f32>()?) / n as f64;
        self.accuracy += accuracy / n as f64;
        Ok(())
    }
}

impl Run {
    /// Opens the run folder for the run that `record` describes.
    pub(crate) fn open(
        session: &Session,
        record: &RunRecord,
        training: &TrainingPlan,
        checkpoint: CheckpointPlan,
    ) -> Result<Opened, TrainError> {
        resume::require_known(&session.allow_change, record)?;
        let folder = RunFolder::open(&session.out)?;
        let warmup_steps = training.schedule.warmup_steps();
        let record = &RunRecord { steps: Some(training.steps), warmup_steps: Some(warmup_steps), ..record.clone() };
        let (begin, finished) = begin(folder.path(), session, |allowed| folder.begin(record, allowed))?;
        if let Some(result) = finished {
            return Ok(Opened::Finished(result));
        }
        let created = match &begin {
            Begin::Fresh | Begin::Replaced(_) => record.created.clone(),
            Begin::Resumed(was) | Begin::Changed { was, .. } => was.created.clone(),
        };
        let config_hashes = match &begin {
            Begin::Fresh | Begin::Replaced(_) => vec![identity_hash(record)?],
            Begin::Resumed(was) | Begin::Changed { was, .. } => accepted_hashes(was)?,
        };
        let store = folder.checkpoints(checkpoint.keep);
        let loaded = store.load_latest(&config_hashes)?;
        let snapshot = loaded.as_ref().map(|loaded| &loaded.snapshot);
        let start = snapshot.map_or(0, |snapshot| snapshot.step);
        let metrics = folder.metrics(snapshot.map_or(0, |snapshot| snapshot.metrics_len))?;
        let events = folder.events(snapshot.map_or(0, |snapshot| snapshot.events_len))?;
        let mut progress = Progress::new(session.progress, training.steps, start, Some(folder.train_log()?));
        for rejected in loaded.iter().flat_map(|loaded| &loaded.rejected) {
            progress.warn(&format!("passed over a checkpoint: {rejected}"));
        }
        progress.note(&match &begin {
            Begin::Fresh | Begin::Replaced(_) => format!("run folder {}", folder.path().display()),
            _ => format!("resuming {} after step {start}", folder.path().display()),
        });
        if let Begin::Replaced(differences) = &begin {
            progress.note("a run with other values was begun here and saved nothing; this one takes its place");
            differences.iter().for_each(|difference| progress.note(&format!("other: {difference}")));
        }
        if let (Begin::Fresh | Begin::Replaced(_), Some(asked)) = (&begin, training.warmup_asked) {
            let (warmup, steps) = (training.schedule.warmup_steps(), training.steps);
            progress.note(&format!("warm-up of {warmup} steps, a tenth of {steps}, instead of {asked}"));
        }
        let changed = match begin {
            Begin::Changed { was, differences } => {
                differences.iter().for_each(|difference| progress.note(&format!("changed: {difference}")));
                Some(changed(was, record, differences, start)?)
            }
            _ => None,
        };
        let run = Self {
            progress,
            bad_samples: BadSamples::open(folder.path())?,
            start,
            saver: Saver::new(store),
            config_hash: identity_hash(record)?,
            config_hashes,
            changed,
            metrics,
            metrics_fail: false,
            tensorboard: TensorBoardLog::open(folder.path(), &created)?,
            events,
            spikes: Spikes::of_run(folder.path())?,
            fault_steps: fault_steps(&read_events(folder.path())?),
            folder,
            every_steps: checkpoint.every_steps,
            steps: training.steps,
            stop_at: training.stop_at,
            signals: session.signals.clone(),
            clock: Instant::now(),
            waited: Duration::ZERO,
        };
        Ok(Opened::Ready(Box::new(run), loaded))
    }

    /// Makes the run's steps, and writes into its log how they ended: the terminal that saw it may be closed.
    pub(crate) fn until_it_ends(
        mut self,
        steps: impl FnOnce(&mut Self) -> Result<Ended, TrainError>,
    ) -> Result<Ended, TrainError> {
        let ended = steps(&mut self);
        self.progress.show_last();
        self.progress.finish();
        self.progress.log(&match &ended {
            Ok(Ended::Finished { .. }) => "finished".to_owned(),
            Ok(Ended::Stopped { step, signal: None }) => format!("{STOPPED}{step}, as asked"),
            Ok(Ended::Stopped { step, signal: Some(signal) }) => format!("{STOPPED}{step} by {}", signal.name()),
            Err(error) => format!("{FAILED}{}", error.to_string().replace('\n', " ")),
        });
        ended
    }

    /// Tells who begins it what there is to know, such as what makes a long run shorter.
    pub(crate) fn note_hints(&mut self, hints: impl IntoIterator<Item = String>) {
        hints.into_iter().for_each(|hint| self.progress.note(&hint));
    }

    /// The error of a checkpoint that does not fit, with the keys that were changed.
    pub(crate) fn misfit(&self, error: TrainError) -> TrainError {
        let changes = self.changed.iter().flat_map(|record| &record.changes);
        let changes: Vec<String> =
            changes.map(|change| format!("{} was {}, now {}", change.key, change.was, change.now)).collect();
        match error {
            TrainError::OtherState { path, reason } if !changes.is_empty() => {
                TrainError::OtherState { path, reason: format!("{}; {reason}", changes.join(", ")) }
            }
            other => other,
        }
    }

    /// Steps this process may make.
    pub(crate) fn remaining(&self) -> std::ops::Range<u64> {
        self.start..self.stop_at.max(self.start)
    }

    /// Writes what was allowed to change, now that the checkpoint fits it, and starts the first step's clock.
    pub(crate) fn start(&mut self) -> Result<(), TrainError> {
        if let Some(changed) = self.changed.take() {
            self.folder.write_record(&changed)?;
            self.config_hashes = accepted_hashes(&changed)?;
        }
        self.clock = Instant::now();
        Ok(())
    }

    /// Records a step that is done; `waited` is the loader's total.
    pub(crate) fn record(
        &mut self,
        step: u64,
        examples: &[u32],
        measured: &Measured,
        waited: Duration,
    ) -> Result<(), TrainError> {
        let step_s = self.clock.elapsed().saturating_sub(measured.probe_time).as_secs_f64().max(1e-9);
        self.clock = Instant::now();
        let waited_s = (waited.saturating_sub(self.waited)).as_secs_f64();
        self.waited = waited;
        let time =
            StepTime { step_s, images_per_s: examples.len() as f64 / step_s, data_wait: (waited_s / step_s).min(1.0) };
        let &Measured { loss, accuracy, chance, collapse, lr, grad_norm, probe, .. } = measured;
        let metrics = StepMetrics { step, loss, accuracy, chance, collapse, lr, grad_norm, probe, time };
        let line = metrics.to_line()?;
        match self.metrics.append(&line).and_then(|()| self.tensorboard.append(&line)) {
            Ok(()) => self.metrics_fail = false,
            // Once, not at every step of a full disk.
            Err(error) if !self.metrics_fail => {
                self.metrics_fail = true;
                self.progress.warn(&format!("{error}; trying again at every step"));
            }
            Err(_) => {}
        }
        if let Some(spike) = self.spikes.look(loss) {
            let (median, deviation) = (spike.median, spike.deviation);
            let what = Happened::LossSpike { loss, median, deviation };
            self.log_event(&Event { step, what, examples: examples.to_vec() });
            self.progress.warn(&format!("the loss spikes at step {step}: {loss:.4}, where {median:.4} is usual"));
        }
        self.progress.step(&metrics);
        if let Some(probe) = &metrics.probe {
            self.progress.note(&format!("step {step}: {}", in_words(probe)));
        }
        Ok(())
    }

    /// A disk that does not take an event is told of at the next save.
    fn log_event(&mut self, event: &Event) {
        if let Err(error) = event.to_line().map_err(TrainError::from).and_then(|line| self.events.append(&line)) {
            self.progress.warn(&error.to_string());
        }
    }

    /// Saves where a checkpoint is due, and says whether the run ends here.
    ///
    /// A periodic save is made beside training; one that fails is a warning: training goes on and the older checkpoints are
    /// intact. The first of this process and the last are waited for and must succeed, and a number that is not finite
    /// does not get better by waiting.
    pub(crate) fn save_when_due(
        &mut self,
        step: u64,
        snapshot: impl FnOnce() -> Result<(Vec<u8>, Vec<u8>), TrainError>,
    ) -> Result<Option<Ended>, TrainError> {
        if let Some(saved) = self.saver.finished() {
            self.note_saved(saved)?;
        }
        let signal = self.signals.as_ref().and_then(Signals::received);
        let ends = step == self.stop_at || signal.is_some();
        let due = step.is_multiple_of(self.every_steps);
        if !ends && !due {
            return Ok(None);
        }
        let first = self.start + self.every_steps >= step;
        let begun = Instant::now();
        let (weights, optimizer) = snapshot().map_err(|error| match error {
            TrainError::Model(ModelError::NonFinite { tensor }) => {
                TrainError::NonFinite { what: format!("tensor `{tensor}`"), step: Some(step) }
            }
            error => error,
        })?;
        if let Some(saved) = self.saver.wait() {
            self.note_saved(saved)?;
        }
        let started = self.start_saving(step, weights, optimizer);
        self.progress.log(&format!("checkpoint of step {step} begun: training waited {:.1?}", begun.elapsed()));
        if ends || first {
            started?;
            if let Some(Saved { outcome, took, .. }) = self.saver.wait() {
                self.note_saved(Saved { step, outcome: Ok(outcome?), took })?;
            }
        } else if let Err(error) = started {
            self.note_saved(Saved { step, outcome: Err(error), took: Duration::ZERO })?;
        }
        Ok((ends && step < self.steps).then_some(Ended::Stopped { step, signal }))
    }

    fn start_saving(&mut self, step: u64, weights: Vec<u8>, optimizer: Vec<u8>) -> Result<(), TrainError> {
        let (metrics, events) = (self.metrics.mark()?, self.events.mark()?);
        let (metrics_len, events_len, config_hash) = (metrics.len, events.len, self.config_hash.clone());
        let snapshot = Snapshot { step, metrics_len, events_len, config_hash, weights, optimizer };
        self.saver.start(snapshot, move || metrics.sync().and_then(|()| events.sync()))
    }

    /// Tells of a save that ended; a failure of a periodic one is a warning, unless a number was not finite.
    fn note_saved(&mut self, Saved { step, outcome, took }: Saved) -> Result<(), TrainError> {
        match outcome {
            Ok(None) => {}
            Ok(Some(error)) => self.progress.warn(&format!("an older checkpoint is left: {error}")),
            Err(error @ TrainError::NonFinite { .. }) => return Err(error),
            Err(error) => {
                self.progress.warn(&format!("no checkpoint of step {step}: {error}; training goes on"));
                return Ok(());
            }
        }
        self.progress.log(&format!("checkpoint of step {step} written beside training in {took:.1?}"));
        Ok(())
    }

    /// How a run ended that was asked to stop at or before the step it stands at already.
    pub(crate) fn stopped_before(&self) -> Option<Ended> {
        (self.stop_at < self.steps).then_some(Ended::Stopped { step: self.start, signal: None })
    }

    /// Mean loss and accuracy of the last steps: a pretraining's outcome.
    pub(crate) fn pretext_outcome(&self) -> Result<Outcome, TrainError> {
        let last = read_last_metrics(self.folder.path(), PRETEXT_STEPS as usize)?;
        let mean = |of: fn(&StepMetrics) -> f64| last.iter().map(of).sum::<f64>() / last.len().max(1) as f64;
        Ok(Outcome::Pretext {
            loss: mean(|metrics| metrics.loss),
            accuracy: mean(|metrics| metrics.accuracy),
            chance: mean(|metrics| metrics.chance),
        })
    }

    /// Writes the result: the run is finished.
    pub(crate) fn finish(
        &mut self,
        weights: &WeightsFile,
        outcome: Outcome,
        batch: usize,
    ) -> Result<Ended, TrainError> {
        let metrics = read_metrics(self.folder.path())?;
        let wall_s: f64 = metrics.iter().map(|metrics| metrics.time.step_s).sum();
        let images_per_s = (self.steps * batch as u64) as f64 / wall_s.max(1e-9);
        let finish = Finish { steps: self.steps, outcome, wall_s, images_per_s };
        let result = self.folder.finish(&weights.to_bytes()?, finish)?;
        Ok(Ended::Finished { result, earlier: false })
    }
}

/// What the probes found, for people.
fn in_words(probe: &ProbeMetrics) -> String {
    let accuracy = |name: &str, accuracy: Option<f64>| Some(format!("{name} {:.3}", accuracy?));
    let accuracies =
        [accuracy("nearest neighbours", probe.knn_accuracy), accuracy("linear probe", probe.linear_accuracy)];
    let accuracies: Vec<String> = accuracies.into_iter().flatten().collect();
    let spread = format!("mean cosine {:.3}, participation ratio {:.1}", probe.mean_cosine, probe.participation_ratio);
    if accuracies.is_empty() {
        return spread;
    }
    format!("{} (chance {:.3}), {spread}", accuracies.join(", "), probe.chance)
}

/// What is in a run folder, and its result; `compare` is told which keys may differ.
fn begin(
    folder: &Path,
    session: &Session,
    compare: impl FnOnce(&[String]) -> Result<Begin, TrainError>,
) -> Result<(Begin, Option<ResultRecord>), TrainError> {
    let finished = read_result(folder)?;
    // A change goes on from a step; after the last there is none.
    let allowed = if finished.is_some() { &[] } else { session.allow_change.as_slice() };
    let begin = compare(allowed).map_err(|error| match error {
        TrainError::ConfigChanged { folder, differences } if finished.is_some() => {
            TrainError::FinishedOtherwise { folder, differences }
        }
        other => other,
    })?;
    Ok((begin, finished))
}

/// Takes over a checkpoint, in this order: a network that does not fit names its tensors.
pub(crate) fn go_on_from(
    checkpoint: &Loaded,
    load: impl FnOnce(&WeightsFile) -> Result<(), ModelError>,
    optimizer: &mut Optimizer<'_>,
) -> Result<(), TrainError> {
    let path = checkpoint.path.join(crate::checkpoint::WEIGHTS);
    let file = WeightsFile::from_bytes(&checkpoint.snapshot.weights, &path)?;
    load(&file).map_err(|error| match error {
        ModelError::Tensors { .. } => TrainError::OtherState { path, reason: error.to_string() },
        error => error.into(),
    })?;
    optimizer.load(&checkpoint.snapshot.optimizer, &checkpoint.path.join(crate::checkpoint::OPTIMIZER))
}

fn fault_steps(events: &[Event]) -> Vec<u64> {
    let faults = events.iter().filter(|event| matches!(event.what, Happened::NonFinite { .. }));
    faults.map(|event| event.step).collect()
}
