//! Looks at the sizes that a parquet file tells of itself before the parquet crate reserves memory for them: it makes
//! room for every list, page and dictionary as it is told, and ends the process where there is none.

use ::parquet::basic::Type;
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::ChunkReader;

use super::{Fault, fault};
use crate::formats::thrift::{Kinds, walk};

const MAGIC: &[u8] = b"PAR1";
/// The length of the metadata and the magic bytes.
const TAIL_BYTES: u64 = 8;
/// A file of a hundred thousand row groups describes itself in so many bytes.
const MAX_FOOTER_BYTES: u64 = 64 << 20;
/// Columns and structs of a schema: it is read by recursion.
const MAX_COLUMNS: i64 = 500;
const MAX_ROW_GROUPS: i64 = 1 << 20;
/// Of any other list.
const MAX_LIST: i64 = 4096;
/// Unpacked bytes of a page, and how many times its packed bytes: snappy packs to a twentieth at best.
const MAX_PAGE_BYTES: i64 = 128 << 20;
const MAX_PACKING: i64 = 200;
/// Packed bytes below which a page may unpack to anything within the limit of `MAX_PACKING` times them.
const SMALL_PAGE_BYTES: i64 = 4096;
/// Values of a page.
const MAX_VALUES: i64 = 1 << 24;
/// Bytes of a page's header, which may quote its smallest and largest value; tried with few first.
const HEADER_BYTES: [u64; 2] = [1 << 12, 1 << 20];

/// Of a column or a page: least and largest value in two forms, counts, whether they are exact.
const STATISTICS: &str = "ssiissbbi";
/// `PageHeader`, as the format's definition has it.
const PAGE_HEADER: &Kinds = &[
    (&[], "iiiimmmm"),
    (&[5], "iiiim"),
    (&[5, 5], STATISTICS),
    (&[7], "iib"),
    (&[8], "iiiiiibm"),
    (&[8, 8], STATISTICS),
];
/// `FileMetaData`: schema elements and their logical types, row groups, columns, pairs, column orders, encryption.
const FOOTER: &Kinds = &[
    (&[], "iMiMMsMms"),
    (&[2], "iiisiiiiim"),
    (&[2, 10], "mmmmmmmmmmmmmmmmmm"),
    (&[2, 10, 5], "ii"),
    (&[2, 10, 7], "bm"),
    (&[2, 10, 7, 2], "mmm"),
    (&[2, 10, 8], "bm"),
    (&[2, 10, 8, 2], "mmm"),
    (&[2, 10, 10], "yb"),
    (&[2, 10, 16], "y"),
    (&[2, 10, 17], "s"),
    (&[2, 10, 18], "si"),
    (&[4], "MiiMiii"),
    (&[4, 1], "simiiiims"),
    (&[4, 1, 3], "iISiiiiMiiimMiimm"),
    (&[4, 1, 3, 8], "ss"),
    (&[4, 1, 3, 12], STATISTICS),
    (&[4, 1, 3, 13], "iii"),
    (&[4, 1, 3, 16], "iII"),
    (&[4, 1, 3, 17], "mI"),
    (&[4, 1, 3, 17, 1], "dddddddd"),
    (&[4, 1, 8], "mm"),
    (&[4, 1, 8, 2], "Ss"),
    (&[4, 4], "ibb"),
    (&[5], "ss"),
    (&[7], "mm"),
    (&[8], "mm"),
    (&[8, 1], "ssb"),
    (&[8, 2], "ssb"),
];

/// Checks the description at the end of a file.
pub(super) fn footer(file: &impl ChunkReader) -> Result<(), Fault> {
    let wrong = |got: String| Fault::wrong("the end", "the description of a parquet file", got);
    let len = file.len();
    if len < 2 * TAIL_BYTES {
        return Err(wrong(format!("a file of {len} bytes")));
    }
    let tail = file.get_bytes(len - TAIL_BYTES, TAIL_BYTES as usize).map_err(fault)?;
    let (n_bytes, magic) = tail.split_at(4);
    if magic != MAGIC {
        return Err(wrong("other bytes; the file is cut off or of another kind".to_owned()));
    }
    let n_bytes = n_bytes.iter().rev().fold(0, |n, &byte| (n << 8) | u64::from(byte));
    if n_bytes > MAX_FOOTER_BYTES || n_bytes + TAIL_BYTES > len {
        return Err(wrong(format!("one of {n_bytes} bytes")));
    }
    let footer = file.get_bytes(len - TAIL_BYTES - n_bytes, n_bytes as usize).map_err(fault)?;
    let walked = walk(&footer, FOOTER, &mut |path, number| {
        // Fields of FileMetaData: the schema; row groups and their columns; encodings, path, pairs and page statistics of a
        // column; sorting columns, pairs of the file, column orders.
        let limit = match path {
            [2] | [4, 1] => MAX_COLUMNS,
            [4] => MAX_ROW_GROUPS.min(n_bytes as i64 / 8),
            [4, 1, 3, 2 | 3 | 8 | 13] | [4, 4] | [5] | [7] => MAX_LIST,
            _ => return Ok(()),
        };
        require_at_most(number, limit, "elements of a list")
    })?;
    walked.map(|_| ()).ok_or_else(|| wrong("one that is cut off".to_owned()))
}

