//! Whole networks against PyTorch's golden tensors: logits, loss, every gradient, running statistics after the step.
//!
//! `SELFIE_GOLDEN=FILE cargo test -p selfie-model oracle` takes any file that testdata/golden.py (or the peer) wrote;
//! `SELFIE_GOLDEN_BF16=FILE` one for its distance alone.

use crate::device::device;
use candle_core::{DType, Tensor};
use safetensors::{Dtype, SafeTensors};
use selfie_model::{
    Architecture, Classifier, ClassifierConfig, ClassifierKind, Metadata, Mode, ParameterUnit, Positions, Selfie,
    SelfieConfig, Stem, Training, WeightsFile,
};
use selfie_ops::{cross_entropy, runs_composed};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest error, relative to each tensor's largest element.
fn tolerance(dtype: DType) -> f64 {
    if dtype == DType::F64 { 1e-9 } else { 1e-4 }
}

pub(crate) struct Golden {
    config: Value,
    tensors: BTreeMap<String, Tensor>,
}

impl Golden {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let config = header.metadata().as_ref().and_then(|metadata| metadata.get("config"));
        let config = config.map_or(Value::Null, |config| serde_json::from_str(config).unwrap());
        let mut tensors = BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().iter() {
            let dtype = match view.dtype() {
                Dtype::F64 => DType::F64,
                Dtype::F32 => DType::F32,
                Dtype::I64 => DType::I64,
                other => panic!("{name}: {other:?}"),
            };
            tensors
                .insert(name.to_owned(), Tensor::from_raw_buffer(view.data(), dtype, view.shape(), device()).unwrap());
        }
        Self { config, tensors }
    }

    pub(crate) fn committed(name: &str) -> Self {
        Self::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name))
    }

    fn number(&self, key: &str, default: usize) -> usize {
        self.config.get(key).map_or(default, |value| value.as_u64().unwrap() as usize)
    }

    fn flag(&self, key: &str) -> bool {
        self.config.get(key).is_some_and(|value| value.as_bool().unwrap())
    }

    pub(crate) fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("the golden file has no `{name}`"))
    }

    pub(crate) fn weights(&self, metadata: Metadata) -> WeightsFile {
        let named =
            self.tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix("weight.")?.to_owned(), t.clone())));
        WeightsFile { metadata, tensors: named.collect() }
    }

    /// `[B, H, W, 3]`
    pub(crate) fn images(&self, dtype: DType) -> Tensor {
        let images = self.tensor("input.images_nchw").to_dtype(dtype).unwrap();
        images.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap()
    }

    pub(crate) fn network(&self) -> SelfieConfig {
        let size = self.number("images", 32);
        let depths: Vec<usize> = match self.config.get("depths") {
            Some(depths) => serde_json::from_value(depths.clone()).unwrap(),
            None => vec![3, 4, 6],
        };
        let large = size > 32;
        let stem = self.number("stem", if large { 7 } else { 3 });
        let patch_size = if large { 32 } else { 8 };
        let v15 = self.config.get("architecture").is_some_and(|name| name == "v15");
        SelfieConfig {
            architecture: if v15 { Architecture::Resnet50V15 } else { Architecture::Resnet50V2 },
            width: self.number("width", 8),
            depths: [depths[0], depths[1], depths[2], depths.get(3).copied().unwrap_or(1)],
            stem: if stem == 7 { Stem::SevenBySeven } else { Stem::ThreeByThree },
            image_size: size,
            patch_size,
            n_targets: ((size / patch_size).pow(2) / 4).max(2),
            heads: self.number("heads", 4),
            ffn: self.number("ffn", 64),
            layers: self.number("layers", 3),
            dropout: 0.0,
            norm_first: self.flag("norm_first"),
            positions: if large { Positions::RowColumn } else { Positions::PerPatch },
            ..SelfieConfig::default()
        }
    }
}

pub(crate) fn compare(name: &str, got: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), expected.dims(), "{name}");
    let values = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (got, expected) = (values(got), values(expected));
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs())).max(1e-12);
    let error = got.iter().zip(&expected).map(|(g, e)| (g - e).abs()).fold(0f64, f64::max) / largest;
    assert!(error <= tolerance, "{name}: error {error:e} > {tolerance:e}");
}

