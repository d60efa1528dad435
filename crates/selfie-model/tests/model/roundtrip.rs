//! Weights files: what is written is read back, what does not fit is named, what is pretrained arrives.

use crate::tiny;
use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use selfie_model::{
    Architecture, Classifier, ClassifierConfig, ClassifierKind, ModelError, Selfie, SelfieConfig, WeightsFile,
};

fn selfie(config: &SelfieConfig, seed: u64) -> Selfie {
    Selfie::new(config, DType::F32, &Device::Cpu, seed).unwrap()
}

fn classifier(network: SelfieConfig, kind: ClassifierKind, seed: u64) -> Classifier {
    let config = ClassifierConfig { network, kind, classes: vec!["cat".into(), "dog".into()] };
    Classifier::new(&config, DType::F32, &Device::Cpu, seed).unwrap()
}

fn bits(file: &WeightsFile, name: &str) -> Vec<u32> {
    let values = file.tensors[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_weights_file_gives_back_every_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    for architecture in [Architecture::Resnet50V2, Architecture::Resnet50V15] {
        let config = SelfieConfig { architecture, ..tiny() };
        let written = selfie(&config, 1);
        written.save(&path).unwrap();
        let file = WeightsFile::read(&path).unwrap();
        let read = selfie(&config, 2);
        read.load(&file).unwrap();
        assert_eq!(read.weights().unwrap().to_bytes().unwrap(), std::fs::read(&path).unwrap());
    }
}

#[test]
fn weights_of_another_width_are_refused_by_name_and_nothing_changes() {
    let network = selfie(&tiny(), 1);
    let before = network.weights().unwrap().to_bytes().unwrap();
    let wider = selfie(&SelfieConfig { width: 8, ..tiny() }, 1).weights().unwrap();
    let message = network.load(&wider).unwrap_err().to_string();
    assert!(message.contains("expected shape [4], got [8]") || message.contains("expected shape [64"), "{message}");
    assert_eq!(network.weights().unwrap().to_bytes().unwrap(), before);
}

#[test]
fn missing_and_extra_tensors_are_named_and_num_batches_tracked_is_not() {
    let network = selfie(&tiny(), 1);
    let mut file = network.weights().unwrap();
    let moved = file.tensors.remove("u0").unwrap();
    file.tensors.insert("u1".into(), moved);
    let message = network.load(&file).unwrap_err().to_string();
    assert!(message.contains("`u0` is missing") && message.contains("`u1` is unexpected"), "{message}");

    let counted = with_batch_count(&network.weights().unwrap());
    network.load(&WeightsFile::from_bytes(&counted, "here".as_ref()).unwrap()).unwrap();
}

/// A file with the i64 tensor that PyTorch keeps beside each norm.
fn with_batch_count(file: &WeightsFile) -> Vec<u8> {
    let bytes = file.to_bytes().unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let count = TensorView::new(Dtype::I64, Vec::new(), &[1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    let count = ("patch_network.norm.num_batches_tracked", count);
    safetensors::serialize(tensors.iter().chain([count]), header.metadata().clone()).unwrap()
}

#[test]
fn a_number_that_is_not_finite_is_never_written() {
    let mut file = selfie(&tiny(), 1).weights().unwrap();
    let broken = Tensor::new(&[f32::NAN; 64], &Device::Cpu).unwrap();
    file.tensors.insert("u0".into(), broken);
    let folder = tempfile::tempdir().unwrap();
    let message = file.write(&folder.path().join("w.safetensors")).unwrap_err().to_string();
    assert!(message.contains("`u0` holds a number that is not finite"), "{message}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn every_truncation_of_a_file_is_an_error_and_no_panic() {
    let bytes =
        selfie(&SelfieConfig { width: 1, heads: 1, ffn: 1, ..tiny() }, 1).weights().unwrap().to_bytes().unwrap();
    for len in (0..bytes.len()).step_by(97) {
        let result = WeightsFile::from_bytes(&bytes[..len], "here".as_ref());
        assert!(matches!(result, Err(ModelError::Format { .. })), "{len} bytes of {}", bytes.len());
    }
}

#[test]
fn the_patch_network_arrives_in_the_whole_network_and_stage_4_stays_fresh() {
    for architecture in [Architecture::Resnet50V2, Architecture::Resnet50V15] {
        let config = SelfieConfig { architecture, ..tiny() };
        let pretrained = selfie(&config, 1).weights().unwrap();
        let network = classifier(config, ClassifierKind::Stage4, 2);
        let before = network.weights().unwrap();
        let transferred = network.transfer_from(&pretrained, false).unwrap();
        let after = network.weights().unwrap();
        assert!(transferred.loaded.len() > 20);
        for name in &transferred.loaded {
            assert_eq!(bits(&after, name), bits(&pretrained, &format!("patch_network.{name}")), "{name}");
        }
        for name in &transferred.fresh {
            assert_eq!(bits(&after, name), bits(&before, name), "{name}");
            let fresh = ["stages.3.", "layer4.", "norm.", "head.fc.", "fc."];
            assert!(fresh.iter().any(|part| name.starts_with(part)), "{name} is not fresh");
        }
    }
}

#[test]
fn the_norm_that_ends_the_patch_network_starts_stage_4_when_asked() {
    let pretrained = selfie(&tiny(), 1);
    let mut file = pretrained.weights().unwrap();
    let marked = Tensor::full(0.25f32, 64, &Device::Cpu).unwrap();
    file.tensors.insert("patch_network.norm.running_mean".into(), marked);
    let network = classifier(tiny(), ClassifierKind::Stage4, 2);
    network.transfer_from(&file, true).unwrap();
    let name = "stages.3.blocks.0.norm1.running_mean";
    assert_eq!(bits(&network.weights().unwrap(), name), vec![0.25f32.to_bits(); 64]);
}

#[test]
fn the_attention_pooling_classifier_takes_over_everything_but_its_last_layer() {
    let pretrained = selfie(&tiny(), 1).weights().unwrap();
    let network = classifier(tiny(), ClassifierKind::AttentionPooling, 2);
    let transferred = network.transfer_from(&pretrained, false).unwrap();
    assert_eq!(transferred.fresh, ["head.fc.bias", "head.fc.weight"]);
    assert_eq!(transferred.loaded.len(), pretrained.tensors.len());
}

#[test]
fn a_transfer_from_another_width_loads_nothing() {
    let pretrained = selfie(&SelfieConfig { width: 8, ..tiny() }, 1).weights().unwrap();
    let network = classifier(tiny(), ClassifierKind::Stage4, 2);
    let before = network.weights().unwrap().to_bytes().unwrap();
    assert!(matches!(network.transfer_from(&pretrained, false), Err(ModelError::Tensors { .. })));
    assert_eq!(network.weights().unwrap().to_bytes().unwrap(), before);
}

#[test]
fn a_tensors_initial_values_depend_on_its_name_and_the_seed_alone() {
    let one = selfie(&tiny(), 1).weights().unwrap();
    let deeper = selfie(&SelfieConfig { depths: [2, 1, 1, 1], ..tiny() }, 1).weights().unwrap();
    let other = selfie(&tiny(), 2).weights().unwrap();
    let name = "patch_network.stages.2.blocks.0.conv2.weight";
    assert_eq!(bits(&one, name), bits(&deeper, name));
    assert_ne!(bits(&one, name), bits(&other, name));
}
