//! Data sets as parquet files, one row an image: as the Hugging Face hub keeps them, or any folder of such files. Rows are
//! read in the files' order, a few at a time.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::formats::parquet::{Row, Table};
use crate::listing::{UNLABELLED, held_out};
use crate::{DataError, MAX_MEMORY_BYTES};

#[cfg(test)]
mod tests;

const TRAIN: &str = "train";
/// What the test split may be called, the first one that is there: ImageNet's `test` has no labels.
const TEST: [&str; 4] = ["val", "valid", "validation", "test"];
const EXTENSION: &str = "parquet";
/// A folder with more folders than this is one of classes, not of splits and configurations.
const MAX_FOLDERS: usize = 16;
/// Folders inside of folders: configuration and split.
const DEPTH: usize = 2;

/// The parquet files of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tables {
    train: Vec<PathBuf>,
    test: Vec<PathBuf>,
    pub(crate) class_names: Vec<String>,
    /// Images of the two splits.
    pub(crate) n_images: [u64; 2],
    /// Of every row of `train`, if a part of it is the test split.
    held_out: Option<Vec<bool>>,
}

/// A row: an image file, or why there is none.
pub(crate) struct Image {
    pub(crate) file: Result<Vec<u8>, String>,
    pub(crate) label: u16,
    /// What messages call it.
    pub(crate) path: PathBuf,
}

impl Tables {
    /// Finds the files of a folder, or takes a file; none if there is no parquet file.
    pub(crate) fn find(path: &Path) -> Option<Result<Self, DataError>> {
        let files = below(path);
        (!files.is_empty()).then(|| Self::of(path, &files))
    }

    /// `files` are below `root`, sorted.
    fn of(root: &Path, files: &[PathBuf]) -> Result<Self, DataError> {
        require_one_configuration(root, files)?;
        require_every_shard(root, files)?;
        let of_split = |name: &str| -> Vec<PathBuf> {
            let files = files.iter().filter(|file| split_of(file) == Some(name));
            files.map(|file| joined(root, file)).collect()
        };
        let train = of_split(TRAIN);
        let test = TEST.iter().map(|name| of_split(name)).find(|files| !files.is_empty()).unwrap_or_default();
        // Without a split in any name, all of them are the training set.
        let all = || files.iter().map(|file| joined(root, file)).collect();
        let train = if train.is_empty() && test.is_empty() { all() } else { train };
        if train.is_empty() {
            let (path, n_other) = (root.to_owned(), test.len());
            return Err(DataError::NoImages { path, expected: "parquet files of a training split", n_other });
        }
        Self::described(train, test)
    }

    /// With what the files say of classes and rows.
    fn described(train: Vec<PathBuf>, test: Vec<PathBuf>) -> Result<Self, DataError> {
        let table = open(&train[0])?;
        let (named, is_labelled) = (table.class_names.clone(), table.is_labelled());
        let labels = if is_labelled { labels(&train, named.as_ref().map(Vec::len))? } else { Vec::new() };
        let class_names = match (named, labels.iter().max()) {
            (Some(names), _) => names,
            (None, Some(&label)) => (0..=label).map(|label| format!("{label:04}")).collect(),
            (None, None) => vec![UNLABELLED.to_owned()],
        };
        let rows = |files: &[PathBuf]| files.iter().map(|path| Ok(open(path)?.n_rows)).sum::<Result<u64, DataError>>();
        let mut n_images = [rows(&train)?, rows(&test)?];
        let held_out = (test.is_empty() && class_names.len() > 1).then(|| held_out(&labels, class_names.len()));
        if let Some(held_out) = &held_out {
            let n_test = held_out.iter().filter(|&&is_test| is_test).count() as u64;
            n_images = [n_images[0].saturating_sub(n_test), n_test];
        }
        Ok(Self { train, test, class_names, n_images, held_out })
    }

