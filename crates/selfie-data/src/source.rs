//! From a step to its batch, for pretraining, for training with labels and for evaluation. Each batch is a function of
//! (seed, step): which thread makes it, and when, does not matter.

use std::sync::Arc;

use crate::augment::{Draw, MixedLabels, Mixing, PatchAugmentation};
use crate::{Augmentation, BadSample, DataError, ExampleOrder, Images, MaskSampler, PatchGrid, Shard};

mod examples;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

use examples::Examples;

/// A step's patches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PretrainBatch {
    /// `[B, N, P, P, C]`, the patches of each image in the grid's order.
    pub patches: Vec<u8>,
    /// `[B, N]`, for each image a permutation of `0..N` whose first T patches are the targets.
    pub order: Vec<u32>,
    /// `[B]`, which images these are.
    pub examples: Vec<u32>,
    /// Images that were to be in the batch and cannot be read; others stand in for them.
    pub bad: Vec<BadSample>,
}

/// A step's images and their classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelledBatch {
    /// `[B, H, W, C]`
    pub images: Vec<u8>,
    /// `[B]`
    pub labels: Vec<u32>,
    /// `[B]`, which images these are.
    pub examples: Vec<u32>,
    /// The second labels of images that were mixed.
    pub mixed: Option<MixedLabels>,
    /// Images that were to be in the batch and cannot be read. In training others stand in for them; where every image
    /// is measured once, they are left out.
    pub bad: Vec<BadSample>,
}

/// How pretraining batches are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PretrainSettings {
    /// The patches.
    pub grid: PatchGrid,
    /// The targets.
    pub masks: MaskSampler,
    /// Done to every image before it is cut.
    pub augmentation: Option<Augmentation>,
    /// Done to every patch after the cut.
    pub patches: PatchAugmentation,
    /// The run's seed: order, masks and augmentation follow from it.
    pub seed: u64,
    /// B.
    pub batch: usize,
}

/// How batches with labels are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelledSettings {
    /// Done to every image.
    pub augmentation: Option<Augmentation>,
    /// Done to every batch.
    pub mixing: Mixing,
    /// The run's seed: order and augmentation follow from it.
    pub seed: u64,
    /// B.
    pub batch: usize,
}

/// Makes pretraining batches, endlessly.
#[derive(Clone, Debug)]
pub struct PretrainSource {
    examples: Examples,
    order: ExampleOrder,
    settings: PretrainSettings,
}

impl PretrainSource {
    /// Batches of the given `examples`, or of all images.
    ///
    /// # Errors
    ///
    /// If grid, masks, images and augmentation do not fit each other, if the batch is 0, or if an example is not there
    /// or there is none.
    pub fn new(
        images: Arc<Images>,
        examples: Option<Arc<[u32]>>,
        settings: PretrainSettings,
    ) -> Result<Self, DataError> {
        let PretrainSettings { grid, masks, augmentation, patches, seed, batch } = settings;
        if grid.image_side() != images.side() {
            return Err(DataError::setting(
                "image side",
                format!("{} as in the data", images.side()),
                grid.image_side(),
            ));
        }
        if masks.n_patches() != grid.n_patches() {
            return Err(DataError::setting("patches of the masks", grid.n_patches().to_string(), masks.n_patches()));
        }
        check_batch(batch, augmentation, images.side())?;
        patches.check(grid)?;
        let examples = Examples::new(images, examples)?;
        let order = ExampleOrder::new(seed, examples.len())?;
        Ok(Self { examples, order, settings })
    }

    /// The part of one of several processes: together, in the order of the ranks, their batches are those of one process
    /// with `world_size` times the batch, draws and all.
    #[must_use]
    pub fn sharded(self, shard: Shard) -> Self {
        Self { order: self.order.sharded(shard), ..self }
    }

    /// How many examples an epoch has.
    #[must_use]
    pub fn n_examples(&self) -> usize {
        self.examples.len() as usize
    }

