//! Values from SciPy 1.17.1; each test quotes its call.

use serde_json::Value;

use super::*;

fn close(got: f64, expected: f64) -> bool {
    (got - expected).abs() <= 1e-9 * expected.abs().max(1.0)
}

const TREATED: [f64; 5] = [64.4, 65.1, 63.9, 64.8, 64.6];
const CONTROL: [f64; 5] = [62.1, 62.2, 63.0, 61.8, 62.9];

/// `numpy.mean([64.4, 65.1, 63.9, 64.8, 64.6])`, `numpy.std(…, ddof=1)`
#[test]
fn mean_and_sample_std_match_numpy() {
    assert!(close(mean(&TREATED).unwrap(), 64.559_999_999_999_99));
    assert!(close(sample_std(&TREATED).unwrap(), 0.450_555_213_042_750_2));
}

/// `r = scipy.stats.ttest_rel([64.4, 65.1, 63.9, 64.8, 64.6], [62.1, 62.2, 63.0, 61.8, 62.9])`,
/// then `r.confidence_interval(0.95)` and `r.pvalue`
#[test]
fn paired_difference_of_five_pairs_matches_scipy() {
    let difference = paired_difference(&TREATED, &CONTROL).unwrap();
    assert_eq!(difference.n_pairs, 5);
    assert!(close(difference.low, 1.071_860_190_946_789_5), "{difference:?}");
    assert!(close(difference.high, 3.248_139_809_053_205_3), "{difference:?}");
    assert!(close(difference.p_value, 0.005_288_623_386_241_521_5), "{difference:?}");
}

/// `scipy.stats.ttest_rel([75.9, 76.3, 75.1], [76.0, 75.2, 75.8])`
#[test]
fn paired_difference_around_zero_matches_scipy() {
    let difference = paired_difference(&[75.9, 76.3, 75.1], &[76.0, 75.2, 75.8]).unwrap();
    assert!(close(difference.low, -2.176_749_820_158_050_4), "{difference:?}");
    assert!(close(difference.high, 2.376_749_820_158_049), "{difference:?}");
    assert!(close(difference.p_value, 0.867_546_764_293_496_5), "{difference:?}");
}

/// `scipy.stats.ttest_rel([0.5, 0.7], [0.4, 0.65])`: one degree of freedom, the heaviest tail there is
#[test]
fn paired_difference_of_two_pairs_matches_scipy() {
    let difference = paired_difference(&[0.5, 0.7], &[0.4, 0.65]).unwrap();
    assert!(close(difference.low, -0.242_655_118_404_367_65), "{difference:?}");
    assert!(close(difference.high, 0.392_655_118_404_367_56), "{difference:?}");
    assert!(close(difference.p_value, 0.204_832_764_699_133_78), "{difference:?}");
}

#[test]
fn equal_differences_have_no_spread_and_a_certain_answer() {
    let shifted = paired_difference(&[2.0, 3.0, 4.0], &[1.0, 2.0, 3.0]).unwrap();
    assert_eq!((shifted.low, shifted.high, shifted.p_value), (1.0, 1.0, 0.0));
    let same = paired_difference(&[2.0, 3.0], &[2.0, 3.0]).unwrap();
    assert_eq!((same.low, same.high, same.p_value), (0.0, 0.0, 1.0));
}

#[test]
fn one_run_has_a_mean_but_no_spread() {
    assert_eq!(Summary::of(&[0.5]), Some(Summary { n_runs: 1, mean: 0.5, std: None }));
    assert_eq!(Summary::of(&[]), None);
}

#[test]
fn unpaired_single_and_non_finite_values_are_refused() {
    assert!(matches!(paired_difference(&[1.0, 2.0], &[1.0]), Err(EvalError::Unpaired { treated: 2, control: 1 })));
    assert!(matches!(paired_difference(&[1.0], &[1.0]), Err(EvalError::TooFew { expected: 2, got: 1, .. })));
    assert!(matches!(paired_difference(&[1.0, f64::NAN], &[1.0, 1.0]), Err(EvalError::NonFinite { .. })));
}

