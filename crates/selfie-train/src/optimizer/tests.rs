use std::collections::HashMap;

use candle_core::{DType, Device};
use selfie_eval::record::Task;
use selfie_model::{Mode, Selfie, SelfieConfig, Training};

use super::*;
use crate::config::{Base, Overrides, resolve};
use crate::plan::{PretrainPlan, Request};

const SGD: &[&str] = &["optimizer=sgd", "momentum=0.9", "weight_decay=0.1"];
const ADAMW: &[&str] = &["optimizer=adamw", "weight_decay=0.1", "ema_decay=0.9"];

fn plan(set: &[&str]) -> TrainingPlan {
    let set = set.iter().map(|text| (*text).to_owned()).collect();
    let resolved = resolve(Task::Pretrain, &Base::Defaults, &Overrides { set, ..Overrides::default() }).unwrap();
    PretrainPlan::new(&resolved, Request { n_examples: 100, seed: 1, stop_after: None }).unwrap().training
}

fn network() -> Selfie {
    let config = SelfieConfig { width: 1, depths: [1; 4], heads: 1, ffn: 4, layers: 1, ..SelfieConfig::default() };
    Selfie::new(&config, DType::F32, &Device::Cpu, 1).unwrap()
}

/// Gradients that are small whole numbers, so that their sums are exact: element i of every unit gets `slope · (i mod 5)`.
fn gradients(network: &Selfie, slope: f32) -> GradStore {
    let term = |unit: &ParameterUnit| {
        let parameters = unit.parameters().as_tensor();
        let values: Vec<f32> = (0..parameters.elem_count()).map(|i| slope * (i % 5) as f32).collect();
        let values = Tensor::from_vec(values, parameters.elem_count(), &Device::Cpu).unwrap();
        (parameters * values).unwrap().sum_all().unwrap()
    };
    let terms: Vec<Tensor> = network.units().into_iter().map(term).collect();
    Tensor::stack(&terms, 0).unwrap().sum_all().unwrap().backward().unwrap()
}

/// Moves the running statistics by a forward pass in training.
fn follow(network: &Selfie, step: u64) {
    let (n, p) = (network.config().n_patches(), network.config().patch_size);
    let pixels: Vec<f32> = (0..2 * n * p * p * 3).map(|i| (i % 7) as f32 + step as f32).collect();
    let patches = Tensor::from_vec(pixels, (2, n, p, p, 3), &Device::Cpu).unwrap();
    let order: Vec<u32> = (0..2 * n as u32).map(|i| i % n as u32).collect();
    let pass = Training::new(1, step as u32);
    network.forward(&patches, &Tensor::from_vec(order, (2, n), &Device::Cpu).unwrap(), Mode::Training(&pass)).unwrap();
    network.follow(&pass).unwrap();
}

/// One step by the gradients of all `slopes` together.
fn update(optimizer: &mut Optimizer, network: &Selfie, slopes: &[f32], step: u64) {
    slopes.iter().for_each(|slope| optimizer.add(gradients(network, *slope)).unwrap());
    let norm = optimizer.gradient_norm().unwrap();
    optimizer.update(0.01, norm, step).unwrap();
    follow(network, step);
    optimizer.average(step).unwrap();
}

fn weights(network: &Selfie) -> Vec<u8> {
    network.weights().unwrap().to_bytes().unwrap()
}

fn named_parameters(network: &Selfie) -> BTreeMap<String, Vec<f32>> {
    let named = |unit: &ParameterUnit| unit.named(&unit.parameters().as_detached_tensor()).unwrap();
    let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    network.units().into_iter().flat_map(named).map(|(name, tensor)| (name, values(tensor))).collect()
}

#[test]
fn the_micro_batches_of_a_step_count_as_their_sum() {
    for set in [SGD, ADAMW] {
        let plan = plan(set);
        let (pieces, whole) = (network(), network());
        let mut of_pieces = Optimizer::new(pieces.units(), &plan).unwrap();
        let mut of_whole = Optimizer::new(whole.units(), &plan).unwrap();
        for step in 1..=2 {
            update(&mut of_pieces, &pieces, &[1.0, -3.0, 4.0], step);
            update(&mut of_whole, &whole, &[2.0], step);
        }
        assert!(weights(&pieces) == weights(&whole), "{set:?}");
        assert!(of_pieces.to_bytes().unwrap() == of_whole.to_bytes().unwrap(), "{set:?}");
    }
}

#[test]
fn the_gradient_norm_is_that_of_all_units_together() {
    let (plan, network) = (plan(SGD), network());
    let mut optimizer = Optimizer::new(network.units(), &plan).unwrap();
    optimizer.add(gradients(&network, 1.0)).unwrap();
    optimizer.add(gradients(&network, 1.0)).unwrap();
    let squares =
        |unit: &ParameterUnit| (0..unit.parameters().elem_count()).map(|i| (2.0 * (i % 5) as f64).powi(2)).sum::<f64>();
    let expected = network.units().into_iter().map(squares).sum::<f64>().sqrt();
    let got = optimizer.gradient_norm().unwrap();
    assert!((got / expected - 1.0).abs() < 1e-12, "expected {expected}, got {got}");
}

#[test]
fn a_step_without_gradients_is_an_error_not_a_step() {
    let (plan, network) = (plan(SGD), network());
    let before = weights(&network);
    let mut optimizer = Optimizer::new(network.units(), &plan).unwrap();
    assert!(matches!(optimizer.update(0.01, 0.0, 1), Err(TrainError::Internal(_))));
    assert!(weights(&network) == before);
}