/// Refuses more rows than bytes.
pub(super) fn rows(n_rows: u64, file_len: u64) -> Result<(), Fault> {
    if n_rows > file_len {
        return Err(Fault::wrong("the rows", format!("at most {file_len}, one a byte"), n_rows));
    }
    Ok(())
}

/// Checks the header of every page of a column's chunk.
pub(super) fn pages(file: &impl ChunkReader, start: u64, len: u64, kind: Type) -> Result<(), Fault> {
    let end = start.checked_add(len).filter(|&end| end <= file.len());
    let end = end.ok_or_else(|| Fault::wrong("a column", "bytes inside the file", format!("{len} from {start} on")))?;
    let mut at = start;
    while at < end {
        let (header, n_bytes) = page_header(file, at, end)?;
        header.check(kind)?;
        at += n_bytes;
        if header.packed_bytes as u64 > end - at {
            return Err(Fault::wrong("a page", format!("at most the {} bytes left", end - at), header.packed_bytes));
        }
        at += header.packed_bytes as u64;
    }
    Ok(())
}

/// What a page says of itself.
#[derive(Default)]
struct PageHeader {
    is_dictionary: bool,
    unpacked_bytes: i64,
    packed_bytes: i64,
    n_values: i64,
    encoding: i64,
}

fn page_header(file: &impl ChunkReader, at: u64, end: u64) -> Result<(PageHeader, u64), Fault> {
    for n_bytes in HEADER_BYTES {
        let bytes = file.get_bytes(at, n_bytes.min(end - at) as usize).map_err(fault)?;
        let mut header = PageHeader::default();
        let walked = walk(&bytes, PAGE_HEADER, &mut |path, number| {
            match path {
                [1] => header.is_dictionary = number == 2,
                [2] => header.unpacked_bytes = number,
                [3] => header.packed_bytes = number,
                // Data page, dictionary page and data page of version 2.
                [5 | 7 | 8, 1] => header.n_values = number,
                [5 | 7, 2] | [8, 4] => header.encoding = number,
                _ => {}
            }
            Ok(())
        })?;
        if let Some(n_bytes) = walked {
            return Ok((header, n_bytes as u64));
        }
    }
    Err(fault(ParquetError::EOF("a page's header is cut off or longer than any".to_owned())))
}

impl PageHeader {
    fn check(&self, kind: Type) -> Result<(), Fault> {
        let Self { unpacked_bytes, packed_bytes, n_values, .. } = *self;
        if packed_bytes < 0 || unpacked_bytes < 0 || n_values < 0 {
            return Err(Fault::wrong("a page", "sizes of at least 0", "one below"));
        }
        let most = MAX_PAGE_BYTES.min(packed_bytes.max(SMALL_PAGE_BYTES).saturating_mul(MAX_PACKING));
        require_at_most(unpacked_bytes, most, "unpacked bytes of a page")?;
        // Values of a dictionary are stored one by one; a data page may repeat one.
        let value_bytes = if kind == Type::INT64 { 8 } else { 4 };
        let most = if self.is_dictionary { unpacked_bytes / value_bytes } else { MAX_VALUES };
        require_at_most(n_values, most, "values of a page")?;
        // Plain and the three of dictionaries and levels: what the usual writers do unless told otherwise.
        match self.encoding {
            0 | 2 | 3 | 8 => Ok(()),
            other => Err(Fault::wrong("a page", "plain or dictionary encoding; write the file without others", other)),
        }
    }
}

fn require_at_most(got: i64, most: i64, what: &str) -> Result<(), Fault> {
    if got > most {
        return Err(Fault::wrong("the metadata", format!("at most {most} {what}"), got));
    }
    Ok(())
}
