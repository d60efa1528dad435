//! Embeddings at every place and the pool token's attention, against what testdata/embeddings.py made with PyTorch.

use crate::device::device;
use crate::oracle::{Golden, compare};
use crate::tiny;
use candle_core::{DType, Device, Tensor};
use selfie_model::{
    Classifier, ClassifierConfig, ClassifierKind, EmbeddingAt, InferenceModel, Metadata, ModelError, RgbImage, Selfie,
};

/// The golden network in f64, its images and what PyTorch made of them.
fn golden(name: &str) -> (Selfie, Golden, Golden) {
    let golden = Golden::committed(&format!("{name}.safetensors"));
    let expected = Golden::committed(&format!("{name}.embeddings.safetensors"));
    let config = golden.network();
    let network = Selfie::new(&config, DType::F64, device(), 1).unwrap();
    network.load(&golden.weights(Metadata::Pretraining(config))).unwrap();
    (network, golden, expected)
}

#[test]
fn embeddings_at_every_place_agree_with_pytorch() {
    for name in ["pretrain32", "pretrain32_norm_first"] {
        let (network, golden, expected) = golden(name);
        let images = golden.images(DType::F64);
        for at in EmbeddingAt::ALL.into_iter().filter(|at| *at != EmbeddingAt::Stage4) {
            let embeddings = network.embed(&images, at).unwrap();
            assert_eq!(embeddings.dims(), [images.dim(0).unwrap(), network.width_at(at)]);
            compare(&format!("{name} {at}"), &embeddings, expected.tensor(at.as_str()), 1e-9);
        }
        let error = network.embed(&images, EmbeddingAt::Stage4).unwrap_err().to_string();
        assert!(error.contains("stage1, stage2, stage3, h, u") && error.contains("got stage4"), "{error}");
    }
}

#[test]
fn the_attention_of_the_pool_token_agrees_with_pytorch() {
    for name in ["pretrain32", "pretrain32_norm_first"] {
        let (network, golden, expected) = golden(name);
        let config = network.config();
        let (g, p, n) = (config.grid(), config.patch_size, config.n_patches());
        let images = golden.images(DType::F64);
        let b = images.dim(0).unwrap();
        let patches = images.reshape((b, g, p, g, p, 3)).unwrap().permute([0, 1, 3, 2, 4, 5]).unwrap();
        let order = golden.tensor("input.order").to_dtype(DType::U32).unwrap();
        let layers = network.token_attention(&patches.reshape((b, n, p, p, 3)).unwrap(), &order).unwrap();
        assert_eq!(layers.len(), config.layers);
        for (i, layer) in layers.iter().enumerate() {
            compare(&format!("{name} layer {i}"), layer, expected.tensor(&format!("attention.{i}")), 1e-9);
        }
    }
}

fn pixels(n: usize, side: usize) -> Vec<u8> {
    (0..n * side * side * 3).map(|i| (i * 7 % 251) as u8).collect()
}

#[test]
fn a_weights_file_gives_the_embeddings_of_its_network_at_each_place_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let network = Selfie::new(&tiny(), DType::F32, &Device::Cpu, 1).unwrap();
    network.save(&path).unwrap();
    let model = InferenceModel::load(&path).unwrap();
    assert_eq!((model.image_size(), model.default_at()), (32, EmbeddingAt::Stage3));
    let images = pixels(3, 32);
    let tensor = Tensor::from_slice(&images, (3, 32, 32, 3), &Device::Cpu).unwrap();
    for at in [EmbeddingAt::Stage1, EmbeddingAt::H, EmbeddingAt::U] {
        let expected = network.embed(&tensor, at).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(model.embed_pixels(&images, at).unwrap(), expected, "{at}");
        assert_eq!(expected.len(), 3 * model.width_at(at).unwrap());
    }
    let error = model.embed_pixels(&images, EmbeddingAt::Stage4).unwrap_err();
    assert!(matches!(error, ModelError::Place { got: EmbeddingAt::Stage4, .. }), "{error}");
    assert!(matches!(model.embed_pixels(&images[1..], EmbeddingAt::H), Err(ModelError::Image { .. })));
}

#[test]
fn a_classifier_embeds_where_its_last_layer_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    for (kind, at) in [
        (ClassifierKind::Stage4, EmbeddingAt::Stage4),
        (ClassifierKind::AttentionPooling, EmbeddingAt::U),
        (ClassifierKind::PatchNetwork, EmbeddingAt::Stage3),
    ] {
        let config = ClassifierConfig { network: tiny(), kind, classes: vec!["cat".into(), "dog".into()] };
        let network = Classifier::new(&config, DType::F32, &Device::Cpu, 1).unwrap();
        network.save(&path).unwrap();
        let model = InferenceModel::load(&path).unwrap();
        assert_eq!((model.default_at(), model.embedding_width()), (at, network.feature_width()));
        let picture = RgbImage::new(32, 32, pixels(1, 32)).unwrap();
        let tensor = Tensor::from_slice(picture.pixels(), (1, 32, 32, 3), &Device::Cpu).unwrap();
        let features = network.features(&tensor, selfie_model::Mode::Inference).unwrap();
        assert_eq!(model.embed(&[picture]).unwrap(), features.to_vec2::<f32>().unwrap());
        assert!(model.width_at(EmbeddingAt::H).is_err());
    }
}

#[test]
fn names_of_places_are_read_back_and_others_are_refused() {
    for at in EmbeddingAt::ALL {
        assert_eq!(at.as_str().parse::<EmbeddingAt>().unwrap(), at);
    }
    let error = "stage5".parse::<EmbeddingAt>().unwrap_err().to_string();
    assert!(error.contains("stage1, stage2, stage3, stage4, h, u") && error.contains("stage5"), "{error}");
}