#[test]
fn the_state_goes_through_bytes_and_the_next_update_is_the_same() {
    for set in [SGD, ADAMW] {
        let plan = plan(set);
        let (first, second) = (network(), network());
        let mut written = Optimizer::new(first.units(), &plan).unwrap();
        for step in 1..=3 {
            update(&mut written, &first, &[step as f32], step);
        }
        second.load(&first.weights().unwrap()).unwrap();
        let mut read = Optimizer::new(second.units(), &plan).unwrap();
        assert!(read.to_bytes().unwrap() != written.to_bytes().unwrap());
        read.load(&written.to_bytes().unwrap(), Path::new("a")).unwrap();
        assert!(read.to_bytes().unwrap() == written.to_bytes().unwrap(), "{set:?}");
        update(&mut written, &first, &[-1.0], 4);
        update(&mut read, &second, &[-1.0], 4);
        assert!(weights(&first) == weights(&second), "{set:?}");
        assert!(read.to_bytes().unwrap() == written.to_bytes().unwrap(), "{set:?}");
    }
}

#[test]
fn a_missing_or_extra_tensor_is_named() {
    let (plan, network) = (plan(ADAMW), network());
    let mut optimizer = Optimizer::new(network.units(), &plan).unwrap();
    let path = Path::new("run/checkpoints/step-00000001");
    let whole = tensors_from_bytes(&optimizer.to_bytes().unwrap(), path).unwrap();
    let slots = ["average.", "first_moment.", "second_moment."];
    for part in slots.into_iter().chain([".running_var"]) {
        let name = whole.keys().find(|name| name.contains(part)).unwrap();
        let mut tensors = whole.clone();
        let tensor = tensors.remove(name).unwrap();
        let error = optimizer.load(&tensors_to_bytes(&tensors, HashMap::new()).unwrap(), path).unwrap_err();
        assert_eq!(error.exit_code(), 78);
        let expected = format!("{}: tensor `{name}` of the optimizer state is missing", path.display());
        assert!(error.to_string().contains(&expected), "{error}");

        let mut tensors = whole.clone();
        tensors.insert(format!("{name}.more"), tensor);
        let error = optimizer.load(&tensors_to_bytes(&tensors, HashMap::new()).unwrap(), path).unwrap_err();
        assert!(
            error.to_string().contains(&format!("tensor `{name}.more` of the optimizer state is unexpected")),
            "{error}"
        );
    }
    assert!(whole.keys().all(|name| slots.iter().any(|slot| name.starts_with(slot))));
}

#[test]
fn clipping_scales_the_whole_gradient_to_the_norm_and_leaves_smaller_ones() {
    let plain = &["optimizer=sgd", "momentum=0", "weight_decay=0"];
    let step_by = |set: &[&str], slope: f32| {
        let (plan, network) = (plan(set), network());
        let before = named_parameters(&network);
        update(&mut Optimizer::new(network.units(), &plan).unwrap(), &network, &[slope], 1);
        let after = named_parameters(&network);
        let pairs = before.values().flatten().zip(after.values().flatten());
        pairs.map(|(before, after)| f64::from(before - after).powi(2)).sum::<f64>().sqrt()
    };
    let clipped: Vec<&str> = plain.iter().copied().chain(["clip_norm=2.0"]).collect();
    // The learning rate is 0.01.
    let long = step_by(&clipped, 8.0);
    assert!((long - 0.02).abs() < 1e-4, "expected a step of 0.02, got {long}");
    assert!(step_by(plain, 8.0) > 1.0);
    let (short, free) = (step_by(&clipped, 1e-3), step_by(plain, 1e-3));
    assert!(short > 0.0 && (short - free).abs() < 1e-9, "expected {free}, got {short}");
}

#[test]
fn the_averages_of_parameters_and_running_statistics_stand_where_the_decay_says() {
    let values = |weights: WeightsFile| -> BTreeMap<String, Vec<f32>> {
        let flat = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
        weights.tensors.into_iter().map(|(name, tensor)| (name, flat(tensor))).collect()
    };
    let (plan, network) = (plan(&["optimizer=sgd", "momentum=0", "weight_decay=0", "ema_decay=0.9"]), network());
    let start = values(network.weights().unwrap());
    let mut optimizer = Optimizer::new(network.units(), &plan).unwrap();
    update(&mut optimizer, &network, &[1.0], 1);
    let averaged = values(optimizer.averaged(network.weights().unwrap()).unwrap());
    let end = values(network.weights().unwrap());
    assert!(averaged.keys().eq(end.keys()));
    let (mut n_parameters, mut n_statistics) = (0, 0);
    for (name, average) in averaged {
        for ((average, start), end) in average.into_iter().zip(&start[&name]).zip(&end[&name]) {
            // The first step's decay is (1 + 1) / (10 + 1).
            let expected = (2.0 * start + 9.0 * end) / 11.0;
            assert!((average - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{name}: {start} {average} {end}");
            let moved = usize::from((average - start).abs() > 1e-4 && (average - end).abs() > 1e-4);
            *(if name.contains(".running_") { &mut n_statistics } else { &mut n_parameters }) += moved;
        }
    }
    assert!(n_parameters > 100 && n_statistics > 20, "{n_parameters} {n_statistics}");
}