/// Compares every gradient and, after the statistics followed, everything the file says of them.
fn compare_step(
    golden: &Golden,
    units: &[&ParameterUnit],
    loss: &Tensor,
    tensors_after: impl FnOnce() -> WeightsFile,
    dtype: DType,
) {
    compare("loss", &loss.reshape(1).unwrap(), golden.tensor("output.loss"), tolerance(dtype));
    let gradients = loss.backward().unwrap();
    let mut compared = 0;
    for unit in units {
        let gradient = gradients.get(unit.parameters()).unwrap_or_else(|| panic!("no gradient of {}", unit.prefix()));
        for (name, gradient) in unit.named(gradient).unwrap() {
            // A bias before a softmax over keys has no influence: PyTorch's gradient is rounding, and so is ours.
            let expected = golden.tensor(&format!("grad.{name}"));
            if name.ends_with("in_proj_bias") {
                let d = expected.dim(0).unwrap() / 3;
                for part in [0, 2] {
                    let part = |t: &Tensor| t.narrow(0, part * d, d).unwrap();
                    compare(&format!("grad.{name}"), &part(&gradient), &part(expected), tolerance(dtype));
                }
            } else {
                compare(&format!("grad.{name}"), &gradient, expected, tolerance(dtype));
            }
            compared += 1;
        }
    }
    assert_eq!(compared, golden.tensors.keys().filter(|name| name.starts_with("grad.")).count());
    let after = tensors_after().tensors;
    let expected = golden.tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix("after.")?, t)));
    let mut compared = 0;
    for (name, expected) in expected.filter(|(name, _)| name.contains("running")) {
        compare(name, &after[name], expected, tolerance(dtype));
        compared += 1;
    }
    assert!(compared > 0, "the golden file has no running statistics");
}

/// A pretraining step of the file's network: what it is, its pass, its logits and its loss.
fn pretrain(golden: &Golden, dtype: DType) -> (Selfie, Training, Tensor, Tensor) {
    let config = golden.network();
    let network = Selfie::new(&config, dtype, device(), 1).unwrap();
    network.load(&golden.weights(Metadata::Pretraining(config.clone()))).unwrap();
    let (g, p, n, t) = (config.grid(), config.patch_size, config.n_patches(), config.n_targets);
    let images = golden.images(if dtype == DType::F64 { DType::F64 } else { DType::F32 });
    let b = images.dim(0).unwrap();
    let patches = images.reshape((b, g, p, g, p, 3)).unwrap().permute([0, 1, 3, 2, 4, 5]).unwrap();
    let patches = patches.reshape((b, n, p, p, 3)).unwrap();
    let order = golden.tensor("input.order").to_dtype(DType::U32).unwrap();
    let training = Training::new(1, 1);
    let logits = network.forward(&patches, &order, Mode::Training(&training)).unwrap().logits;
    let labels: Vec<u32> = (0..b * t).map(|i| (i % t) as u32).collect();
    let loss = cross_entropy(&logits.reshape((b * t, t)).unwrap(), &labels, 0.0).unwrap();
    (network, training, logits, loss)
}

fn check_pretraining(golden: &Golden, dtype: DType) {
    let (network, training, logits, loss) = pretrain(golden, dtype);
    compare("logits", &logits, golden.tensor("output.logits"), tolerance(dtype));
    let after = || {
        network.follow(&training).unwrap();
        network.weights().unwrap()
    };
    compare_step(golden, &network.units(), &loss, after, dtype);
}

/// How far all gradients together are from the file's, relative to theirs.
fn gradient_distance(golden: &Golden, dtype: DType) -> f64 {
    if golden.config.get("architecture").is_some() {
        let (network, _, _, loss) = classify(golden, dtype);
        return distance(golden, &network.units(), &loss);
    }
    let (network, _, _, loss) = pretrain(golden, dtype);
    distance(golden, &network.units(), &loss)
}

fn distance(golden: &Golden, units: &[&ParameterUnit], loss: &Tensor) -> f64 {
    let gradients = loss.backward().unwrap();
    let squared = |t: &Tensor| t.to_dtype(DType::F64).unwrap().sqr().unwrap().sum_all().unwrap().to_scalar::<f64>();
    let (mut far, mut whole) = (0.0, 0.0);
    for unit in units {
        for (name, gradient) in unit.named(gradients.get(unit.parameters()).unwrap()).unwrap() {
            let expected = golden.tensor(&format!("grad.{name}"));
            let difference = (gradient.to_dtype(DType::F64).unwrap() - expected).unwrap();
            far += squared(&difference).unwrap();
            whole += squared(expected).unwrap();
        }
    }
    (far / whole).sqrt()
}

