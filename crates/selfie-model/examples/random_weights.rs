//! Writes a classifier of 224-px images with random weights and random batch statistics: `random_weights ARCHITECTURE OUT SEED`.
//!
//! ARCHITECTURE is `v2` or `v1.5`. For testdata/interop.py, which loads the file in timm or torchvision.

use candle_core::{DType, Device, Tensor};
use selfie_model::{Architecture, Classifier, ClassifierConfig, ClassifierKind, SelfieConfig, Stem};
use selfie_random::{Purpose, Stream};
use std::path::Path;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [architecture, out, seed] = &arguments[..] else {
        return Err("expected ARCHITECTURE OUT SEED".into());
    };
    let architecture = match architecture.as_str() {
        "v2" => Architecture::Resnet50V2,
        "v1.5" => Architecture::Resnet50V15,
        other => return Err(format!("expected v2 or v1.5, got {other}").into()),
    };
    let seed = seed.parse()?;
    let network = SelfieConfig {
        architecture,
        stem: Stem::SevenBySeven,
        image_size: 224,
        patch_size: 32,
        n_targets: 12,
        ..SelfieConfig::default()
    };
    let classes = (0..1000).map(|class| class.to_string()).collect();
    let config = ClassifierConfig { network, kind: ClassifierKind::Stage4, classes };
    let network = Classifier::new(&config, DType::F32, &Device::Cpu, seed)?;
    let mut file = network.weights()?;
    for (index, (name, tensor)) in file.tensors.iter_mut().enumerate() {
        // Norms away from their defaults, so that a swapped or forgotten vector shows in the logits.
        let range = match name.rsplit('.').next() {
            Some("running_mean") => (-0.2, 0.2),
            Some("running_var") => (0.5, 1.5),
            Some("bias") => (-0.3, 0.3),
            Some("weight") if tensor.rank() == 1 => (0.5, 1.5),
            _ => continue,
        };
        let mut draws = Stream::new(seed, Purpose::Synthetic, index as u32, 0);
        let values: Vec<f32> = (0..tensor.elem_count()).map(|_| draws.range(range.0, range.1) as f32).collect();
        *tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?;
    }
    file.write(Path::new(out))?;
    Ok(())
}
