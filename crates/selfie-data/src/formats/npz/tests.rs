use std::io::{Cursor, Write};
use std::time::Instant;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::*;

const STORED: &[u8] = include_bytes!("../../../tests/pickles/stored.npz");
const DEFLATED: &[u8] = include_bytes!("../../../tests/pickles/deflated.npz");

fn read(bytes: &[u8]) -> Result<(Vec<u8>, Vec<i64>), Fault> {
    let mut rows = rows(Cursor::new(bytes), bytes.len() as u64)?;
    let mut all = vec![0; rows.row_bytes * rows.labels.len()];
    let labels = rows.labels.clone();
    rows.read(&mut all)?;
    rows.finish()?;
    Ok((all, labels))
}

fn message(fault: Fault) -> String {
    fault.at(std::path::Path::new("x")).to_string()
}

/// A numpy array file's header.
fn npy(descr: &str, shape: &str) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    [b"\x93NUMPY\x01\x00", (header.len() as u16).to_le_bytes().as_slice(), header.as_bytes()].concat()
}

/// An archive of deflated entries, each of a header and so many zeros.
fn archive(entries: &[(&str, Vec<u8>, usize)]) -> Vec<u8> {
    let (mut bytes, mut list) = (Vec::new(), Vec::new());
    for (name, header, n_zeros) in entries {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        let mut crc = flate2::Crc::new();
        encoder.write_all(header).unwrap();
        crc.update(header);
        let zeros = vec![0; 1 << 20];
        let mut n_left = *n_zeros;
        while n_left > 0 {
            let n = n_left.min(zeros.len());
            encoder.write_all(&zeros[..n]).unwrap();
            crc.update(&zeros[..n]);
            n_left -= n;
        }
        let packed = encoder.finish().unwrap();
        let size = (header.len() + n_zeros) as u32;
        let sizes = [crc.sum(), packed.len() as u32, size].map(u32::to_le_bytes).concat();
        let name_len = (name.len() as u16).to_le_bytes();
        let offset = (bytes.len() as u32).to_le_bytes();
        let method = b"\x14\0\0\0\x08\0\0\0\0\0";
        bytes.extend([b"PK\x03\x04", method.as_slice(), &sizes, &name_len, b"\0\0", name.as_bytes(), &packed].concat());
        list.extend([b"PK\x01\x02\x14\0", method.as_slice(), &sizes, &name_len, &[0; 12], &offset].concat());
        list.extend(name.as_bytes());
    }
    let n = (entries.len() as u16).to_le_bytes();
    let (len, offset) = ((list.len() as u32).to_le_bytes(), (bytes.len() as u32).to_le_bytes());
    [bytes, list, [b"PK\x05\x06\0\0\0\0".as_slice(), &n, &n, &len, &offset, b"\0\0"].concat()].concat()
}

#[test]
fn stored_and_deflated_archives_of_numpy_give_rows_and_labels() {
    for bytes in [STORED, DEFLATED] {
        let (data, labels) = read(bytes).map_err(message).unwrap();
        assert_eq!(data, (120..144).collect::<Vec<u8>>());
        assert_eq!(labels, [1, 1000]);
    }
}

#[test]
fn an_archive_that_is_cut_off_anywhere_is_refused() {
    for bytes in [STORED, DEFLATED] {
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn a_changed_byte_never_panics_and_a_changed_pixel_is_noticed() {
    for bytes in [STORED, DEFLATED] {
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 0x55;
            let _ = read(&changed);
        }
    }
    let pixels: Vec<u8> = (120..144).collect();
    let at = STORED.windows(24).position(|window| window == pixels).unwrap();
    let mut changed = STORED.to_vec();
    changed[at] ^= 1;
    assert!(message(read(&changed).unwrap_err()).contains("checksum"));
}

#[test]
fn what_inflates_beyond_any_image_is_refused_before_it_is_unpacked() {
    let labels = || ("labels.npy", npy("<i8", "65104,"), 65_104 * 8);
    // 195 KB that become 200 MB, in the data or in the labels.
    let rows = archive(&[("data.npy", npy("|u1", "65104, 3072"), 65_104 * 3072), labels()]);
    assert!(rows.len() < 250_000, "{}", rows.len());
    let one_row = archive(&[("data.npy", npy("|u1", "1, 200000000"), 200_000_000), labels()]);
    let many = ("labels.npy", npy("<i8", "25000000,"), 200_000_000);
    let many_labels = archive(&[("data.npy", npy("|u1", "2, 12"), 24), many]);
    for bytes in [rows, one_row, many_labels] {
        let start = Instant::now();
        assert!(read(&bytes).is_err());
        assert!(start.elapsed().as_millis() < 50, "{:?}", start.elapsed());
    }
}

#[test]
fn headers_that_promise_more_than_there_is_are_refused() {
    let labels = || ("labels.npy", npy("<i8", "2,"), 16);
    for (data, expected) in [
        (("data.npy", npy("|u1", "2, 13"), 24), "an array of the"),
        (("data.npy", npy("|u1", "18446744073709551615, 3072"), 24), "more than can be"),
        (("data.npy", npy("<f4", "2, 3"), 24), "expected u1"),
        (("data.npy", npy("|O", "2, 12"), 24), "a number type of"),
        (("data.npy", npy("|u1", "24,"), 24), "2 dimensions"),
        (("other.npy", npy("|u1", "2, 12"), 24), "one data.npy"),
        (("data.npy", b"no array at all".to_vec(), 24), "a numpy array file"),
        (("data.npy", npy("|u1", "3, 8"), 24), "one a row"),
    ] {
        let message = message(read(&archive(&[data, labels()])).unwrap_err());
        assert!(message.contains(expected), "{message}");
    }
}
