//! Downsampled ImageNet (Chrabaszcz et al. 2017) as it is published: rows of planes with labels from 1 on, in batches of
//! npz archives or of Python pickles. They are read row by row.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use crate::cifar::interleave;
use crate::formats::{Rows, npz, pickle};
use crate::{DataError, N_CHANNELS};

#[cfg(test)]
mod tests;

/// The set has ten batches.
const MAX_BATCHES: usize = 100;
const N_CLASSES: usize = 1000;
const BUFFER_BYTES: usize = 1 << 20;

/// The batches of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Downsampled {
    train: Vec<PathBuf>,
    test: Vec<PathBuf>,
    /// Height and width in pixels.
    pub(crate) side: usize,
}

impl Downsampled {
    /// Finds the batches in a folder: `train_data_batch_1` and on, `val_data`, with or without `.npz`; none if there is
    /// no such file.
    pub(crate) fn find(folder: &Path) -> Option<Result<Self, DataError>> {
        ["", ".npz"].into_iter().find_map(|end| {
            let batches = (1..=MAX_BATCHES).map(|batch| folder.join(format!("train_data_batch_{batch}{end}")));
            let train: Vec<PathBuf> = batches.take_while(|path| path.is_file()).collect();
            let test = folder.join(format!("val_data{end}"));
            let test = if test.is_file() { vec![test] } else { Vec::new() };
            (!train.is_empty()).then(|| Self::with_side(train, test))
        })
    }

    fn with_side(train: Vec<PathBuf>, test: Vec<PathBuf>) -> Result<Self, DataError> {
        let path = &train[0];
        let row_bytes = open(path)?.row_bytes;
        let side = (row_bytes / N_CHANNELS).isqrt();
        if side * side * N_CHANNELS != row_bytes {
            return Err(DataError::malformed(path, "data", "rows of square RGB images", format!("{row_bytes} bytes")));
        }
        Ok(Self { train, test, side })
    }

    /// The batches of a split.
    fn batches(&self, is_train: bool) -> &[PathBuf] {
        if is_train { &self.train } else { &self.test }
    }

    /// How many images a split has.
    pub(crate) fn n_images(&self, is_train: bool) -> Result<u64, DataError> {
        self.batches(is_train).iter().map(|path| Ok(open(path)?.labels.len() as u64)).sum()
    }

    /// The official numbers of all classes, whether they occur or not.
    pub(crate) fn class_names() -> Vec<String> {
        (1..=N_CLASSES).map(|class| format!("{class:04}")).collect()
    }

    /// Gives every image of a split, `[H, W, C]`, and its class, in the files' order.
    pub(crate) fn read(
        &self,
        is_train: bool,
        mut take: impl FnMut(&[u8], u16) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let image_bytes = self.side * self.side * N_CHANNELS;
        let (mut planes, mut image) = (vec![0; image_bytes], vec![0; image_bytes]);
        for path in self.batches(is_train) {
            let mut rows = open(path)?;
            if rows.row_bytes != image_bytes {
                let (expected, got) = (format!("rows of {image_bytes} bytes"), rows.row_bytes.to_string());
                return Err(DataError::malformed(path, "data", expected, got));
            }
            for (row_idx, label) in std::mem::take(&mut rows.labels).into_iter().enumerate() {
                rows.read(&mut planes).map_err(|fault| fault.at(path))?;
                interleave(&planes, &mut image);
                take(&image, class(path, row_idx, label)?)?;
            }
            rows.finish().map_err(|fault| fault.at(path))?;
        }
        Ok(())
    }
}

/// Labels are counted from 1.
fn class(path: &Path, row_idx: usize, label: i64) -> Result<u16, DataError> {
    match u16::try_from(label.saturating_sub(1)) {
        Ok(class) if usize::from(class) < N_CLASSES => Ok(class),
        _ => {
            let (part, expected) = (format!("label {row_idx}"), format!("1 to {N_CLASSES}"));
            Err(DataError::malformed(path, part, expected, label.to_string()))
        }
    }
}

fn open(path: &Path) -> Result<Rows<'static>, DataError> {
    let failed = |source| DataError::io("opening", path, source);
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let file = BufReader::with_capacity(BUFFER_BYTES, file);
    let is_npz = path.extension().is_some_and(|extension| extension == "npz");
    let rows = if is_npz { npz::rows(file, len) } else { pickle::rows(file, len, &["data"], &["labels"]) };
    rows.map_err(|fault| fault.at(path))
}