fn check_bf16(golden: &Golden) -> String {
    let autocast = golden.tensor("autocast.distance").to_vec1::<f64>().unwrap()[0];
    let (ours, full) = (gradient_distance(golden, DType::BF16), gradient_distance(golden, DType::F32));
    assert!(ours > 10.0 * full, "bf16 is as near as f32, {full}: nothing was rounded");
    assert!(ours <= 1.5 * autocast, "bf16 gradients are {ours} from f64, PyTorch's autocast {autocast}");
    format!("distance from f64: bf16 {ours:.4}, PyTorch's autocast {autocast:.4}, f32 {full:.2e}")
}

/// A fine-tuning step of the file's network, as [`pretrain`].
fn classify(golden: &Golden, dtype: DType) -> (Classifier, Training, Tensor, Tensor) {
    let classes = (0..golden.number("classes", 5)).map(|i| i.to_string()).collect();
    let config = ClassifierConfig { network: golden.network(), kind: ClassifierKind::Stage4, classes };
    let network = Classifier::new(&config, dtype, device(), 1).unwrap();
    network.load(&golden.weights(Metadata::Classifier(config.clone()))).unwrap();
    let images = golden.images(if dtype == DType::F64 { DType::F64 } else { DType::F32 });
    let training = Training::new(1, 1);
    let logits = network.forward(&images, Mode::Training(&training)).unwrap().logits;
    let labels = golden.tensor("input.labels").to_dtype(DType::U32).unwrap().to_vec1::<u32>().unwrap();
    let loss = cross_entropy(&logits, &labels, golden.config["label_smoothing"].as_f64().unwrap()).unwrap();
    (network, training, logits, loss)
}

fn check_classifier(golden: &Golden, dtype: DType) {
    let (network, training, logits, loss) = classify(golden, dtype);
    compare("logits", &logits, golden.tensor("output.logits"), tolerance(dtype));
    let inferred = network.forward(&golden.images(dtype), Mode::Inference).unwrap();
    compare("eval_logits", &inferred.logits, golden.tensor("output.eval_logits"), tolerance(dtype));
    let after = || {
        network.follow(&training).unwrap();
        network.weights().unwrap()
    };
    compare_step(golden, &network.units(), &loss, after, dtype);
}

fn check(golden: &Golden) {
    for dtype in [DType::F64, DType::F32] {
        match golden.config.get("architecture") {
            Some(_) => check_classifier(golden, dtype),
            None => check_pretraining(golden, dtype),
        }
    }
}

#[test]
fn pretraining_at_32_pixels_is_pytorchs() {
    check(&Golden::committed("pretrain32.safetensors"));
}

#[test]
fn pretraining_at_224_pixels_is_pytorchs() {
    check(&Golden::committed("pretrain224.safetensors"));
}

#[test]
fn pretraining_with_pre_ln_layers_is_pytorchs() {
    check(&Golden::committed("pretrain32_norm_first.safetensors"));
}

#[test]
fn a_v2_classifier_is_pytorchs() {
    check(&Golden::committed("classifier_v2.safetensors"));
}

#[test]
fn v15_classifiers_are_pytorchs() {
    check(&Golden::committed("classifier_v15.safetensors"));
    check(&Golden::committed("classifier_v15_stem7.safetensors"));
}

#[test]
fn bf16_gradients_are_as_near_to_f64_as_pytorchs_autocast() {
    if runs_composed(device()) {
        return eprintln!("passed over: compositions compute in the tensors' type");
    }
    println!("{}", check_bf16(&Golden::committed("pretrain32.safetensors")));
    if let Some(path) = std::env::var_os("SELFIE_GOLDEN_BF16") {
        println!("{}", check_bf16(&Golden::read(&PathBuf::from(path))));
    }
}

#[test]
fn the_file_in_selfie_golden_is_pytorchs() {
    match std::env::var_os("SELFIE_GOLDEN") {
        Some(path) => check(&Golden::read(&PathBuf::from(path))),
        None => println!("skipped: SELFIE_GOLDEN names no file"),
    }
}
