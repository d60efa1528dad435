//! The header of a numpy array file.

use std::io::Read;

use super::super::Fault;
use super::super::array::NumberType;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Real headers have about a hundred bytes.
const MAX_HEADER_BYTES: u32 = 4096;
const MAX_DIMENSIONS: usize = 8;

/// What an array file says of its numbers, which follow in C order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the header itself.
    header_bytes: u64,
    pub(super) number_type: NumberType,
    pub(super) shape: Vec<u64>,
}

impl Header {
    /// Reads a header and leaves the reader at the first number. `part` is what errors call the file.
    pub(super) fn read(part: &str, reader: &mut impl Read) -> Result<Self, Fault> {
        let mut start = [0; 8];
        reader.read_exact(&mut start)?;
        let Some(&[major, _]) = start.strip_prefix(MAGIC) else {
            return Err(Fault::wrong(part, "a numpy array file", "other bytes at its beginning"));
        };
        let len = match major {
            1 => {
                let mut len = [0; 2];
                reader.read_exact(&mut len)?;
                u32::from(u16::from_le_bytes(len))
            }
            2 | 3 => {
                let mut len = [0; 4];
                reader.read_exact(&mut len)?;
                u32::from_le_bytes(len)
            }
            _ => return Err(Fault::wrong(part, "version 1, 2 or 3 of the array format", major)),
        };
        if len > MAX_HEADER_BYTES {
            return Err(Fault::wrong(part, format!("a header of at most {MAX_HEADER_BYTES} bytes"), len));
        }
        let mut header = vec![0; len as usize];
        reader.read_exact(&mut header)?;
        let header_bytes = u64::from(len) + if major == 1 { 10 } else { 12 };
        Ok(Self { header_bytes, ..Self::parse(part, &String::from_utf8_lossy(&header))? })
    }

    /// Of `{'descr': '|u1', 'fortran_order': False, 'shape': (10, 3072), }`.
    fn parse(part: &str, text: &str) -> Result<Self, Fault> {
        let value = |key: &str| {
            let after = text.split_once(&format!("'{key}':")).map(|(_, after)| after.trim_start());
            after.ok_or_else(|| Fault::wrong(part, format!("a header with '{key}'"), text.trim()))
        };
        let descr = value("descr")?;
        let name = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map(|(name, _)| name);
        let name = name.ok_or_else(|| Fault::wrong(part, "one number type", descr.trim()))?;
        if !value("fortran_order")?.starts_with("False") {
            return Err(Fault::wrong(part, "an array in C order", "Fortran order"));
        }
        let shape = value("shape")?;
        let inner = shape.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(inner, _)| inner);
        let wrong_shape = || Fault::wrong(part, format!("a shape of at most {MAX_DIMENSIONS} sizes"), shape.trim());
        let sizes = inner.ok_or_else(wrong_shape)?.split(',').map(str::trim).filter(|size| !size.is_empty());
        let shape: Vec<u64> = sizes.map(|size| size.parse().ok()).collect::<Option<_>>().ok_or_else(wrong_shape)?;
        if shape.len() > MAX_DIMENSIONS {
            return Err(wrong_shape());
        }
        Ok(Self { header_bytes: 0, number_type: NumberType::parse(part, name)?, shape })
    }

    /// Bytes of the whole file; none if that is no size at all.
    pub(super) fn n_bytes(&self) -> Option<u64> {
        let numbers = self.shape.iter().try_fold(self.number_type.bytes as u64, |bytes, &size| bytes.checked_mul(size));
        numbers?.checked_add(self.header_bytes)
    }
}
