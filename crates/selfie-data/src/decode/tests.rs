use std::io::Write;
use std::time::Instant;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageBuffer, Luma, Rgb as Pixel, RgbImage, Rgba};

use super::*;
use crate::DataErrorKind;

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Pixels of (x, y, 9).
fn rgb(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| Pixel([x as u8, y as u8, 9])).into()
}

fn reason(bytes: &[u8]) -> String {
    let error = decode(bytes, Path::new("a.jpg")).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::BadData);
    assert!(error.to_string().starts_with("a.jpg: expected an image, got "), "{error}");
    error.to_string()
}

/// A PNG of one colour, made without its pixels ever being in memory.
fn png_bomb(width: u32, height: u32) -> Vec<u8> {
    let chunk = |kind: &[u8], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        [&(data.len() as u32).to_be_bytes(), kind, data, &crc.sum().to_be_bytes()].concat()
    };
    let header = [&width.to_be_bytes(), &height.to_be_bytes(), [8, 2, 0, 0, 0].as_slice()].concat();
    let mut pixels = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let row = vec![0; 1 + 3 * width as usize];
    (0..height).for_each(|_| pixels.write_all(&row).unwrap());
    let start = b"\x89PNG\r\n\x1a\n".as_slice();
    [start, &chunk(b"IHDR", &header), &chunk(b"IDAT", &pixels.finish().unwrap()), &chunk(b"IEND", &[])].concat()
}

#[test]
fn every_format_is_known_by_its_content() {
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp] {
        let decoded = decode(&encoded(&rgb(7, 5), format), Path::new("wrong.jpg")).unwrap();
        assert_eq!((decoded.width, decoded.height), (7, 5), "{format:?}");
        assert_eq!(decoded.pixels[(3 * 7 + 2) * 3..][..3], [2, 3, 9], "{format:?}");
    }
    let jpeg = encoded(&rgb(70, 50), ImageFormat::Jpeg);
    assert_eq!(dimensions(&jpeg, Path::new("x")).unwrap(), (70, 50));
    assert_eq!(decode(&jpeg, Path::new("x")).unwrap().pixels.len(), 70 * 50 * 3);
}

/// A JPEG whose note says how the camera was held: the eight orientations of Exif 2.3, 4.6.4.
fn noted(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    // Big-endian TIFF with one directory of one entry: Orientation, a SHORT.
    let tiff =
        [b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(), &[orientation], b"\0\0\0\0\0\0"].concat();
    let exif = [b"Exif\0\0".as_slice(), &tiff].concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], b"\xff\xe1", &length, &exif, &jpeg[2..]].concat()
}

#[test]
fn an_image_is_turned_as_its_camera_notes() {
    // Red in the upper left corner, black elsewhere.
    let drawn = RgbImage::from_fn(96, 64, |x, y| Pixel([if x < 32 && y < 32 { 255 } else { 0 }, 0, 0]));
    let jpeg = encoded(&drawn.into(), ImageFormat::Jpeg);
    // Where the corner comes to lie: at the right, at the bottom.
    let corners = [(1, false, false), (2, true, false), (3, true, true), (4, false, true)];
    let turned = [(5, false, false), (6, true, false), (7, true, true), (8, false, true)];
    for (note, right, bottom) in corners.into_iter().chain(turned) {
        let bytes = noted(&jpeg, note);
        let sides = if note < 5 { (96, 64) } else { (64, 96) };
        assert_eq!(dimensions(&bytes, Path::new("x")).unwrap(), sides, "{note}");
        let Rgb { width, height, pixels } = decode(&bytes, Path::new("x")).unwrap();
        assert_eq!((width, height), sides, "{note}");
        for (x, y) in [(10, 10), (width - 10, 10), (10, height - 10), (width - 10, height - 10)] {
            let is_red = pixels[(y * width + x) * 3] > 200;
            assert_eq!(is_red, (x > width / 2, y > height / 2) == (right, bottom), "{note}: ({x}, {y})");
        }
    }
    assert_eq!(decode(&noted(&jpeg, 9), Path::new("x")).unwrap().width, 96, "no such orientation");
}

