//! Where in a network an embedding of an image is read.

use crate::config::SelfieConfig;
use crate::error::{ModelError, Result};
use crate::resnet::StageMaps;
use candle_core::{Tensor, bail};
use selfie_ops::average_pool;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where in a network an embedding of an image is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmbeddingAt {
    /// The average of stage 1's map of the whole image.
    Stage1,
    /// The average of stage 2's map.
    Stage2,
    /// The average of stage 3's map: of a pretraining network, normalised and rectified, the patch network's output.
    Stage3,
    /// The average of stage 4's map, which only a whole ResNet has: what a classifier's last layer reads.
    Stage4,
    /// The average of the patch embeddings `h` of all patches, cut as in pretraining.
    H,
    /// The pooled embedding `u` of all patches. Pretraining has shown the pooling the context patches alone.
    U,
}

impl EmbeddingAt {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Stage1, Self::Stage2, Self::Stage3, Self::Stage4, Self::H, Self::U];

    /// The name on the command line and in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stage1 => "stage1",
            Self::Stage2 => "stage2",
            Self::Stage3 => "stage3",
            Self::Stage4 => "stage4",
            Self::H => "h",
            Self::U => "u",
        }
    }

    /// Numbers of an embedding read here in a network of `config`.
    pub(crate) fn width(self, config: &SelfieConfig) -> usize {
        match self {
            Self::Stage1 => 4 * config.width,
            Self::Stage2 => 8 * config.width,
            Self::Stage3 | Self::H | Self::U => config.embedding_width(),
            Self::Stage4 => 2 * config.embedding_width(),
        }
    }

    /// Which of the stages' maps, if it is one of them.
    fn stage_idx(self) -> Option<usize> {
        match self {
            Self::Stage1 => Some(0),
            Self::Stage2 => Some(1),
            Self::Stage3 => Some(2),
            Self::Stage4 => Some(3),
            Self::H | Self::U => None,
        }
    }

    /// The error where a network has no such place.
    pub(crate) fn missing<T>(self, has: &[Self]) -> Result<T> {
        let has: Vec<&str> = has.iter().map(|at| at.as_str()).collect();
        bail!("embedding at {self}: expected a place this network has ({}), got {self}", has.join(", "))
    }
}

impl fmt::Display for EmbeddingAt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for EmbeddingAt {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        Self::ALL.into_iter().find(|at| at.as_str() == name).ok_or_else(|| {
            let expected = Self::ALL.map(Self::as_str).join(", ");
            ModelError::Config { key: "at", expected: format!("one of {expected}"), got: name.to_owned() }
        })
    }
}

impl StageMaps {
    /// The average over the places of a stage's map, `[B, C]`; of the last stage as the network's end has it.
    pub(crate) fn averaged(&self, at: EmbeddingAt) -> Result<Tensor> {
        let n_stages = self.stages.len() + 1;
        let map = match at.stage_idx() {
            Some(idx) if idx + 1 == n_stages => self.last.clone(),
            Some(idx) if idx < n_stages => self.stages[idx].tensor()?,
            _ => return at.missing(&EmbeddingAt::ALL[..n_stages.min(4)]),
        };
        average_pool(&map, 1)?.flatten_from(1)
    }
}
