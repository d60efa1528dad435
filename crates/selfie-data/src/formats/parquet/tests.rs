use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use bytes::Bytes;

use super::*;

/// The hub's schema.
const SCHEMA: &str = "message schema {
    optional group image { optional binary bytes; optional binary path (UTF8); }
    optional int64 label;
}";

/// A file of these images and labels, in row groups of two.
pub(crate) fn written(images: &[Vec<u8>], labels: &[i64]) -> Vec<u8> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for (images, labels) in images.chunks(2).zip(labels.chunks(2)) {
        let mut group = writer.next_row_group().unwrap();
        let images: Vec<ByteArray> = images.iter().cloned().map(ByteArray::from).collect();
        for values in [images, vec![ByteArray::from("x.png"); labels.len()]] {
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&values, Some(&vec![2; labels.len()]), None).unwrap();
            column.close().unwrap();
        }
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(labels, Some(&vec![1; labels.len()]), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

fn table(bytes: &[u8]) -> Result<Table<Bytes>, Fault> {
    Table::open(Bytes::copy_from_slice(bytes))
}

/// The image file and the label of a row.
type Row = (Option<Vec<u8>>, Option<i64>);

/// Every row, or the first fault.
fn rows(bytes: &[u8]) -> Result<Vec<Row>, Fault> {
    let table = table(bytes)?;
    let (mut rows, mut all) = (table.rows(), Vec::new());
    loop {
        let read = rows.next_rows()?;
        if read.is_empty() {
            return Ok(all);
        }
        all.extend(read.into_iter().map(|row| (row.image.map(|image| image.data().to_vec()), row.label)));
    }
}

fn reason(bytes: &[u8]) -> String {
    match rows(bytes) {
        Ok(rows) => panic!("{} rows were read", rows.len()),
        Err(fault) => fault.at(std::path::Path::new("x.parquet")).to_string(),
    }
}

const HUB: &[u8] = include_bytes!("../../../tests/parquet/hub.parquet");
const DICTIONARY: &[u8] = include_bytes!("../../../tests/parquet/dictionary.parquet");
const NO_DICTIONARY: &[u8] = include_bytes!("../../../tests/parquet/no-dictionary.parquet");

#[test]
fn files_of_the_hubs_library_and_of_pyarrow_are_read() {
    for (file, names) in [(HUB, Some(["cat", "dog", "eel"])), (DICTIONARY, None), (NO_DICTIONARY, None)] {
        let table = table(file).unwrap();
        assert_eq!(table.n_rows, 7);
        assert_eq!(table.class_names.as_deref(), names.map(|names| names.map(str::to_owned)).as_ref().map(|n| &n[..]));
        let rows = rows(file).unwrap();
        assert_eq!(rows.len(), 7);
        for (i, (image, label)) in rows.into_iter().enumerate() {
            assert_eq!(label, Some(i as i64 % 3));
            let image = crate::decode::decode(&image.unwrap(), std::path::Path::new("x")).unwrap();
            assert_eq!((image.width, image.height), (8, 8));
            assert_eq!(image.pixels[(2 * 8 + 5) * 3..][..3], [2, 5, 10 * i as u8], "row {i}");
        }
        let mut labels = table.labels();
        let labels: Vec<Option<i64>> = labels.next_rows().unwrap().into_iter().map(|row| row.label).collect();
        assert_eq!(labels, [0, 1, 2, 0, 1, 2, 0].map(Some));
    }
}

#[test]
fn rows_without_an_image_are_told_apart_and_labels_may_be_missing() {
    let rows = rows(include_bytes!("../../../tests/parquet/missing.parquet")).unwrap();
    let there: Vec<bool> = rows.iter().map(|(image, _)| image.is_some()).collect();
    assert_eq!(there, [true, false, false, true]);
    assert!(rows.iter().all(|(_, label)| label.is_none()));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let zstd = reason(include_bytes!("../../../tests/parquet/zstd.parquet"));
    assert!(zstd.contains("zstd") || zstd.contains("ZSTD"), "{zstd}");
    let delta = reason(include_bytes!("../../../tests/parquet/delta.parquet"));
    assert!(delta.contains("plain or dictionary encoding"), "{delta}");
}

#[test]
fn many_rows_come_in_bounded_pieces_and_in_order() {
    let images: Vec<Vec<u8>> = (0..1001_u32).map(|i| i.to_le_bytes().repeat(1 + i as usize % 7)).collect();
    let labels: Vec<i64> = (0..1001).collect();
    let file = written(&images, &labels);
    let rows = rows(&file).unwrap();
    let expected: Vec<_> = images.into_iter().map(Some).zip(labels.into_iter().map(Some)).collect();
    assert_eq!(rows, expected);
    let table = table(&file).unwrap();
    assert!(table.rows().next_rows().unwrap().len() <= MAX_ROWS);
    let large = written(&vec![vec![7; 3 << 20]; 20], &[0; 20]);
    let first = super::Table::open(Bytes::from(large)).unwrap().rows().next_rows().unwrap().len();
    assert!((1..20).contains(&first), "{first} images of 3 MB at once");
}

#[test]
fn other_columns_are_refused_with_the_columns_that_are_there() {
    for (schema, part) in [
        ("message s { optional binary picture; optional int64 label; }", "columns picture, label"),
        ("message s { optional int64 image; optional int64 label; }", "column `image`"),
        ("message s { optional binary image; optional double label; }", "column `label`"),
        ("message s { repeated binary image; optional int64 label; }", "lists"),
    ] {
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let writer = SerializedFileWriter::new(Vec::new(), schema, Default::default()).unwrap();
        let reason = reason(&writer.into_inner().unwrap());
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn cut_off_and_changed_files_are_refused_or_read_and_never_end_the_process() {
    for len in (0..HUB.len()).step_by(7) {
        reason(&HUB[..len]);
    }
    let mut n_refused = 0;
    for file in [HUB, DICTIONARY] {
        for at in 0..file.len() {
            for change in [0xff, 0x01, 0x80] {
                let mut changed = file.to_vec();
                changed[at] ^= change;
                n_refused += usize::from(rows(&changed).is_err());
            }
        }
    }
    assert!(n_refused > 100, "{n_refused}");
}

/// A struct of a page header: page type 0, the sizes, and of a data page the number of values and the encoding.
fn page_header(unpacked: i64, packed: i64, n_values: i64) -> Vec<u8> {
    let number = |value: i64| -> Vec<u8> {
        let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
        let mut bytes = Vec::new();
        while zigzag >= 128 {
            bytes.push(zigzag as u8 | 128);
            zigzag >>= 7;
        }
        bytes.push(zigzag as u8);
        bytes
    };
    let field = |value: i64| [vec![0x15], number(value)].concat();
    let data_page = [vec![0x2c], field(n_values), field(0), vec![0]].concat();
    [field(0), field(unpacked), field(packed), data_page, vec![0]].concat()
}

#[test]
fn sizes_that_a_page_cannot_have_are_refused_before_memory_is_reserved() {
    let check = |header: Vec<u8>| {
        let file = Bytes::from([header, vec![0; 100]].concat());
        guard::pages(&file, 0, file.len() as u64, ::parquet::basic::Type::BYTE_ARRAY)
    };
    for (header, part) in [
        (page_header(1 << 31, 100, 1), "unpacked bytes"),
        (page_header(50, -1, 1), "sizes of at least 0"),
        (page_header(50, 100, 1 << 40), "values of a page"),
        (page_header(50, 1 << 40, 1), "at most the 100 bytes left"),
    ] {
        let reason = check(header).map_err(|fault| fault.at(std::path::Path::new("x")).to_string()).unwrap_err();
        assert!(reason.contains(part), "{reason}");
    }
    check(page_header(500, 100, 3)).unwrap();
    guard::pages(&Bytes::from_static(b"xx"), 1, u64::MAX, ::parquet::basic::Type::INT64).unwrap_err();
}
