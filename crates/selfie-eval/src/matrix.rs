//! Embeddings as rows of numbers, in memory or in a mapped file.

use std::ops::Range;

use crate::EvalError;

/// Rows of `width` numbers each.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    rows: Rows<'a>,
    width: usize,
}

#[derive(Clone, Copy, Debug)]
enum Rows<'a> {
    Numbers(&'a [f32]),
    /// Little-endian, wherever they lie.
    Bytes(&'a [[u8; 4]]),
}

impl<'a> Matrix<'a> {
    /// Rows in memory.
    ///
    /// # Errors
    ///
    /// If the numbers are no whole rows.
    pub fn new(numbers: &'a [f32], width: usize) -> Result<Self, EvalError> {
        Self { rows: Rows::Numbers(numbers), width }.checked(numbers.len())
    }

    /// Rows of little-endian f32 numbers, as files hold them.
    ///
    /// # Errors
    ///
    /// If the bytes are no whole rows.
    pub fn of_bytes(bytes: &'a [u8], width: usize) -> Result<Self, EvalError> {
        let (numbers, rest) = bytes.as_chunks::<4>();
        let matrix = Self { rows: Rows::Bytes(numbers), width };
        if rest.is_empty() { matrix.checked(numbers.len()) } else { Err(matrix.misfit(numbers.len())) }
    }

    fn checked(self, n_numbers: usize) -> Result<Self, EvalError> {
        if self.width == 0 || !n_numbers.is_multiple_of(self.width) { Err(self.misfit(n_numbers)) } else { Ok(self) }
    }

    fn misfit(&self, got: usize) -> EvalError {
        EvalError::Rows { width: self.width, got }
    }

    /// Numbers of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many rows there are.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        match self.rows {
            Rows::Numbers(numbers) => numbers.len() / self.width,
            Rows::Bytes(numbers) => numbers.len() / self.width,
        }
    }

    /// Calls `take` with each row.
    pub(crate) fn each(&self, mut take: impl FnMut(&[f32])) {
        match self.rows {
            Rows::Numbers(numbers) => numbers.chunks_exact(self.width).for_each(take),
            Rows::Bytes(numbers) => {
                let mut row = Vec::with_capacity(self.width);
                for bytes in numbers.chunks_exact(self.width) {
                    row.clear();
                    row.extend(bytes.iter().map(|&bytes| f32::from_le_bytes(bytes)));
                    take(&row);
                }
            }
        }
    }

    /// Appends some rows to `out`, each divided by its length; a row of zeros stays one.
    pub(crate) fn append_normalised(&self, rows: Range<usize>, out: &mut Vec<f32>) {
        for row in rows {
            let start = out.len();
            let place = row * self.width..(row + 1) * self.width;
            match self.rows {
                Rows::Numbers(numbers) => out.extend_from_slice(&numbers[place]),
                Rows::Bytes(numbers) => out.extend(numbers[place].iter().map(|&bytes| f32::from_le_bytes(bytes))),
            }
            normalise(&mut out[start..]);
        }
    }
}

/// Divides a row by its length. Sums by eight lanes, in one order on every machine.
fn normalise(row: &mut [f32]) {
    let (lanes, rest) = row.as_chunks::<8>();
    let mut sums = [0f32; 8];
    for lane in lanes {
        for (sum, value) in sums.iter_mut().zip(lane) {
            *sum += value * value;
        }
    }
    let length = (sums.iter().sum::<f32>() + rest.iter().map(|value| value * value).sum::<f32>()).sqrt();
    if length > 0.0 {
        let scale = 1.0 / length;
        row.iter_mut().for_each(|value| *value *= scale);
    }
}
