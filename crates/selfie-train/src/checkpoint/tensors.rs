//! What this layer must know of a safetensors file: its tensors' names and shapes, and that no number in it is NaN or
//! infinite.

use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::TrainError;
use selfie_model::no_safetensors;

/// One tensor of a safetensors file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its number type.
    pub dtype: String,
    /// Its axes.
    pub shape: Vec<usize>,
}

/// The tensors of a safetensors file, by name; `path` is for messages.
pub(super) fn list(path: &Path, bytes: &[u8]) -> Result<Vec<TensorInfo>, TrainError> {
    let mut tensors: Vec<TensorInfo> = read(path, bytes)?
        .iter()
        .map(|(name, tensor)| TensorInfo {
            name: name.to_owned(),
            dtype: format!("{:?}", tensor.dtype()),
            shape: tensor.shape().to_vec(),
        })
        .collect();
    tensors.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(tensors)
}

/// Refuses a safetensors file with a NaN or an infinite number in it. `what` names the file's content in the message.
///
/// # Errors
///
/// [`TrainError::NonFinite`], which names the tensor, or [`TrainError::Internal`] if the bytes are no safetensors file.
pub fn require_finite_tensors(what: &str, bytes: &[u8], step: Option<u64>) -> Result<(), TrainError> {
    for (name, tensor) in parse(what, bytes)?.iter() {
        if has_non_finite(&tensor) {
            return Err(TrainError::NonFinite { what: format!("{name} of {what}"), step });
        }
    }
    Ok(())
}

/// The safetensors file that a user named; `path` is for messages.
pub(super) fn read<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>, TrainError> {
    SafeTensors::deserialize(bytes)
        .map_err(|error| TrainError::Corrupt { path: path.to_owned(), reason: no_safetensors(&error) })
}

fn parse<'a>(what: &str, bytes: &'a [u8]) -> Result<SafeTensors<'a>, TrainError> {
    SafeTensors::deserialize(bytes)
        .map_err(|error| TrainError::Internal(format!("{what} are no safetensors file: {error}")))
}

/// A float is NaN or infinite when all bits of its exponent are set.
fn has_non_finite(tensor: &TensorView<'_>) -> bool {
    const F16: u16 = 0x7c00;
    const BF16: u16 = 0x7f80;
    const F32: u32 = 0x7f80_0000;
    const F64: u64 = 0x7ff0_0000_0000_0000;
    let halves = |exponent: u16| {
        let (values, _) = tensor.data().as_chunks::<2>();
        values.iter().any(|value| u16::from_le_bytes(*value) & exponent == exponent)
    };
    match tensor.dtype() {
        Dtype::F16 => halves(F16),
        Dtype::BF16 => halves(BF16),
        Dtype::F32 => tensor.data().as_chunks::<4>().0.iter().any(|value| u32::from_le_bytes(*value) & F32 == F32),
        Dtype::F64 => tensor.data().as_chunks::<8>().0.iter().any(|value| u64::from_le_bytes(*value) & F64 == F64),
        _ => false,
    }
}
