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

/// The files of the training and the test batches in a folder; none if there is no training batch.
fn batches(folder: &Path) -> Option<(Vec<PathBuf>, Vec<PathBuf>)> {
    ["", ".npz"].into_iter().find_map(|end| {
        let train = (1..=MAX_BATCHES).map(|batch| folder.join(format!("train_data_batch_{batch}{end}")));
        let train: Vec<PathBuf> = train.take_while(|path| path.is_file()).collect();
        let test = folder.join(format!("val_data{end}"));
        let test = if test.is_file() { vec![test] } else { Vec::new() };
        (!train.is_empty()).then_some((train, test))
    })
}

/// The batches of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Downsampled {
    train: Vec<PathBuf>,
    test: Vec<PathBuf>,
    /// Height and width in pixels.
    pub(crate) side: usize,
    /// The official numbers, less one, of the classes that the training batches hold, ascending: a part of ImageNet with
    /// fewer classes gets no outputs for the others.
    classes: Vec<u16>,
}

impl Downsampled {
    /// Finds the batches in a folder: `train_data_batch_1` and on, `val_data`, with or without `.npz`; none if there is
    /// no such file.
    pub(crate) fn find(folder: &Path) -> Option<Result<Self, DataError>> {
        let (train, test) = batches(folder)?;
        Some(Self::with_side(train, test))
    }

    /// Whether a folder has such batches; opens none.
    pub(crate) fn is_at(folder: &Path) -> bool {
        batches(folder).is_some()
    }

    fn with_side(train: Vec<PathBuf>, test: Vec<PathBuf>) -> Result<Self, DataError> {
        let path = &train[0];
        let row_bytes = open(path)?.row_bytes;
        let side = (row_bytes / N_CHANNELS).isqrt();
        if side * side * N_CHANNELS != row_bytes {
            return Err(DataError::malformed(path, "data", "rows of square RGB images", format!("{row_bytes} bytes")));
        }
        let mut is_present = [false; N_CLASSES];
        for path in &train {
            for (row_idx, label) in open(path)?.labels.into_iter().enumerate() {
                is_present[usize::from(class(path, row_idx, label)?)] = true;
            }
        }
        let classes = (0..N_CLASSES as u16).filter(|&class| is_present[usize::from(class)]).collect();
        Ok(Self { train, test, side, classes })
    }

    /// The batches of a split.
    fn batches(&self, is_train: bool) -> &[PathBuf] {
        if is_train { &self.train } else { &self.test }
    }

    /// How many images a split has.
    pub(crate) fn n_images(&self, is_train: bool) -> Result<u64, DataError> {
        self.batches(is_train).iter().map(|path| Ok(open(path)?.labels.len() as u64)).sum()
    }

    /// The official numbers of the classes that occur.
    pub(crate) fn class_names(&self) -> Vec<String> {
        self.classes.iter().map(|class| format!("{:04}", class + 1)).collect()
    }

    /// The place of a class among those that occur.
    fn place(&self, path: &Path, row_idx: usize, class: u16) -> Result<u16, DataError> {
        self.classes.binary_search(&class).map(|place| place as u16).map_err(|_| {
            let expected = format!("one of the {} classes of the training batches", self.classes.len());
            DataError::malformed(path, format!("label {row_idx}"), expected, (class + 1).to_string())
        })
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
                take(&image, self.place(path, row_idx, class(path, row_idx, label)?)?)?;
            }
            rows.finish().map_err(|fault| fault.at(path))?;
        }
        Ok(())
    }
}

/// The official number less one: labels are counted from 1.
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
