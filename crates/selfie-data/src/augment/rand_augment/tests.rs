use super::*;
use selfie_random::Purpose;

#[test]
fn operations_and_signs_are_equally_likely() {
    let rand_augment = RandAugment { n_operations: 2, magnitude: 9 };
    let mut counts = [[0_u32; 2]; 14];
    for example in 0..7000 {
        let mut draws = Stream::new(1, Purpose::RandAugment, 0, example);
        for step in rand_augment.draw(&mut draws) {
            assert_eq!(step.bin, 9);
            counts[step.operation as usize][usize::from(step.negative)] += 1;
        }
    }
    for (operation, [positive, negative]) in Operation::ALL.into_iter().zip(counts) {
        assert!((positive + negative).abs_diff(1000) < 155, "{operation:?}: {positive} + {negative}");
        let expected = if operation.is_signed() { (positive + negative) / 2 } else { 0 };
        assert!(negative.abs_diff(expected) < 80, "{operation:?}: {positive} and {negative}");
    }
}

#[test]
fn all_operations_are_listed_in_the_order_of_their_numbers() {
    assert!(Operation::ALL.into_iter().enumerate().all(|(at, operation)| operation as usize == at));
}

#[test]
fn small_images_survive_every_operation() {
    for side in [1, 2, 3] {
        for operation in Operation::ALL {
            for (bin, negative) in [(0, false), (30, false), (30, true)] {
                Step { operation, bin, negative }.apply(&mut vec![200; side * side * 3], side);
            }
        }
    }
}

#[test]
fn a_magnitude_beyond_the_bins_is_refused() {
    assert!(RandAugment { n_operations: 2, magnitude: 31 }.check().is_err());
    assert!(RandAugment { n_operations: 2, magnitude: 30 }.check().is_ok());
}