#[test]
fn grey_alpha_and_16_bits_become_8_bit_rgb() {
    let grey: DynamicImage = ImageBuffer::from_pixel(2, 2, Luma([77_u8])).into();
    let deep: DynamicImage = ImageBuffer::from_pixel(2, 2, Pixel([65_535_u16, 257 * 9, 0])).into();
    let alpha: DynamicImage = ImageBuffer::from_pixel(2, 2, Rgba([1_u8, 2, 3, 0])).into();
    for (image, expected) in [(grey, [77, 77, 77]), (deep, [255, 9, 0]), (alpha, [1, 2, 3])] {
        let decoded = decode(&encoded(&image, ImageFormat::Png), Path::new("x")).unwrap();
        assert_eq!(decoded.pixels[..3], expected);
    }
    let mut jpeg = Vec::new();
    JpegEncoder::new(&mut jpeg).encode(&[99; 64], 8, 8, image::ExtendedColorType::L8).unwrap();
    assert_eq!(*decode(&jpeg, Path::new("x")).unwrap().pixels, [99; 192]);
}

#[test]
fn cmyk_becomes_rgb() {
    // 8 × 8 of one colour, made by Pillow: Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(…).
    let decoded = decode(include_bytes!("../../tests/images/cmyk.jpg"), Path::new("x")).unwrap();
    let [red, green, blue] = [0, 1, 2].map(|channel| decoded.pixels[channel]);
    assert!(red < 30 && green > 140 && blue > 200, "cyan, got {red} {green} {blue}");
}

#[test]
fn files_that_are_no_whole_image_are_refused() {
    assert!(reason(b"").contains("an empty file"));
    assert!(reason(b"some text").contains("neither JPEG, PNG, WebP nor BMP"));
    let jpeg = encoded(&rgb(64, 64), ImageFormat::Jpeg);
    for len in [3, 20, jpeg.len() / 2, jpeg.len() - 2] {
        reason(&jpeg[..len]);
    }
    assert!(reason(&jpeg[..jpeg.len() - 2]).contains("cut off"));
    let with_more = [jpeg.as_slice(), b"a camera's notes"].concat();
    decode(&with_more, Path::new("x")).unwrap();
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp] {
        let whole = encoded(&rgb(64, 64), format);
        for len in [3, 20, whole.len() / 2] {
            reason(&whole[..len]);
        }
    }
}

#[test]
fn bombs_are_refused_by_their_headers() {
    for (width, height) in [(30_000, 30_000), (12_000, 12_000), (1 << 30, 1), (0, 5)] {
        let bomb = if u64::from(width) * u64::from(height) > 1 << 28 {
            let small = png_bomb(1, 1);
            // The header of a large image before the pixels of a small one.
            [&small[..16], &png_header(width, height), &small[33..]].concat()
        } else {
            png_bomb(width, height)
        };
        let start = Instant::now();
        reason(&bomb);
        assert!(start.elapsed().as_millis() < 50, "{width} × {height}: {:?}", start.elapsed());
    }
}

/// Sizes, depth and checksum of a PNG's header.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let header = [&width.to_be_bytes(), &height.to_be_bytes(), [8, 2, 0, 0, 0].as_slice()].concat();
    let mut crc = flate2::Crc::new();
    crc.update(b"IHDR");
    crc.update(&header);
    [header.as_slice(), &crc.sum().to_be_bytes()].concat()
}

#[test]
fn a_large_photograph_is_decoded() {
    let decoded = decode(&png_bomb(6000, 4000), Path::new("x")).unwrap();
    assert_eq!((decoded.width, decoded.height), (6000, 4000));
}

#[test]
fn one_pixel_is_an_image() {
    let decoded = decode(&encoded(&rgb(1, 1), ImageFormat::Png), Path::new("x")).unwrap();
    let mut square = vec![0; 32 * 32 * 3];
    decoded.square(32, &mut square).unwrap();
    assert!(square.chunks(3).all(|pixel| pixel == [0, 0, 9]));
}

#[test]
fn the_shorter_side_is_resized_and_the_centre_taken() {
    // 96 × 32: black, white, black squares.
    let image = RgbImage::from_fn(96, 32, |x, _| Pixel([if (32..64).contains(&x) { 255 } else { 0 }; 3]));
    let image = Rgb { width: 96, height: 32, pixels: image.into_raw().into() };
    let mut square = vec![0; 16 * 16 * 3];
    image.square(16, &mut square).unwrap();
    assert!(square.chunks(3).skip(1).take(14).all(|pixel| pixel[0] > 200), "{:?}", &square[..48]);
    let same = Rgb { width: 2, height: 2, pixels: (0..12).collect() };
    let mut copy = vec![0; 12];
    same.square(2, &mut copy).unwrap();
    assert_eq!(copy, *same.pixels);
}

#[test]
fn a_changed_byte_never_panics() {
    let jpeg = encoded(&rgb(16, 16), ImageFormat::Jpeg);
    let png = encoded(&rgb(16, 16), ImageFormat::Png);
    for bytes in [jpeg, png] {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0xff;
            let _ = decode(&changed, Path::new("x"));
        }
    }
}
