//! Probes while a pretraining runs: what its embeddings are worth so far, on training images that are held out from the
//! labels. Inference draws nothing and moves no running statistics, so that a run computes the same with probes and without.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use selfie_data::{DataSet, Images, SequentialSource, Splits, labelled_subset};
use selfie_eval::probe::knn::knn;
use selfie_eval::probe::linear::{LinearProbe, LinearSettings};
use selfie_eval::probe::{Labelled, chance};
use selfie_eval::record::ProbeMetrics;
use selfie_eval::{Matrix, collapse, spread};
use selfie_model::{EmbeddingAt, Selfie};

use crate::TrainError;
use crate::plan::ProbePlan;
use crate::session::Measured;

/// Neighbours that vote.
const K: usize = 20;
/// Steps of the linear probe: enough to follow a run by.
const LINEAR_STEPS: usize = 100;
/// Images a forward pass takes at once.
const BATCH: usize = 250;
/// The seed of the probes' examples, which belong to the data and not to a run.
const SEED: u64 = 0;

/// The probes of a run; they do nothing where none is due.
pub(crate) struct Probe {
    every_steps: u64,
    at: EmbeddingAt,
    images: Arc<Images>,
    /// Fitted to, then measured on.
    parts: [Arc<[u32]>; 2],
    device: Device,
}

impl Probe {
    pub(crate) fn new(plan: ProbePlan, data: &DataSet, device: &Device) -> Result<Self, TrainError> {
        let images = data.train.clone();
        let splits = Splits::new(images.labels());
        let n = plan.n_examples.min(splits.train.len());
        let fraction = n as f64 / images.len().max(1) as f64;
        let fitted = match n == 0 || splits.validation.is_empty() {
            true => Vec::new(),
            false => labelled_subset(images.labels(), &splits.train, images.len(), fraction, SEED)?.examples,
        };
        let measured = evenly(&splits.validation, plan.n_examples);
        let parts = [fitted.into(), measured.into()];
        Ok(Self { every_steps: plan.every_steps, at: plan.at, images, parts, device: device.clone() })
    }

    /// What to tell someone who asked for probes that cannot be made.
    pub(crate) fn why_none(&self) -> Option<String> {
        let asked = self.every_steps > 0 && self.parts[1].is_empty();
        asked.then(|| "no probes: too few training images of any class to hold a tenth of them out".to_owned())
    }

    /// Adds what the probes find after `step`, and how long they took, to its measurements.
    pub(crate) fn measure_when_due(
        &self,
        step: u64,
        network: &Selfie,
        measured: &mut Measured,
    ) -> Result<(), TrainError> {
        if self.every_steps == 0 || !step.is_multiple_of(self.every_steps) || self.parts[1].is_empty() {
            return Ok(());
        }
        let clock = Instant::now();
        measured.probe = Some(self.measure(network)?);
        measured.probe_time = clock.elapsed();
        Ok(())
    }

    fn measure(&self, network: &Selfie) -> Result<ProbeMetrics, TrainError> {
        let (train, train_labels) = self.embed(network, &self.parts[0])?;
        let (test, test_labels) = self.embed(network, &self.parts[1])?;
        let width = network.width_at(self.at);
        let n_classes = self.images.n_classes();
        let rows = Matrix::new(&test, width)?;
        let mut metrics = ProbeMetrics {
            chance: chance(&test_labels),
            knn_accuracy: None,
            linear_accuracy: None,
            spread: collapse(&test, width).unwrap_or(0.0),
            mean_cosine: spread::mean_cosine(rows),
            participation_ratio: spread::participation_ratio(rows)?,
        };
        if n_classes < 2 || train_labels.is_empty() || test_labels.is_empty() {
            return Ok(metrics);
        }
        let train = Labelled::new(Matrix::new(&train, width)?, &train_labels, n_classes)?;
        let test = Labelled::new(rows, &test_labels, n_classes)?;
        metrics.knn_accuracy = knn(train, Some(test), &[K])?.first().map(|knn| knn.accuracy);
        let settings = LinearSettings { steps: LINEAR_STEPS, ..LinearSettings::default() };
        metrics.linear_accuracy = LinearProbe::fit(train, n_classes, &settings)?.measure(test)?.top1_accuracy();
        Ok(metrics)
    }

    /// Embeddings `[n, D]` of the examples that can be read, and their labels.
    fn embed(&self, network: &Selfie, examples: &Arc<[u32]>) -> Result<(Vec<f32>, Vec<u32>), TrainError> {
        let source = SequentialSource::new(self.images.clone(), Some(examples.clone()), BATCH)?;
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for step in 0..source.n_steps() {
            let batch = source.batch(step)?;
            if batch.labels.is_empty() {
                continue;
            }
            let shape = (batch.labels.len(), self.images.height(), self.images.width(), 3);
            let pixels = Tensor::from_vec(batch.images, shape, &self.device)?;
            let embeddings = network.embed(&pixels, self.at)?.to_dtype(DType::F32)?;
            rows.extend(embeddings.flatten_all()?.to_vec1::<f32>()?);
            labels.extend(batch.labels);
        }
        Ok((rows, labels))
    }
}

/// At most `n` of the examples, evenly spaced.
fn evenly(examples: &[u32], n: usize) -> Vec<u32> {
    let n = n.min(examples.len());
    (0..n).map(|i| examples[i * examples.len() / n]).collect()
}