/// `testdata/statistics.py` wrote them.
#[test]
fn every_statistic_of_paired_samples_matches_scipy() {
    let golden: Value = serde_json::from_str(include_str!("../../tests/golden/statistics.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 7);
    for case in cases {
        let values = |name: &str| -> Vec<f64> {
            case[name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
        };
        let expected = |name: &str| case[name].as_f64().unwrap();
        let (treated, control) = (values("treated"), values("control"));
        let got = paired_difference(&treated, &control).unwrap();
        let flips = sign_flip_p_value(&treated, &control).unwrap().unwrap();
        let ratio = sample_std(&treated).unwrap() / sample_std(&control).unwrap();
        let pairs = [
            ("mean", got.mean),
            ("std", got.std),
            ("low", got.low),
            ("high", got.high),
            ("p_value", got.p_value),
            ("sign_flip_p_value", flips),
            ("spread_ratio", ratio),
        ];
        for (name, got) in pairs {
            assert!(close(got, expected(name)), "{name}: got {got}, SciPy has {} of {case}", expected(name));
        }
    }
}

#[test]
fn too_many_pairs_to_flip_have_no_p_value_and_one_pair_is_refused() {
    let values: Vec<f64> = (0..25).map(f64::from).collect();
    assert_eq!(sign_flip_p_value(&values, &[0.0; 25]).unwrap(), None);
    assert!(matches!(sign_flip_p_value(&[1.0], &[0.0]), Err(EvalError::TooFew { expected: 2, got: 1, .. })));
}

/// Differences of +1, −1 and −1 of 600 images: every flip is as far from 0 as the one observed, though in floating point some
/// sums are not.
#[test]
fn flips_that_tie_with_the_observed_one_are_counted() {
    let shares = |counts: [u32; 3]| counts.map(|count| f64::from(count) / 600.0);
    let p_value = |treated, control| sign_flip_p_value(&shares(treated), &shares(control)).unwrap();
    assert_eq!(p_value([351, 334, 372], [350, 335, 373]), Some(1.0));
    assert_eq!(p_value([352, 337, 374], [350, 335, 372]), Some(0.25));
    assert_eq!(p_value([352, 337, 373], [350, 335, 372]), Some(0.25));
}

/// Against counting flips of whole numbers, which sum exactly: 4,000 tables of 3 to 10 pairs.
#[test]
fn sign_flips_of_shares_are_those_of_the_counts_behind_them() {
    // Knuth's MMIX generator.
    let mut state = 7u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for table in 0..4000 {
        let n_images = [600, 2000, 10_000][table % 3];
        let n_pairs = 3 + table % 8;
        let counts: Vec<(u64, u64)> =
            (0..n_pairs).map(|_| (n_images / 2 + draw(40), n_images / 2 + draw(30))).collect();
        let differences: Vec<i64> = counts.iter().map(|&(treated, control)| treated as i64 - control as i64).collect();
        let flipped = |signs: u32| -> i64 {
            let term = |(i, difference): (usize, &i64)| if signs >> i & 1 == 1 { -difference } else { *difference };
            differences.iter().enumerate().map(term).sum()
        };
        let n_as_far = (0..1u32 << n_pairs).filter(|&signs| flipped(signs).abs() >= flipped(0).abs()).count();
        let share = |count: u64| count as f64 / n_images as f64;
        let (treated, control): (Vec<f64>, Vec<f64>) =
            counts.iter().map(|&(treated, control)| (share(treated), share(control))).unzip();
        let expected = n_as_far as f64 / f64::from(1u32 << n_pairs);
        assert_eq!(sign_flip_p_value(&treated, &control).unwrap(), Some(expected), "{counts:?} of {n_images}");
    }
}
