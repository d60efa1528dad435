//! Writes a classifier's logits of some images: `logits WEIGHTS INPUTS OUT`.
//!
//! INPUTS is a safetensors file with `images`, u8 `[B, H, W, 3]`; OUT gets `logits`, f32 `[B, L]`. For testdata/interop.py.

use candle_core::{DType, Device, Tensor};
use selfie_model::{Classifier, Metadata, Mode, WeightsFile, tensors_to_bytes};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, inputs, out] = &arguments[..] else {
        return Err("expected WEIGHTS INPUTS OUT".into());
    };
    let file = WeightsFile::read(Path::new(weights))?;
    let Metadata::Classifier(config) = &file.metadata else {
        return Err(format!("{weights} holds {}, expected a classifier", file.metadata.kind()).into());
    };
    let network = Classifier::new(config, DType::F32, &Device::Cpu, 0)?;
    network.load(&file)?;

    let bytes = std::fs::read(inputs)?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
    let images = tensors.tensor("images")?;
    let images = Tensor::from_raw_buffer(images.data(), DType::U8, images.shape(), &Device::Cpu)?;
    let logits = network.forward(&images, Mode::Inference)?.logits;
    let bytes = tensors_to_bytes(&BTreeMap::from([("logits".to_owned(), logits)]), HashMap::new())?;
    std::fs::write(out, bytes)?;
    Ok(())
}
