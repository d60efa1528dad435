//! Embeddings of pictures, by batches.

use std::ops::Range;

use selfie_data::{BadSample, Pictures, Squares};
use selfie_model::{EmbeddingAt, InferenceModel};

use crate::EvalError;

/// Pictures that are decoded and embedded at a time.
const BATCH: usize = 256;

/// A batch of embeddings.
#[derive(Clone, Debug, Default)]
pub struct EmbeddedBatch {
    /// `[n, D]`
    pub rows: Vec<f32>,
    /// Which pictures they are of, `[n]`.
    pub pictures: Vec<usize>,
    /// Pictures of the batch that cannot be read.
    pub bad: Vec<BadSample>,
}

impl EmbeddedBatch {
    /// Appends a later batch.
    pub fn append(&mut self, batch: Self) {
        self.rows.extend(batch.rows);
        self.pictures.extend(batch.pictures);
        self.bad.extend(batch.bad);
    }
}

/// Embeds the pictures of a range in their order and hands them over batch by batch. Decoding and the network use all
/// cores, in turns.
///
/// # Errors
///
/// If the network has no such place, the device is out of memory, or `take` fails.
pub fn embed<E: From<EvalError>>(
    model: &InferenceModel,
    pictures: &Pictures,
    at: EmbeddingAt,
    range: Range<usize>,
    mut take: impl FnMut(EmbeddedBatch) -> Result<(), E>,
) -> Result<(), E> {
    let side = model.image_size();
    for first in range.clone().step_by(BATCH) {
        let Squares { pixels, pictures, bad } = pictures.squares(first..(first + BATCH).min(range.end), side);
        let rows = if pixels.is_empty() { Ok(Vec::new()) } else { model.embed_pixels(&pixels, at) };
        take(EmbeddedBatch { rows: rows.map_err(EvalError::from)?, pictures, bad })?;
    }
    Ok(())
}
