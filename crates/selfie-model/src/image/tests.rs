use super::*;

/// Left half red, right half blue.
fn halves(width: u32, height: u32) -> RgbImage {
    let pixel = |i: u32| if i % width < width / 2 { [255, 0, 0] } else { [0, 0, 255] };
    RgbImage::new(width, height, (0..width * height).flat_map(pixel).collect()).unwrap()
}

#[test]
fn a_square_is_the_centre_of_a_wide_picture() {
    let square = halves(40, 10).square(10).unwrap();
    assert_eq!((square.len(), &square[..3], &square[27..30]), (300, &[255, 0, 0][..], &[0, 0, 255][..]));
    assert_eq!(halves(8, 8).square(8).unwrap(), halves(8, 8).pixels());
}

#[test]
fn pixels_that_do_not_fill_the_sides_are_refused() {
    for (width, height, n) in [(2, 2, 11), (0, 4, 0), (u32::MAX, u32::MAX, 3)] {
        assert!(matches!(RgbImage::new(width, height, vec![0; n]), Err(ModelError::Image { .. })));
    }
}

#[cfg(feature = "image")]
#[test]
fn a_file_that_is_no_picture_is_named() {
    let path = std::env::temp_dir().join(format!("selfie-no-picture-{}.png", std::process::id()));
    std::fs::write(&path, b"not a picture").unwrap();
    let message = RgbImage::open(&path).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(message.contains("selfie-no-picture"), "{message}");
}
