//! What the two loops share around a step: where a run lives, how it starts again, when it saves and how it ends.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use candle_core::{Device, Tensor};
use selfie_eval::record::{Outcome, ResultRecord, RunRecord, StepMetrics, StepTime, utc};
use selfie_model::{ModelError, SelfieConfig, WeightsFile};

use crate::TrainError;
use crate::bad_samples::BadSamples;
use crate::checkpoint::{CheckpointStore, Loaded, Snapshot};
use crate::machine;
use crate::number_type::NumberType;
use crate::plan::{CheckpointPlan, TrainingPlan};
use crate::progress::{self, Progress};
use crate::resume::identity_hash;
use crate::run_folder::{Begin, Finish, MetricsLog, RunFolder, read_metrics, read_result};
use crate::signals::{Signals, StopSignal};

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
}

impl Session {
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
    folder: RunFolder,
    store: CheckpointStore,
    config_hash: String,
    metrics: MetricsLog,
    /// Whether the last line could not be written.
    metrics_fail: bool,
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

/// A step's measurements, without its times.
pub(crate) struct Measured {
    pub(crate) loss: f64,
    pub(crate) accuracy: f64,
    pub(crate) chance: f64,
    pub(crate) collapse: Option<f64>,
    pub(crate) lr: f64,
    pub(crate) grad_norm: f64,
}

impl Measured {
    /// Nothing measured yet.
    pub(crate) fn start(lr: f64, chance: f64) -> Self {
        Self { loss: 0.0, accuracy: 0.0, chance, collapse: None, lr, grad_norm: 0.0 }
    }

    /// Adds one of `n` equal micro-batches.
    pub(crate) fn add(&mut self, loss: &Tensor, accuracy: f64, n: usize) -> Result<(), TrainError> {
        self.loss += f64::from(loss.to_scalar::<f32>()?) / n as f64;
        self.accuracy += accuracy / n as f64;
        Ok(())
    }
}

/// The last steps whose mean is a pretraining's result.
const RESULT_STEPS: usize = 100;

impl Run {
    /// Opens the run folder for the run that `record` describes.
    pub(crate) fn open(
        session: &Session,
        record: &RunRecord,
        training: &TrainingPlan,
        checkpoint: CheckpointPlan,
    ) -> Result<Opened, TrainError> {
        let folder = RunFolder::open(&session.out)?;
        let record = &RunRecord { steps: Some(training.steps), ..record.clone() };
        let begin = folder.begin(record)?;
        if let Some(result) = read_result(folder.path())? {
            return Ok(Opened::Finished(result));
        }
        let store = folder.checkpoints(checkpoint.keep);
        let config_hash = identity_hash(record)?;
        let loaded = store.load_latest(&config_hash)?;
        let start = loaded.as_ref().map_or(0, |loaded| loaded.snapshot.step);
        let metrics = folder.metrics(loaded.as_ref().map_or(0, |loaded| loaded.snapshot.metrics_len))?;
        let log = folder.train_log()?;
        let mut progress = Progress::new(session.progress, training.steps, start, Some(log));
        for rejected in loaded.iter().flat_map(|loaded| &loaded.rejected) {
            progress.warn(&format!("passed over a checkpoint: {rejected}"));
        }
        match begin {
            Begin::Fresh => progress.note(&format!("run folder {}", folder.path().display())),
            Begin::Resumed => progress.note(&format!("resuming {} after step {start}", folder.path().display())),
        }
        let run = Self {
            progress,
            bad_samples: BadSamples::open(folder.path())?,
            start,
            folder,
            store,
            config_hash,
            metrics,
            metrics_fail: false,
            every_steps: checkpoint.every_steps,
            steps: training.steps,
            stop_at: training.stop_at,
            signals: session.signals.clone(),
            clock: Instant::now(),
            waited: Duration::ZERO,
        };
        Ok(Opened::Ready(Box::new(run), loaded))
    }

    /// Steps this process may make.
    pub(crate) fn remaining(&self) -> std::ops::Range<u64> {
        self.start..self.stop_at.max(self.start)
    }

    /// Starts the first step's clock.
    pub(crate) fn start_clock(&mut self) {
        self.clock = Instant::now();
    }

    /// Refuses a loss or gradient that is not finite, before the update.
    pub(crate) fn require_finite(
        &mut self,
        step: u64,
        measured: &Measured,
        examples: &[u32],
    ) -> Result<(), TrainError> {
        let what = match (measured.loss.is_finite(), measured.grad_norm.is_finite()) {
            (true, true) => return Ok(()),
            (false, _) => "the loss",
            (true, false) => "the gradient",
        };
        let shown: Vec<String> = examples.iter().take(8).map(u32::to_string).collect();
        let more = if examples.len() > 8 { ", …" } else { "" };
        let what = format!("{what} over training examples {}{more}", shown.join(", "));
        Err(TrainError::NonFinite { what, step: Some(step) })
    }

