//! Thrift's compact protocol, as far as it takes to look at the numbers in a message before another library believes
//! them. Nothing is kept: a message of any size is walked in constant memory.

use super::Fault;

/// Structs and lists inside of each other.
const MAX_DEPTH: usize = 16;

/// Called with the field numbers that lead to a number, or to a list in the place of which its length is given. Elements
/// of a list have its field numbers.
pub(crate) type Visit<'a> = dyn FnMut(&[i64], i64) -> Result<(), Fault> + 'a;

/// Walks over the struct at the start of `bytes` and returns where it ends; nothing if `bytes` end before it does.
pub(crate) fn walk(bytes: &[u8], visit: &mut Visit<'_>) -> Result<Option<usize>, Fault> {
    let mut walker = Walker { bytes, at: 0, path: Vec::new() };
    let ended = walker.fields(visit)?;
    Ok(ended.map(|()| walker.at))
}

struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
    path: Vec<i64>,
}

/// Nothing where the bytes end.
type Walked<T> = Result<Option<T>, Fault>;

/// Goes on with what there is, or ends where the bytes do.
macro_rules! there {
    ($walked:expr) => {
        match $walked {
            Some(value) => value,
            None => return Ok(None),
        }
    };
}

impl Walker<'_> {
    fn fields(&mut self, visit: &mut Visit<'_>) -> Walked<()> {
        if self.path.len() >= MAX_DEPTH {
            return Err(Fault::wrong("the metadata", format!("at most {MAX_DEPTH} levels"), "more"));
        }
        let mut field = 0_i64;
        loop {
            let byte = there!(self.byte());
            if byte == 0 {
                return Ok(Some(()));
            }
            field = match byte >> 4 {
                0 => there!(self.number()?),
                delta => field + i64::from(delta),
            };
            self.path.push(field);
            // Booleans of a struct stand in the type itself.
            let walked = if byte & 15 <= 2 { Some(()) } else { self.value(byte & 15, visit)? };
            self.path.pop();
            there!(walked);
        }
    }

    fn value(&mut self, kind: u8, visit: &mut Visit<'_>) -> Walked<()> {
        match kind {
            3 => Ok(self.skip(1)),
            4..=6 => {
                let number = there!(self.number()?);
                visit(&self.path, number).map(Some)
            }
            7 => Ok(self.skip(8)),
            8 => {
                let len = there!(self.varint()?);
                Ok(usize::try_from(len).ok().and_then(|len| self.skip(len)))
            }
            9 | 10 => self.list(visit),
            12 => self.fields(visit),
            _ => Err(Fault::wrong("the metadata", "a type that parquet uses", kind)),
        }
    }

    fn list(&mut self, visit: &mut Visit<'_>) -> Walked<()> {
        let byte = there!(self.byte());
        let len = match byte >> 4 {
            15 => there!(self.varint()?),
            len => u64::from(len),
        };
        visit(&self.path, i64::try_from(len).unwrap_or(i64::MAX))?;
        if matches!(byte & 15, 1 | 2) {
            // The parquet crate takes their elements for nothing, and would count to any length, and read on elsewhere.
            return Err(Fault::wrong("the metadata", "no list of booleans", "one"));
        }
        // An element has at least a byte.
        if len > (self.bytes.len() - self.at) as u64 {
            return Ok(None);
        }
        for _ in 0..len {
            there!(self.value(byte & 15, visit)?);
        }
        Ok(Some(()))
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn skip(&mut self, len: usize) -> Option<()> {
        self.at = self.at.checked_add(len).filter(|&at| at <= self.bytes.len())?;
        Some(())
    }

    fn varint(&mut self) -> Walked<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = there!(self.byte());
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(Some(value));
            }
        }
        Err(Fault::wrong("the metadata", "a number of 64 bits", "a longer one"))
    }

    /// A signed number.
    fn number(&mut self) -> Walked<i64> {
        Ok(self.varint()?.map(|zigzag| (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)))
    }
}

#[cfg(test)]
mod tests {
    use super::walk;

    #[test]
    fn a_list_of_booleans_is_refused_whatever_its_length() {
        // Field 1: a list of three booleans; of two thousand million.
        for bytes in [&[0x19, 0x31, 1, 1, 1, 0][..], &[0x19, 0xf2, 0xff, 0xff, 0xff, 0xff, 7, 0]] {
            let error = walk(bytes, &mut |_, _| Ok(())).err().map(|fault| format!("{fault:?}")).unwrap_or_default();
            assert!(error.contains("no list of booleans"), "{error}");
        }
        assert_eq!(walk(&[0x19, 0x33, 1, 1, 1, 0], &mut |_, _| Ok(())).ok().flatten(), Some(6), "of bytes");
    }
}
