//! Measurements of this machine: a step on a resident synthetic batch, the product rate that bounds it, and the loader alone.

use std::time::{Duration, Instant};

use candle_core::Device;
use selfie_ops::device_memory_high;
use serde::Serialize;

use crate::machine;
use crate::session::device_name;
use crate::{NumberType, TrainError};

pub(crate) mod blocks;
mod flop;
mod loader;
mod profile;
mod rate;
mod work;

#[cfg(test)]
mod tests;

pub(crate) use flop::gflop_per_image;
pub use loader::{BenchLoader, LoaderResult, loader};
pub use profile::ProfileLine;
pub use rate::{BenchRate, RateResult, rate};
pub(crate) use work::Work;

/// Steps before the measured ones.
const WARMUP_STEPS: u32 = 2;

/// More would not fit a step's number.
const MAX_STEPS: u32 = 1_000_000;

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
    /// Images that go through the network at once; it divides `batch`. Gradients of a step's micro-batches are summed.
    pub micro_batch: usize,
    /// Number type.
    pub dtype: NumberType,
    /// Steps measured.
    pub steps: u32,
}

impl BenchStep {
    /// Checks what the types do not say and the network does not check.
    fn check(&self) -> Result<(), TrainError> {
        if self.steps == 0 || self.steps > MAX_STEPS || self.batch == 0 {
            let got = format!("{} steps of {} images", self.steps, self.batch);
            return Err(TrainError::bad_flag("steps", "one to a million steps of at least one image", &got));
        }
        if self.micro_batch == 0 || !self.batch.is_multiple_of(self.micro_batch) {
            let expected = format!("a divisor of the batch, {}", self.batch);
            return Err(TrainError::bad_flag("micro-batch", &expected, &self.micro_batch.to_string()));
        }
        Ok(())
    }
}

/// What was measured, and what was asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchResult {
    /// What was asked.
    #[serde(flatten)]
    pub asked: BenchStep,
    /// Where it ran.
    pub device: String,
    /// CPU threads.
    pub threads: usize,
    /// Batch over the median step.
    pub images_per_s: f64,
    /// Median wall time of a step, s.
    pub median_step_s: f64,
    /// Fastest step, s.
    pub best_step_s: f64,
    /// The process's largest resident memory before any profile, MiB; 0 where the system does not say. On a GPU, the most that was
    /// allocated there.
    pub peak_rss_mb: u64,
    /// Pages the system had to bring in during a measured step, mean; none where the system does not say.
    pub page_faults_per_step: Option<f64>,
    /// Operations of one image's products, 10⁹: those of the network's convolutions, linear layers and attention whose result
    /// somebody reads, computed directly, whatever an implementation makes of them.
    pub gflop_per_image: f64,
    /// `gflop_per_image` times `images_per_s`.
    pub gflop_per_s: f64,
    /// Share of time spent waiting for data: none, the batch is resident.
    pub data_wait: f64,
    /// Loss of the last step; the mean feature of `embed`.
    pub loss: f64,
    /// Where the time of as many further steps went, if that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Vec<ProfileLine>>,
}

/// Measures; then, with `profiled`, makes as many steps again with the profile on.
///
/// # Errors
///
/// If the number type or micro-batch is illegal, the width is, or memory is short.
pub fn step(asked: BenchStep, profiled: bool, device: &Device) -> Result<BenchResult, TrainError> {
    asked.check()?;
    let work = Work::from(&asked);
    work::with_steps(&work, device, |make| {
        let gflop_per_image = gflop_per_image(&work);
        let timed = timed_steps(&asked, make, device)?;
        let peak_rss_mb = device_memory_high(device)?.map_or_else(machine::peak_rss_mib, |bytes| bytes >> 20);
        let first = WARMUP_STEPS + asked.steps;
        let profile = profiled
            .then(|| profile::profiled_steps(first..first + asked.steps, device, |i| make(i).map(drop)))
            .transpose()?;
        let images_per_s = asked.batch as f64 / median(&timed.seconds);
        Ok(BenchResult {
            asked,
            device: device_name(device),
            threads: rayon::current_num_threads(),
            images_per_s,
            median_step_s: median(&timed.seconds),
            best_step_s: timed.seconds.iter().copied().fold(f64::INFINITY, f64::min),
            peak_rss_mb,
            page_faults_per_step: timed.page_faults.map(|faults| faults as f64 / f64::from(asked.steps)),
            gflop_per_image,
            gflop_per_s: gflop_per_image * images_per_s,
            data_wait: 0.0,
            loss: timed.loss,
            profile,
        })
    })
}

/// Images a second of a step: the median of a few after one that is not measured, as many as a second has time for.
pub(crate) fn images_per_s(work: &Work, device: &Device) -> Result<f64, TrainError> {
    const MOST_STEPS: u32 = 5;
    const ENOUGH: Duration = Duration::from_secs(1);
    work::with_steps(work, device, |make| {
        make(0)?;
        device.synchronize()?;
        let (begun, mut seconds) = (Instant::now(), Vec::new());
        for step in 1..=MOST_STEPS {
            let clock = Instant::now();
            make(step)?;
            device.synchronize()?;
            seconds.push(clock.elapsed().as_secs_f64());
            if begun.elapsed() > ENOUGH {
                break;
            }
        }
        Ok(work.batch as f64 / median(&seconds))
    })
}

struct Timed {
    /// Of each measured step.
    seconds: Vec<f64>,
    /// Of all measured steps.
    page_faults: Option<u64>,
    /// Of the last step.
    loss: f64,
}

fn timed_steps(asked: &BenchStep, make: work::Step<'_>, device: &Device) -> Result<Timed, TrainError> {
    let mut timed = Timed { seconds: Vec::new(), page_faults: None, loss: 0.0 };
    for i in 0..WARMUP_STEPS {
        make(i)?;
    }
    let faults_before = machine::page_faults();
    for i in WARMUP_STEPS..WARMUP_STEPS + asked.steps {
        let clock = Instant::now();
        timed.loss = make(i)?;
        device.synchronize()?;
        timed.seconds.push(clock.elapsed().as_secs_f64());
    }
    let faults = faults_before.zip(machine::page_faults());
    timed.page_faults = faults.map(|(before, after)| after.saturating_sub(before));
    Ok(timed)
}

/// The middle value; of an even number, the mean of the two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0
}

fn per_second(amount: f64, time: Duration) -> Option<f64> {
    let seconds = time.as_secs_f64();
    (amount > 0.0 && seconds > 0.0).then(|| amount / seconds)
}
