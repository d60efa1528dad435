//! Checksums as publishers give them.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use md5::{Digest, Md5};
use sha2::Sha256;

use crate::DataError;

const BUFFER_BYTES: usize = 1 << 20;

/// What a file's bytes must hash to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    /// Hexadecimal, lower case.
    hex: String,
}

/// MD5 tells a damaged file, not a forged one; it is what the oldest sets are published with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha256,
    Blake3,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Md5, Self::Sha256, Self::Blake3];

    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
            Self::Blake3 => "blake3",
        }
    }

    fn n_digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha256 | Self::Blake3 => 64,
        }
    }

    fn of(self, file: File) -> io::Result<String> {
        match self {
            Self::Md5 => digest::<Md5>(file),
            Self::Sha256 => digest::<Sha256>(file),
            Self::Blake3 => Ok(blake3::Hasher::new().update_reader(file)?.finalize().to_hex().to_string()),
        }
    }
}

fn digest<D: Digest>(mut file: File) -> io::Result<String> {
    let (mut digest, mut buffer) = (D::new(), vec![0; BUFFER_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => digest.update(&buffer[..n]),
        }
    }
}

impl Checksum {
    pub(super) fn md5(hex: &str) -> Self {
        Self { algorithm: Algorithm::Md5, hex: hex.to_owned() }
    }

    /// Refuses a file of other bytes.
    pub(crate) fn require(&self, path: &Path) -> Result<(), DataError> {
        let hashed = File::open(path).and_then(|file| self.algorithm.of(file));
        let hex = hashed.map_err(|source| DataError::io("reading", path, source))?;
        if hex == self.hex {
            return Ok(());
        }
        let (path, got) = (path.to_owned(), Self { hex, ..self.clone() }.to_string());
        Err(DataError::Checksum { path, expected: self.to_string(), got })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl FromStr for Checksum {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let parsed = text.split_once(':').and_then(|(name, hex)| {
            let algorithm = Algorithm::ALL.into_iter().find(|algorithm| name.eq_ignore_ascii_case(algorithm.name()))?;
            let is_hex = hex.len() == algorithm.n_digits() && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_hex.then(|| Self { algorithm, hex: hex.to_lowercase() })
        });
        let expected = "md5: and 32, or sha256: or blake3: and 64 hexadecimal digits";
        parsed.ok_or_else(|| DataError::setting("--checksum", expected, text))
    }
}
