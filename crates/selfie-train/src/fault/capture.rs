//! A file that repeats a fault: the weights that a step began with, its batch and its configuration.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use selfie_eval::record::RunRecord;
use selfie_model::{WeightsFile, no_safetensors};
use serde::{Deserialize, Serialize};

use super::{Fault, Injected};
use crate::TrainError;
use crate::session::At;

const METADATA_KEY: &str = "selfie_fault";
const WEIGHTS: &str = "weights";
const PIXELS: &str = "pixels";

/// Everything that a step's passes need.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Capture {
    /// What is no tensor.
    pub(crate) about: About,
    /// The weights file of the network before the step.
    pub(crate) weights: Vec<u8>,
    /// The batch's u8 pixels.
    pub(crate) pixels: Vec<u8>,
    /// The batch's orders or labels, by name.
    pub(crate) indices: BTreeMap<String, Vec<u32>>,
}

/// What is no tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct About {
    /// The run.
    pub(crate) record: RunRecord,
    /// Examples of one of its epochs.
    pub(crate) n_examples: u64,
    /// The fault.
    pub(crate) fault: Fault,
    /// Where a test made it.
    pub(crate) injected: Option<Injected>,
    /// Share of the first labels where images are mixed.
    pub(crate) mixed_share: Option<f64>,
}

impl About {
    pub(crate) fn new(record: &RunRecord, n_examples: usize, fault: &Fault, at: At<'_>) -> Self {
        let (record, fault, n_examples) = (record.clone(), fault.clone(), n_examples as u64);
        Self { record, n_examples, fault, injected: at.injected, mixed_share: None }
    }
}

impl Capture {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, TrainError> {
        let internal = |error: String| TrainError::Internal(format!("a fault cannot be captured: {error}"));
        let about = serde_json::to_string(&self.about).map_err(|error| internal(error.to_string()))?;
        let bytes = |values: &[u32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let indices: Vec<(&str, Vec<u8>)> =
            self.indices.iter().map(|(name, values)| (name.as_str(), bytes(values))).collect();
        let view = |dtype, n, data| TensorView::new(dtype, vec![n], data);
        let tensors = [(WEIGHTS, &self.weights), (PIXELS, &self.pixels)]
            .into_iter()
            .map(|(name, data)| Ok((name, view(Dtype::U8, data.len(), data.as_slice())?)))
            .chain(indices.iter().map(|(name, data)| Ok((*name, view(Dtype::U32, data.len() / 4, data)?))))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        tensors
            .and_then(|tensors| {
                safetensors::serialize(tensors, Some(HashMap::from([(METADATA_KEY.to_owned(), about)])))
            })
            .map_err(|error| internal(error.to_string()))
    }

    pub(crate) fn read(path: &Path) -> Result<Self, TrainError> {
        let bytes = std::fs::read(path)
            .map_err(|source| TrainError::reading(path, source, "expected a file in the folder `faults` of a run"))?;
        let corrupt = |reason: String| TrainError::Corrupt { path: path.to_owned(), reason };
        let no_capture =
            |got: String| corrupt(format!("expected a captured fault, a file of a run's folder `faults`: {got}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| no_capture(no_safetensors(&error)))?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
        let text = text.ok_or_else(|| no_capture(format!("no metadata `{METADATA_KEY}`")))?;
        let about =
            serde_json::from_str(text).map_err(|error| corrupt(format!("metadata `{METADATA_KEY}`: {error}")))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| corrupt(error.to_string()))?;
        let plain = |name: &str| {
            let tensor = file.tensor(name).map_err(|error| corrupt(format!("tensor `{name}`: {error}")))?;
            Ok::<_, TrainError>(tensor.data().to_vec())
        };
        let indices = file.iter().filter(|(_, tensor)| tensor.dtype() == Dtype::U32).map(|(name, tensor)| {
            let values = tensor.data().as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
            (name.to_owned(), values)
        });
        Ok(Self { about, weights: plain(WEIGHTS)?, pixels: plain(PIXELS)?, indices: indices.collect() })
    }

    /// The weights before the step; `path` is for messages.
    pub(crate) fn weights_file(&self, path: &Path) -> Result<WeightsFile, TrainError> {
        Ok(WeightsFile::from_bytes(&self.weights, path)?)
    }

    /// The orders or labels of that name, of which there must be `n`, each less than `end`.
    pub(crate) fn take(&mut self, name: &str, n: usize, end: usize, path: &Path) -> Result<Vec<u32>, TrainError> {
        let values = self.indices.remove(name).unwrap_or_default();
        if values.len() == n && values.iter().all(|value| (*value as usize) < end) {
            return Ok(values);
        }
        let reason = format!("tensor `{name}`: expected {n} numbers less than {end}, got {} numbers", values.len());
        Err(TrainError::Corrupt { path: path.to_owned(), reason })
    }

    /// The pixels, of which there must be `n`.
    pub(crate) fn take_pixels(&mut self, n: usize, path: &Path) -> Result<Vec<u8>, TrainError> {
        if self.pixels.len() == n {
            return Ok(std::mem::take(&mut self.pixels));
        }
        let reason = format!("tensor `{PIXELS}`: expected {n} numbers, got {}", self.pixels.len());
        Err(TrainError::Corrupt { path: path.to_owned(), reason })
    }
}
