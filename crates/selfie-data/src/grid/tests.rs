use super::*;

#[test]
fn every_pixel_goes_to_its_patch_row_and_column() {
    let grid = PatchGrid::new(6, 2).unwrap();
    assert_eq!((grid.side(), grid.n_patches()), (3, 9));
    let image: Vec<u8> = (0..108).collect();
    let mut patches = vec![0; 108];
    grid.cut(&image, &mut patches);
    for y in 0..6 {
        for x in 0..6 {
            for c in 0..3 {
                let patch = (y / 2) * 3 + x / 2;
                let in_patch = ((patch * 2 + y % 2) * 2 + x % 2) * 3 + c;
                assert_eq!(patches[in_patch], image[(y * 6 + x) * 3 + c], "y {y} x {x} c {c}");
            }
        }
    }
}

#[test]
fn roundtrip_join_undoes_cut() {
    for (image_side, patch_side) in [(8, 8), (32, 8), (12, 3), (5, 1)] {
        let grid = PatchGrid::new(image_side, patch_side).unwrap();
        let image: Vec<u8> = (0..grid.image_bytes()).map(|i| (i * 31 % 251) as u8).collect();
        let (mut patches, mut joined) = (vec![0; image.len()], vec![0; image.len()]);
        grid.cut(&image, &mut patches);
        grid.join(&patches, &mut joined);
        assert_eq!(joined, image);
    }
}

#[test]
fn patches_that_do_not_fill_the_image_are_refused() {
    for (image_side, patch_side) in [(32, 7), (32, 0), (0, 8), (8, 16)] {
        assert!(PatchGrid::new(image_side, patch_side).is_err(), "{image_side} / {patch_side}");
    }
}

#[test]
#[should_panic(expected = "expected 12 bytes each, got 12 and 11")]
fn a_slice_of_another_size_panics() {
    PatchGrid::new(2, 1).unwrap().cut(&[0; 12], &mut [0; 11]);
}
