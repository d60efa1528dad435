use super::*;

fn runs(arm: Arm, fraction: f64, accuracies: &[(u64, f64)]) -> Runs {
    let runs = accuracies.iter().map(|&(seed, top1_accuracy)| Measurement { seed, top1_accuracy }).collect();
    Runs { fraction, arm, learning_rate: 0.05, trials: Vec::new(), runs, diverged: Vec::new() }
}

fn about(set: &str, n_runs: usize) -> About {
    let (recipe, variance) = (set.to_owned(), Variance::FinetuningSeeds);
    About {
        recipe,
        set: set.to_owned(),
        test_set: None,
        variance,
        steps: Some(10),
        pretrained_from: Vec::new(),
        n_runs,
    }
}

/// The interval: `scipy.stats.ttest_rel([64.4, 64.6], [62.1, 62.2]).confidence_interval(0.95)`
#[test]
fn a_table_shows_mean_spread_paired_difference_and_the_papers_cells() {
    // In another order: pairs are made by seed, not by position.
    let all = vec![
        runs(Arm::Scratch, 0.05, &[(0, 0.621), (1, 0.622)]),
        runs(Arm::Pretrained, 0.08, &[(0, 0.7)]),
        runs(Arm::Pretrained, 0.05, &[(1, 0.646), (0, 0.644)]),
        runs(Arm::Scratch, 0.08, &[(0, 0.69)]),
    ];
    let table = StudyTable::new(about("cifar10", 6), all).unwrap();
    let markdown = table.to_markdown();
    let lines: Vec<&str> = markdown.lines().collect();
    assert_eq!(lines[0], "| test accuracy, % | 5 % of the labels | 8 % of the labels |");
    assert_eq!(lines[2], "| pretrained | 64.50 ± 0.14 (n = 2) | 70.00 (n = 1) |");
    assert_eq!(lines[3], "| from scratch | 62.15 ± 0.07 (n = 2) | 69.00 (n = 1) |");
    assert_eq!(lines[4], "| the paper's Selfie | 75.9 ± 0.4 | 80.3 ± 0.3 |");
    assert_eq!(lines[5], "| the paper, from scratch | 75.9 ± 0.7 | 79.3 ± 1.0 |");
    assert_eq!(lines[9], "| 5 % | pretrained | +2.35 | +1.71 to +2.99 | p = 0.014 | p = 0.500 | 2.00 | 2 |");
    assert_eq!(lines[10], "| 8 % | pretrained | +1.00 | one pair | | | | 1 |");
    assert!(markdown.contains("one pretraining run serves them all"), "{markdown}");
    assert!(!markdown.contains("runs are finished"), "{markdown}");

    let csv = table.to_csv();
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 5);
    assert!(lines.iter().all(|values| values.len() == lines[0].len()), "{csv}");
    assert_eq!(lines[1][..5], ["0.05", "pretrained", "2", "0", "0.645"]);
    assert_eq!(lines[4][..2], ["0.08", "scratch"]);
}

#[test]
fn a_run_without_a_partner_stays_out_of_the_difference() {
    let all = vec![
        runs(Arm::Pretrained, 0.2, &[(0, 0.8), (7, 0.1)]),
        runs(Arm::Scratch, 0.2, &[(0, 0.7)]),
        runs(Arm::Scratch, 1.0, &[(0, 0.9)]),
    ];
    let table = StudyTable::new(about("shapes32", 8), all).unwrap();
    let pretrained = table.fractions[0].arm(Arm::Pretrained).unwrap();
    let difference = pretrained.difference.unwrap();
    assert_eq!((difference.n_pairs, difference.test), (1, None));
    assert!((difference.mean - 0.1).abs() < 1e-12);
    let markdown = table.to_markdown();
    assert!(markdown.contains("| pretrained | 45.00 ± 49.50 (n = 2) | not run |"), "{markdown}");
    assert!(markdown.contains("4 of 8 runs are finished."), "{markdown}");
    assert!(!markdown.contains("paper"), "the paper has no such data set: {markdown}");
}

#[test]
fn the_choice_of_a_learning_rate_is_shown_and_an_end_is_pointed_out() {
    let trial = |learning_rate, top1_accuracy| Trial { learning_rate, top1_accuracy };
    let mut chosen = runs(Arm::LinearProbe, 0.05, &[]);
    chosen.trials = vec![trial(0.015, Some(0.4)), trial(0.05, Some(0.41)), trial(0.15, None)];
    let table = StudyTable::new(about("shapes32", 1), vec![chosen.clone()]).unwrap();
    let expected = "| 5 % | linear probe | 0.05 | 0.015: 40.00, 0.05: 41.00, 0.15: not finite |";
    assert!(table.to_markdown().contains(expected), "{}", table.to_markdown());
    chosen.learning_rate = 0.15;
    let table = StudyTable::new(about("shapes32", 1), vec![chosen]).unwrap();
    assert!(table.to_markdown().contains("0.15 (an end of what was tried)"), "{}", table.to_markdown());
}

