use super::*;
use selfie_random::{Purpose, Stream};

#[test]
fn embeddings_that_point_the_same_way_have_spread_zero() {
    let rows: Vec<f32> = (1..100).flat_map(|scale| [3.0 * scale as f32, 4.0 * scale as f32]).collect();
    assert!(collapse(&rows, 2).unwrap() < 1e-6);
}

#[test]
fn embeddings_that_point_everywhere_have_spread_one() {
    let mut stream = Stream::new(1, Purpose::Synthetic, 0, 0);
    let rows: Vec<f32> = (0..3000 * 64).map(|_| stream.normal() as f32).collect();
    assert!((collapse(&rows, 64).unwrap() - 1.0).abs() < 0.02);
}

#[test]
fn nothing_and_numbers_that_are_not_finite_have_no_spread() {
    assert_eq!(collapse(&[], 4), None);
    assert_eq!(collapse(&[1.0, f32::NAN], 2), None);
}
