//! Named tensors to the bytes of a safetensors file and back.

use crate::error::{ModelError, Result};
use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Serialises tensors as f32; the bytes are a function of the arguments alone if there is at most one metadata key.
///
/// # Errors
///
/// If a tensor holds a number that is not finite: such a file is never written.
pub fn tensors_to_bytes(
    tensors: &BTreeMap<String, Tensor>,
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>, ModelError> {
    let mut data = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(ModelError::NonFinite { tensor: name.clone() });
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        data.push((name, tensor.dims().to_vec(), bytes));
    }
    let views = data.iter().map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)));
    let views: Result<Vec<_>, safetensors::SafeTensorError> = views.collect();
    views
        .and_then(|views| safetensors::serialize(views, Some(metadata)))
        .map_err(|error| candle_core::Error::Msg(error.to_string()).into())
}

/// PyTorch's count of batches, the one extra tensor that is accepted and ignored.
const IGNORED: &str = "num_batches_tracked";

/// The tensors of a safetensors file, in the number types they have there, without PyTorch's counts of batches; `path` is
/// for messages.
///
/// # Errors
///
/// [`ModelError::Format`] if the bytes are no safetensors file, or a tensor is not of floating-point numbers.
pub fn tensors_from_bytes(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let format = |reason: String| ModelError::Format { path: path.to_owned(), reason };
    let file = SafeTensors::deserialize(bytes).map_err(|error| format(no_safetensors(&error)))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter().filter(|(name, _)| !name.ends_with(IGNORED)) {
        let dtype = number_type(view.dtype()).ok_or_else(|| {
            format(format!("tensor `{name}`: expected floating-point numbers, got {:?}", view.dtype()))
        })?;
        let tensor = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(tensors)
}

/// Why bytes are no safetensors file: another kind of file has anything in the place of the header's length.
#[must_use]
pub fn no_safetensors(error: &safetensors::SafeTensorError) -> String {
    use safetensors::SafeTensorError as E;
    let got = match error {
        E::HeaderTooLarge | E::InvalidHeader(_) => "another kind of file",
        E::HeaderTooSmall | E::InvalidHeaderLength | E::MetadataIncompleteBuffer => "one that is cut off, or another",
        _ => "a damaged one",
    };
    format!("expected a safetensors file, got {got} ({error})")
}

fn number_type(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F64 => Some(DType::F64),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}
