use super::*;

const SIDE: usize = 10;

fn mixing(mixup: f64, cutmix: f64) -> Mixing {
    Mixing { mixup, cutmix }
}

fn batch() -> LabelledBatch {
    let image = |value: u8| [value; SIDE * SIDE * 3];
    LabelledBatch {
        images: [10, 110, 210].into_iter().flat_map(image).collect(),
        labels: vec![4, 5, 6],
        examples: vec![0, 1, 2],
        mixed: None,
        bad: Vec::new(),
    }
}

#[test]
fn every_image_is_mixed_with_the_one_before_it_and_the_first_with_the_last() {
    let mut batch = batch();
    Mix::Blend(0.75).apply(&mut batch, SIDE);
    let first_values: Vec<u8> = batch.images.iter().step_by(SIDE * SIDE * 3).copied().collect();
    assert_eq!(first_values, [60, 85, 185]);
    assert_eq!(batch.labels, [4, 5, 6]);
    assert_eq!(batch.mixed, Some(MixedLabels { labels: vec![6, 4, 5], share: 0.75 }));
}

#[test]
fn a_pasted_rectangle_comes_from_the_other_image_and_counts_by_its_area() {
    let mut batch = batch();
    Mix::Paste([2, 1, 6, 4]).apply(&mut batch, SIDE);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let inside = (2..6).contains(&x) && (1..4).contains(&y);
            assert_eq!(batch.images[(y * SIDE + x) * 3], if inside { 210 } else { 10 }, "{y} {x}");
        }
    }
    assert_eq!(batch.mixed.unwrap().share, 0.88);
}

#[test]
fn rectangles_lie_inside_and_cover_what_the_share_leaves_at_most() {
    let mut areas = 0;
    for step in 0..4000 {
        let Some(mix @ Mix::Paste([left, top, right, bottom])) = mixing(0.0, 1.0).draw(1, step, SIDE) else { panic!() };
        assert!(left <= right && right <= SIDE && top <= bottom && bottom <= SIDE, "{mix:?}");
        assert!((0.0..=1.0).contains(&mix.share(SIDE)));
        areas += (right - left) * (bottom - top);
    }
    // Of a uniform share half the area is left; rectangles that stick out and sides rounded down make it less.
    let mean = areas as f64 / 4000.0 / (SIDE * SIDE) as f64;
    assert!((0.2..0.4).contains(&mean), "{mean}");
}

#[test]
fn shares_of_mixup_follow_beta() {
    let shares: Vec<f64> = (0..20_000).map(|step| mixing(0.2, 0.0).draw(1, step, SIDE).unwrap().share(SIDE)).collect();
    let mean = shares.iter().sum::<f64>() / 20_000.0;
    let variance = shares.iter().map(|share| (share - 0.5) * (share - 0.5)).sum::<f64>() / 20_000.0;
    // Beta(0.2, 0.2): variance 1 / (4 × 1.4).
    assert!((mean - 0.5).abs() < 0.015 && (variance - 0.178_57).abs() < 0.004, "{mean} {variance}");
}

#[test]
fn with_both_on_each_has_half_of_the_batches() {
    let pastes = |step: &u64| matches!(mixing(0.2, 1.0).draw(1, *step, SIDE), Some(Mix::Paste(_)));
    assert!((0..4000).filter(pastes).count().abs_diff(2000) < 160);
    assert_eq!(mixing(0.0, 0.0).draw(1, 7, SIDE), None);
}

#[test]
fn steps_and_seeds_are_mixed_differently_and_equal_ones_alike() {
    let draw = |seed, step| mixing(1.0, 0.0).draw(seed, step, SIDE);
    assert_eq!(draw(1, 2), draw(1, 2));
    assert!(draw(1, 2) != draw(1, 3) && draw(1, 2) != draw(2, 2) && draw(1, 2) != draw(1, 2 + (1 << 32)));
}

#[test]
fn an_alpha_below_zero_is_refused() {
    assert!(mixing(-0.1, 0.0).check().is_err() && mixing(0.0, f64::NAN).check().is_err());
    assert!(mixing(0.2, 1.0).check().is_ok());
}
