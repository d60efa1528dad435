//! Graphs against the networks that they were written from.

use super::*;
use crate::{Classifier, ClassifierConfig, EmbeddingAt, Mode, Normalization, Selfie};
use candle_core::Device;
use evaluate::{Array, computed};
use std::path::Path;

mod evaluate;

/// Of the largest difference over the largest number.
const TOLERANCE: f64 = 1e-4;
const N_IMAGES: usize = 2;

/// A small network, whose constants of normalisation are no other program's, and none of them twice.
fn network(architecture: Architecture, stem: Stem) -> SelfieConfig {
    let (image_size, patch_size) = if stem == Stem::ThreeByThree { (32, 8) } else { (64, 32) };
    let normalization = Normalization { mean: [0.1, 0.4, 0.8], std: [0.2, 0.5, 1.1] };
    let small =
        SelfieConfig { width: 4, depths: [1, 2, 1, 1], heads: 4, ffn: 16, layers: 1, ..SelfieConfig::default() };
    SelfieConfig { architecture, stem, image_size, patch_size, n_targets: 2, normalization, ..small }
}

fn pretraining(network: &SelfieConfig) -> WeightsFile {
    trained(Selfie::new(network, DType::F32, &Device::Cpu, 1).unwrap().weights().unwrap())
}

fn classifier(network: &SelfieConfig, kind: ClassifierKind) -> WeightsFile {
    let classes = ["cat", "dog", "fox"].map(str::to_owned).to_vec();
    let config = ClassifierConfig { network: network.clone(), kind, classes };
    trained(Classifier::new(&config, DType::F32, &Device::Cpu, 1).unwrap().weights().unwrap())
}

/// As after a training: gains, biases and running statistics of their own.
fn trained(mut file: WeightsFile) -> WeightsFile {
    let mut state = 1u64;
    for (name, tensor) in file.tensors.iter_mut().filter(|(_, tensor)| tensor.rank() == 1) {
        let middle = if name.ends_with("weight") || name.ends_with("running_var") { 1.0 } else { 0.0 };
        let mut draw = || {
            // Knuth's constants, for the state's upper bits.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            middle - 0.5 + (state >> 40) as f32 / (1 << 24) as f32
        };
        let values: Vec<f32> = (0..tensor.elem_count()).map(|_| draw()).collect();
        *tensor = Tensor::new(values.as_slice(), &Device::Cpu).unwrap();
    }
    file
}

/// Noise, for the graph and for us.
fn images(side: usize) -> (Array, Tensor) {
    let dims = [N_IMAGES, side, side, 3];
    let noise = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 24) as u8;
    let n_bytes: usize = dims.iter().product();
    let pixels: Vec<u8> = (0..n_bytes).map(noise).collect();
    let values = pixels.iter().map(|pixel| f64::from(*pixel)).collect();
    let tensor = Tensor::from_slice(&pixels, (N_IMAGES, side, side, 3), &Device::Cpu).unwrap();
    (Array { dims: dims.to_vec(), values }, tensor)
}

fn embedding(file: &WeightsFile, images: &Tensor) -> Tensor {
    let network = Selfie::of_file(file, Path::new("here"), DType::F32, &Device::Cpu).unwrap();
    network.embed(images, EmbeddingAt::Stage3).unwrap()
}

/// The largest difference over the largest number.
fn distance(graph: &Array, ours: &Tensor) -> f64 {
    assert_eq!(graph.dims, ours.dims());
    assert!(graph.values.iter().all(|value| value.is_finite()));
    let ours = ours.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let differences = graph.values.iter().zip(&ours).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f64::max) / ours.iter().map(|value| value.abs()).fold(0.0, f64::max)
}

#[test]
fn a_graph_computes_what_our_own_network_computes() {
    for (architecture, stem) in [
        (Architecture::Resnet50V2, Stem::ThreeByThree),
        (Architecture::Resnet50V2, Stem::SevenBySeven),
        (Architecture::Resnet50V15, Stem::ThreeByThree),
        (Architecture::Resnet50V15, Stem::SevenBySeven),
    ] {
        let network = network(architecture, stem);
        let (pixels, images) = images(network.image_size);
        let file = pretraining(&network);
        let graph = computed(&file.to_onnx().unwrap(), pixels.clone());
        assert_eq!(graph.len(), 1);
        let error = distance(&graph["embedding"], &embedding(&file, &images));
        assert!(error <= TOLERANCE, "{architecture:?} {stem:?}: {error:e}");

        let file = classifier(&network, ClassifierKind::Stage4);
        let graph = computed(&file.to_onnx().unwrap(), pixels);
        let ours = Classifier::of_file(&file, Path::new("here"), DType::F32, &Device::Cpu).unwrap();
        let ours = ours.forward(&images, Mode::Inference).unwrap();
        for (name, ours) in [("embedding", &ours.features), ("logits", &ours.logits)] {
            let error = distance(&graph[name], ours);
            assert!(error <= TOLERANCE, "{architecture:?} {stem:?}: {name}: {error:e}");
        }
    }
}

#[test]
fn a_graph_with_two_constants_exchanged_computes_something_else() {
    let network = network(Architecture::Resnet50V2, Stem::ThreeByThree);
    let (pixels, images) = images(network.image_size);
    let file = pretraining(&network);
    let ours = embedding(&file, &images);

    let mut normalization = network.normalization;
    normalization.mean.swap(0, 2);
    let channels = Metadata::Pretraining(SelfieConfig { normalization, ..network });
    let channels = WeightsFile { metadata: channels, ..file.clone() };
    let mut norm = file;
    let names = ["bias", "running_mean"].map(|part| format!("{PATCH_NETWORK}norm.{part}"));
    let [bias, mean] = [0, 1].map(|i: usize| norm.tensors[&names[i]].clone());
    norm.tensors.extend(names.into_iter().zip([mean, bias]));
    for (what, wrong) in [("means of two channels", channels), ("a norm's bias and mean", norm)] {
        let graph = computed(&wrong.to_onnx().unwrap(), pixels.clone());
        let error = distance(&graph["embedding"], &ours);
        assert!(error > 100.0 * TOLERANCE, "{what}: {error:e}");
    }
}

#[test]
fn classifiers_without_stage_4_are_refused_by_their_kind() {
    let network = network(Architecture::Resnet50V2, Stem::ThreeByThree);
    let kinds =
        [(ClassifierKind::AttentionPooling, "attention_pooling"), (ClassifierKind::PatchNetwork, "patch_network")];
    for (kind, name) in kinds {
        let refused = classifier(&network, kind).to_onnx().unwrap_err().to_string();
        assert!(refused.contains("expected stage4") && refused.ends_with(&format!("got {name}")), "{refused}");
    }
}
