//! `checkpoint diff`: which tensors of two checkpoints or weights files differ and by how much, and what else does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use serde_json::{Value, json};

use super::inspect::{Stored, stored};
use super::manifest::Manifest;
use super::tensors;
use crate::TrainError;
use crate::resume::{self, Difference};
use crate::run_folder::read_record;

#[cfg(test)]
mod tests;

/// How two checkpoints or weights files differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff {
    /// The first checkpoint or weights file.
    pub left: PathBuf,
    /// The second.
    pub right: PathBuf,
    /// The tensors of the files that both have, or only one has.
    pub tensors: Vec<TensorDiff>,
    /// Tensors of the same bytes in both.
    pub n_equal: usize,
    /// What differs beside tensors: manifests, the networks that the weights are of, the configurations of the runs.
    pub facts: Vec<Difference>,
}

impl Diff {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty() && self.facts.is_empty()
    }
}

/// A tensor that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorDiff {
    /// The file it is in.
    pub file: String,
    /// Its name.
    pub name: String,
    /// How it differs.
    #[serde(flatten)]
    pub how: TensorDifference,
}

/// How a tensor differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum TensorDifference {
    /// The second file does not have it.
    OnlyLeft,
    /// The first file does not have it.
    OnlyRight,
    /// Its number type or shape is another.
    Form {
        /// In the first file.
        left: String,
        /// In the second.
        right: String,
    },
    /// Some of its numbers are others.
    Values {
        /// Numbers that differ.
        n_different: usize,
        /// Numbers it has.
        n: usize,
        /// The largest difference.
        max_abs: f64,
        /// Root of the mean squared difference.
        rms: f64,
        /// `rms` over the root mean square of the first file's numbers; none where those are all 0.
        relative: Option<f64>,
    },
}

/// Compares two checkpoints, run folders (their newest checkpoints) or weights files.
///
/// # Errors
///
/// If there is nothing at a path, or it is corrupt.
pub fn diff(left: &Path, right: &Path) -> Result<Diff, TrainError> {
    let (left, right) = (stored(left)?, stored(right)?);
    let (mut differ, mut n_equal) = (Vec::new(), 0);
    for (file, left_bytes) in &left.files {
        // A weights file has no optimizer state: that is no difference of the weights.
        let Some(right_bytes) = right.files.get(file) else { continue };
        let (left, right) = (tensors::read(&left.path, left_bytes)?, tensors::read(&right.path, right_bytes)?);
        n_equal += compare(file, &left, &right, &mut differ);
    }
    let facts = facts(&left, &right)?;
    Ok(Diff { left: left.path, right: right.path, tensors: differ, n_equal, facts })
}

/// Adds the tensors that differ and returns how many do not.
fn compare(file: &str, left: &SafeTensors<'_>, right: &SafeTensors<'_>, differ: &mut Vec<TensorDiff>) -> usize {
    let (left, right): (BTreeMap<&str, TensorView<'_>>, BTreeMap<&str, TensorView<'_>>) =
        (left.iter().collect(), right.iter().collect());
    let mut add = |name: &str, how| differ.push(TensorDiff { file: file.to_owned(), name: name.to_owned(), how });
    let mut n_equal = 0;
    for (name, left) in &left {
        match right.get(name) {
            None => add(name, TensorDifference::OnlyLeft),
            Some(right) => match tensor_difference(left, right) {
                Some(how) => add(name, how),
                None => n_equal += 1,
            },
        }
    }
    right.keys().filter(|name| !left.contains_key(*name)).for_each(|name| add(name, TensorDifference::OnlyRight));
    n_equal
}

fn tensor_difference(left: &TensorView<'_>, right: &TensorView<'_>) -> Option<TensorDifference> {
    let form = |view: &TensorView<'_>| format!("{:?} {:?}", view.dtype(), view.shape());
    if form(left) != form(right) {
        return Some(TensorDifference::Form { left: form(left), right: form(right) });
    }
    if left.data() == right.data() {
        return None;
    }
    let (left, right) = (numbers(left), numbers(right));
    let differences = left.iter().zip(&right).map(|(left, right)| right - left);
    let (mut n_different, mut max_abs, mut squares) = (0, 0.0_f64, 0.0);
    for difference in differences.filter(|difference| *difference != 0.0) {
        n_different += 1;
        max_abs = max_abs.max(difference.abs());
        squares += difference * difference;
    }
    let root_mean = |squares: f64| (squares / left.len().max(1) as f64).sqrt();
    let (rms, size) = (root_mean(squares), root_mean(left.iter().map(|value| value * value).sum()));
    let relative = (size > 0.0).then_some(rms / size);
    Some(TensorDifference::Values { n_different, n: left.len(), max_abs, rms, relative })
}

/// The numbers of a tensor; of types this program does not write, their bytes.
fn numbers(view: &TensorView<'_>) -> Vec<f64> {
    let data = view.data();
    match view.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect(),
        Dtype::F64 => data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
        // The upper half of an f32.
        Dtype::BF16 => {
            let widen = |bytes: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
            data.as_chunks().0.iter().map(|bytes| f64::from(widen(bytes))).collect()
        }
        _ => data.iter().map(|byte| f64::from(*byte)).collect(),
    }
}

/// What differs beside tensors.
fn facts(left: &Stored, right: &Stored) -> Result<Vec<Difference>, TrainError> {
    let none = BTreeMap::new();
    let mut facts = resume::differences_of(&metadata(left), &metadata(right), &none);
    if let (Some(left), Some(right)) = (&left.manifest, &right.manifest) {
        facts.extend(resume::differences_of(&described(left), &described(right), &none));
    }
    if let (Some(left), Some(right)) = (run_of(&left.path), run_of(&right.path))
        && left != right
        && let (Some(left), Some(right)) = (read_record(left)?, read_record(right)?)
    {
        facts.extend(resume::differences(&left, &right)?);
    }
    Ok(facts)
}

/// What a manifest says beside its files' hashes.
fn described(manifest: &Manifest) -> Value {
    let Manifest { step, metrics_len, events_len, config_hash, .. } = manifest;
    json!({ "step": step, "metrics_len": metrics_len, "events_len": events_len, "config_hash": config_hash })
}

/// The metadata of the safetensors files, by file: what network the weights are of.
fn metadata(stored: &Stored) -> Value {
    let of_file = |bytes: &[u8]| {
        let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
        // The network's description is JSON; other programs' metadata is text.
        let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        let values = header.metadata().as_ref()?.iter();
        Some(Value::Object(values.map(|(key, text)| (key.clone(), value(text))).collect()))
    };
    let files = stored.files.iter().filter_map(|(file, bytes)| Some((file.clone(), of_file(bytes)?)));
    Value::Object(files.collect())
}

/// The run folder that holds a checkpoint or weights file.
fn run_of(path: &Path) -> Option<&Path> {
    path.ancestors().skip(1).take(2).find(|folder| folder.join(crate::run_folder::RECORD).is_file())
}
