use super::*;

/// Four examples of three classes; the third has two equal largest logits, of which the first counts.
const LOGITS: [f32; 12] = [2.0, 0.5, -1.0, 0.1, 0.2, 0.3, -3.0, 4.0, 4.0, 1.0, 0.0, 0.0];
const LABELS: [u32; 4] = [0, 1, 2, 0];

#[test]
fn accuracy_counts_the_largest_logit_and_the_first_of_equal_ones() {
    let mut meter = AccuracyMeter::new(3);
    meter.add(&LOGITS, &LABELS).unwrap();
    assert_eq!(meter.top1_accuracy(), Some(0.5));
    assert_eq!(meter.per_class(), vec![Some(1.0), Some(0.0), Some(0.0)]);
    assert_eq!(meter.confusion(0, 0), 2);
    assert_eq!(meter.confusion(1, 2), 1);
    assert_eq!(meter.confusion(2, 1), 1);
    assert_eq!(meter.n_examples(), 4);
}

/// `numpy.mean(scipy.special.logsumexp(L, axis=1) - L[range(4), [0, 1, 2, 0]])`
#[test]
fn mean_cross_entropy_matches_scipy() {
    let mut meter = AccuracyMeter::new(3);
    meter.add(&LOGITS, &LABELS).unwrap();
    // f32 logits: 0.1, 0.2 and 0.3 are rounded.
    assert!((meter.mean_cross_entropy().unwrap() - 0.647_075_469_112_917_2).abs() < 1e-8);
}

#[test]
fn batches_add_up_to_the_whole() {
    let mut whole = AccuracyMeter::new(3);
    whole.add(&LOGITS, &LABELS).unwrap();
    let mut parts = AccuracyMeter::new(3);
    parts.add(&LOGITS[..3], &LABELS[..1]).unwrap();
    parts.add(&[], &[]).unwrap();
    parts.add(&LOGITS[3..], &LABELS[1..]).unwrap();
    assert_eq!(whole, parts);
}

#[test]
fn large_logits_do_not_overflow_the_cross_entropy() {
    let mut meter = AccuracyMeter::new(2);
    meter.add(&[3e38, -3e38], &[1]).unwrap();
    assert!(meter.mean_cross_entropy().unwrap().is_finite());
}

#[test]
fn nothing_seen_has_no_accuracy() {
    let meter = AccuracyMeter::new(2);
    assert_eq!((meter.top1_accuracy(), meter.mean_cross_entropy()), (None, None));
    assert_eq!(meter.per_class(), vec![None, None]);
}

#[test]
fn a_rejected_batch_leaves_nothing_behind() {
    let mut meter = AccuracyMeter::new(2);
    assert!(matches!(meter.add(&[1.0], &[0]), Err(EvalError::LogitsShape { got: 1, .. })));
    assert!(matches!(
        meter.add(&[1.0, 0.0, 0.0, 1.0], &[0, 2]),
        Err(EvalError::Label { example_idx: 1, label: 2, n_classes: 2 })
    ));
    assert!(matches!(meter.add(&[1.0, 0.0, f32::NAN, 1.0], &[0, 1]), Err(EvalError::NonFinite { .. })));
    assert_eq!(meter, AccuracyMeter::new(2));
}