#[test]
fn a_table_read_back_is_the_table_written() {
    let all = vec![runs(Arm::Pretrained, 0.05, &[(1, 0.1), (2, 0.7)]), runs(Arm::Scratch, 0.05, &[(1, 0.3), (2, 0.4)])];
    let table = StudyTable::new(about("imagenet224", 4), all).unwrap();
    let text = crate::record::to_pretty_json("table.json", &table).unwrap();
    assert_eq!(crate::record::from_json::<StudyTable>("table.json", &text).unwrap(), table);
    assert!(table.to_markdown().contains("46.7* ± 0.4"), "a figure that was read says so: {}", table.to_markdown());
}

#[test]
fn a_non_finite_accuracy_is_refused() {
    let all = vec![runs(Arm::Pretrained, 0.2, &[(0, f64::NAN)])];
    assert!(matches!(StudyTable::new(about("cifar10", 1), all), Err(EvalError::NonFinite { .. })));
}

#[test]
fn the_same_difference_in_every_pair_is_no_evidence_of_its_spread() {
    let all = vec![
        runs(Arm::Pretrained, 0.2, &[(0, 0.28125), (1, 0.25)]),
        runs(Arm::Scratch, 0.2, &[(0, 0.25), (1, 0.21875)]),
    ];
    let test_set = Some(TestSet { n_images: 32, chance: 0.25 });
    let table = StudyTable::new(About { test_set, ..about("photos", 4) }, all).unwrap();
    let difference = table.fractions[0].arm(Arm::Pretrained).unwrap().difference.unwrap();
    assert_eq!((difference.n_pairs, difference.test), (2, None));
    let markdown = table.to_markdown();
    assert!(markdown.contains("| +3.12 | the same in all pairs | | | | 2 |"), "{markdown}");
    assert!(markdown.contains("32 images, so that one of them is 3.12 points"), "{markdown}");
    assert!(markdown.contains("most frequent class is 25.00 %"), "{markdown}");
}

#[test]
fn learning_rates_that_all_did_the_same_are_no_end_of_what_was_tried() {
    let trial = |learning_rate, accuracy| Trial { learning_rate, top1_accuracy: Some(accuracy) };
    let table = |second| {
        let trials = vec![trial(0.05, 0.25), trial(0.1, second)];
        let all = vec![Runs { trials, ..runs(Arm::Scratch, 0.2, &[(0, 0.25)]) }];
        StudyTable::new(about("photos", 1), all).unwrap().to_markdown()
    };
    assert!(table(0.25).contains("| 0.05 (all did the same) |"), "{}", table(0.25));
    assert!(table(0.2).contains("| 0.05 (an end of what was tried) |"), "{}", table(0.2));
}

#[test]
fn runs_that_diverged_are_counted_and_are_in_no_mean() {
    let diverged = |runs: Runs, diverged: &[u64]| Runs { diverged: diverged.to_vec(), ..runs };
    let all = vec![
        diverged(runs(Arm::Pretrained, 0.2, &[(1, 0.5), (2, 0.7), (3, 0.6)]), &[]),
        diverged(runs(Arm::Scratch, 0.2, &[(1, 0.4), (3, 0.5)]), &[2]),
        diverged(runs(Arm::LinearProbe, 0.2, &[]), &[1, 2, 3]),
    ];
    let mut table = StudyTable::new(about("photos", 9), all).unwrap();
    let row = &table.fractions[0];
    assert_eq!(row.arm(Arm::Scratch).unwrap().accuracy(), "45.00 ± 7.07 (n = 2, 1 diverged)");
    assert_eq!(row.arm(Arm::LinearProbe).unwrap().accuracy(), "3 diverged");
    assert_eq!(row.arm(Arm::Pretrained).unwrap().difference.unwrap().n_pairs, 2);
    assert_eq!((table.n_finished(), table.n_diverged()), (9, 4));
    assert!(table.to_markdown().contains("are in no mean"), "{}", table.to_markdown());
    assert!(table.to_csv().contains("0.2,scratch,2,1,0.45,"), "{}", table.to_csv());

    let trials = [0.01, 0.1].map(|learning_rate| Trial { learning_rate, top1_accuracy: None });
    table.fractions[0].arms[0].trials = trials.to_vec();
    assert!(table.to_markdown().contains("0.05 (the lowest: every one diverged)"), "{}", table.to_markdown());
}
