//! Selfie's networks: patch network, attention pooling, pointer decoder and classifiers; their weights in and out; inference.
//!
//! Source: Trinh, Luong & Le, "Selfie: Self-supervised Pretraining for Image Embedding" (2019), "the paper" below.
//!
//! # An embedding inside your program
//!
//! ```rust
//! use selfie_model::{InferenceModel, ModelError, RgbImage};
//!
//! /// The embedding of a picture, whose pixels are three bytes each, row by row.
//! fn embedding(weights: &str, width: u32, height: u32, rgb_bytes: Vec<u8>) -> Result<Vec<f32>, ModelError> {
//!     let model = InferenceModel::load(weights)?; // `weights.safetensors` of a run folder; once for many pictures
//!     let picture = RgbImage::new(width, height, rgb_bytes)?; // with the feature `image`, `RgbImage::open(path)?`
//!     Ok(model.embed(&[picture])?.concat()) // an embedding a picture, here one
//! }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use selfie_model::{Selfie, SelfieConfig};
//! # let folder = std::env::temp_dir().join(format!("selfie-model-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let weights = folder.join("weights.safetensors");
//! # let small = SelfieConfig { width: 4, depths: [1, 1, 1, 1], heads: 4, ffn: 16, ..SelfieConfig::default() };
//! # Selfie::new(&small, candle_core::DType::F32, &candle_core::Device::Cpu, 1)?.save(&weights)?;
//! # let embedding = embedding(&weights.to_string_lossy(), 2, 1, vec![255, 0, 0, 0, 0, 255])?;
//! # assert_eq!(embedding.len(), InferenceModel::load(&weights)?.embedding_width());
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Axes
//!
//! `B` images, `G` side of the patch grid, `N` = G² patches, `K` context patches, `T` target patches, `P` side of a patch in
//! pixels, `H W C` of maps (channels last), `D` = 16 · width of an embedding, `L` classes.
//!
//! What does not live here: data sets (selfie-data) and training (selfie-train).

mod attention_pooling;
mod classifier;
mod config;
mod decoder;
mod embedding_at;
mod embeddings;
mod error;
mod foreign;
mod image;
mod inference;
mod initialize;
mod mode;
mod onnx;
mod resnet;
mod selfie;
mod tensors;
mod transfer;
mod unit;
mod weights;

pub use classifier::{Classification, Classifier};
pub use config::{
    Architecture, ClassifierConfig, ClassifierKind, LogitScale, Normalization, Positions, SelfieConfig, Stem,
};
pub use embedding_at::EmbeddingAt;
pub use error::ModelError;
pub use image::RgbImage;
pub use inference::InferenceModel;
pub use mode::{Mode, Training, is_finite};
pub use resnet::StageMaps;
pub use selfie::{Prediction, Selfie};
pub use selfie_ops::StageMap;
#[cfg(feature = "cuda")]
pub use selfie_ops::new_cuda;
pub use tensors::{no_safetensors, tensors_from_bytes, tensors_to_bytes};
pub use transfer::Transferred;
pub use unit::ParameterUnit;
pub use weights::{Metadata, WeightsFile};

/// Channels of an embedding for every channel of the stem: stage 3 ends 16 times as wide as the stem.
pub const EMBEDDING_PER_WIDTH: usize = 16;
