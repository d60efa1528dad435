use std::io::Cursor;
use std::time::Instant;

use super::*;

/// What a file holds: its rows and labels.
fn read(bytes: &[u8]) -> Result<(Vec<Vec<u8>>, Vec<i64>), Fault> {
    let mut rows = rows(Cursor::new(bytes), bytes.len() as u64, &["data"], &["labels"])?;
    let labels = rows.labels.clone();
    let mut all = Vec::new();
    for _ in &labels {
        let mut row = vec![0; rows.row_bytes];
        rows.read(&mut row)?;
        all.push(row);
    }
    rows.finish()?;
    Ok((all, labels))
}

fn expected() -> (Vec<Vec<u8>>, Vec<i64>) {
    (vec![(120..132).collect(), (132..144).collect()], vec![1, 1000])
}

fn message(fault: Fault) -> String {
    fault.at(std::path::Path::new("x")).to_string()
}

macro_rules! pickle {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../../tests/pickles/", $name, ".pkl")).as_slice())
    };
}

const PICKLES: [(&str, &[u8]); 12] = [
    pickle!("list-2"),
    pickle!("list-3"),
    pickle!("list-4"),
    pickle!("list-5"),
    pickle!("array-2"),
    pickle!("array-3"),
    pickle!("array-4"),
    pickle!("array-5"),
    pickle!("scalar-2"),
    pickle!("scalar-3"),
    pickle!("scalar-4"),
    pickle!("scalar-5"),
];

/// As Python 2 wrote CIFAR: byte strings, names of the old modules.
fn of_python_2() -> Vec<u8> {
    let mut bytes =
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04".to_vec();
    bytes.extend(b"K\x00\x85U\x01b\x87Rq\x05(K\x01K\x02K\x0c\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87R");
    bytes.extend(b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x18\x00\x00\x00");
    bytes.extend(120..144);
    bytes.extend(b"tbU\x06labelsq\x07]q\x08(K\x01M\xe8\x03eU\x09filenames]U\x03one\x61u.");
    bytes
}

#[test]
fn every_protocol_and_kind_of_labels_gives_the_same_rows() {
    for (name, bytes) in PICKLES {
        let read = read(bytes).unwrap_or_else(|fault| panic!("{name}: {}", message(fault)));
        assert_eq!(read, expected(), "{name}");
    }
    assert_eq!(read(&of_python_2()).map_err(message).unwrap(), expected());
}

#[test]
fn a_pickle_that_is_cut_off_anywhere_is_refused() {
    for (name, bytes) in PICKLES {
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "{name}: {len} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn a_changed_byte_never_panics() {
    for (_, bytes) in PICKLES {
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut changed = bytes.to_vec();
                changed[at] ^= flip;
                let _ = read(&changed);
            }
        }
    }
}

#[test]
fn other_names_are_refused_and_never_called() {
    for call in ["cos\nsystem\n(X\x02\0\0\0lstR.", "cbuiltins\neval\n.", "cnumpy\nload\n."] {
        let bytes = [b"\x80\x03", call.as_bytes()].concat();
        let message = message(read(&bytes).unwrap_err());
        assert!(message.contains("which is never called"), "{message}");
    }
    let message = message(read(b"\x80\x04\x8c\x02os\x8c\x06system\x93.").unwrap_err());
    assert!(message.contains("`os.system`"), "{message}");
}

#[test]
fn a_deeply_nested_pickle_needs_no_stack() {
    // 14 KB of lists in lists, which overflow a recursive reader's stack.
    let nested = [b"\x80\x02".as_slice(), &b"]".repeat(7000), &b"a".repeat(6999), b"."].concat();
    let tuples = [b"\x80\x02N".as_slice(), &b"\x85".repeat(14_000), b"."].concat();
    for bytes in [nested, tuples] {
        let start = Instant::now();
        assert!(message(read(&bytes).unwrap_err()).contains("expected a dict"));
        assert!(start.elapsed().as_millis() < 50);
    }
}

#[test]
fn sizes_that_a_file_does_not_have_reserve_nothing() {
    let start = Instant::now();
    let huge: [&[u8]; 7] = [
        b"\x80\x04B\xff\xff\xff\x7f.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"\x80\x04\x96\x00\x00\x00\x50\x00\x00\x00\x00.",
        b"\x80\x04Nr\xff\xff\xff\xff.",
        b"\x80\x04\x8b\xff\xff\xff\x7f.",
        b"\x80\x04\x8a\xff.",
    ];
    for bytes in huge {
        assert!(read(bytes).is_err(), "{bytes:?}");
    }
    assert!(start.elapsed().as_millis() < 50);
}

#[test]
fn values_used_again_and_again_cost_no_more_than_a_data_set_needs() {
    let refused = |parts: &[&[u8]], expected: &str| {
        let message = message(read(&parts.concat()).unwrap_err());
        assert!(message.contains(expected), "{message}");
    };
    // Marks and stored values take a byte of the file each and several of memory.
    refused(&[b"\x80\x04", &b"(".repeat(10_000_001)], "at most 10000000 instructions");
    refused(&[b"\x80\x04N", &b"\x94".repeat(10_000_001)], "at most 10000000 instructions");
    // A shape is copied into every array that has it.
    let array = |n_sizes: usize| {
        let start = b"\x80\x02cnumpy.core.numeric\n_frombuffer\n(U\x01xcnumpy\ndtype\nU\x02u1\x85R(";
        [start.as_slice(), &b"K\x01".repeat(n_sizes), b"tNtR."].concat()
    };
    refused(&[&array(17)], "a tuple of at most 16 values");
    refused(&[&array(16)], "a dict");
    refused(&[b"\x80\x02}U\x04dataq\x000(", &b"h\x00N".repeat(65), b"u."], "at most 64 keys");
    let names = [b"\x80\x02}U\x01n](".as_slice(), &b"U\x01a".repeat(1001), b"es."].concat();
    let message = message(texts(Cursor::new(&names), names.len() as u64, "n").unwrap_err());
    assert!(message.contains("at most 1000 texts"), "{message}");
}

#[test]
fn an_array_whose_shape_is_not_its_bytes_is_refused() {
    let mut bytes = of_python_2();
    let at = bytes.windows(4).position(|window| window == b"K\x02K\x0c").unwrap();
    bytes[at + 3] = 11;
    let message = message(read(&bytes).unwrap_err());
    assert!(message.contains("the bytes of an array [2, 11]") && message.contains("24 bytes"), "{message}");
}

#[test]
fn texts_are_found_by_name() {
    let bytes = b"\x80\x02}U\x0blabel_names](U\x03catU\x03dogeS.";
    assert!(texts(Cursor::new(bytes), bytes.len() as u64, "label_names").is_err(), "an unknown instruction");
    let bytes = b"\x80\x02}U\x0blabel_names](U\x03catU\x03doges.";
    let names = texts(Cursor::new(bytes), bytes.len() as u64, "label_names").map_err(message).unwrap();
    assert_eq!(names, ["cat", "dog"]);
}