    /// The parquet files at a path, whatever they hold.
    #[cfg(feature = "hub")]
    pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
        below(path).iter().map(|file| joined(path, file)).collect()
    }

    /// Whether the test split has files of its own.
    #[cfg(feature = "hub")]
    pub(crate) fn has_test_files(&self) -> bool {
        !self.test.is_empty()
    }

    /// Refuses what would not fit into memory, as far as the files say.
    pub(crate) fn require_memory(&self, path: &Path) -> Result<(), DataError> {
        let mut got = 0_u64;
        for path in self.train.iter().chain(&self.test) {
            got = got.saturating_add(open(path)?.n_bytes);
        }
        if got > MAX_MEMORY_BYTES {
            return Err(DataError::TooLargeForMemory { path: path.to_owned(), limit: MAX_MEMORY_BYTES, got });
        }
        Ok(())
    }

    /// The first few images of the training files.
    pub(crate) fn first_images(&self) -> Result<Vec<Image>, DataError> {
        let path = &self.train[0];
        let rows = open(path)?.rows().next_rows().map_err(|fault| fault.at(path))?;
        Ok(rows.into_iter().enumerate().map(|(row_idx, row)| image(path, row_idx, row, 0)).collect())
    }

    /// Gives every image of a split in order, a few at a time.
    pub(crate) fn read(
        &self,
        is_train: bool,
        mut take: impl FnMut(Vec<Image>) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let files = if is_train || self.held_out.is_some() { &self.train } else { &self.test };
        let mut row_of_split = 0;
        for path in files {
            let table = open(path)?;
            let mut rows = table.rows();
            let mut row_idx = 0;
            loop {
                let read = rows.next_rows().map_err(|fault| fault.at(path))?;
                if read.is_empty() {
                    break;
                }
                let mut images = Vec::with_capacity(read.len());
                for row in read {
                    let is_test = self.is_test(row_of_split).unwrap_or(!is_train);
                    let label = self.label(path, row_idx, row.label)?;
                    if is_test != is_train {
                        images.push(image(path, row_idx, row, label));
                    }
                    (row_idx, row_of_split) = (row_idx + 1, row_of_split + 1);
                }
                take(images)?;
            }
        }
        Ok(())
    }

    /// Whether a row of the training files is held out; nothing if none is.
    fn is_test(&self, row: usize) -> Option<bool> {
        // A file that has grown since has rows beyond.
        self.held_out.as_ref().map(|held_out| held_out.get(row).copied().unwrap_or(false))
    }

    fn label(&self, path: &Path, row_idx: usize, label: Option<i64>) -> Result<u16, DataError> {
        if self.class_names == [UNLABELLED] {
            return Ok(0);
        }
        checked(path, row_idx, label, Some(self.class_names.len()))
    }
}

fn image(path: &Path, row_idx: usize, row: Row, label: u16) -> Image {
    let file = row.image.map(|bytes| bytes.data().to_vec()).ok_or_else(|| "a row without one".to_owned());
    Image { file, label, path: path.join(format!("row {row_idx}")) }
}

fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(EXTENSION))
}

/// The parquet files below a path, sorted; one given by itself has no name below it.
fn below(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if path.is_file() {
        files.extend(is_table(path).then(PathBuf::new));
    } else {
        walk(path, Path::new(""), DEPTH, &mut files);
    }
    files.sort();
    files
}

/// A file given by itself has no name below it.
fn joined(root: &Path, file: &Path) -> PathBuf {
    if file.as_os_str().is_empty() { root.to_owned() } else { root.join(file) }
}

/// Adds the parquet files of a folder and of those in it. A folder that cannot be listed holds none.
fn walk(root: &Path, below: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(root.join(below)) else { return };
    let mut folders = Vec::new();
    for name in entries.flatten().map(|entry| entry.file_name()) {
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = below.join(name);
        if is_table(&path) {
            files.push(path);
        } else if folders.len() <= MAX_FOLDERS && root.join(&path).is_dir() {
            folders.push(path);
        }
    }
    if depth > 0 && folders.len() <= MAX_FOLDERS {
        folders.iter().for_each(|folder| walk(root, folder, depth - 1, files));
    }
}

