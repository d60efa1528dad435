//! Weights files: safetensors with one metadata key, `selfie`. Read strictly, written whole or not at all.

use crate::config::{ClassifierConfig, Normalization, SelfieConfig};
use crate::error::{ModelError, Result};
use crate::selfie::PATCH_NETWORK;
use crate::tensors::{no_safetensors, tensors_from_bytes, tensors_to_bytes};
use crate::unit::{Budget, ParameterUnit};
use candle_core::Tensor;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

const METADATA_KEY: &str = "selfie";
/// What a zip archive begins with.
const PYTORCH_ARCHIVE: &[u8] = b"PK\x03\x04";

/// What network a weights file is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "holds", rename_all = "snake_case")]
pub enum Metadata {
    /// A pretraining network.
    Pretraining(SelfieConfig),
    /// A classifier.
    Classifier(ClassifierConfig),
}

impl Metadata {
    /// What a file says of its network; `None` where it says nothing, as other programs' files do.
    pub(crate) fn of_file(bytes: &[u8], path: &Path) -> Result<Option<Self>, ModelError> {
        let format = |reason: String| ModelError::Format { path: path.to_owned(), reason };
        if bytes.starts_with(PYTORCH_ARCHIVE) {
            let how = "write its tensors with safetensors.torch.save_file(state_dict, …)";
            return Err(format(format!("expected safetensors, got an archive as torch.save makes it; {how}")));
        }
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| format(no_safetensors(&error)))?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
        let parsed = text.map(|text| serde_json::from_str(text)).transpose();
        parsed.map_err(|error| format(format!("metadata `{METADATA_KEY}`: {error}")))
    }

    /// The network that both kinds contain.
    #[must_use]
    pub fn network(&self) -> &SelfieConfig {
        match self {
            Self::Pretraining(network) => network,
            Self::Classifier(classifier) => &classifier.network,
        }
    }

    /// The constants of the first operation.
    #[must_use]
    pub fn normalization(&self) -> Normalization {
        self.network().normalization
    }

    /// In words, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pretraining(_) => "a pretraining network",
            Self::Classifier(_) => "a classifier",
        }
    }
}

/// The content of a weights file: f32 tensors in PyTorch's shapes, under the names of timm, torchvision or the peer.
#[derive(Clone, Debug)]
pub struct WeightsFile {
    /// What network it is of.
    pub metadata: Metadata,
    /// Every tensor by name.
    pub tensors: BTreeMap<String, Tensor>,
}

