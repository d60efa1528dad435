//! Files of embeddings: `.npy` and `.safetensors` with one `[n, D]` array of f32, `.jsonl` with an object a picture.
//!
//! The first two have their rows at one place, so that a search maps them, and a list beside them ([`NamesHeader`], then
//! [`Name`]s, a line of JSON each) of what the rows are. How many rows there will be is known at the end alone: the header
//! has a fixed size and is written last.

use std::io::{self, Seek, SeekFrom, Write};

use selfie_model::EmbeddingAt;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{EvalError, Matrix};

#[cfg(test)]
mod tests;

/// The name of the array in a safetensors file.
const TENSOR: &str = "embeddings";
/// Room for either header, a multiple of 64 as numpy asks for.
const HEADER_BYTES: usize = 256;
const NPY_MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

/// How embeddings are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingFormat {
    /// numpy's array file.
    Npy,
    /// safetensors, one tensor `embeddings`.
    Safetensors,
    /// An object a line: the picture's name and its embedding.
    JsonLines,
}

impl EmbeddingFormat {
    /// The format of a file by the end of its name: `.npy`, `.safetensors`, `.jsonl`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1 {
            "npy" => Some(Self::Npy),
            "safetensors" => Some(Self::Safetensors),
            "jsonl" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

/// The first line of the list beside an array: how it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamesHeader {
    /// The weights file, absolute; relative in lists of older programs.
    pub weights: String,
    /// BLAKE3 of the weights file, hexadecimal.
    pub weights_hash: String,
    /// Where in the network the embeddings were read.
    pub at: EmbeddingAt,
    /// The number type they were computed in, as in a run's record.
    #[serde(default = "f32_of_older_lists")]
    pub dtype: String,
    /// Numbers in an embedding.
    pub width: usize,
    /// Rows.
    pub n_rows: usize,
    /// What the names are names in.
    pub source: NamesSource,
}

fn f32_of_older_lists() -> String {
    "f32".to_owned()
}

/// What names are names in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamesSource {
    /// Files; relative names count from this folder.
    Files {
        /// Absolute.
        folder: String,
    },
    /// A split of a data set, whose pictures are numbered.
    Set {
        /// The set's name.
        set: String,
        /// Its folder; `None` where it was found without one.
        dir: Option<String>,
        /// `train` or `test`.
        split: String,
    },
}

/// A line of the list beside an array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The picture's number in its source.
    pub picture: usize,
    /// Its name there.
    pub name: String,
    /// Its class, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// Writes an array row by row.
#[derive(Debug)]
pub struct ArrayWriter<W> {
    out: W,
    format: EmbeddingFormat,
    width: usize,
    n_rows: usize,
}

impl<W: Write + Seek> ArrayWriter<W> {
    /// Begins an array of rows of `width` numbers.
    ///
    /// # Errors
    ///
    /// If `out` cannot be written.
    pub fn new(mut out: W, format: EmbeddingFormat, width: usize) -> io::Result<Self> {
        if format != EmbeddingFormat::JsonLines {
            out.write_all(&[0; HEADER_BYTES])?;
        }
        Ok(Self { out, format, width, n_rows: 0 })
    }

    /// Appends a row of the picture `name`.
    ///
    /// # Errors
    ///
    /// If `out` cannot be written.
    pub fn add(&mut self, name: &Name, row: &[f32]) -> io::Result<()> {
        self.n_rows += 1;
        if self.format == EmbeddingFormat::JsonLines {
            let Name { name, class, .. } = name;
            let line = json!({ "image": name, "class": class, "embedding": row });
            return writeln!(self.out, "{line}");
        }
        let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.out.write_all(&bytes)
    }

    /// Writes the header and returns what was written to, and the number of rows.
    ///
    /// # Errors
    ///
    /// If `out` cannot be written.
    pub fn finish(mut self) -> io::Result<(W, usize)> {
        let header = match self.format {
            EmbeddingFormat::Npy => npy_header(self.n_rows, self.width),
            EmbeddingFormat::Safetensors => safetensors_header(self.n_rows, self.width),
            EmbeddingFormat::JsonLines => return Ok((self.out, self.n_rows)),
        };
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&header)?;
        Ok((self.out, self.n_rows))
    }
}