    /// Records a step that is done; `waited` is the loader's total.
    pub(crate) fn record(
        &mut self,
        step: u64,
        images: usize,
        measured: &Measured,
        waited: Duration,
    ) -> Result<(), TrainError> {
        let step_s = self.clock.elapsed().as_secs_f64().max(1e-9);
        self.clock = Instant::now();
        let waited_s = (waited.saturating_sub(self.waited)).as_secs_f64();
        self.waited = waited;
        let time = StepTime { step_s, images_per_s: images as f64 / step_s, data_wait: (waited_s / step_s).min(1.0) };
        let &Measured { loss, accuracy, chance, collapse, lr, grad_norm } = measured;
        let metrics = StepMetrics { step, loss, accuracy, chance, collapse, lr, grad_norm, time };
        match self.metrics.append(&metrics) {
            Ok(()) => self.metrics_fail = false,
            // Once, not at every step of a full disk.
            Err(error) if !self.metrics_fail => {
                self.metrics_fail = true;
                self.progress.warn(&format!("{error}; trying again at every step"));
            }
            Err(_) => {}
        }
        self.progress.step(&metrics);
        Ok(())
    }

    /// Saves where a checkpoint is due, and says whether the run ends here.
    ///
    /// A periodic save that fails is a warning: training goes on and the older checkpoints are intact. The first of this
    /// process and the last must succeed, and a number that is not finite does not get better by waiting.
    pub(crate) fn save_when_due(
        &mut self,
        step: u64,
        snapshot: impl FnOnce() -> Result<(Vec<u8>, Vec<u8>), TrainError>,
    ) -> Result<Option<Ended>, TrainError> {
        let signal = self.signals.as_ref().and_then(Signals::received);
        let ends = step == self.stop_at || signal.is_some();
        let due = step.is_multiple_of(self.every_steps);
        if !ends && !due {
            return Ok(None);
        }
        let first = self.start + self.every_steps >= step;
        let (weights, optimizer) = snapshot().map_err(|error| match error {
            TrainError::Model(ModelError::NonFinite { tensor }) => {
                TrainError::NonFinite { what: format!("tensor `{tensor}`"), step: Some(step) }
            }
            error => error,
        })?;
        let saved = self.save(step, weights, optimizer);
        match saved {
            Ok(()) => {}
            Err(error) if ends || first || matches!(error, TrainError::NonFinite { .. }) => return Err(error),
            Err(error) => self.progress.warn(&format!("no checkpoint of step {step}: {error}; training goes on")),
        }
        Ok((ends && step < self.steps).then_some(Ended::Stopped { step, signal }))
    }

    fn save(&mut self, step: u64, weights: Vec<u8>, optimizer: Vec<u8>) -> Result<(), TrainError> {
        let metrics_len = self.metrics.sync()?;
        let config_hash = self.config_hash.clone();
        self.store.save(&Snapshot { step, metrics_len, config_hash, weights, optimizer })?;
        Ok(())
    }

    /// How a run ended that was asked to stop at or before the step it stands at already.
    pub(crate) fn stopped_before(&self) -> Option<Ended> {
        (self.stop_at < self.steps).then_some(Ended::Stopped { step: self.start, signal: None })
    }

    /// Mean loss and accuracy of the last steps: a pretraining's outcome.
    pub(crate) fn pretext_outcome(&self) -> Result<Outcome, TrainError> {
        let metrics = read_metrics(self.folder.path())?;
        let last = &metrics[metrics.len().saturating_sub(RESULT_STEPS)..];
        let mean = |of: fn(&StepMetrics) -> f64| last.iter().map(of).sum::<f64>() / last.len().max(1) as f64;
        Ok(Outcome::Pretext {
            loss: mean(|metrics| metrics.loss),
            accuracy: mean(|metrics| metrics.accuracy),
            chance: mean(|metrics| metrics.chance),
        })
    }

    /// Writes the result: the run is finished.
    pub(crate) fn finish(mut self, weights: &WeightsFile, outcome: Outcome, batch: usize) -> Result<Ended, TrainError> {
        self.progress.finish();
        let metrics = read_metrics(self.folder.path())?;
        let wall_s: f64 = metrics.iter().map(|metrics| metrics.time.step_s).sum();
        let images_per_s = (self.steps * batch as u64) as f64 / wall_s.max(1e-9);
        let finish = Finish { steps: self.steps, outcome, wall_s, images_per_s };
        let result = self.folder.finish(&weights.to_bytes()?, finish)?;
        Ok(Ended::Finished { result, earlier: false })
    }
}

/// Reads the weights of a checkpoint to go on from, and checks that they are of the network of this run.
pub(crate) fn weights_of(loaded: &Loaded, network: &SelfieConfig) -> Result<WeightsFile, TrainError> {
    let path = loaded.path.join(crate::checkpoint::WEIGHTS);
    let file = WeightsFile::from_bytes(&loaded.snapshot.weights, &path)?;
    if file.metadata.network() != network {
        let reason = "its network is not the one of this run's configuration".to_owned();
        return Err(TrainError::Corrupt { path, reason });
    }
    Ok(file)
}