    /// The batch of one step.
    ///
    /// # Errors
    ///
    /// If so many images cannot be read that none is found to stand in.
    pub fn batch(&self, step: u64) -> Result<PretrainBatch, DataError> {
        let PretrainSettings { grid, masks, augmentation, patches: changes, seed, batch } = self.settings;
        let mut patches = vec![0; batch * grid.image_bytes()];
        let mut image = vec![0; grid.image_bytes()];
        let mut order = Vec::with_capacity(batch * grid.n_patches());
        let (mut examples, mut bad) = (Vec::with_capacity(batch), Vec::new());
        for ((epoch, position), patches) in
            self.order.batch(step, batch).zip(patches.chunks_exact_mut(grid.image_bytes()))
        {
            let example = self.examples.at(position);
            let draw = Draw { seed, epoch, example };
            let written = self.examples.write(draw, augmentation, &mut image, &mut bad)?;
            grid.cut(&image, patches);
            changes.apply(grid, draw, patches);
            order.extend(masks.order(seed, epoch, example));
            examples.push(written);
        }
        Ok(PretrainBatch { patches, order, examples, bad })
    }
}

/// Makes batches with labels in random order, endlessly.
#[derive(Clone, Debug)]
pub struct LabelledSource {
    examples: Examples,
    order: ExampleOrder,
    shard: Shard,
    settings: LabelledSettings,
}

impl LabelledSource {
    /// Batches of the given `examples`.
    ///
    /// # Errors
    ///
    /// If the batch is 0, the augmentation does not fit the images, or an example is not there or there is none.
    pub fn new(images: Arc<Images>, examples: Arc<[u32]>, settings: LabelledSettings) -> Result<Self, DataError> {
        check_batch(settings.batch, settings.augmentation, images.side())?;
        settings.mixing.check()?;
        let examples = Examples::new(images, Some(examples))?;
        let order = ExampleOrder::new(settings.seed, examples.len())?;
        Ok(Self { examples, order, shard: Shard::default(), settings })
    }

    /// As [`PretrainSource::sharded`], but that images are mixed within the batch of a process, by a draw of its own.
    #[must_use]
    pub fn sharded(self, shard: Shard) -> Self {
        Self { order: self.order.sharded(shard), shard, ..self }
    }

    /// How many examples an epoch has.
    #[must_use]
    pub fn n_examples(&self) -> usize {
        self.examples.len() as usize
    }

    /// The batch of one step.
    ///
    /// # Errors
    ///
    /// As [`PretrainSource::batch`].
    pub fn batch(&self, step: u64) -> Result<LabelledBatch, DataError> {
        let LabelledSettings { augmentation, mixing, seed, batch } = self.settings;
        let draws: Vec<Draw> = self
            .order
            .batch(step, batch)
            .map(|(epoch, position)| Draw { seed, epoch, example: self.examples.at(position) })
            .collect();
        let mut batch = self.examples.labelled(&draws, augmentation)?;
        if let Some(mix) = mixing.draw(seed, self.shard.batch_idx(step), self.examples.side()) {
            mix.apply(&mut batch, self.examples.side());
        }
        Ok(batch)
    }
}

/// Makes batches of every example once, in the given order and unaugmented; the last batch may be smaller, and so is one
/// with images that cannot be read.
#[derive(Clone, Debug)]
pub struct SequentialSource {
    examples: Examples,
    batch: usize,
}

impl SequentialSource {
    /// Batches of the given `examples`, or of all images.
    ///
    /// # Errors
    ///
    /// If the batch is 0 or an example is not there.
    pub fn new(images: Arc<Images>, examples: Option<Arc<[u32]>>, batch: usize) -> Result<Self, DataError> {
        check_batch(batch, None, images.side())?;
        Ok(Self { examples: Examples::new(images, examples)?, batch })
    }

    /// How many examples there are.
    #[must_use]
    pub fn n_examples(&self) -> usize {
        self.examples.len() as usize
    }

    /// How many batches there are.
    #[must_use]
    pub fn n_steps(&self) -> u64 {
        self.n_examples().div_ceil(self.batch) as u64
    }

    /// One batch; an empty one from [`SequentialSource::n_steps`] on.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn batch(&self, step: u64) -> Result<LabelledBatch, DataError> {
        let n = u64::from(self.examples.len());
        let first = step.saturating_mul(self.batch as u64).min(n);
        let end = first.saturating_add(self.batch as u64).min(n);
        Ok(self.examples.readable_only(first as u32..end as u32))
    }
}

fn check_batch(batch: usize, augmentation: Option<Augmentation>, side: usize) -> Result<(), DataError> {
    if batch == 0 {
        return Err(DataError::setting("batch", "at least 1", batch));
    }
    augmentation.map_or(Ok(()), |augmentation| augmentation.check(side))
}
