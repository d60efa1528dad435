use super::*;
use selfie_random::Purpose;

/// An image whose pixel says where it is: (y, x, 255).
fn coordinates(side: usize) -> Vec<u8> {
    (0..side * side).flat_map(|i| [(i / side) as u8, (i % side) as u8, 255]).collect()
}

fn stream(example: u32) -> Stream {
    Stream::new(1, Purpose::Augmentation, 0, example)
}

fn cropped(crop: PaddedCrop, may_flip: bool, side: usize, example: u32) -> Vec<u8> {
    let mut out = vec![7; side * side * 3];
    crop.apply(&coordinates(side), side, crop.draw(may_flip, &mut stream(example)), &mut out);
    out
}

/// The shifts and the flip, drawn as they always were: a change would change every run.
fn drawn(crop: PaddedCrop, example: u32) -> (i32, i32, bool) {
    let mut draws = stream(example);
    let pad = crop.pad as i32;
    let top = draws.below(2 * crop.pad as u32 + 1) as i32 - pad;
    let left = draws.below(2 * crop.pad as u32 + 1) as i32 - pad;
    (top, left, draws.chance(0.5))
}

#[test]
fn nothing_to_do_leaves_the_image() {
    let none = PaddedCrop { pad: 0, padding: Padding::Reflect };
    assert_eq!(cropped(none, false, 5, 0), coordinates(5));
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
        let crop = PaddedCrop { pad: 5, padding };
        for example in 0..50 {
            let out = cropped(crop, true, 6, example);
            let (top, left, flip) = drawn(crop, example);
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
    let crop = PaddedCrop { pad: 3, padding: Padding::Reflect };
    let mut shifts = [0_u32; 49];
    let mut n_flipped = 0_u32;
    for example in 0..9_800 {
        let out = cropped(crop, true, 9, example);
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
    let crop = |pad| PaddedCrop { pad, padding: Padding::Reflect };
    assert!(crop(8).check(8).is_err());
    assert!(crop(7).check(8).is_ok());
}

#[test]
fn an_image_of_one_pixel_and_one_as_wide_as_its_padding_are_cropped() {
    assert_eq!(cropped(PaddedCrop { pad: 0, padding: Padding::Reflect }, true, 1, 0), coordinates(1));
    let mut out = [0; 12];
    let crop = PaddedCrop { pad: 1, padding: Padding::Reflect };
    crop.apply(&coordinates(2), 2, Shift { top: 2, left: 0, flip: false }, &mut out);
    assert_eq!(out, [1, 1, 255, 1, 0, 255, 0, 1, 255, 0, 0, 255]);
}

#[test]
#[should_panic(expected = "expected a crop inside the padded image")]
fn a_crop_outside_the_padded_image_panics() {
    let crop = PaddedCrop { pad: 1, padding: Padding::Zero };
    crop.apply(&coordinates(4), 4, Shift { top: 3, left: 0, flip: false }, &mut [0; 48]);
}
