use super::*;

fn values(seed: u64, epoch: u32, n: u32) -> Vec<u32> {
    let permutation = Permutation::new(seed, Purpose::Shuffle, epoch, n);
    (0..n).map(|i| permutation.at(i)).collect()
}

#[test]
fn every_number_comes_once() {
    for n in (1..70).chain([255, 256, 257, 1000, 4096, 50_000, 65_535, 65_536, 65_537]) {
        let mut sorted = values(3, 0, n);
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..n), "n = {n}");
    }
}

#[test]
fn the_largest_domain_works() {
    let permutation = Permutation::new(3, Purpose::Shuffle, 0, u32::MAX);
    let first: std::collections::BTreeSet<u32> = (0..1000).map(|i| permutation.at(i)).collect();
    assert_eq!(first.len(), 1000);
}

#[test]
fn seeds_and_epochs_give_different_orders() {
    let base = values(3, 0, 1000);
    for other in [values(3, 1, 1000), values(4, 0, 1000)] {
        let n_equal = base.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(n_equal < 10, "{n_equal} of 1000 positions are the same");
    }
    assert_eq!(base, values(3, 0, 1000));
}

#[test]
fn every_number_reaches_every_position_equally() {
    for n in [2_u32, 3, 5, 10, 33] {
        let n_epochs = 1000 * n;
        let mut counts = vec![0_u32; n as usize * n as usize];
        for epoch in 0..n_epochs {
            for (position, value) in values(11, epoch, n).into_iter().enumerate() {
                counts[position * n as usize + value as usize] += 1;
            }
        }
        let worst = counts.iter().map(|count| count.abs_diff(1000)).max();
        assert!(worst < Some(170), "n = {n}: a count is {worst:?} away from 1000");
    }
}

/// A weak network would keep neighbours together: the pair at positions (i, i + 1) must look like any other pair.
#[test]
fn neighbours_are_torn_apart() {
    let order = values(5, 0, 10_000);
    let mean_distance = order.windows(2).map(|pair| f64::from(pair[0].abs_diff(pair[1]))).sum::<f64>() / 9_999.0;
    assert!((mean_distance - 3333.3).abs() < 150.0, "{mean_distance}");
}

#[test]
#[should_panic(expected = "position 5 of a permutation of 5")]
fn a_position_outside_panics() {
    let _ = Permutation::new(0, Purpose::Shuffle, 0, 5).at(5);
}
