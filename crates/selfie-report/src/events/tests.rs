use super::*;

/// A 1×1 PNG of one red pixel.
const PIXEL: &[u8] = include_bytes!("../../tests/golden/pixel.png");

/// RFC 3720, appendix B.4: CRC-32C of 32 zeros, 32 ones, and the numbers 0 to 31.
#[test]
fn checksums_are_those_of_the_standard() {
    assert_eq!(wire::crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(wire::crc32c(&[0xff; 32]), 0x62a8_ab43);
    assert_eq!(wire::crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
}

/// `testdata/tensorboard_golden.py` wrote the same events with TensorBoard's own classes.
#[test]
fn a_file_is_byte_for_byte_what_tensorboard_writes() {
    let line = r#"{"step":300,"loss":1.5,"time":{"images_per_s":1e3}}"#;
    let parts = [
        header(1.5),
        start(1.5, 1),
        metrics_line(2.5, line).unwrap(),
        picture(3.5, 300, "pictures/pixel", PIXEL).unwrap(),
        markdown(4.5, 0, "study/text_summary", "| a |\n|---|\n| ± |"),
    ];
    assert_eq!(parts.concat(), include_bytes!("../../tests/golden/events.tfevents"));
}

#[test]
fn a_line_without_numbers_and_bytes_that_are_no_picture_are_no_event() {
    assert_eq!(metrics_line(0.0, r#"{"step":1,"note":"words"}"#), None);
    assert_eq!(metrics_line(0.0, "half a li"), None);
    assert_eq!(picture(0.0, 0, "a", b"GIF89a"), None);
}
