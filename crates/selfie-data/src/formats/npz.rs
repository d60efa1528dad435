//! numpy's archives of arrays, as far as a data set of rows and labels needs them.

use std::io::{Read, Seek};

use super::{Fault, MAX_LABELS, Rows};

mod npy;
#[cfg(test)]
mod tests;
mod zip;

use npy::Header;
use zip::Entry;

/// Photographs compress about once and a half: what compresses so much more is no data set.
const MAX_COMPRESSION: u64 = 200;

/// The arrays `data`, `[n, row bytes]` of u8, and `labels`, `[n]` of whole numbers, of an archive of `len` bytes.
pub(crate) fn rows<'a, R: Read + Seek + 'a>(mut reader: R, len: u64) -> Result<Rows<'a>, Fault> {
    let entries = zip::entries(&mut reader, len)?;
    let find = |name: &str| {
        let found: Vec<&Entry> = entries.iter().filter(|entry| entry.name == format!("{name}.npy")).collect();
        match found[..] {
            [entry] => Ok(entry),
            _ => Err(Fault::wrong("the list of entries", format!("one {name}.npy"), format!("{}", found.len()))),
        }
    };
    let (data, labels) = (find("data")?, find("labels")?);
    if data.size / MAX_COMPRESSION > data.packed {
        let expected = format!("images, which never compress {MAX_COMPRESSION} times");
        return Err(Fault::wrong(&data.name, expected, format!("{} bytes from {}", data.size, data.packed)));
    }
    let labels = integers(&mut reader, labels)?;
    let (header, numbers) = open(reader, data)?;
    if !header.number_type.is_u8() {
        return Err(Fault::wrong(&data.name, "u1", format!("numbers of {} bytes", header.number_type.bytes)));
    }
    Rows::new(&header.shape, labels, numbers)
}

/// An entry's header and its numbers, which fill the entry.
fn open<'a, R: Read + Seek + 'a>(reader: R, entry: &Entry) -> Result<(Header, Box<dyn Read + 'a>), Fault> {
    let mut bytes = zip::unpack(reader, entry)?;
    let header = Header::read(&entry.name, &mut bytes)?;
    match header.n_bytes() {
        Some(n) if n == entry.size => Ok((header, bytes)),
        n => Err(Fault::wrong(
            &entry.name,
            format!("an array of the {} bytes of the entry", entry.size),
            n.map_or_else(|| "more than can be".to_owned(), |n| n.to_string()),
        )),
    }
}

fn integers<R: Read + Seek>(reader: &mut R, entry: &Entry) -> Result<Vec<i64>, Fault> {
    let (header, mut bytes) = open(reader, entry)?;
    let number_type = header.number_type;
    match header.shape[..] {
        [n] if n <= MAX_LABELS => {
            let mut numbers = Vec::new();
            bytes.by_ref().take(n * number_type.bytes as u64).read_to_end(&mut numbers)?;
            number_type.integers(&entry.name, &numbers)
        }
        _ => Err(Fault::wrong(
            &entry.name,
            format!("an array [n] of at most {MAX_LABELS}"),
            format!("{:?}", header.shape),
        )),
    }
}