impl WeightsFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`ModelError::Read`] if it cannot be read, [`ModelError::Format`] if it is no weights file of this program.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let bytes = std::fs::read(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes, path)
    }

    /// Parses the bytes of a file; `path` is for messages.
    ///
    /// # Errors
    ///
    /// [`ModelError::Format`] if they are no weights file of this program.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, ModelError> {
        let metadata = Metadata::of_file(bytes, path)?.ok_or_else(|| {
            let reason = format!("its metadata has no key `{METADATA_KEY}`, which says what network it is of");
            ModelError::Format { path: path.to_owned(), reason }
        })?;
        Ok(Self { metadata, tensors: tensors_from_bytes(bytes, path)? })
    }

    /// Builds the network that the file is of, which must not be larger than the file.
    pub(crate) fn build<T>(&self, path: &Path, build: impl FnOnce(&Budget) -> Result<T>) -> Result<T, ModelError> {
        let budget = Budget::new(self.tensors.values().map(Tensor::elem_count).sum());
        build(&budget).map_err(|error| {
            if budget.is_exceeded() {
                let reason = "it holds fewer numbers than the network that it says it is of".to_owned();
                return ModelError::Format { path: path.to_owned(), reason };
            }
            error.into()
        })
    }

    /// The bytes of a file, a function of the content alone.
    ///
    /// # Errors
    ///
    /// If a tensor holds a number that is not finite: such weights are never written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        let text = serde_json::to_string(&self.metadata).map_err(|error| candle_core::Error::Msg(error.to_string()))?;
        tensors_to_bytes(&self.tensors, HashMap::from([(METADATA_KEY.to_owned(), text)]))
    }

    /// The bytes of a file with the patch network's tensors alone, under timm's or torchvision's names, as other programs load
    /// them into a whole network but for what is not pretrained; `None` where the file is a whole network already.
    ///
    /// # Errors
    ///
    /// As [`Self::to_bytes`].
    pub fn convolutional(&self) -> Result<Option<Vec<u8>>, ModelError> {
        // The norm that ends v2's patch network has no place in the whole one, whose norm is twice as wide.
        let theirs = |(name, tensor): (&String, &Tensor)| {
            let name = name.strip_prefix(PATCH_NETWORK).filter(|name| !name.starts_with("norm."))?;
            Some((name.to_owned(), tensor.clone()))
        };
        let tensors: BTreeMap<String, Tensor> = self.tensors.iter().filter_map(theirs).collect();
        if tensors.is_empty() {
            return Ok(None);
        }
        // What the programs of the hub ask for.
        tensors_to_bytes(&tensors, HashMap::from([("format".to_owned(), "pt".to_owned())])).map(Some)
    }

    /// Writes the file beside `path` and renames it there: whole or not at all.
    ///
    /// # Errors
    ///
    /// [`ModelError::Write`], and as [`Self::to_bytes`].
    pub fn write(&self, path: &Path) -> Result<(), ModelError> {
        let bytes = self.to_bytes()?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".tmp");
        let temporary = path.with_file_name(name);
        let write = || {
            let mut file = std::fs::File::create(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)
        };
        write().map_err(|source| {
            std::fs::remove_file(&temporary).ok();
            ModelError::Write { path: path.to_owned(), source }
        })
    }
}

/// Every tensor of the units by name.
pub(crate) fn tensors_of(units: &[&ParameterUnit]) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    for unit in units {
        tensors.extend(unit.named(&unit.parameters().as_detached_tensor())?);
        tensors.extend(unit.named_statistics()?);
    }
    Ok(tensors)
}

/// Loads `tensors` into `units`; each must fit and none may be left over.
pub(crate) fn load_units(
    units: &[&ParameterUnit],
    tensors: &BTreeMap<String, Tensor>,
    network: &str,
) -> Result<(), ModelError> {
    let expected = units.iter().flat_map(|unit| unit.expected()).collect();
    let problems = misfits(&expected, tensors);
    if !problems.is_empty() {
        return Err(ModelError::Tensors { network: network.to_owned(), keys: Vec::new(), problems });
    }
    units.iter().try_for_each(|unit| unit.load(tensors))?;
    Ok(())
}

/// A line for each of the keys whose value is another one here than in the weights.
pub(crate) fn differing_keys(here: &SelfieConfig, weights: &SelfieConfig, keys: &[&str]) -> Vec<String> {
    let value = |config: &SelfieConfig, key: &str| {
        let value = serde_json::to_value(config).ok()?.get(key)?.to_string();
        Some(value.trim_matches('"').to_owned())
    };
    let line = |key: &&str| {
        let (here, weights) = (value(here, key)?, value(weights, key)?);
        (here != weights).then(|| format!("model.{key} is {here} here, {weights} in the weights"))
    };
    keys.iter().filter_map(line).collect()
}

/// A line for each tensor that is missing, misshapen or extra.
pub(crate) fn misfits(expected: &BTreeMap<String, Vec<usize>>, got: &BTreeMap<String, Tensor>) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, shape) in expected {
        match got.get(name) {
            None => problems.push(format!("`{name}` is missing")),
            Some(tensor) if tensor.dims() != shape.as_slice() => {
                problems.push(format!("`{name}`: expected shape {shape:?}, got {:?}", tensor.dims()));
            }
            Some(_) => {}
        }
    }
    problems
        .extend(got.keys().filter(|name| !expected.contains_key(*name)).map(|name| format!("`{name}` is unexpected")));
    problems
}
