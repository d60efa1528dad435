//! The loss falls on a handful of images.

use crate::device::device;
use crate::tiny;
use candle_core::{DType, Tensor, Var};
use selfie_model::{Classifier, ClassifierConfig, ClassifierKind, Mode, ParameterUnit, Selfie, Training};
use selfie_ops::{SgdNesterov, cross_entropy, sgd_nesterov};
use selfie_random::{Purpose, Stream};

const STEPS: u32 = 150;

fn pixels(shape: &[usize]) -> Tensor {
    let mut stream = Stream::new(3, Purpose::Synthetic, 0, 0);
    let values: Vec<u8> = (0..shape.iter().product::<usize>()).map(|_| stream.below(256) as u8).collect();
    Tensor::from_vec(values, shape, device()).unwrap()
}

/// Trains on what `loss` computes and returns the first and the last loss.
fn train(units: &[&ParameterUnit], lr: f64, loss: impl Fn(&Training) -> Tensor) -> (f32, f32) {
    let momenta: Vec<Var> =
        units.iter().map(|unit| Var::from_tensor(&unit.parameters().zeros_like().unwrap()).unwrap()).collect();
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let loss = loss(&Training::new(1, step));
        losses.push(loss.to_scalar::<f32>().unwrap());
        let gradients = loss.backward().unwrap();
        for (unit, momentum) in units.iter().zip(&momenta) {
            let step = SgdNesterov { lr, momentum: 0.9, weight_decay: 1e-4, gradient_scale: 1.0 };
            let gradient = gradients.get(unit.parameters()).unwrap();
            sgd_nesterov(unit.parameters(), momentum, gradient, step, &unit.decayed()).unwrap();
        }
    }
    (losses[0], losses[losses.len() - 1])
}

#[test]
fn pretraining_learns_eight_images() {
    let network = Selfie::new(&tiny(), DType::F32, device(), 1).unwrap();
    let (b, n, t) = (8, 16, 4);
    let patches = pixels(&[b, n, 8, 8, 3]);
    let mut order = Vec::new();
    for image in 0..b {
        let mut places: Vec<u32> = (0..n as u32).collect();
        Stream::new(1, Purpose::Mask, 0, image as u32).shuffle(&mut places);
        order.extend(places);
    }
    let order = Tensor::from_vec(order, (b, n), device()).unwrap();
    let labels: Vec<u32> = (0..b * t).map(|i| (i % t) as u32).collect();
    let (first, last) = train(&network.units(), 0.1, |training| {
        let logits = network.forward(&patches, &order, Mode::Training(training)).unwrap().logits;
        cross_entropy(&logits.reshape((b * t, t)).unwrap(), &labels, 0.0).unwrap()
    });
    assert!((first - 4f32.ln()).abs() < 0.5, "the first loss is {first}, far from ln 4");
    assert!(last < 0.5 * first, "from {first} to {last}");
}

#[test]
fn both_classifiers_learn_eight_images() {
    for kind in [ClassifierKind::Stage4, ClassifierKind::AttentionPooling, ClassifierKind::PatchNetwork] {
        let config = ClassifierConfig { network: tiny(), kind, classes: ["a", "b", "c"].map(String::from).to_vec() };
        let network = Classifier::new(&config, DType::F32, device(), 1).unwrap();
        let images = pixels(&[8, 32, 32, 3]);
        // At 0.1 a run in eight is thrown off, which one the last bit decides.
        let (first, last) = train(&network.units(), 0.03, |training| {
            let logits = network.forward(&images, Mode::Training(training)).unwrap().logits;
            cross_entropy(&logits, &[0, 1, 2, 0, 1, 2, 0, 1], 0.0).unwrap()
        });
        assert!(last < 0.3 * first, "{kind:?}: from {first} to {last}");
    }
}
