//! Weights files of other programs: the same tensors under the same names, without our metadata. That the names and the
//! numbers are timm's and torchvision's is what testdata/interop.py shows.

use crate::tiny;
use candle_core::{DType, Device, Tensor};
use selfie_model::{
    Architecture, Classifier, ClassifierConfig, ClassifierKind, EmbeddingAt, InferenceModel, ModelError, RgbImage,
    SelfieConfig, tensors_to_bytes,
};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

/// A classifier of ours, and its tensors as another program would save them.
fn classifier(architecture: Architecture) -> (tempfile::TempDir, PathBuf, BTreeMap<String, Tensor>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ours.safetensors");
    let network = SelfieConfig { architecture, depths: [2, 1, 1, 2], ..tiny() };
    let classes = (0..5).map(|class| class.to_string()).collect();
    let config = ClassifierConfig { network, kind: ClassifierKind::Stage4, classes };
    let network = Classifier::new(&config, DType::F32, &Device::Cpu, 1).unwrap();
    network.save(&path).unwrap();
    let mut tensors = network.weights().unwrap().tensors;
    // PyTorch's count of batches is an integer; ours accepts and ignores it.
    tensors.insert("bn1.num_batches_tracked".to_owned(), Tensor::new(7f32, &Device::Cpu).unwrap());
    (folder, path, tensors)
}

fn load(tensors: &BTreeMap<String, Tensor>) -> Result<InferenceModel, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theirs.safetensors");
    std::fs::write(&path, tensors_to_bytes(tensors, HashMap::new()).unwrap()).unwrap();
    InferenceModel::load(&path)
}

fn picture() -> RgbImage {
    RgbImage::new(32, 32, (0..32 * 32 * 3).map(|i| (i * 7 % 251) as u8).collect()).unwrap()
}

#[test]
fn files_of_timms_and_torchvisions_names_are_recognised_by_their_tensors() {
    for architecture in [Architecture::Resnet50V2, Architecture::Resnet50V15] {
        let (_folder, path, tensors) = classifier(architecture);
        let (ours, theirs) = (InferenceModel::load(&path).unwrap(), load(&tensors).unwrap());
        assert_eq!(theirs.classes(), ["0", "1", "2", "3", "4"]);
        assert_eq!((theirs.image_size(), theirs.default_at()), (32, EmbeddingAt::Stage4));
        assert_eq!(ours.embed(&[picture()]).unwrap(), theirs.embed(&[picture()]).unwrap());
        assert_eq!(ours.probabilities(&[picture()]).unwrap(), theirs.probabilities(&[picture()]).unwrap());
    }
}

#[test]
fn files_without_a_last_layer_give_embeddings_and_no_probabilities() {
    for (architecture, head) in [(Architecture::Resnet50V2, "head.fc."), (Architecture::Resnet50V15, "fc.")] {
        let (_folder, path, mut tensors) = classifier(architecture);
        tensors.retain(|name, _| !name.starts_with(head));
        let (ours, theirs) = (InferenceModel::load(&path).unwrap(), load(&tensors).unwrap());
        for at in [EmbeddingAt::Stage2, EmbeddingAt::Stage4] {
            let pixels = picture();
            assert_eq!(
                ours.embed_pixels(pixels.pixels(), at).unwrap(),
                theirs.embed_pixels(pixels.pixels(), at).unwrap()
            );
        }
        let refused = theirs.probabilities(&[picture()]).unwrap_err();
        assert!(matches!(refused, ModelError::Kind { got: "a network without a last layer", .. }), "{refused}");
    }
}

#[test]
fn other_files_are_refused_and_say_why() {
    let (_folder, _, mut tensors) = classifier(Architecture::Resnet50V2);
    tensors.insert("aux.bias".to_owned(), Tensor::new(&[7f32], &Device::Cpu).unwrap());
    let extra = load(&tensors).unwrap_err().to_string();
    assert!(extra.contains("`aux.bias` is unexpected"), "{extra}");
    let removed = tensors.remove("stages.3.blocks.1.norm2.bias").unwrap();
    let missing = load(&tensors).unwrap_err().to_string();
    assert!(missing.contains("fewer numbers than the network"), "{missing}");
    let other = BTreeMap::from([("encoder.weight".to_owned(), removed)]);
    let other = load(&other).unwrap_err().to_string();
    assert!(other.contains("resnetv2_50"), "{other}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resnet50.pth");
    std::fs::write(&path, b"PK\x03\x04 an archive").unwrap();
    let archive = InferenceModel::load(&path).unwrap_err().to_string();
    assert!(archive.contains("torch.save") && archive.contains("save_file"), "{archive}");
}
