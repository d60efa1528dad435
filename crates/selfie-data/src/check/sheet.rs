//! A picture of a data set: some images of every class, a row a class.

use std::io;
use std::path::Path;

use image::{ImageError, RgbImage};

use crate::decode::Rgb;
use crate::{DataError, Images, N_CHANNELS};

const N_COLUMNS: usize = 16;
const MAX_ROWS: usize = 40;
const MAX_TILE: usize = 64;
const GAP: usize = 2;

/// Writes the picture as a PNG file: of at most forty classes, evenly spaced, up to sixteen images each; of a set without
/// classes, rows of evenly spaced images.
///
/// # Errors
///
/// If the file cannot be written.
pub fn contact_sheet(images: &Images, path: &Path) -> Result<(), DataError> {
    let rows = rows(images);
    let tile = images.side().min(MAX_TILE);
    let (width, height) = (N_COLUMNS * (tile + GAP) + GAP, rows.len() * (tile + GAP) + GAP);
    let mut sheet = vec![0x20; width * height * N_CHANNELS];
    for (row, examples) in rows.iter().enumerate() {
        for (column, &example) in examples.iter().enumerate() {
            // A bad sample leaves its place dark.
            let Ok(pixels) = images.image(example) else { continue };
            let image = Rgb { width: images.side(), height: images.side(), pixels };
            let mut small = vec![0; tile * tile * N_CHANNELS];
            image.square(tile, &mut small)?;
            let (top, left) = (GAP + row * (tile + GAP), GAP + column * (tile + GAP));
            for (y, line) in small.chunks_exact(tile * N_CHANNELS).enumerate() {
                let start = ((top + y) * width + left) * N_CHANNELS;
                sheet[start..start + line.len()].copy_from_slice(line);
            }
        }
    }
    let failed = |source| DataError::Write { path: path.to_owned(), source };
    let sheet = RgbImage::from_raw(width as u32, height as u32, sheet);
    let sheet = sheet.ok_or_else(|| failed(io::Error::other("the sheet's size is wrong")))?;
    sheet.save_with_format(path, image::ImageFormat::Png).map_err(|error| match error {
        ImageError::IoError(source) => failed(source),
        other => failed(io::Error::other(other)),
    })
}

/// The examples of each row.
fn rows(images: &Images) -> Vec<Vec<usize>> {
    if images.n_classes() < 2 {
        let n = images.len().min(N_COLUMNS * N_COLUMNS);
        let examples: Vec<usize> = (0..n).map(|i| i * images.len() / n).collect();
        return examples.chunks(N_COLUMNS).map(<[usize]>::to_vec).collect();
    }
    let mut classes = vec![Vec::new(); images.n_classes()];
    for (idx, &label) in images.labels().iter().enumerate() {
        classes[usize::from(label)].push(idx);
    }
    classes.retain(|class| !class.is_empty());
    let n_rows = classes.len().min(MAX_ROWS);
    let row = |i: usize| {
        let class = &classes[i * classes.len() / n_rows];
        let n = class.len().min(N_COLUMNS);
        (0..n).map(|column| class[column * class.len() / n]).collect()
    };
    (0..n_rows).map(row).collect()
}
