//! What a network looks like, as weights files and recipes say it.

use crate::{EMBEDDING_PER_WIDTH, ModelError};
use serde::{Deserialize, Serialize};

/// The convolutional network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// Pre-activation ResNet-50; weights named as timm's `resnetv2_50`.
    #[serde(rename = "resnet50v2")]
    Resnet50V2,
    /// Post-activation ResNet-50 with the stride on the 3×3 convolution; weights named as torchvision's `resnet50`.
    #[serde(rename = "resnet50v1.5")]
    Resnet50V15,
}

/// The first convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stem {
    /// 3×3, stride 1, no pool: for patches of 8×8.
    #[serde(rename = "3x3")]
    ThreeByThree,
    /// 7×7, stride 2, then a 3×3 max-pool of stride 2: for patches of 32×32.
    #[serde(rename = "7x7")]
    SevenBySeven,
}

/// How a patch's place is embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// One vector a place: the paper's for 32×32 images.
    PerPatch,
    /// The sum of a row's and a column's vector: the paper's for 224×224 images.
    RowColumn,
}

/// How the pointer decoder scales its scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogitScale {
    /// Plain dot products, as in the paper.
    Raw,
    /// Dot products over √D, which start near chance.
    InverseSqrt,
    /// Cosines over the temperature.
    Cosine,
}

/// What turns the patch network into a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassifierKind {
    /// Stage 4 and an average pool: the whole ResNet-50.
    Stage4,
    /// The attention pooling as the last layer, over cells of the patch network's map.
    AttentionPooling,
    /// Nothing: the average of the patch network's map, which is what pretraining left.
    PatchNetwork,
}

/// The constants of the first operation: pixels, scaled to 0–1, minus `mean`, over `std`; red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// Mean of each channel.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub std: [f32; 3],
}

impl Default for Normalization {
    /// ImageNet's, as published with torchvision's weights.
    fn default() -> Self {
        Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
    }
}

/// The pretraining network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfieConfig {
    /// The convolutional network.
    pub architecture: Architecture,
    /// Channels of the stem; an embedding has 16 times as many.
    pub width: usize,
    /// Blocks of stages 1–4. The patch network has the first three; a classifier adds the fourth.
    pub depths: [usize; 4],
    /// The first convolution.
    pub stem: Stem,
    /// Side of an image in pixels.
    pub image_size: usize,
    /// Side P of a patch in pixels; divides the image's.
    pub patch_size: usize,
    /// Target patches T an image, at least 2 and fewer than N.
    pub n_targets: usize,
    /// Attention heads; divide the embedding's width.
    pub heads: usize,
    /// Width of the feed-forward networks.
    pub ffn: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Dropout probability of the transformer layers, 0 ≤ p < 1.
    pub dropout: f64,
    /// Layer norm before each sub-layer, and one at the end, instead of after each sub-layer as in the paper.
    pub norm_first: bool,
    /// How a patch's place is embedded.
    pub positions: Positions,
    /// Whether the attention pooling sees the places of the context patches.
    pub context_positions: bool,
    /// How the pointer decoder scales its scores.
    pub logit_scale: LogitScale,
    /// Divisor of the cosines of [`LogitScale::Cosine`]; ignored otherwise.
    pub temperature: f64,
    /// Constants of the first operation.
    pub normalization: Normalization,
}

impl Default for SelfieConfig {
    /// The paper's network for 32×32 images.
    fn default() -> Self {
        Self {
            architecture: Architecture::Resnet50V2,
            width: 64,
            depths: [3, 4, 6, 3],
            stem: Stem::ThreeByThree,
            image_size: 32,
            patch_size: 8,
            n_targets: 4,
            heads: 32,
            ffn: 640,
            layers: 3,
            dropout: 0.1,
            norm_first: false,
            positions: Positions::PerPatch,
            context_positions: true,
            logit_scale: LogitScale::InverseSqrt,
            temperature: 0.1,
            normalization: Normalization::default(),
        }
    }
}

impl SelfieConfig {
    /// Width D of an embedding.
    #[must_use]
    pub fn embedding_width(&self) -> usize {
        EMBEDDING_PER_WIDTH * self.width
    }

    /// Side G of the patch grid.
    #[must_use]
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size.max(1)
    }

    /// Patches N of an image.
    #[must_use]
    pub fn n_patches(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`], naming the key.
    pub fn check(&self) -> Result<(), ModelError> {
        let bad = |key: &'static str, expected: String, got: String| Err(ModelError::Config { key, expected, got });
        if !(1..=512).contains(&self.width) {
            return bad("width", "1 to 512".to_owned(), self.width.to_string());
        }
        if self.depths.iter().any(|depth| !(1..=64).contains(depth)) {
            return bad("depths", "four numbers of 1 to 64".to_owned(), format!("{:?}", self.depths));
        }
        if self.patch_size < 4 || self.image_size > 4096 || !self.image_size.is_multiple_of(self.patch_size) {
            let got = format!("{} in images of {}", self.patch_size, self.image_size);
            return bad("patch_size", "a divisor of the image's side, at least 4".to_owned(), got);
        }
        if self.n_targets < 2 || self.n_targets >= self.n_patches() {
            let expected = format!("2 to {}", self.n_patches().saturating_sub(1));
            return bad("n_targets", expected, self.n_targets.to_string());
        }
        if self.heads == 0 || !self.embedding_width().is_multiple_of(self.heads) {
            return bad("heads", format!("a divisor of {}", self.embedding_width()), self.heads.to_string());
        }
        if !(1..=65536).contains(&self.ffn) || !(1..=64).contains(&self.layers) {
            return bad("ffn, layers", "1 to 65536, 1 to 64".to_owned(), format!("{}, {}", self.ffn, self.layers));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return bad("dropout", "0 ≤ p < 1".to_owned(), self.dropout.to_string());
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return bad("temperature", "a positive number".to_owned(), self.temperature.to_string());
        }
        let Normalization { mean, std } = self.normalization;
        if std.iter().any(|std| !(*std > 0.0 && std.is_finite())) || mean.iter().any(|mean| !mean.is_finite()) {
            return bad("normalization", "finite means, positive deviations".to_owned(), format!("{mean:?}, {std:?}"));
        }
        Ok(())
    }
}

/// A classifier on the patch network of `network`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierConfig {
    /// The pretraining network whose patch network, and attention pooling where `kind` asks, this is.
    pub network: SelfieConfig,
    /// What follows the patch network.
    pub kind: ClassifierKind,
    /// Names of the classes; there are L of them.
    pub classes: Vec<String>,
}

impl ClassifierConfig {
    /// Checks what the types do not say.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`], naming the key.
    pub fn check(&self) -> Result<(), ModelError> {
        self.network.check()?;
        if self.classes.is_empty() {
            let (expected, got) = ("at least one class".to_owned(), "none".to_owned());
            return Err(ModelError::Config { key: "classes", expected, got });
        }
        Ok(())
    }
}
