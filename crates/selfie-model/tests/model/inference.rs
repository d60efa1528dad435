//! The public inference API.

use crate::tiny;
use candle_core::{DType, Device};
use selfie_model::{Classifier, ClassifierConfig, ClassifierKind, InferenceModel, ModelError, RgbImage, Selfie};

fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::new(width, height, (0..width * height * 3).map(|i| (i * 7 % 251) as u8).collect()).unwrap()
}

#[test]
fn embeddings_of_pictures_of_any_size_do_not_depend_on_their_company() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    Selfie::new(&tiny(), DType::F32, &Device::Cpu, 1).unwrap().save(&path).unwrap();
    let model = InferenceModel::load(&path).unwrap();
    let pictures = [picture(32, 32), picture(100, 50), picture(3, 200)];
    let together = model.embed(&pictures).unwrap();
    for (picture, embedding) in pictures.iter().zip(&together) {
        assert_eq!(embedding.len(), model.embedding_width());
        assert_eq!(&model.embed(std::slice::from_ref(picture)).unwrap()[0], embedding);
    }
    assert_ne!(together[0], together[1]);
    assert!(matches!(model.probabilities(&pictures), Err(ModelError::Kind { .. })));
}

#[test]
fn probabilities_of_both_classifiers_sum_to_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    for kind in [ClassifierKind::Stage4, ClassifierKind::AttentionPooling, ClassifierKind::PatchNetwork] {
        let config = ClassifierConfig { network: tiny(), kind, classes: vec!["cat".into(), "dog".into()] };
        Classifier::new(&config, DType::F32, &Device::Cpu, 1).unwrap().save(&path).unwrap();
        let model = InferenceModel::load(&path).unwrap();
        assert_eq!(model.classes(), ["cat", "dog"]);
        let probs = &model.probabilities(&[picture(40, 30)]).unwrap()[0];
        assert!((probs.iter().sum::<f32>() - 1.0).abs() < 1e-5 && probs.iter().all(|p| (0.0..=1.0).contains(p)));
    }
}

#[test]
fn a_missing_file_and_a_file_that_is_no_weights_file_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    assert!(InferenceModel::load(&path).unwrap_err().to_string().contains("w.safetensors"));
    std::fs::write(&path, [0xff; 64]).unwrap();
    assert!(matches!(InferenceModel::load(&path), Err(ModelError::Format { .. })));
}
