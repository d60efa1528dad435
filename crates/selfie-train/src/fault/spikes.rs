//! Losses far above those before.

use std::collections::VecDeque;
use std::path::Path;

use crate::TrainError;
use crate::run_folder::read_last_metrics;

/// Losses that are compared with.
const WINDOW: usize = 100;
/// Fewer say too little.
const LEAST: usize = 30;
/// A spike is this many deviations above the median.
const THRESHOLD: f64 = 8.0;
/// Normal numbers have a standard deviation of so many median absolute deviations.
const DEVIATIONS: f64 = 1.4826;

/// Watches the loss. What it knows is the last losses of the metrics, so that a resumed run sees the same spikes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spikes {
    recent: VecDeque<f64>,
}

/// A loss far above those before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spike {
    /// Median of the losses before.
    pub(crate) median: f64,
    /// Their median absolute deviation.
    pub(crate) deviation: f64,
}

impl Spikes {
    /// After the steps that a run folder holds.
    pub(crate) fn of_run(folder: &Path) -> Result<Self, TrainError> {
        Ok(Self::new(read_last_metrics(folder, WINDOW)?.iter().map(|metrics| metrics.loss)))
    }

    /// After these losses.
    pub(crate) fn new(losses: impl IntoIterator<Item = f64>) -> Self {
        let mut spikes = Self::default();
        losses.into_iter().for_each(|loss| spikes.remember(loss));
        spikes
    }

    /// Whether a loss is a spike; from now on it is one of those before.
    pub(crate) fn look(&mut self, loss: f64) -> Option<Spike> {
        let spike = (self.recent.len() >= LEAST).then(|| {
            let median = median(self.recent.iter().copied());
            Spike { median, deviation: self::median(self.recent.iter().map(|other| (other - median).abs())) }
        });
        self.remember(loss);
        spike.filter(|spike| loss - spike.median > THRESHOLD * DEVIATIONS * spike.deviation)
    }

    fn remember(&mut self, loss: f64) {
        self.recent.push_back(loss);
        if self.recent.len() > WINDOW {
            self.recent.pop_front();
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}
