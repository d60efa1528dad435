//! Thrift's compact protocol, as far as it takes to look at the numbers in a message before another library believes
//! them. Nothing is kept: a message of any size is walked in constant memory.

use super::Fault;

/// Structs and lists inside of each other.
const MAX_DEPTH: usize = 16;
/// The format has numbers below 20.
const MAX_FIELD: i64 = 256;

/// Called with the field numbers that lead to a number, or to a list in the place of which its length is given. Elements
/// of a list have its field numbers.
pub(crate) type Visit<'a> = dyn FnMut(&[i64], i64) -> Result<(), Fault> + 'a;

/// For the struct at each path, a letter for each of its fields from field 1 on: `i` an integer, `b` a boolean, `y` a byte,
/// `d` a double, `s` bytes, `m` a struct; a list of such in upper case.
///
/// A library that goes by a field's number reads what it expects there. Were it something else, it would go on at another
/// place than this walk.
pub(crate) type Kinds = [(&'static [i64], &'static str)];

/// Walks over the struct at the start of `bytes` and returns where it ends; nothing if `bytes` end before it does.
pub(crate) fn walk(bytes: &[u8], kinds: &'static Kinds, visit: &mut Visit<'_>) -> Result<Option<usize>, Fault> {
    let mut walker = Walker { bytes, at: 0, path: Vec::new(), kinds };
    let ended = walker.fields(visit)?;
    Ok(ended.map(|()| walker.at))
}

struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
    path: Vec<i64>,
    kinds: &'static Kinds,
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
            // The parquet crate cuts larger ones to 16 bits and takes them for others.
            if !(1..=MAX_FIELD).contains(&field) {
                return Err(Fault::wrong("the metadata", format!("fields 1 to {MAX_FIELD}"), field));
            }
            self.path.push(field);
            self.require_kind(byte & 15, false)?;
            // Booleans of a struct stand in the type itself.
            let walked = if byte & 15 <= 2 { Some(()) } else { self.value(byte & 15, visit)? };
            self.path.pop();
            there!(walked);
        }
    }

    /// Whether what stands at the path, or the elements of a list there, is what the library expects.
    fn require_kind(&self, kind: u8, is_element: bool) -> Result<(), Fault> {
        let Some((&field, above)) = self.path.split_last() else { return Ok(()) };
        let letters = self.kinds.iter().find(|(path, _)| *path == above).map_or("", |(_, letters)| letters);
        let letter = usize::try_from(field - 1).ok().and_then(|idx| letters.as_bytes().get(idx));
        let fits = match letter {
            None => true,
            Some(letter) if letter.is_ascii_uppercase() != is_element => !is_element && matches!(kind, 9 | 10),
            Some(letter) => match letter.to_ascii_lowercase() {
                b'i' => matches!(kind, 4..=6),
                b'b' => matches!(kind, 1 | 2),
                b'y' => kind == 3,
                b'd' => kind == 7,
                b's' => kind == 8,
                _ => kind == 12,
            },
        };
        if fits {
            return Ok(());
        }
        Err(Fault::wrong("the metadata", format!("another type in field {:?}", self.path), format!("type {kind}")))
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
        if len > 0 {
            self.require_kind(byte & 15, true)?;
        }
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
    use super::{Kinds, walk};

    const KINDS: &Kinds = &[(&[], "iSm"), (&[3], "b")];

    fn walked(bytes: &[u8]) -> Result<Option<usize>, String> {
        walk(bytes, KINDS, &mut |_, _| Ok(())).map_err(|fault| format!("{fault:?}"))
    }

    #[test]
    fn a_list_of_booleans_is_refused_whatever_its_length() {
        // Field 4: a list of three booleans; of two thousand million; of three bytes.
        for bytes in [&[0x49, 0x31, 1, 1, 1, 0][..], &[0x49, 0xf2, 0xff, 0xff, 0xff, 0xff, 7, 0]] {
            let error = walked(bytes).unwrap_err();
            assert!(error.contains("no list of booleans"), "{error}");
        }
        assert_eq!(walked(&[0x49, 0x33, 1, 1, 1, 0]), Ok(Some(6)));
    }

    #[test]
    fn fields_and_elements_have_the_type_that_is_read_there() {
        // An integer, a list of one empty text, a struct of one boolean.
        assert_eq!(walked(&[0x15, 2, 0x19, 0x18, 0, 0x1c, 0x11, 0, 0]), Ok(Some(9)));
        // A boolean for the integer; a struct for the list; a list of integers; a byte for the boolean.
        for bytes in [&[0x11, 0][..], &[0x2c, 0, 0], &[0x29, 0x15, 2, 0], &[0x3c, 0x13, 1, 0, 0]] {
            let error = walked(bytes).unwrap_err();
            assert!(error.contains("another type in field"), "{error}");
        }
        // Field 65537, which 16 bits take for field 1.
        assert!(walked(&[0x05, 0x82, 0x80, 0x08, 2, 0]).unwrap_err().contains("fields 1 to 256"));
    }
}
