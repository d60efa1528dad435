//! Against scikit-learn's numbers, which testdata/probes.py made.

use super::knn::{KnnAccuracy, knn};
use super::linear::{LinearProbe, LinearSettings};
use super::*;
use serde::Deserialize;

const N_CLASSES: usize = 3;
const WIDTH: usize = 6;

#[derive(Deserialize)]
struct Golden {
    train: Part,
    test: Part,
    knn: Vec<Knn>,
    leave_one_out: Vec<LeaveOneOut>,
    regression: Regression,
}

#[derive(Deserialize)]
struct Part {
    rows: Vec<Vec<f32>>,
    labels: Vec<u32>,
}

#[derive(Deserialize)]
struct Knn {
    k: usize,
    held_out: f64,
}

#[derive(Deserialize)]
struct LeaveOneOut {
    k: usize,
    accuracy: f64,
}

#[derive(Deserialize)]
struct Regression {
    l2: f32,
    objective: f64,
    accuracy: f64,
    cross_entropy: f64,
}

/// The two parts' numbers and labels.
struct Parts {
    golden: Golden,
    train: Vec<f32>,
    test: Vec<f32>,
}

impl Parts {
    fn read() -> Self {
        let golden: Golden = serde_json::from_str(include_str!("../../tests/golden/probes.json")).unwrap();
        let (train, test) = (golden.train.rows.concat(), golden.test.rows.concat());
        Self { golden, train, test }
    }

    fn train(&self) -> Labelled<'_> {
        Labelled::new(Matrix::new(&self.train, WIDTH).unwrap(), &self.golden.train.labels, N_CLASSES).unwrap()
    }

    fn test(&self) -> Labelled<'_> {
        Labelled::new(Matrix::new(&self.test, WIDTH).unwrap(), &self.golden.test.labels, N_CLASSES).unwrap()
    }
}

fn require_equal(found: &[KnnAccuracy], expected: impl Iterator<Item = f64>) {
    let expected: Vec<f64> = expected.collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found.accuracy - expected).abs() < 1e-9, "{found:?}, scikit-learn {expected}");
    }
}

#[test]
fn votes_of_neighbours_agree_with_scikit_learn() {
    let parts = Parts::read();
    let ks: Vec<usize> = parts.golden.knn.iter().map(|knn| knn.k).collect();
    let held_out = knn(parts.train(), Some(parts.test()), &ks).unwrap();
    require_equal(&held_out, parts.golden.knn.iter().map(|knn| knn.held_out));
    let ks: Vec<usize> = parts.golden.leave_one_out.iter().map(|knn| knn.k).collect();
    let left_out = knn(parts.train(), None, &ks).unwrap();
    require_equal(&left_out, parts.golden.leave_one_out.iter().map(|knn| knn.accuracy));
}

#[test]
fn the_linear_probe_finds_the_optimum_of_scikit_learns_logistic_regression() {
    let parts = Parts::read();
    let expected = &parts.golden.regression;
    let settings = LinearSettings { l2: expected.l2, steps: 1000, ..LinearSettings::default() };
    let probe = LinearProbe::fit(parts.train(), N_CLASSES, &settings).unwrap();
    assert_eq!(probe.heads().len(), settings.learning_rates.len());
    let chosen = probe.chosen();
    assert!((chosen.objective - expected.objective).abs() < 1e-5, "{chosen:?}, expected {}", expected.objective);
    assert!(probe.heads().iter().all(|head| head.objective >= chosen.objective));
    let meter = probe.measure(parts.test()).unwrap();
    assert_eq!(meter.top1_accuracy(), Some(expected.accuracy));
    assert!((meter.mean_cross_entropy().unwrap() - expected.cross_entropy).abs() < 1e-4);
}

