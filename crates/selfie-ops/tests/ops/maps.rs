//! Maps past candle's graph: through several stages, read more than once or not at all, with parts that need no gradient.

use crate::device::device;
use crate::gradients::check;
use crate::{normal, values};
use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};
use selfie_ops::{BlockForm, NormMode, Precision, StageMap, StageSpec, backward, runs_composed, stage};

const FORMS: [BlockForm; 2] = [BlockForm::PreActivation, BlockForm::PostActivation];

fn specs(form: BlockForm, precision: Precision) -> [StageSpec; 2] {
    let first = StageSpec { form, in_channels: 4, mid_channels: 2, depth: 2, stride: 1, precision };
    [first, StageSpec { in_channels: first.out_channels(), depth: 1, stride: 2, ..first }]
}

/// x and the parameters of two stages.
fn inputs([first, second]: [StageSpec; 2]) -> [Tensor; 3] {
    let n_parameters = |spec: StageSpec| spec.layout().n_parameters();
    [normal(1, &[3, 4, 4, 4]), normal(2, &[n_parameters(first)]), normal(3, &[n_parameters(second)])]
}

/// Two stages.
fn through(t: &[Tensor], [first, second]: [StageSpec; 2]) -> Result<Tensor> {
    let map = stage(&StageMap::new(&t[0], first.precision)?, &t[1], first, NormMode::Batch)?.y;
    stage(&map, &t[2], second, NormMode::Batch)?.y.tensor()
}

#[test]
fn a_map_that_three_read_gets_the_gradients_of_all() {
    for form in FORMS {
        let specs = specs(form, Precision::Full);
        let read = |t: &[Tensor]| -> Result<Tensor> {
            let map = stage(&StageMap::new(&t[0], Precision::Full)?, &t[1], specs[0], NormMode::Batch)?.y;
            let further = stage(&map, &t[2], specs[1], NormMode::Batch)?.y.tensor()?;
            let (once, twice) = (map.tensor()?, (map.tensor()? * 0.5)?);
            Tensor::cat(&[once.flatten_all()?, twice.flatten_all()?, further.flatten_all()?], 0)
        };
        check(&format!("{form:?}, read three times"), &inputs(specs), read);
    }
}

/// A v1.5 stage between two of v2 leaves no moments to the second.
#[test]
fn a_stage_of_another_form_between_two_changes_no_statistics() {
    let [first, _] = specs(BlockForm::PreActivation, Precision::Full);
    let middle = StageSpec { form: BlockForm::PostActivation, in_channels: first.out_channels(), ..first };
    let last = StageSpec { in_channels: middle.out_channels(), ..first };
    let parameters = |tag, spec: StageSpec| normal(tag, &[spec.layout().n_parameters()]);
    let map = StageMap::new(&normal(1, &[3, 4, 4, 4]), Precision::Full).unwrap();
    let map = stage(&map, &parameters(2, first), first, NormMode::Batch).unwrap().y;
    let map = stage(&map, &parameters(3, middle), middle, NormMode::Batch).unwrap().y;
    let anew = StageMap::new(&map.tensor().unwrap(), Precision::Full).unwrap();
    let run = |map| values(&stage(map, &parameters(4, last), last, NormMode::Batch).unwrap().y.tensor().unwrap());
    assert_eq!(run(&map), run(&anew));
}

#[test]
fn only_what_is_tracked_gets_a_gradient_and_it_is_the_same() {
    for form in FORMS {
        let specs = specs(form, Precision::Full);
        let vars = inputs(specs).map(|input| Var::from_tensor(&input).unwrap());
        let all = vars.each_ref().map(|var| var.as_tensor().clone());
        let loss = |t: &[Tensor]| through(t, specs).unwrap().sqr().unwrap().sum_all().unwrap();
        let gradients = loss(&all).backward().unwrap();
        for i in 0..3 {
            let mut one = vars.each_ref().map(|var| var.as_tensor().detach());
            one[i] = all[i].clone();
            let of = |store: GradStore| values(store.get(&all[i]).unwrap());
            let expected = values(gradients.get(&all[i]).unwrap());
            assert_eq!(of(loss(&one).backward().unwrap()), expected, "{form:?}, input {i}");
            assert_eq!(of(backward(&loss(&one)).unwrap()), expected, "{form:?}, input {i}, past candle's zeros");
        }
    }
}

#[test]
fn a_map_between_two_stages_gives_what_a_tensor_between_them_gives() {
    for (form, precision) in FORMS.into_iter().flat_map(|form| [(form, Precision::Full), (form, Precision::Bf16)]) {
        let [first, second] = specs(form, precision);
        let by_tensor = |t: &[Tensor]| -> Result<Tensor> {
            let x = stage(&StageMap::new(&t[0], precision)?, &t[1], first, NormMode::Batch)?.y.tensor()?;
            stage(&StageMap::new(&x, precision)?, &t[2], second, NormMode::Batch)?.y.tensor()
        };
        let run = |through: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
            let vars = inputs([first, second]).map(|input| Var::from_tensor(&input).unwrap());
            let y = through(&vars.each_ref().map(|var| var.as_tensor().clone())).unwrap();
            let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let gradients = vars.map(|var| values(gradients.get(var.as_tensor()).unwrap()));
            [vec![values(&y)], gradients.to_vec()].concat()
        };
        for (by_map, by_tensor) in run(&|t| through(t, [first, second])).iter().zip(&run(&by_tensor)) {
            let largest = by_tensor.iter().fold(0f64, |most, value| most.max(value.abs()));
            let off = by_map.iter().zip(by_tensor).fold(0f64, |most, (a, b)| most.max((a - b).abs()));
            assert!(off <= 1e-12 * largest, "{form:?} {precision:?}: off by {off}, the largest number is {largest}");
        }
    }
}

#[test]
fn going_back_twice_and_another_precision_are_errors() {
    if runs_composed(device()) {
        eprintln!("composed operations go back as often as one likes, in one precision");
        return;
    }
    let specs = specs(BlockForm::PreActivation, Precision::Full);
    let vars = inputs(specs).map(|input| Var::from_tensor(&input).unwrap());
    let y = through(&vars.each_ref().map(|var| var.as_tensor().clone()), specs).unwrap().sum_all().unwrap();
    y.backward().unwrap();
    let error = y.backward().err().unwrap().to_string();
    assert!(error.contains("backward ran twice"), "{error}");

    let map = StageMap::new(vars[0].as_tensor(), Precision::Bf16).unwrap();
    let error = stage(&map, vars[1].as_tensor(), specs[0], NormMode::Batch).err().unwrap().to_string();
    assert!(error.contains("expected a map of precision Full, got Bf16"), "{error}");
    let none = StageSpec { depth: 0, ..specs[0] };
    let map = StageMap::new(vars[0].as_tensor(), Precision::Full).unwrap();
    assert!(stage(&map, vars[1].as_tensor(), none, NormMode::Batch).is_err());
}