fn npy_header(n_rows: usize, width: usize) -> Vec<u8> {
    let mut header = NPY_MAGIC.to_vec();
    header.extend(((HEADER_BYTES - NPY_MAGIC.len() - 2) as u16).to_le_bytes());
    header.extend(format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n_rows}, {width}), }}").bytes());
    header.resize(HEADER_BYTES - 1, b' ');
    header.push(b'\n');
    header
}

fn safetensors_header(n_rows: usize, width: usize) -> Vec<u8> {
    let array = json!({ "dtype": "F32", "shape": [n_rows, width], "data_offsets": [0, 4 * n_rows * width] });
    let mut header = ((HEADER_BYTES - 8) as u64).to_le_bytes().to_vec();
    header.extend(json!({ TENSOR: array }).to_string().bytes());
    header.resize(HEADER_BYTES, b' ');
    header
}

/// The array in the bytes of a `.npy` or `.safetensors` file; `what` names the file in messages. Files of other programs
/// are taken too: two-dimensional, f32, in C order, and in safetensors the tensor `embeddings` or the only one.
///
/// # Errors
///
/// [`EvalError::Embeddings`] if there is no such array.
pub fn array_of<'a>(bytes: &'a [u8], what: &str) -> Result<Matrix<'a>, EvalError> {
    let wrong = |expected: &str, got: String| EvalError::Embeddings {
        what: what.to_owned(),
        expected: expected.to_owned(),
        got,
    };
    let (shape, data) = match bytes.strip_prefix(b"\x93NUMPY") {
        Some(_) => npy_array(bytes).map_err(|got| wrong("a numpy array file of f32 in C order", got))?,
        None => safetensors_array(bytes).map_err(|got| wrong("a .npy or .safetensors file of f32", got))?,
    };
    let [n_rows, width] = shape[..] else { return Err(wrong("an array of two dimensions", format!("{shape:?}"))) };
    let n_bytes = n_rows.checked_mul(width).and_then(|n| n.checked_mul(4));
    if n_bytes != Some(data.len()) || n_rows == 0 {
        let expected = format!("{n_rows} × {width} numbers of four bytes, at least one");
        return Err(wrong(&expected, format!("{} bytes", data.len())));
    }
    Matrix::of_bytes(data, width)
}

/// Shape and numbers; the error says what was found.
fn npy_array(bytes: &[u8]) -> Result<(Vec<usize>, &[u8]), String> {
    let cut = || "a file that is cut off".to_owned();
    let (start, len) = match bytes.get(6).ok_or_else(cut)? {
        1 => (10, bytes.get(8..10).map(|len| usize::from(u16::from_le_bytes([len[0], len[1]])))),
        _ => (12, bytes.get(8..12).map(|len| u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize)),
    };
    let end = start + len.ok_or_else(cut)?;
    let header = std::str::from_utf8(bytes.get(start..end).ok_or_else(cut)?).map_err(|error| error.to_string())?;
    let value = |key: &str| header.split_once(&format!("'{key}':")).map(|(_, after)| after.trim_start());
    let shape = value("shape").and_then(|shape| shape.strip_prefix('(')?.split_once(')')).map(|(shape, _)| shape);
    let sizes = shape.unwrap_or_default().split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape: Option<Vec<usize>> = sizes.map(|size| size.parse().ok()).collect();
    let fits = value("descr").is_some_and(|descr| descr.starts_with("'<f4'"))
        && value("fortran_order").is_some_and(|order| order.starts_with("False"));
    match shape {
        Some(shape) if fits => Ok((shape, &bytes[end..])),
        _ => Err(header.trim().to_owned()),
    }
}

fn safetensors_array(bytes: &[u8]) -> Result<(Vec<usize>, &[u8]), String> {
    let file = safetensors::SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let names = file.names();
    let name = if names.len() == 1 { names[0] } else { TENSOR };
    let tensor = file.tensor(name).map_err(|error| error.to_string())?;
    if tensor.dtype() != safetensors::Dtype::F32 {
        return Err(format!("tensor `{name}` of {:?}", tensor.dtype()));
    }
    Ok((tensor.shape().to_vec(), tensor.data()))
}
