//! Lists of images in a file: a path a line, and behind a tab its class.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Entry, Listing, UNLABELLED, classes, label, named};
use crate::DataError;

/// Ten million paths of fifty bytes.
const MAX_LIST_BYTES: u64 = 500_000_000;
const MAX_LINE_BYTES: usize = 8192;
const TRAIN: [&str; 2] = ["train.txt", "train.tsv"];
const TEST: [&str; 4] = ["val.txt", "val.tsv", "test.txt", "test.tsv"];

/// The lists of the two splits.
pub(super) struct Lists {
    train: PathBuf,
    test: Option<PathBuf>,
}

/// Whether a file is a list by its name.
#[must_use]
pub fn is_list(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "txt" || end == "tsv")
}

/// A list file by its name, or a folder with `train.txt` in it.
pub(super) fn find(path: &Path) -> Option<Lists> {
    if path.is_file() {
        return is_list(path).then(|| Lists { train: path.to_owned(), test: None });
    }
    let first = |names: &[&str]| names.iter().flat_map(|name| named(path, name)).find(|path| path.is_file());
    first(&TRAIN).map(|train| Lists { train, test: first(&TEST) })
}

pub(super) fn list(lists: &Lists) -> Result<Listing, DataError> {
    let train = read(&lists.train)?;
    let test = lists.test.as_deref().map(read).transpose()?.unwrap_or_default();
    let labelled = train.iter().any(|(_, class)| class.is_some());
    let class_names = match labelled {
        true => classes(train.iter().filter_map(|(_, class)| class.as_deref()).collect()),
        false => vec![UNLABELLED.to_owned()],
    };
    let entries = |path: &Path, lines: Vec<(PathBuf, Option<String>)>| {
        let entry = |(line_idx, (image, class)): (usize, (PathBuf, Option<String>))| {
            let class = class.as_deref().unwrap_or(if labelled { "" } else { UNLABELLED });
            let class = label(&class_names, class).ok_or_else(|| {
                let expected = "a class of the training list behind a TAB, or none in any line";
                DataError::malformed(path, format!("line {}", line_idx + 1), expected, format!("`{class}`"))
            })?;
            Ok(Entry::file(image, class))
        };
        lines.into_iter().enumerate().map(entry).collect::<Result<Vec<Entry>, DataError>>()
    };
    let test_path = lists.test.as_deref().unwrap_or(&lists.train);
    let (train, test) = (entries(&lists.train, train)?, entries(test_path, test)?);
    Ok(Listing { class_names, train, test, n_ignored: 0, beside: None })
}

/// The images of a list as its lines stand.
pub(super) fn entries_in_order(lists: &Lists) -> Result<Vec<Entry>, DataError> {
    Ok(read(&lists.train)?.into_iter().map(|(path, _)| Entry::file(path, 0)).collect())
}

/// Paths, relative ones from the list's own folder, with their classes.
fn read(path: &Path) -> Result<Vec<(PathBuf, Option<String>)>, DataError> {
    let failed = |source| DataError::io("reading", path, source);
    let file = File::open(path).map_err(failed)?;
    let got = file.metadata().map_err(failed)?.len();
    if got > MAX_LIST_BYTES {
        return Err(DataError::TooLarge { path: path.to_owned(), limit: MAX_LIST_BYTES, got });
    }
    let mut text = Vec::new();
    file.take(MAX_LIST_BYTES).read_to_end(&mut text).map_err(failed)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut lines = Vec::new();
    for (line_idx, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let wrong =
            |expected: &str, got: String| DataError::malformed(path, format!("line {}", line_idx + 1), expected, got);
        if line.len() > MAX_LINE_BYTES {
            return Err(wrong(&format!("at most {MAX_LINE_BYTES} bytes"), line.len().to_string()));
        }
        let line = std::str::from_utf8(line).map_err(|error| wrong("UTF-8", error.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let (image, class) = match line.split_once('\t') {
            Some((image, class)) => (image, Some(class.trim().to_owned()).filter(|class| !class.is_empty())),
            None => (line, None),
        };
        let image = folder.join(image);
        if lines.is_empty() && class.is_none() && !image.exists() && is_path_before_a_class(&image) {
            return Err(wrong(
                "the path of an image, and behind a TAB its class",
                format!("`{line}`, which has no TAB"),
            ));
        }
        lines.push((image, class));
    }
    Ok(lines)
}

/// Whether a line without a tab is an image's path with something else behind it.
fn is_path_before_a_class(line: &Path) -> bool {
    let line = line.to_string_lossy();
    line.match_indices([' ', ',', ';']).any(|(at, _)| Path::new(&line[..at]).is_file())
}
