use super::*;

fn arm(name: &str, runs: &[(f64, u64, f64)]) -> Arm {
    let runs =
        runs.iter().map(|&(fraction, seed, top1_accuracy)| Measurement { fraction, seed, top1_accuracy }).collect();
    Arm { name: name.into(), runs }
}

/// The interval: `scipy.stats.ttest_rel([64.4, 64.6], [62.1, 62.2]).confidence_interval(0.95)`
#[test]
fn a_comparison_shows_mean_spread_and_paired_difference() {
    // In another order: pairs are made by seed, not by position.
    let treated = arm("pretrained", &[(0.05, 1, 0.646), (0.05, 0, 0.644), (0.08, 0, 0.7)]);
    let control = arm("from scratch", &[(0.05, 0, 0.621), (0.05, 1, 0.622), (0.08, 0, 0.69)]);
    let table = comparison(&treated, &control, Variance::FinetuningSeeds).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "| test accuracy, % | 5 % of the labels | 8 % of the labels |");
    assert_eq!(lines[2], "| pretrained | 64.50 ± 0.14 (n = 2) | 70.00 (n = 1) |");
    assert_eq!(lines[3], "| from scratch | 62.15 ± 0.07 (n = 2) | 69.00 (n = 1) |");
    assert_eq!(lines[4], "| difference | +2.35 [+1.71, +2.99], p = 0.014 (2 pairs) | +1.00 (one pair) |");
    assert!(table.contains("one pretraining run serves them all"), "{table}");
}

#[test]
fn a_run_without_a_partner_stays_out_of_the_difference() {
    let treated = arm("pretrained", &[(0.2, 0, 0.8), (0.2, 7, 0.1)]);
    let control = arm("from scratch", &[(0.2, 0, 0.7), (1.0, 0, 0.9)]);
    let table = comparison(&treated, &control, Variance::PretrainingAndFinetuningSeeds).unwrap();
    assert!(table.contains("| difference | +10.00 (one pair) | no pairs |"), "{table}");
    assert!(table.contains("| pretrained | 45.00 ± 49.50 (n = 2) | not run |"), "{table}");
}

#[test]
fn a_non_finite_accuracy_is_refused() {
    let treated = arm("pretrained", &[(0.2, 0, f64::NAN)]);
    let control = arm("from scratch", &[(0.2, 0, 0.7)]);
    assert!(matches!(comparison(&treated, &control, Variance::FinetuningSeeds), Err(EvalError::NonFinite { .. })));
}
