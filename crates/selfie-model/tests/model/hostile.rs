//! Weights files that nobody should trust: an error, never a panic, never more memory than the file is large.

use crate::tiny;
use candle_core::{DType, Device, Tensor};
use selfie_model::{
    Classifier, ClassifierConfig, ClassifierKind, InferenceModel, Metadata, ModelError, Selfie, SelfieConfig,
    WeightsFile,
};
use std::collections::BTreeMap;
use std::path::Path;

const PATH: &str = "hostile.safetensors";

fn pretraining() -> Vec<u8> {
    Selfie::new(&tiny(), DType::F32, &Device::Cpu, 1).unwrap().weights().unwrap().to_bytes().unwrap()
}

/// Reads bytes as far as a network.
fn load(bytes: &[u8]) -> Result<(), ModelError> {
    let file = WeightsFile::from_bytes(bytes, Path::new(PATH))?;
    match file.metadata {
        Metadata::Pretraining(_) => Selfie::of_file(&file, Path::new(PATH), DType::F32, &Device::Cpu).map(|_| ()),
        Metadata::Classifier(_) => Classifier::of_file(&file, Path::new(PATH), DType::F32, &Device::Cpu).map(|_| ()),
    }
}

/// A file of two numbers that says it is of this network.
fn small_file(metadata: Metadata) -> WeightsFile {
    let tensor = Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap();
    WeightsFile { metadata, tensors: BTreeMap::from([("stem.conv.weight".to_owned(), tensor)]) }
}

#[test]
fn a_file_cut_off_anywhere_is_an_error() {
    let whole = pretraining();
    load(&whole).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for n in (0..header + 64).chain((header..whole.len()).step_by(997)) {
        assert!(load(&whole[..n]).is_err(), "{n} bytes");
    }
}

#[test]
fn any_changed_byte_of_the_header_is_an_error_or_a_network_and_never_a_panic() {
    let whole = pretraining();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut n_refused = 0;
    for position in 0..header {
        // Another digit, a quote, a bracket, and a byte that is no text.
        for byte in [b'9', b'"', b'[', 0xff] {
            let mut changed = whole.clone();
            changed[position] = byte;
            n_refused += usize::from(load(&changed).is_err());
        }
    }
    assert!(n_refused > 3 * header, "{n_refused} of {}", 4 * header);
}

#[test]
fn a_small_file_of_a_large_network_is_refused_before_any_memory_is_asked_for() {
    let large =
        SelfieConfig { width: 512, depths: [64; 4], heads: 1, ffn: 65536, layers: 64, ..SelfieConfig::default() };
    let classes = (0..1000).map(|class| class.to_string()).collect();
    let classifier = ClassifierConfig { network: large.clone(), kind: ClassifierKind::Stage4, classes };
    for metadata in [Metadata::Pretraining(large), Metadata::Classifier(classifier)] {
        let error = load(&small_file(metadata).to_bytes().unwrap()).unwrap_err();
        assert!(matches!(error, ModelError::Format { .. }), "{error}");
        assert!(error.to_string().contains("fewer numbers than the network"), "{error}");
    }
}

#[test]
fn illegal_configurations_are_refused_by_key() {
    let huge = usize::MAX / 2;
    for (config, key) in [
        (SelfieConfig { width: huge, ..tiny() }, "width"),
        (SelfieConfig { depths: [1, huge, 1, 1], ..tiny() }, "depths"),
        (SelfieConfig { image_size: huge, patch_size: 1, ..tiny() }, "patch_size"),
        (SelfieConfig { n_targets: huge, ..tiny() }, "n_targets"),
        (SelfieConfig { heads: 0, ..tiny() }, "heads"),
        (SelfieConfig { ffn: huge, ..tiny() }, "ffn"),
    ] {
        let error = load(&small_file(Metadata::Pretraining(config)).to_bytes().unwrap()).unwrap_err();
        assert!(matches!(error, ModelError::Config { .. }) && error.to_string().contains(key), "{key}: {error}");
    }
}

#[test]
fn a_tensors_name_is_never_a_path() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = Selfie::new(&tiny(), DType::F32, &Device::Cpu, 1).unwrap().weights().unwrap();
    let names = ["../escaped", "/tmp/selfie-escaped", "a\0b"];
    for name in names {
        file.tensors.insert(name.to_owned(), Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap());
    }
    let path = folder.path().join("inside").join("weights.safetensors");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    file.write(&path).unwrap();
    let message = InferenceModel::load(&path).unwrap_err().to_string();
    assert!(message.contains("`../escaped` is unexpected"), "{message}");
    assert!(!folder.path().join("escaped").exists() && !Path::new("/tmp/selfie-escaped").exists());
}
