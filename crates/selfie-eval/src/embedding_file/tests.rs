use super::*;
use std::io::Cursor;

fn written(format: EmbeddingFormat, rows: &[[f32; 3]]) -> Vec<u8> {
    let mut writer = ArrayWriter::new(Cursor::new(Vec::new()), format, 3).unwrap();
    for (picture, row) in rows.iter().enumerate() {
        let name = Name { picture, name: format!("{picture}.png"), class: (picture == 1).then(|| "cat".to_owned()) };
        writer.add(&name, row).unwrap();
    }
    let (out, n_rows) = writer.finish().unwrap();
    assert_eq!(n_rows, rows.len());
    out.into_inner()
}

const ROWS: [[f32; 3]; 2] = [[1.0, -2.5, 0.0], [f32::MIN_POSITIVE, 3e30, -0.1]];

#[test]
fn an_array_is_read_back_as_it_was_written() {
    for format in [EmbeddingFormat::Npy, EmbeddingFormat::Safetensors] {
        let bytes = written(format, &ROWS);
        assert_eq!(bytes.len(), HEADER_BYTES + 24);
        let array = array_of(&bytes, "file").unwrap();
        assert_eq!((array.n_rows(), array.width()), (2, 3));
        let mut first = Vec::new();
        array.append_normalised(0..1, &mut first);
        let length = 7.25f32.sqrt();
        assert_eq!(first, [1.0 / length, -2.5 / length, 0.0]);
    }
}

#[test]
fn json_lines_have_name_class_and_embedding() {
    let text = String::from_utf8(written(EmbeddingFormat::JsonLines, &ROWS)).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], json!({ "image": "0.png", "class": null, "embedding": [1.0, -2.5, 0.0] }));
    assert_eq!((&lines[1]["image"], &lines[1]["class"]), (&json!("1.png"), &json!("cat")));
}

#[test]
fn other_arrays_and_damaged_files_are_refused() {
    let npy = written(EmbeddingFormat::Npy, &ROWS);
    let with = |from: &str, to: &str| {
        let place = npy.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        let mut changed = npy.clone();
        changed[place..place + to.len()].copy_from_slice(to.as_bytes());
        changed
    };
    for (bytes, expected) in [
        (with("<f4", "<f8"), "'<f8'"),
        (with("False", "True "), "True"),
        (with("(2, 3)", "(2, 9)"), "24 bytes"),
        (with("(2, 3)", "(0, 3)"), "at least one"),
        (with("(2, 3)", "(6,  )"), "two dimensions"),
        (npy[..100].to_vec(), "cut off"),
        (npy[..260].to_vec(), "4 bytes"),
        (b"no array".to_vec(), "a .npy or .safetensors file"),
    ] {
        let error = array_of(&bytes, "file").unwrap_err().to_string();
        assert!(error.starts_with("file: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn the_format_follows_from_the_name() {
    let formats = ["a.npy", "b.x.safetensors", "c.jsonl", "d.txt", "npy"].map(EmbeddingFormat::of_name);
    use EmbeddingFormat::{JsonLines, Npy, Safetensors};
    assert_eq!(formats, [Some(Npy), Some(Safetensors), Some(JsonLines), None, None]);
}
