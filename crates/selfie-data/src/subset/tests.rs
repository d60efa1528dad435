use super::*;
use std::collections::BTreeSet;

fn labels(n: usize) -> Vec<u16> {
    (0..n).map(|i| (i * 7 % 10) as u16).collect()
}

fn subset(n: usize, fraction: f64, seed: u64) -> Subset {
    let labels = labels(n);
    labelled_subset(&labels, &Splits::new(&labels).train, n, fraction, seed).unwrap()
}

fn class_counts(labels: &[u16], examples: &[u32]) -> Vec<usize> {
    by_class(labels, examples).iter().map(Vec::len).collect()
}

#[test]
fn the_validation_split_is_a_tenth_of_every_class_and_disjoint() {
    let labels = labels(50_000);
    let splits = Splits::new(&labels);
    assert_eq!(class_counts(&labels, &splits.validation), [500; 10]);
    let mut all = [splits.train.clone(), splits.validation].concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..50_000));
    assert!(splits.train.is_sorted());
    assert_eq!(Splits::new(&labels).train, splits.train);
}

#[test]
fn tiny_classes_keep_their_examples_for_training() {
    let splits = Splits::new(&[0, 1, 1, 1]);
    assert_eq!((splits.train.len(), splits.validation.len()), (4, 0));
}

#[test]
fn fractions_count_the_full_training_set_and_are_balanced() {
    for (fraction, per_class) in [(0.05, 250), (0.08, 400), (0.2, 1000)] {
        let subset = subset(50_000, fraction, 3);
        assert_eq!(class_counts(&labels(50_000), &subset.examples), [per_class; 10], "{fraction}");
    }
}

#[test]
fn smaller_fractions_are_parts_of_larger_ones() {
    for seed in 0..5 {
        let mut larger: BTreeSet<u32> = (0..1000).collect();
        for fraction in [1.0, 0.5, 0.2, 0.08, 0.0533, 0.05, 0.001] {
            let smaller: BTreeSet<u32> = subset(1000, fraction, seed).examples.into_iter().collect();
            assert!(smaller.is_subset(&larger), "seed {seed}, fraction {fraction}");
            larger = smaller;
        }
        assert_eq!(larger.len(), 10, "at least one of each class");
    }
}

#[test]
fn subsets_leave_the_validation_examples_out_unless_the_fraction_is_1() {
    let labels = labels(1000);
    let validation: BTreeSet<u32> = Splits::new(&labels).validation.into_iter().collect();
    assert!(subset(1000, 0.9, 1).examples.iter().all(|example| !validation.contains(example)));
    assert!(subset(1000, 1.0, 1).examples.into_iter().eq(0..1000));
}

#[test]
fn seeds_give_different_subsets_with_different_hashes() {
    let (first, second) = (subset(1000, 0.2, 1), subset(1000, 0.2, 2));
    assert_ne!(first.examples, second.examples);
    assert_ne!(first.hash, second.hash);
    assert_eq!(first, subset(1000, 0.2, 1));
}

#[test]
fn a_class_that_runs_out_leaves_its_turns_to_the_others() {
    let mut labels = vec![0; 90];
    labels.extend([1; 10]);
    let rest: Vec<u32> = (0..100).collect();
    let subset = labelled_subset(&labels, &rest, 100, 0.5, 0).unwrap();
    assert_eq!(class_counts(&labels, &subset.examples), [40, 10]);
}

#[test]
fn impossible_fractions_and_labels_are_refused() {
    let labels = labels(100);
    let rest = Splits::new(&labels).train;
    for fraction in [0.0, -0.1, 1.1, f64::NAN, 0.95] {
        assert!(labelled_subset(&labels, &rest, 100, fraction, 0).is_err(), "{fraction}");
    }
    assert!(labelled_subset(&labels, &[100], 100, 0.5, 0).is_err());
    assert!(labelled_subset(&labels, &rest, 101, 0.5, 0).is_err());
}

#[test]
fn folds_share_out_every_class_and_every_example_once() {
    let labels: Vec<u16> = (0..103).map(|i| i % 4).collect();
    let parts = folds(&labels, 5).unwrap();
    let mut all: Vec<u32> = parts.concat();
    all.sort_unstable();
    assert_eq!(all, (0..103).collect::<Vec<u32>>());
    for part in &parts {
        assert!((20..=21).contains(&part.len()) && part.is_sorted());
        for class in 0..4 {
            let n = part.iter().filter(|&&example| labels[example as usize] == class).count();
            assert!((5..=6).contains(&n), "{n} of class {class}");
        }
    }
    assert_eq!(folds(&labels, 5).unwrap(), parts);
    assert!(folds(&labels, 1).is_err() && folds(&labels[..3], 4).is_err());
}
