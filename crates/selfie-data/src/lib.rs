//! Selfie's data: labelled images, and what turns them into batches. The pixels stay `u8`, RGB and channels-last from the
//! file to the batch; the model normalises with [`Images::mean_std`].
//!
//! # The path of an example
//!
//! 1. [`open`] reads a data set by name, or draws [`shapes32`]: the prepared form, which is mapped, or in memory the
//!    official files ([`cifar`], downsampled ImageNet), a folder of images, a list of them, or tar shards. All give a
//!    [`DataSet`] of two shared [`Images`]. [`import()`] makes the prepared form, [`SetReport`] checks a set,
//!    [`recognise`] says what is in a folder.
//! 2. [`Splits`] holds out the validation examples; [`labelled_subset`] chooses those whose labels may be used.
//! 3. An [`ExampleOrder`] says which example stands at which position of an endless run; a step's batch is a function of
//!    (seed, step).
//! 4. [`Images::image`] gives its pixels, which for an image file means [`decode`]; one that cannot be decoded is a
//!    [`BadSample`], and another example stands in. [`Augmentation`] crops and flips the example, and changes its colours
//!    where asked to.
//! 5. For pretraining, [`PatchGrid::cut`] makes patches of it, which [`PatchAugmentation`] may change one by one, and a
//!    [`MaskSampler`] says which of them are targets. For fine-tuning, [`Mixing`] may mix the images of a batch.
//! 6. [`PretrainSource`], [`LabelledSource`] and [`SequentialSource`] do 3 to 5 for a whole batch; a [`Loader`] runs one
//!    of them ahead of the training step on its own threads, without changing the order.
//!
//! Axes: `B` images, `G` grid side, `N` = G² patches, `T` targets, `P` patch side, `H W C` (here H = W and C = 3).
//!
//! ```
//! use selfie_data::{Augmentation, Loader, MaskSampler, PatchAugmentation, PatchGrid};
//! use selfie_data::{PretrainSettings, PretrainSource, shapes32};
//!
//! # fn main() -> Result<(), selfie_data::DataError> {
//! let data = shapes32::draw(100, 10);
//! let source = PretrainSource::new(
//!     data.train,
//!     None,
//!     PretrainSettings {
//!         grid: PatchGrid::new(32, 8)?,
//!         masks: MaskSampler::new(16, 4)?,
//!         augmentation: Some(Augmentation::default()),
//!         patches: PatchAugmentation::default(),
//!         seed: 0,
//!         batch: 64,
//!     },
//! )?;
//! let mut loader = Loader::new(move |step| source.batch(step), 0..3, 2, 4);
//! while let Some(batch) = loader.next_batch() {
//!     assert_eq!(batch?.patches.len(), 64 * 16 * 8 * 8 * 3);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Nothing opens a connection unless a feature is chosen: `fetch` adds `fetch::fetch`, which downloads a file from a URL,
//! and `hub` adds `hub::fetch` for the parquet files of the Hugging Face hub.

pub mod augment;
mod bad;
mod caught;
mod check;
pub mod cifar;
pub mod decode;
mod downsampled;
mod error;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod formats;
mod grid;
#[cfg(test)]
mod hostile;
#[cfg(feature = "hub")]
pub mod hub;
mod images;
mod import;
mod listing;
mod loader;
mod map;
mod mask;
mod order;
mod pictures;
mod prepared;
mod set;
pub mod shapes32;
mod source;
mod subset;
mod tables;

pub use augment::{
    Augmentation, ColourDrop, ColourJitter, Crop, DroppedChannels, JitterFill, MixedLabels, Mixing, PaddedCrop,
    Padding, PatchAugmentation, PatchJitter, RandAugment, ResizedCrop,
};
pub use bad::{BAD_SAMPLES, BadSample, require_few};
pub use check::{ClassCount, SetReport, SplitReport, contact_sheet};
pub use error::{DataError, DataErrorKind, lies_beside};
pub use grid::PatchGrid;
pub use images::{DataSet, Images, N_CHANNELS, classes_in_words};
pub use import::{
    ImportProgress, ImportReport, ImportSettings, MAX_MEMORY_BYTES, Recognised, import, name_at, passed_over, recognise,
};
pub use listing::UNLABELLED;
pub use listing::is_list;
pub use loader::Loader;
pub use map::Map;
pub use mask::MaskSampler;
pub use order::{ExampleOrder, Shard};
pub use pictures::{Pictures, Squares};
pub use set::{SetName, default_folder, open, resolve};
pub use source::{
    LabelledBatch, LabelledSettings, LabelledSource, PretrainBatch, PretrainSettings, PretrainSource, SequentialSource,
};
pub use subset::{Splits, Subset, SubsetFile, folds, labelled_subset};
