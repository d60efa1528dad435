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

/// The start of a BMP file, which says what its sides are and has no pixels.
#[cfg(feature = "image")]
fn bmp_header(side: u32) -> Vec<u8> {
    let mut header = b"BM".to_vec();
    [54, 0, 54, 40, side, side].iter().for_each(|word: &u32| header.extend(word.to_le_bytes()));
    header.extend([1, 0, 24, 0]);
    header.extend([0; 24]);
    header
}

#[cfg(feature = "image")]
#[test]
fn a_picture_too_large_for_memory_is_refused_by_its_header() {
    let refused = RgbImage::decode(&bmp_header(60_000)).unwrap_err().to_string();
    assert!(refused.contains("at most 268435456 pixels, got 60000 × 60000"), "{refused}");
    let cut = RgbImage::decode(&bmp_header(60)).unwrap_err().to_string();
    assert!(!cut.contains("at most"), "its header is fine: {cut}");
}

#[cfg(feature = "image")]
#[test]
fn a_picture_is_turned_as_its_camera_notes() {
    // Left half red, right half blue, with a note (Exif's Orientation, 6) that the camera was turned to the left.
    let drawn = halves(64, 32);
    let mut jpeg = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new(&mut jpeg);
    image::ImageEncoder::write_image(encoder, drawn.pixels(), 64, 32, image::ExtendedColorType::Rgb8).unwrap();
    let tiff = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let exif = [b"Exif\0\0".as_slice(), tiff].concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let noted = [&jpeg[..2], b"\xff\xe1", &length, &exif, &jpeg[2..]].concat();
    let turned = RgbImage::decode(&noted).unwrap();
    assert_eq!(turned.size(), (32, 64));
    let pixel = |x: usize, y: usize| &turned.pixels()[(y * 32 + x) * 3..][..3];
    assert!(pixel(16, 8)[0] > 200 && pixel(16, 56)[2] > 200, "red above, blue below");
}
