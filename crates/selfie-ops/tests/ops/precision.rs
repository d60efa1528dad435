//! Units of bf16 factors against the same units in full.

use crate::device::device;
use crate::{normal, stage, values};
use candle_core::{Tensor, Var};
use selfie_ops::{
    BlockForm, NormMode, Precision, StageSpec, TokenOutput, TransformerSpec, runs_composed, transformer_layer,
};

/// A unit's output, then its gradients.
fn differentiate(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) -> Vec<Vec<f64>> {
    let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
    let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(&tracked);
    let gradients = (&y * normal(99, y.dims())).unwrap().sum_all().unwrap().backward().unwrap();
    let gradients = tracked.iter().map(|t| values(gradients.get(t).unwrap()));
    [values(&y)].into_iter().chain(gradients).collect()
}

/// |a − b| / |b|
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

/// Rounding to bf16 moves a number by at most 2⁻⁹ of itself, and a unit rounds a few times. It also moves about 2⁻⁸ of the
/// ReLU inputs to the other side of zero, which moves gradients by the root of that share, 6 %, for each ReLU passed.
fn check(name: &str, full: &[Vec<f64>], rounded: &[Vec<f64>]) {
    for (i, (full, rounded)) in full.iter().zip(rounded).enumerate() {
        let (far, most) = (distance(rounded, full), if i == 0 { 0.03 } else { 0.2 });
        assert!(far > 1e-5, "{name}, result {i}: nothing was rounded");
        assert!(far < most, "{name}, result {i}: {far} from full precision");
    }
}

/// Compositions compute in the tensors' type.
fn rounds() -> bool {
    !runs_composed(device())
}

#[test]
fn stages_of_bf16_factors_are_near_those_in_full() {
    if !rounds() {
        return eprintln!("passed over: nothing is rounded under SELFIE_OPS=composed");
    }
    for form in [BlockForm::PreActivation, BlockForm::PostActivation] {
        let spec = |precision| StageSpec { form, in_channels: 16, mid_channels: 16, depth: 2, stride: 2, precision };
        let n_parameters = spec(Precision::Full).layout().n_parameters();
        let inputs = [normal(1, &[12, 8, 8, 16]), (normal(2, &[n_parameters]) * 0.2).unwrap()];
        let inputs = [inputs[0].clone(), (&inputs[1] + 0.1).unwrap()];
        let run =
            |precision| differentiate(&inputs, |t| stage(&t[0], &t[1], spec(precision), NormMode::Batch).unwrap().y);
        check(&format!("{form:?}"), &run(Precision::Full), &run(Precision::Bf16));
    }
}

#[test]
fn transformer_layers_of_bf16_factors_are_near_those_in_full() {
    if !rounds() {
        return eprintln!("passed over: nothing is rounded under SELFIE_OPS=composed");
    }
    for (norm_first, output) in [(false, TokenOutput::All), (true, TokenOutput::All), (false, TokenOutput::First)] {
        let spec = |precision| TransformerSpec { width: 32, heads: 4, ffn: 48, norm_first, precision, output };
        let n_parameters = spec(Precision::Full).layout().n_parameters();
        let inputs = [normal(1, &[4, 7, 32]), (normal(2, &[n_parameters]) * 0.2).unwrap()];
        let run =
            |precision| differentiate(&inputs, |t| transformer_layer(&t[0], &t[1], spec(precision), None).unwrap());
        check(&format!("norm_first {norm_first}"), &run(Precision::Full), &run(Precision::Bf16));
    }
}
