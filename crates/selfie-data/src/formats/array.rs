//! The few number types that arrays of images and labels have, and their bytes.

use super::Fault;

/// A number type, little-endian where it has more than one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NumberType {
    /// Bytes of a number.
    pub(crate) bytes: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unsigned,
    Signed,
    Float,
}

impl NumberType {
    /// Of a name as numpy writes it: `u1`, `|u1`, `<i8`. Big-endian numbers and every other type are refused.
    pub(crate) fn parse(part: &str, name: &str) -> Result<Self, Fault> {
        let refused = || Fault::wrong(part, "a number type of u1, u2, u4, u8, i1, i2, i4, i8, f4, f8", name);
        let bare = name.strip_prefix(['|', '<', '=']).unwrap_or(name);
        let (kind, size) = bare.split_at_checked(1).ok_or_else(refused)?;
        let kind = match kind {
            "u" => Kind::Unsigned,
            "i" => Kind::Signed,
            "f" => Kind::Float,
            _ => return Err(refused()),
        };
        let bytes = match (kind, size) {
            (Kind::Unsigned | Kind::Signed, "1") => 1,
            (Kind::Unsigned | Kind::Signed, "2") => 2,
            (_, "4") => 4,
            (_, "8") => 8,
            _ => return Err(refused()),
        };
        Ok(Self { bytes, kind })
    }

    /// Whether it is the type of pixels.
    pub(crate) fn is_u8(self) -> bool {
        self == Self { bytes: 1, kind: Kind::Unsigned }
    }

    /// The whole numbers in `bytes`.
    pub(crate) fn integers(self, part: &str, bytes: &[u8]) -> Result<Vec<i64>, Fault> {
        if self.kind == Kind::Float {
            return Err(Fault::wrong(part, "whole numbers", "floats"));
        }
        let sign_bit = 8 * self.bytes - 1;
        let number = |bytes: &[u8]| {
            let mut wide = [0; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            let value = u64::from_le_bytes(wide);
            let negative = self.kind == Kind::Signed && value >> sign_bit & 1 == 1;
            // Above the sign bit, a negative number's bits are all 1.
            if negative && sign_bit < 63 { (value | u64::MAX << (sign_bit + 1)) as i64 } else { value as i64 }
        };
        Ok(bytes.chunks_exact(self.bytes).map(number).collect())
    }
}
