use super::*;

#[test]
fn every_patch_is_a_target_equally_often_and_so_is_every_pair() {
    let masks = MaskSampler::new(16, 4).unwrap();
    let mut single = [0_u32; 16];
    let mut pairs = [[0_u32; 16]; 16];
    for example in 0..20_000 {
        let order = masks.order(1, example % 7, example);
        for &a in &order[..4] {
            single[a as usize] += 1;
            for &b in &order[..4] {
                pairs[a as usize][b as usize] += 1;
            }
        }
    }
    // Means: 20,000 × 4/16 = 5000, and 20,000 × (4 × 3)/(16 × 15) = 1000 for a pair; bounds of five standard deviations.
    assert!(single.iter().all(|count| count.abs_diff(5000) < 307), "{single:?}");
    for (a, row) in pairs.iter().enumerate() {
        for (b, count) in row.iter().enumerate().filter(|(b, _)| *b != a) {
            assert!(count.abs_diff(1000) < 155, "patches {a} and {b}: {count}");
        }
    }
}

#[test]
fn an_order_is_a_permutation_and_differs_by_image_epoch_and_seed() {
    let masks = MaskSampler::new(49, 12).unwrap();
    let base = masks.order(1, 2, 3);
    let mut sorted = base.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..49));
    for other in [masks.order(2, 2, 3), masks.order(1, 3, 3), masks.order(1, 2, 4)] {
        assert_ne!(other, base);
    }
    assert_eq!(masks.order(1, 2, 3), base);
}

#[test]
fn masks_without_a_choice_or_without_context_are_refused() {
    for (n_patches, n_targets) in [(16, 0), (16, 1), (16, 16), (16, 17), (0, 0)] {
        assert!(MaskSampler::new(n_patches, n_targets).is_err(), "{n_targets} of {n_patches}");
    }
}
