use super::*;

const SIDE: usize = 24;

fn draw(example: u32) -> Draw {
    Draw { seed: 1, epoch: 0, example }
}

fn image() -> Rgb<'static> {
    let pixel = |i| [(i / SIDE * 9) as u8, (i % SIDE * 9) as u8, (i * 7) as u8];
    Rgb { width: SIDE, height: SIDE, pixels: (0..SIDE * SIDE).flat_map(pixel).collect() }
}

fn augmented(augmentation: Augmentation, example: u32) -> Vec<u8> {
    let mut out = vec![0; SIDE * SIDE * 3];
    augmentation.apply(&image(), SIDE, draw(example), &mut out);
    out
}

/// Every operation, each of which changes nearly every image.
fn all() -> Augmentation {
    Augmentation {
        crop: Crop::Resized(ResizedCrop::default()),
        flip: true,
        rand_augment: Some(RandAugment { n_operations: 2, magnitude: 9 }),
        colour_jitter: Some(ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 }),
        grayscale: 0.2,
    }
}

#[test]
fn nothing_to_do_copies() {
    assert_eq!(augmented(Augmentation::NONE, 3), *image().pixels);
}

#[test]
fn appearances_are_functions_of_seed_epoch_and_example() {
    let appearance = |draw: Draw| {
        let mut out = vec![0; SIDE * SIDE * 3];
        all().apply(&image(), SIDE, draw, &mut out);
        out
    };
    let base = appearance(draw(5));
    assert_eq!(appearance(draw(5)), base);
    for other in [Draw { seed: 2, ..draw(5) }, Draw { epoch: 1, ..draw(5) }, draw(6)] {
        assert_ne!(appearance(other), base);
    }
}

#[test]
fn switching_an_operation_on_changes_no_draw_of_another() {
    let grey = Augmentation { grayscale: 1.0, ..Augmentation::default() };
    for example in 0..20 {
        let mut expected = augmented(Augmentation::default(), example);
        colour::grayscale(&mut expected);
        assert_eq!(augmented(grey, example), expected);
        assert_eq!(
            all().shift(draw(example)).flip,
            Augmentation { flip: true, ..Augmentation::NONE }.shift(draw(example)).flip
        );
    }
}

#[test]
fn resized_crops_are_flipped_half_the_time() {
    let crop = Crop::Resized(ResizedCrop { min_scale: 1.0 });
    let flipped = Augmentation { crop, ..Augmentation::default() };
    let straight = Augmentation { flip: false, ..flipped };
    let mut n_flipped = 0;
    for example in 0..400 {
        let (one, other) = (augmented(flipped, example), augmented(straight, example));
        let mut mirrored = other.clone();
        flip(&mut mirrored, SIDE);
        assert!(one == other || one == mirrored);
        n_flipped += u32::from(one == mirrored);
    }
    assert!(n_flipped.abs_diff(200) < 50, "{n_flipped}");
}

#[test]
fn an_image_of_another_size_is_cropped_and_resized() {
    let crop = Crop::Resized(ResizedCrop { min_scale: 1.0 });
    let picture = Rgb { width: 13, height: 10, pixels: vec![50; 10 * 13 * 3].into() };
    let mut out = vec![0; SIDE * SIDE * 3];
    Augmentation { crop, ..Augmentation::NONE }.apply(&picture, SIDE, draw(0), &mut out);
    assert!(out.iter().all(|value| *value == 50));
}

#[test]
fn about_the_share_asked_for_is_grey() {
    let some = Augmentation { grayscale: 0.2, ..Augmentation::NONE };
    let is_grey = |example: &u32| augmented(some, *example).chunks_exact(3).all(|pixel| pixel[0] == pixel[1]);
    assert!((0..1000).filter(is_grey).count().abs_diff(200) < 64);
}

#[test]
fn settings_of_every_part_are_checked() {
    for wrong in [
        Augmentation { crop: Crop::Padded(PaddedCrop { pad: 24, padding: Padding::Zero }), ..all() },
        Augmentation { crop: Crop::Resized(ResizedCrop { min_scale: 0.0 }), ..all() },
        Augmentation { rand_augment: Some(RandAugment { n_operations: 1, magnitude: 31 }), ..all() },
        Augmentation { colour_jitter: Some(ColourJitter { hue: 1.0, ..ColourJitter::default() }), ..all() },
        Augmentation { grayscale: 1.5, ..all() },
    ] {
        assert!(wrong.check(SIDE).is_err(), "{wrong:?}");
    }
    assert!(all().check(SIDE).is_ok());
}
