//! A classifier on a split.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use selfie_data::{BadSample, Images, SequentialSource};
use selfie_model::{Classifier, Mode};

use crate::{AccuracyMeter, EvalError};

/// Images a forward pass takes at once.
const BATCH: usize = 250;

/// What a classifier made of a split.
#[derive(Debug)]
pub struct Evaluation {
    /// The measurements.
    pub meter: AccuracyMeter,
    /// Images that cannot be read, and so were not measured.
    pub bad: Vec<BadSample>,
}

/// Runs the classifier over `examples` of the images, or all of them, each once and unaugmented.
///
/// # Errors
///
/// If the images do not fit the network, a label is none of its classes, or a score is not finite.
pub fn evaluate(
    network: &Classifier,
    images: &Arc<Images>,
    examples: Option<Arc<[u32]>>,
    device: &Device,
) -> Result<Evaluation, EvalError> {
    let source = SequentialSource::new(images.clone(), examples, BATCH)?;
    let mut bad = Vec::new();
    let mut meter = AccuracyMeter::new(network.config().classes.len());
    for step in 0..source.n_steps() {
        let batch = source.batch(step)?;
        bad.extend(batch.bad);
        if batch.labels.is_empty() {
            continue;
        }
        let shape = (batch.labels.len(), images.height(), images.width(), 3);
        let pixels = Tensor::from_vec(batch.images, shape, device)?;
        let logits = network.forward(&pixels, Mode::Inference)?.logits;
        meter.add(&logits.flatten_all()?.to_vec1::<f32>()?, &batch.labels)?;
    }
    Ok(Evaluation { meter, bad })
}
