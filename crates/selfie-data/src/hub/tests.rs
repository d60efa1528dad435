use super::*;
use crate::DataErrorKind;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// The hub's schema.
const SCHEMA: &str = "message schema {
    optional group img { optional binary bytes; optional binary path (UTF8); }
    optional int64 label;
}";

/// A PNG whose pixel at (y, x) is (y, x, 9).
fn png(width: u32, height: u32) -> Vec<u8> {
    let image = image::RgbImage::from_fn(width, height, |x, y| image::Rgb([y as u8, x as u8, 9]));
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn parquet_file(images: Vec<Vec<u8>>, labels: &[i64]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let mut writer = SerializedFileWriter::new(file.reopen().unwrap(), schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let paths = vec![ByteArray::from("x.png"); labels.len()];
    let images: Vec<ByteArray> = images.into_iter().map(ByteArray::from).collect();
    for values in [images, paths] {
        let mut column = group.next_column().unwrap().unwrap();
        let levels = vec![2; labels.len()];
        column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
    }
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(labels, Some(&vec![1; labels.len()]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    file
}

#[test]
fn rows_and_columns_of_the_image_are_not_swapped() {
    let images = read_parquet(parquet_file(vec![png(32, 32); 2], &[3, 9]).path()).unwrap();
    assert_eq!(images.labels(), [3, 9]);
    for (y, x) in [(0, 31), (31, 0), (5, 17)] {
        assert_eq!(images.stored(1)[(y * 32 + x) * 3..][..3], [y as u8, x as u8, 9], "y {y} x {x}");
    }
}

#[test]
fn wrong_rows_are_named() {
    for (images, labels, message) in [
        (vec![png(32, 32), png(32, 31)], [0, 0], "row 1: expected a 32 × 32 PNG image, got 32 × 31"),
        (vec![png(32, 32), png(5000, 1)], [0, 0], "row 1: expected a 32 × 32 PNG image"),
        (vec![b"no image".to_vec(), png(32, 32)], [0, 0], "row 0: expected a 32 × 32 PNG image"),
        (vec![png(32, 32), png(32, 32)], [0, 10], "row 1: expected a label of 0 to 9, got 10"),
        (vec![png(32, 32), png(32, 32)], [-1, 0], "row 0: expected a label of 0 to 9, got -1"),
    ] {
        let error = read_parquet(parquet_file(images, &labels).path()).unwrap_err();
        assert_eq!(error.kind(), DataErrorKind::BadData);
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn what_is_no_parquet_file_is_bad_data_and_nothing_is_missing_input() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"PAR1 and nothing more").unwrap();
    assert_eq!(read_parquet(file.path()).unwrap_err().kind(), DataErrorKind::BadData);
    assert_eq!(read_parquet(Path::new("no/such/file")).unwrap_err().kind(), DataErrorKind::MissingInput);
}
