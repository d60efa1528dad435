//! CIFAR-10 from the Hugging Face hub's parquet files, whose images are PNG files. `candle_datasets` finds and downloads
//! the files; its own decoder is not used, because it swaps rows and columns.

use std::fs::File;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use candle_datasets::hub::from_hub;
use hf_hub::HFClientSync;
use image::{ImageFormat, ImageReader, Limits};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Row, RowAccessor};
use rayon::prelude::*;

use crate::cifar::CLASS_NAMES;
use crate::{DataError, DataSet, Images, N_CHANNELS};

#[cfg(test)]
mod tests;

const SET: &str = "uoft-cs/cifar10";
const SIDE: usize = 32;
const IMAGE_BYTES: usize = SIDE * SIDE * N_CHANNELS;
const N_TRAIN: i64 = 50_000;
const N_TEST: i64 = 10_000;

/// Downloads CIFAR-10 from the hub, or takes it from the hub client's cache, and decodes it.
///
/// # Errors
///
/// If the hub cannot be reached, if it does not hold one file of 50,000 and one of 10,000 rows, or if a row is wrong.
pub fn cifar10() -> Result<DataSet, DataError> {
    let failed = |action, reason: String| DataError::Hub { set: SET.to_owned(), action, reason };
    let client = HFClientSync::new().map_err(|error| failed("starting the client", error.to_string()))?;
    let files = from_hub(&client, SET.to_owned()).map_err(|error| failed("downloading", error.to_string()))?;
    // The hub gives readers without names; the official splits differ in size.
    let with_rows = |n_rows| {
        let is_it = |file: &&SerializedFileReader<File>| file.metadata().file_metadata().num_rows() == n_rows;
        files.iter().find(is_it).ok_or_else(|| failed("reading", format!("no parquet file of {n_rows} rows")))
    };
    Ok(DataSet {
        name: "cifar10".to_owned(),
        train: Arc::new(decode(&format!("{SET}, training split"), with_rows(N_TRAIN)?)?),
        test: Arc::new(decode(&format!("{SET}, test split"), with_rows(N_TEST)?)?),
    })
}

/// Decodes a parquet file of the hub's CIFAR-10 that is already here.
///
/// # Errors
///
/// If it cannot be read, is no parquet file, or a row is not a group with the bytes of a 32 × 32 PNG image and a label
/// of 0 to 9.
pub fn read_parquet(path: &Path) -> Result<Images, DataError> {
    let file = File::open(path).map_err(|source| DataError::io("opening", path, source))?;
    let name = path.display().to_string();
    let reader =
        SerializedFileReader::new(file).map_err(|error| row_error(&name, 0, "a parquet file", error.to_string()))?;
    decode(&name, &reader)
}

/// `name`: what messages call the file.
fn decode(name: &str, file: &SerializedFileReader<File>) -> Result<Images, DataError> {
    let rows = file.get_row_iter(None).map_err(|error| row_error(name, 0, "rows", error.to_string()))?;
    let mut encoded = Vec::new();
    let mut labels = Vec::new();
    for (row_idx, row) in rows.enumerate() {
        let row = row.map_err(|error| row_error(name, row_idx, "a row", error.to_string()))?;
        let (png, label) = image_and_label(&row).map_err(|error| {
            row_error(name, row_idx, "columns `img` (`bytes`, `path`) and `label`", error.to_string())
        })?;
        let class = u16::try_from(label).ok().filter(|&class| usize::from(class) < CLASS_NAMES.len());
        labels.push(class.ok_or_else(|| row_error(name, row_idx, "a label of 0 to 9", label.to_string()))?);
        encoded.push(png);
    }
    let mut pixels = vec![0; encoded.len() * IMAGE_BYTES];
    let decode_row = |(row_idx, (out, png)): (usize, (&mut [u8], &Vec<u8>))| {
        let image = decode_png(png).map_err(|got| row_error(name, row_idx, "a 32 × 32 PNG image", got))?;
        out.copy_from_slice(&image);
        Ok(())
    };
    pixels.par_chunks_exact_mut(IMAGE_BYTES).zip(&encoded).enumerate().map(decode_row).collect::<Result<(), _>>()?;
    Images::new(SIDE, pixels, labels, CLASS_NAMES.map(str::to_owned).to_vec())
}

fn image_and_label(row: &Row) -> Result<(Vec<u8>, i64), parquet::errors::ParquetError> {
    Ok((row.get_group(0)?.get_bytes(0)?.data().to_vec(), row.get_long(1)?))
}

/// The pixels, `[H, W, C]`: the order in which the decoder gives them, row by row.
fn decode_png(png: &[u8]) -> Result<Vec<u8>, String> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE as u32);
    limits.max_image_height = Some(SIDE as u32);
    let mut reader = ImageReader::with_format(Cursor::new(png), ImageFormat::Png);
    reader.limits(limits);
    let image = reader.decode().map_err(|error| error.to_string())?.into_rgb8();
    if image.dimensions() != (SIDE as u32, SIDE as u32) {
        return Err(format!("{} × {} pixels", image.width(), image.height()));
    }
    Ok(image.into_raw())
}

fn row_error(file: &str, row_idx: usize, expected: &str, got: String) -> DataError {
    DataError::ParquetRow { file: file.to_owned(), row_idx, expected: expected.to_owned(), got }
}
