//! Bytes that Python 3 wrote as text.

use std::io::{self, BufRead, BufReader, Read};

/// The bytes whose numbers are the characters of a UTF-8 text, all below 256.
pub(super) struct Latin1<R> {
    text: BufReader<R>,
}

impl<R: Read> Latin1<R> {
    pub(super) fn new(text: R) -> Self {
        Self { text: BufReader::new(text) }
    }

    fn next(&mut self) -> io::Result<Option<u8>> {
        let Some(first) = self.byte()? else { return Ok(None) };
        match first {
            0x00..=0x7f => Ok(Some(first)),
            // 110000xx 10xxxxxx are the characters 128 to 255.
            0xc2 | 0xc3 => match self.byte()? {
                Some(second @ 0x80..=0xbf) => Ok(Some(first << 6 | second & 0x3f)),
                _ => Err(invalid()),
            },
            _ => Err(invalid()),
        }
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        let byte = self.text.fill_buf()?.first().copied();
        self.text.consume(usize::from(byte.is_some()));
        Ok(byte)
    }
}

impl<R: Read> Read for Latin1<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for (n_read, place) in buffer.iter_mut().enumerate() {
            match self.next()? {
                Some(byte) => *place = byte,
                None => return Ok(n_read),
            }
        }
        Ok(buffer.len())
    }
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a byte that is no Latin-1 character")
}
