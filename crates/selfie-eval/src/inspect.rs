//! What a pretraining network does on some images: its choice for every hidden place, and where its pool token looks.

use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor};
use selfie_data::{Images, MaskSampler, PatchGrid};
use selfie_model::{Mode, Selfie};

use crate::EvalError;

/// Images a forward pass takes at once.
const BATCH: usize = 64;

/// An image with hidden patches, and what the network made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspected {
    /// Its number in the split.
    pub image: u32,
    /// Places of the patches in the order they were given, `[N]`: the first T are hidden.
    pub order: Vec<u32>,
    /// `[T, T]`: for each hidden place the probability of each candidate, the patches of the same places.
    pub probs: Vec<f32>,
    /// For each layer the pool token's attention, averaged over the heads, `[1 + K]`: to itself, then to the context.
    pub attention: Vec<Vec<f32>>,
}

/// A hidden place for which another patch than its own was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WrongChoice {
    /// Which of the inspected images.
    pub inspected: usize,
    /// Which of its hidden places.
    pub place: usize,
    /// Probability of the chosen patch.
    pub prob: f32,
}

/// Hides patches of each image as pretraining does, by draws of `seed`, and lets the network choose. Images are not
/// augmented; those that cannot be read are left out.
///
/// # Errors
///
/// If the images are not of the network's size.
pub fn inspect(
    network: &Selfie,
    images: &Arc<Images>,
    examples: &[u32],
    seed: u64,
    device: &Device,
) -> Result<Vec<Inspected>, EvalError> {
    let config = network.config();
    let grid = PatchGrid::new(config.image_size, config.patch_size)?;
    let masks = MaskSampler::new(grid.n_patches(), config.n_targets)?;
    let (n, p) = (grid.n_patches(), grid.patch_side());
    let mut inspected = Vec::with_capacity(examples.len());
    for examples in examples.chunks(BATCH) {
        let (mut patches, mut orders, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for &example in examples {
            let Ok(picture) = images.picture(example as usize) else { continue };
            let (mut pixels, mut cut) = (vec![0; grid.image_bytes()], vec![0; grid.image_bytes()]);
            picture.square(grid.image_side(), &mut pixels)?;
            grid.cut(&pixels, &mut cut);
            patches.extend(cut);
            orders.push(masks.order(seed, 0, example));
            kept.push(example);
        }
        if kept.is_empty() {
            continue;
        }
        let patches = Tensor::from_vec(patches, (kept.len(), n, p, p, 3), device)?;
        let order = Tensor::from_vec(orders.concat(), (kept.len(), n), device)?;
        let logits = network.forward(&patches, &order, Mode::Inference)?.logits;
        let probs = rows(&softmax(&logits)?)?;
        let layers = network.token_attention(&patches, &order)?;
        let layers = layers.iter().map(|heads| Ok(rows(&heads.mean(1)?)?)).collect::<Result<Vec<_>, EvalError>>()?;
        for (i, (image, order)) in kept.into_iter().zip(orders).enumerate() {
            let attention = layers.iter().map(|layer| layer[i].clone()).collect();
            inspected.push(Inspected { image, order, probs: probs[i].clone(), attention });
        }
    }
    Ok(inspected)
}

/// The wrong choices, the surest first.
#[must_use]
pub fn wrong_choices(inspected: &[Inspected]) -> Vec<WrongChoice> {
    let mut wrong = Vec::new();
    for (idx, image) in inspected.iter().enumerate() {
        let n_places = image.probs.len().isqrt();
        for (place, probs) in image.probs.chunks_exact(n_places.max(1)).enumerate() {
            let best = (1..probs.len()).fold(0, |best, i| if probs[i] > probs[best] { i } else { best });
            if best != place {
                wrong.push(WrongChoice { inspected: idx, place, prob: probs[best] });
            }
        }
    }
    wrong.sort_by(|a, b| b.prob.total_cmp(&a.prob));
    wrong
}

/// Share of the hidden places whose own patch was chosen, in 0–1; 0 of none.
#[must_use]
pub fn pretext_accuracy(inspected: &[Inspected]) -> f64 {
    let n_places: usize = inspected.iter().map(|image| image.probs.len().isqrt()).sum();
    1.0 - wrong_choices(inspected).len() as f64 / n_places.max(1) as f64
}

fn softmax(logits: &Tensor) -> candle_core::Result<Tensor> {
    let exp = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

/// The numbers of each image.
fn rows(tensor: &Tensor) -> candle_core::Result<Vec<Vec<f32>>> {
    tensor.flatten_from(1)?.to_dtype(DType::F32)?.to_vec2::<f32>()
}

#[cfg(test)]
mod tests;