#[test]
fn a_learning_rate_that_diverges_is_passed_over_and_does_not_touch_the_others() {
    let parts = Parts::read();
    let fit = |learning_rates: &[f32]| {
        let settings = LinearSettings { learning_rates: learning_rates.to_vec(), l2: 1e-2, steps: 100 };
        LinearProbe::fit(parts.train(), N_CLASSES, &settings)
    };
    let alone = fit(&[1.0]).unwrap().chosen();
    let beside = fit(&[1e30, 1.0]).unwrap();
    assert!(beside.heads()[0].objective.is_infinite(), "{:?}", beside.heads());
    assert_eq!(beside.chosen().learning_rate, 1.0);
    assert!((beside.chosen().objective - alone.objective).abs() < 1e-6);
    assert!(matches!(fit(&[1e30]), Err(EvalError::Diverged { .. })));
    assert!(matches!(fit(&[]), Err(EvalError::Diverged { .. })));
}

#[test]
fn a_column_that_never_varies_is_no_division_by_zero() {
    let rows = [1.0, 5.0, 2.0, 5.0, 8.0, 5.0, 9.0, 5.0];
    let labelled = Labelled::new(Matrix::new(&rows, 2).unwrap(), &[0, 0, 1, 1], 2).unwrap();
    let probe = LinearProbe::fit(labelled, 2, &LinearSettings::default()).unwrap();
    assert_eq!(probe.measure(labelled).unwrap().top1_accuracy(), Some(1.0));
}

#[test]
fn labels_must_be_there_for_each_row_and_below_the_number_of_classes() {
    let rows = Matrix::new(&[0.0; 6], 2).unwrap();
    assert!(matches!(Labelled::new(rows, &[0, 1], 2), Err(EvalError::Labels { n_rows: 3, got: 2 })));
    assert!(matches!(Labelled::new(rows, &[0, 1, 2], 2), Err(EvalError::Label { label: 2, .. })));
    assert_eq!(chance(&[1, 1, 0, 2]), 0.5);
}

#[test]
fn a_report_over_folds_has_all_their_answers_and_the_spread_of_each() {
    use super::report::{Examples, ProbeSettings, probe};
    let parts = Parts::read();
    let examples = |range: std::ops::Range<usize>| Examples {
        rows: parts.train[range.start * WIDTH..range.end * WIDTH].to_vec(),
        labels: parts.golden.train.labels[range].to_vec(),
    };
    // Of unequal sizes, so that the mean of the shares is another number.
    let folds = [(examples(0..80), examples(80..120)), (examples(80..120), examples(0..80))];
    let linear = LinearSettings { steps: 50, ..LinearSettings::default() };
    let settings = ProbeSettings { ks: vec![1, 5, 50, 100], linear, n_classes: N_CLASSES, width: WIDTH };
    let both = probe(&folds, &settings).unwrap();
    let each = [&folds[..1], &folds[1..]].map(|fold| probe(fold, &settings).unwrap());
    assert_eq!((both.n_fitted, both.n_measured), (80, 120));
    let ks: Vec<usize> = both.knn.iter().map(|knn| knn.k).collect();
    assert_eq!(ks, [1, 5, 40], "the second fold has 40 neighbours");
    // Classes that are even in the whole need not be in a fold.
    assert_eq!(both.chance, chance(&parts.golden.train.labels[..120]));
    assert!(each.iter().any(|fold| fold.chance != both.chance), "{each:?}");
    for (k, knn) in both.knn[..2].iter().enumerate() {
        let accuracies = each.each_ref().map(|fold| fold.knn[k].share.accuracy);
        assert!((knn.share.accuracy - (40.0 * accuracies[0] + 80.0 * accuracies[1]) / 120.0).abs() < 1e-12);
        let std = (accuracies[0] - accuracies[1]).abs() / 2f64.sqrt();
        assert!((knn.share.std.unwrap() - std).abs() < 1e-12);
        assert_eq!(each[0].knn[k].share.std, None);
    }
    assert_eq!(both.linear.learning_rates.len(), 2);
    assert!(both.linear.share.accuracy > 0.7 && both.linear.share.accuracy < 1.0, "{both:?}");
    assert!(probe(&[], &settings).is_err());
}
