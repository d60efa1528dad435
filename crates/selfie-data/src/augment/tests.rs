use super::*;
use selfie_random::Purpose;

/// An image whose pixel says where it is: (y, x, 255).
fn coordinates(side: usize) -> Vec<u8> {
    (0..side * side).flat_map(|i| [(i / side) as u8, (i % side) as u8, 255]).collect()
}

fn augmented(augmentation: Augmentation, side: usize, example: u32) -> Vec<u8> {
    let mut out = vec![7; side * side * 3];
    let mut draws = Stream::new(1, Purpose::Augmentation, 0, example);
    augmentation.apply(&coordinates(side), side, &mut draws, &mut out);
    out
}

/// The shifts and the flip of an augmentation, drawn as `apply` draws them.
fn drawn(augmentation: Augmentation, example: u32) -> (i32, i32, bool) {
    let mut draws = Stream::new(1, Purpose::Augmentation, 0, example);
    let pad = augmentation.pad as i32;
    let top = draws.below(2 * augmentation.pad as u32 + 1) as i32 - pad;
    let left = draws.below(2 * augmentation.pad as u32 + 1) as i32 - pad;
    (top, left, augmentation.flip && draws.chance(0.5))
}

#[test]
fn nothing_to_do_leaves_the_image() {
    let none = Augmentation { pad: 0, padding: Padding::Reflect, flip: false };
    assert_eq!(augmented(none, 5, 0), coordinates(5));
}

#[test]
fn crops_are_shifted_and_mirrored_at_the_edge_pixel() {
    let side = 6_i32;
    let reflect = |i: i32| {
        if i < 0 {
            -i
        } else if i >= side {
            2 * (side - 1) - i
        } else {
            i
        }
    };
    for padding in [Padding::Reflect, Padding::Zero] {
        let augmentation = Augmentation { pad: 5, padding, flip: true };
        for example in 0..50 {
            let out = augmented(augmentation, 6, example);
            let (top, left, flip) = drawn(augmentation, example);
            for y in 0..side {
                for x in 0..side {
                    let (from_y, from_x) = (y + top, left + if flip { side - 1 - x } else { x });
                    let outside = !(0..side).contains(&from_y) || !(0..side).contains(&from_x);
                    let expected = match padding {
                        Padding::Zero if outside => [0, 0, 0],
                        _ => [reflect(from_y) as u8, reflect(from_x) as u8, 255],
                    };
                    assert_eq!(out[((y * side + x) * 3) as usize..][..3], expected, "{example}: {y} {x}");
                }
            }
        }
    }
}

#[test]
fn shifts_and_flips_are_uniform() {
    let augmentation = Augmentation { pad: 3, ..Augmentation::default() };
    let mut shifts = [0_u32; 49];
    let mut n_flipped = 0_u32;
    for example in 0..9_800 {
        let out = augmented(augmentation, 9, example);
        // The middle pixel and its right neighbour; with this pad both come from inside the image.
        let middle = &out[(4 * 9 + 4) * 3..][..6];
        shifts[usize::from(middle[0] - 1) * 7 + usize::from(middle[1] - 1)] += 1;
        n_flipped += u32::from(middle[4] < middle[1]);
    }
    assert!(shifts.iter().all(|count| count.abs_diff(200) < 75), "{shifts:?}");
    assert!(n_flipped.abs_diff(4900) < 250, "{n_flipped}");
}

#[test]
fn a_pad_as_large_as_the_image_is_refused() {
    assert!(Augmentation { pad: 8, ..Augmentation::default() }.check(8).is_err());
    assert!(Augmentation { pad: 7, ..Augmentation::default() }.check(8).is_ok());
}
