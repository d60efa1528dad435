use super::*;

fn stream(minor: u32) -> Stream {
    Stream::new(0x0123_4567_89ab_cdef, Purpose::Synthetic, 3, minor)
}

#[test]
fn draws_are_blocks_of_philox_in_order() {
    let mut draws = Stream::new(5 << 32 | 9, Purpose::Mask, 7, 8);
    let words: Vec<u32> = (0..8).map(|_| draws.next_u32()).collect();
    assert_eq!(words[..4], philox4x32([0, 4, 7, 8], [9, 5]));
    assert_eq!(words[4..], philox4x32([1, 4, 7, 8], [9, 5]));
}

#[test]
fn every_part_of_the_key_changes_the_draws() {
    let base = Stream::new(1, Purpose::Mask, 2, 3).next_u32();
    for mut other in [
        Stream::new(2, Purpose::Mask, 2, 3),
        Stream::new(1 << 32 | 1, Purpose::Mask, 2, 3),
        Stream::new(1, Purpose::Shuffle, 2, 3),
        Stream::new(1, Purpose::Mask, 3, 3),
        Stream::new(1, Purpose::Mask, 2, 4),
    ] {
        assert_ne!(other.next_u32(), base);
    }
}

#[test]
fn below_is_uniform_and_in_range() {
    let mut draws = stream(0);
    let mut counts = [0_u32; 7];
    for _ in 0..70_000 {
        counts[draws.below(7) as usize] += 1;
    }
    // Five standard deviations of a binomial count with mean 10,000 are 463.
    assert!(counts.iter().all(|&count| count.abs_diff(10_000) < 463), "{counts:?}");
    assert!((0..100).all(|_| draws.below(1) == 0));
}

/// Three quarters of 2³² is the bound that plain scaling treats worst: one third of the numbers would come twice as often.
#[test]
fn below_rejects_the_words_that_would_bias_it() {
    let n = 3 << 30;
    let mut draws = stream(1);
    let n_draws = 30_000;
    let n_first_of_three = (0..n_draws).filter(|_| draws.below(n).is_multiple_of(3)).count();
    assert!(n_first_of_three.abs_diff(10_000) < 410, "{n_first_of_three}");
}

#[test]
#[should_panic(expected = "expected n >= 1")]
fn below_zero_panics() {
    stream(0).below(0);
}

#[test]
fn units_lie_in_the_half_open_interval_with_mean_one_half() {
    let mut draws = stream(2);
    let units: Vec<f64> = (0..100_000).map(|_| draws.unit_f64()).collect();
    assert!(units.iter().all(|unit| (0.0..1.0).contains(unit)));
    let mean = units.iter().sum::<f64>() / units.len() as f64;
    assert!((mean - 0.5).abs() < 0.005, "{mean}");
    assert!((0..100).map(|_| draws.range(-3.0, -1.0)).all(|x| (-3.0..-1.0).contains(&x)));
}

#[test]
fn chance_is_never_at_0_always_at_1_and_about_p_between() {
    let mut draws = stream(3);
    assert!((0..1000).all(|_| !draws.chance(0.0) && draws.chance(1.0)));
    let hits = (0..100_000).filter(|_| draws.chance(0.3)).count();
    assert!(hits.abs_diff(30_000) < 725, "{hits}");
}

#[test]
fn normals_have_the_moments_of_the_standard_normal() {
    let mut draws = stream(4);
    let normals: Vec<f64> = (0..200_000).map(|_| draws.normal()).collect();
    let moment = |power: i32| normals.iter().map(|x| x.powi(power)).sum::<f64>() / normals.len() as f64;
    assert!(moment(1).abs() < 0.012);
    assert!((moment(2) - 1.0).abs() < 0.02);
    assert!(moment(3).abs() < 0.05);
    assert!((moment(4) - 3.0).abs() < 0.12);
    let neighbours: f64 = normals.chunks(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / 100_000.0;
    assert!(neighbours.abs() < 0.016, "the two normals of a pair are correlated: {neighbours}");
}

#[test]
fn betas_have_the_moments_of_their_distribution() {
    for (a, b) in [(0.2, 0.2), (1.0, 1.0), (0.5, 2.0), (8.0, 3.0)] {
        let mut draws = stream(5);
        let betas: Vec<f64> = (0..50_000).map(|_| draws.beta(a, b)).collect();
        assert!(betas.iter().all(|share| (0.0..=1.0).contains(share)));
        let mean = betas.iter().sum::<f64>() / betas.len() as f64;
        let square = betas.iter().map(|share| share * share).sum::<f64>() / betas.len() as f64;
        let (expected, sum): (f64, f64) = (a / (a + b), a + b);
        let expected_square = expected * (a + 1.0) / (sum + 1.0);
        // Five standard deviations of a mean of numbers in [0, 1] are at most 0.0112.
        assert!((mean - expected).abs() < 0.0112, "{a} {b}: mean {mean}, expected {expected}");
        assert!((square - expected_square).abs() < 0.0112, "{a} {b}: {square}, expected {expected_square}");
    }
}

#[test]
fn a_tiny_shape_gives_shares_of_nearly_0_or_1_and_no_nan() {
    let mut draws = stream(6);
    for _ in 0..1000 {
        let share = draws.beta(1e-4, 1e-4);
        assert!((0.0..=1.0).contains(&share), "{share}");
    }
}

/// Fixed bits: a change of libm or of the order of draws would change every run's initial weights.
#[test]
fn normals_keep_their_bits() {
    let mut draws = Stream::new(0, Purpose::Initialization, 0, 0);
    let bits: Vec<u64> = (0..4).map(|_| draws.normal().to_bits()).collect();
    assert_eq!(bits, NORMAL_BITS, "{bits:#x?}");
}
const NORMAL_BITS: [u64; 4] =
    [0xbfef_bcb7_aa8f_b1e2, 0x3fd3_dd8c_db98_3786, 0x3ff0_d6be_d7d8_2a03, 0xbfba_302a_97e4_9245];

#[test]
fn shuffle_reaches_all_orders_equally() {
    let mut counts = std::collections::BTreeMap::new();
    for minor in 0..24_000 {
        let mut items = [0, 1, 2, 3];
        stream(minor).shuffle(&mut items);
        *counts.entry(items).or_insert(0_u32) += 1;
    }
    assert_eq!(counts.len(), 24);
    assert!(counts.values().all(|count| count.abs_diff(1000) < 160), "{counts:?}");
}