/// The split that a part of the path is named after: `train-00000-of-00005.parquet`, `train/0000.parquet`.
fn split_of(file: &Path) -> Option<&'static str> {
    file.iter().filter_map(|part| part.to_str()).find_map(split_in)
}

fn split_in(name: &str) -> Option<&'static str> {
    [TRAIN].into_iter().chain(TEST).find(|split| {
        let start = name.get(..split.len()).filter(|start| start.eq_ignore_ascii_case(split));
        let rest = start.and_then(|start| name.get(start.len()..));
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric()))
    })
}

/// Files in folders that are not named after splits are of several configurations, such as sizes of the same images.
fn require_one_configuration(root: &Path, files: &[PathBuf]) -> Result<(), DataError> {
    let folder = |file: &PathBuf| -> PathBuf {
        let parts = file.parent().into_iter().flat_map(Path::iter);
        parts.filter(|part| part.to_str().and_then(split_in).is_none()).collect()
    };
    let folders: BTreeSet<PathBuf> = files.iter().map(folder).collect();
    if folders.len() > 1 {
        let got = folders.iter().map(|folder| format!("`{}`", folder.display())).collect::<Vec<_>>().join(", ");
        return Err(DataError::malformed(root, "the folders", "parquet files of one set; give its folder", got));
    }
    Ok(())
}

/// Of `train-00001-of-00005.parquet` there are five.
fn require_every_shard(root: &Path, files: &[PathBuf]) -> Result<(), DataError> {
    for file in files {
        let Some(stem) = file.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let Some((front, total)) = stem.rsplit_once("-of-") else { continue };
        let (Some((name, _)), Ok(n)) = (front.rsplit_once('-'), total.parse::<u64>()) else { continue };
        // The first one that is missing is enough to say.
        let n_found = files.iter().filter(|other| is_sibling(other, file, name, total)).count() as u64;
        let Some(missing) = (n_found < n)
            .then(|| (0..n).map(|i| shard(file, name, i, total)))
            .and_then(|mut shards| shards.find(|shard| !files.contains(shard)))
        else {
            continue;
        };
        return Err(DataError::MissingFile { path: root.join(missing) });
    }
    Ok(())
}

fn is_sibling(other: &Path, file: &Path, name: &str, total: &str) -> bool {
    let stem = other.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    other.parent() == file.parent() && stem.starts_with(&format!("{name}-")) && stem.ends_with(&format!("-of-{total}"))
}

fn shard(file: &Path, name: &str, i: u64, total: &str) -> PathBuf {
    file.with_file_name(format!("{name}-{i:0width$}-of-{total}.{EXTENSION}", width = total.len()))
}

fn open(path: &Path) -> Result<Table<File>, DataError> {
    let file = File::open(path).map_err(|source| DataError::io("opening", path, source))?;
    Table::open(file).map_err(|fault| fault.at(path))
}

/// The label of every row.
fn labels(files: &[PathBuf], n_classes: Option<usize>) -> Result<Vec<u16>, DataError> {
    let mut labels = Vec::new();
    for path in files {
        let table = open(path)?;
        let (mut rows, start) = (table.labels(), labels.len());
        loop {
            let read = rows.next_rows().map_err(|fault| fault.at(path))?;
            if read.is_empty() {
                break;
            }
            for row in read {
                labels.push(checked(path, labels.len() - start, row.label, n_classes)?);
            }
        }
    }
    Ok(labels)
}

fn checked(path: &Path, row_idx: usize, label: Option<i64>, n_classes: Option<usize>) -> Result<u16, DataError> {
    let n_classes = n_classes.unwrap_or(usize::from(u16::MAX));
    let class = label.and_then(|label| u16::try_from(label).ok()).filter(|&class| usize::from(class) < n_classes);
    class.ok_or_else(|| {
        let got = label.map_or_else(|| "none".to_owned(), |label| label.to_string());
        DataError::malformed(path, format!("row {row_idx}"), format!("a label of 0 to {}", n_classes - 1), got)
    })
}
