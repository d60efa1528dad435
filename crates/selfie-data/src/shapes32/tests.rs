use super::*;
use crate::check::SetReport;

#[test]
fn sizes_are_as_asked_and_classes_take_turns() {
    let data = draw(40, 20);
    assert_eq!((data.train.len(), data.test.len(), data.train.side()), (40, 20, 32));
    assert_eq!(data.train.class_counts(), [4; 10]);
    assert_eq!(data.train.class_names()[3], "striped ring");
}

#[test]
fn a_larger_set_begins_with_the_smaller_one() {
    let (small, large) = (draw(10, 5), draw(30, 10));
    assert_eq!(small.train.stored(9), large.train.stored(9));
    assert_eq!(small.test.stored(4), large.test.stored(4));
}

#[test]
fn no_image_comes_twice() {
    let report = SetReport::new(&draw(500, 200));
    assert_eq!((report.train.n_duplicates, report.n_test_images_in_train), (0, 0));
}

/// The pixels are part of every result on this set: a change of them must be deliberate.
#[test]
fn pixels_are_the_same_on_every_machine() {
    assert_eq!(draw(200, 0).train.content_hash(), HASH_OF_200);
}
const HASH_OF_200: &str = "a3cfd087519f3b44180144780a4961b09066b5cc0ab3046dac951add8d54de00";

#[test]
fn every_outline_has_its_inside_around_the_known_points() {
    for (outline, inside, outside) in [
        (Outline::Disc, [0.0, 0.0], [0.7, 0.7]),
        (Outline::Ring, [0.7, 0.0], [0.0, 0.0]),
        (Outline::Square, [0.7, 0.7], [0.0, 0.9]),
        (Outline::Triangle, [0.0, -0.9], [0.6, -0.6]),
        (Outline::Star, [0.0, -1.0], [0.0, 0.6]),
    ] {
        assert!(outline.distance(inside) < 0.0, "{outline:?}");
        assert!(outline.distance(outside) > 0.0, "{outline:?}");
    }
    assert!((Outline::Square.distance([1.78, 0.0]) - 1.0).abs() < 1e-6);
    assert!((Outline::Triangle.distance([0.0, -2.05]) - 1.0).abs() < 1e-6);
}

/// The class must be in the picture's structure, not in its colours: the mean image of a class says nothing.
#[test]
fn the_mean_colour_does_not_tell_the_outline() {
    let data = draw(1000, 0).train;
    let mean = |label: u16| {
        let members = (0..data.len()).filter(|&idx| data.label(idx) == label);
        let total: f64 = members.map(|idx| data.stored(idx).iter().map(|&byte| f64::from(byte)).sum::<f64>()).sum();
        total / (100 * IMAGE_BYTES) as f64
    };
    let means: Vec<f64> = (0..10).map(mean).collect();
    let spread = means.iter().copied().fold(f64::MIN, f64::max) - means.iter().copied().fold(f64::MAX, f64::min);
    assert!(spread < 20.0, "{means:?}");
}

/// Neighbouring pixels agree more than far ones, and the upper half is brighter: what a patch's place is told from.
#[test]
fn pictures_have_structure_across_patches() {
    let data = draw(1000, 0).train;
    let (mut upper, mut lower) = (0_u64, 0_u64);
    for idx in 0..data.len() {
        let (top, bottom) = data.stored(idx).split_at(IMAGE_BYTES / 2);
        upper += top.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        lower += bottom.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    }
    assert!(upper * 100 > lower * 105, "{upper} {lower}");
}
