//! As much of the zip format as numpy writes: a list of entries at the end, each stored or deflated, none encrypted.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::super::Fault;

/// An archive of arrays has a handful of entries.
const MAX_ENTRIES: u64 = 64;
const MAX_NAME_BYTES: usize = 256;
const END_BYTES: u64 = 22;
/// Behind the end record stands a comment of at most 65,535 bytes; numpy writes none.
const MAX_COMMENT_BYTES: u64 = 1024;
const END: &[u8] = b"PK\x05\x06";
const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_BYTES: u64 = 20;
const END_64: &[u8] = b"PK\x06\x06";
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// One entry of the list.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    method: u16,
    crc: u32,
    /// Bytes in the archive.
    pub(super) packed: u64,
    /// Bytes when unpacked, as the list says; no more are ever read.
    pub(super) size: u64,
    offset: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn wrong(expected: &str, got: impl ToString) -> Fault {
    Fault::wrong("the list of entries", expected, got)
}

/// Reads the list of a file of `len` bytes.
pub(super) fn entries<R: Read + Seek>(reader: &mut R, len: u64) -> Result<Vec<Entry>, Fault> {
    let (n_entries, offset) = find_list(reader, len)?;
    if n_entries > MAX_ENTRIES {
        return Err(wrong(&format!("at most {MAX_ENTRIES} entries"), n_entries));
    }
    reader.seek(SeekFrom::Start(offset))?;
    let mut list = BufReader::new(reader);
    (0..n_entries).map(|_| entry(&mut list)).collect()
}

/// How many entries there are and where their list begins.
fn find_list<R: Read + Seek>(reader: &mut R, len: u64) -> Result<(u64, u64), Fault> {
    let start = len.saturating_sub(END_BYTES + MAX_COMMENT_BYTES);
    reader.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    reader.by_ref().take(END_BYTES + MAX_COMMENT_BYTES).read_to_end(&mut tail)?;
    let found = tail.windows(END_BYTES as usize).rposition(|window| window.starts_with(END));
    let Some(at) = found else {
        return Err(wrong("a zip archive's end record", "none"));
    };
    let (n_entries, offset) = (u64::from(u16_at(&tail, at + 10)), u64::from(u32_at(&tail, at + 16)));
    if n_entries != u64::from(u16::MAX) && offset != u64::from(u32::MAX) {
        return Ok((n_entries, offset));
    }
    let locator = (start + at as u64).checked_sub(LOCATOR_BYTES).ok_or_else(|| wrong("a zip64 locator", "none"))?;
    let mut bytes = [0; LOCATOR_BYTES as usize];
    reader.seek(SeekFrom::Start(locator))?;
    reader.read_exact(&mut bytes)?;
    let mut end = [0; 56];
    reader.seek(SeekFrom::Start(u64_at(&bytes, 8)))?;
    reader.read_exact(&mut end)?;
    if !bytes.starts_with(LOCATOR) || !end.starts_with(END_64) {
        return Err(wrong("a zip64 end record", "other bytes"));
    }
    Ok((u64_at(&end, 32), u64_at(&end, 48)))
}

fn entry(list: &mut impl Read) -> Result<Entry, Fault> {
    let mut fixed = [0; 46];
    list.read_exact(&mut fixed)?;
    if !fixed.starts_with(ENTRY) {
        return Err(wrong("an entry", "other bytes"));
    }
    let (flags, method) = (u16_at(&fixed, 8), u16_at(&fixed, 10));
    let lengths = [28, 30, 32].map(|at| usize::from(u16_at(&fixed, at)));
    if lengths[0] > MAX_NAME_BYTES {
        return Err(wrong(&format!("names of at most {MAX_NAME_BYTES} bytes"), lengths[0]));
    }
    let mut rest = vec![0; lengths.iter().sum()];
    list.read_exact(&mut rest)?;
    let name = String::from_utf8_lossy(&rest[..lengths[0]]).into_owned();
    if flags & 1 != 0 || !matches!(method, STORED | DEFLATED) {
        return Err(Fault::wrong(name, "a stored or deflated entry", format!("method {method}, flags {flags}")));
    }
    let mut entry = Entry {
        method,
        crc: u32_at(&fixed, 16),
        packed: u64::from(u32_at(&fixed, 20)),
        size: u64::from(u32_at(&fixed, 24)),
        offset: u64::from(u32_at(&fixed, 42)),
        name,
    };
    widen(&mut entry, &rest[lengths[0]..lengths[0] + lengths[1]])?;
    Ok(entry)
}

/// Takes those sizes from the zip64 field that did not fit into 32 bits.
fn widen(entry: &mut Entry, mut extra: &[u8]) -> Result<(), Fault> {
    const ZIP64: u16 = 1;
    while extra.len() >= 4 {
        let (id, len) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let Some(mut field) = extra.get(4..4 + len) else { break };
        if id == ZIP64 {
            for value in [&mut entry.size, &mut entry.packed, &mut entry.offset] {
                if *value == u64::from(u32::MAX) {
                    if field.len() < 8 {
                        return Err(wrong("a whole zip64 field", field.len()));
                    }
                    *value = u64_at(field, 0);
                    field = &field[8..];
                }
            }
        }
        extra = &extra[4 + len..];
    }
    Ok(())
}

/// The unpacked bytes of an entry. Its checksum is compared when the end is read.
pub(super) fn unpack<'a, R: Read + Seek + 'a>(mut reader: R, entry: &Entry) -> Result<Box<dyn Read + 'a>, Fault> {
    reader.seek(SeekFrom::Start(entry.offset))?;
    let mut local = [0; 30];
    reader.read_exact(&mut local)?;
    if !local.starts_with(LOCAL) {
        return Err(Fault::wrong(&entry.name, "an entry's header", "other bytes"));
    }
    let skipped = u64::from(u16_at(&local, 26)) + u64::from(u16_at(&local, 28));
    reader.seek(SeekFrom::Current(skipped as i64))?;
    let packed = reader.take(entry.packed);
    let unpacked: Box<dyn Read + 'a> = match entry.method {
        STORED => Box::new(packed),
        _ => Box::new(DeflateDecoder::new(packed)),
    };
    Ok(Box::new(Checked { reader: unpacked, left: entry.size, crc: Crc::new(), expected: entry.crc }))
}

/// A reader of exactly so many bytes with this checksum.
struct Checked<R> {
    reader: R,
    left: u64,
    crc: Crc,
    expected: u32,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            return match self.reader.read(&mut [0])? {
                0 if self.crc.sum() == self.expected => Ok(0),
                0 => Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum of an entry differs")),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, "an entry is longer than the list says")),
            };
        }
        let len = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.reader.read(&mut buffer[..len])?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "an entry is shorter than the list says"));
        }
        self.crc.update(&buffer[..n]);
        self.left -= n as u64;
        Ok(n)
    }
}
