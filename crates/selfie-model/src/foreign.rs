//! Weights files of other programs: timm's `resnetv2_50` and torchvision's `resnet50`, whose names ours are too. What our
//! metadata would say is read from the tensors' names and shapes.

use crate::config::{Architecture, SelfieConfig, Stem};
use candle_core::Tensor;
use std::collections::BTreeMap;

/// What the tensors of a file without our metadata are of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Foreign {
    /// The convolutional network; the rest of the configuration has no meaning.
    pub(crate) config: SelfieConfig,
    /// Classes of its last layer; none where there is no last layer.
    pub(crate) n_classes: Option<usize>,
}

impl Foreign {
    /// Recognises the network by its first convolution, its blocks and its last layer; `None` if it is neither of the two.
    /// Whether every tensor fits is for the strict loader to say.
    ///
    /// Its pixels are normalised by ImageNet's constants, as both programs do for weights trained there.
    pub(crate) fn recognise(tensors: &BTreeMap<String, Tensor>) -> Option<Self> {
        let v2 = tensors.contains_key("stem.conv.weight");
        let (architecture, stem, head) = match v2 {
            true => (Architecture::Resnet50V2, "stem.conv.weight", "head.fc.weight"),
            false => (Architecture::Resnet50V15, "conv1.weight", "fc.weight"),
        };
        let (width, _, kernel, _) = tensors.get(stem)?.dims4().ok()?;
        let defaults = SelfieConfig { architecture, width, heads: 1, ..SelfieConfig::default() };
        let shape = match kernel {
            3 => defaults,
            7 => {
                let (image_size, patch_size) = (224, 32);
                SelfieConfig { stem: Stem::SevenBySeven, image_size, patch_size, ..defaults }
            }
            _ => return None,
        };
        let depth = |stage: usize| {
            let prefix = if v2 { format!("stages.{stage}.blocks.") } else { format!("layer{}.", stage + 1) };
            (0..).take_while(|block| tensors.contains_key(&format!("{prefix}{block}.conv1.weight"))).count()
        };
        let config = SelfieConfig { depths: [0, 1, 2, 3].map(depth), ..shape };
        config.check().ok()?;
        Some(Self { config, n_classes: tensors.get(head).and_then(|head| head.dim(0).ok()) })
    }
}
