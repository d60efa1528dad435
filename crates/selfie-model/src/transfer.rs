//! From a pretraining network to a classifier.

use crate::config::{Architecture, ClassifierConfig, ClassifierKind};
use crate::error::ModelError;
use crate::selfie::PATCH_NETWORK;
use crate::unit::ParameterUnit;
use crate::weights::{WeightsFile, differing_keys, misfits};
use std::collections::BTreeMap;

/// Keys that decide which tensors the patch network has.
const CONVOLUTIONAL: &[&str] = &["architecture", "width", "depths", "stem"];
/// Those that decide which the attention pooling has.
const TRANSFORMER: &[&str] = &["ffn", "layers", "norm_first", "positions"];

/// What a transfer took over and what it left at its initial values, by tensor name in the classifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// Tensors that came from pretraining.
    pub loaded: Vec<String>,
    /// Tensors that start fresh.
    pub fresh: Vec<String>,
}

pub(crate) fn transfer(
    units: &[&ParameterUnit],
    config: &ClassifierConfig,
    pretrained: &WeightsFile,
    norm_starts_stage4: bool,
) -> Result<Transferred, ModelError> {
    let mut parts = BTreeMap::new();
    for (name, tensor) in &pretrained.tensors {
        if let Some(name) = name_in_classifier(name, config, norm_starts_stage4) {
            parts.insert(name, tensor.clone());
        }
    }
    let expected: BTreeMap<String, Vec<usize>> = units.iter().flat_map(|unit| unit.expected()).collect();
    let comes = |name: &str| match config.kind {
        ClassifierKind::AttentionPooling | ClassifierKind::PatchNetwork => {
            !name.starts_with("head.") && !name.starts_with("fc.")
        }
        ClassifierKind::Stage4 => parts.contains_key(name) || is_patch_network(name),
    };
    let wanted = expected.iter().filter(|(name, _)| comes(name)).map(|(name, shape)| (name.clone(), shape.clone()));
    let wanted: BTreeMap<_, _> = wanted.collect();
    let problems = misfits(&wanted, &parts);
    if !problems.is_empty() {
        let keys = match config.kind {
            ClassifierKind::AttentionPooling => [CONVOLUTIONAL, TRANSFORMER].concat(),
            ClassifierKind::Stage4 | ClassifierKind::PatchNetwork => CONVOLUTIONAL.to_vec(),
        };
        let keys = differing_keys(&config.network, pretrained.metadata.network(), &keys);
        return Err(ModelError::Tensors { network: "to be fine-tuned".to_owned(), keys, problems });
    }
    units.iter().try_for_each(|unit| unit.load(&parts))?;
    let (loaded, fresh) = expected.into_keys().partition(|name| parts.contains_key(name));
    Ok(Transferred { loaded, fresh })
}

/// Stem and stages 1–3 by their names in a whole network.
fn is_patch_network(name: &str) -> bool {
    let parts = ["stem.", "stages.0.", "stages.1.", "stages.2.", "conv1.", "bn1.", "layer1.", "layer2.", "layer3."];
    parts.iter().any(|part| name.starts_with(part))
}

/// Where a pretraining tensor goes, if anywhere.
fn name_in_classifier(name: &str, config: &ClassifierConfig, norm_starts_stage4: bool) -> Option<String> {
    match config.kind {
        ClassifierKind::AttentionPooling => return Some(name.to_owned()),
        ClassifierKind::PatchNetwork => return name.starts_with(PATCH_NETWORK).then(|| name.to_owned()),
        ClassifierKind::Stage4 => {}
    }
    let name = name.strip_prefix(PATCH_NETWORK)?;
    match name.strip_prefix("norm.") {
        Some(part) if config.network.architecture == Architecture::Resnet50V2 => {
            norm_starts_stage4.then(|| format!("stages.3.blocks.0.norm1.{part}"))
        }
        _ => Some(name.to_owned()),
    }
}
