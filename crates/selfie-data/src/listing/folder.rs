//! Folders of images: a folder a class, or no classes at all; with `train/` and `val/`, in capitals or not, or without.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Entry, Listing, UNLABELLED, is_image, label, named};
use crate::DataError;

const TRAIN: &str = "train";
/// What the test split's folder may be called, the first one that is there.
const TEST: [&str; 4] = ["val", "valid", "validation", "test"];
/// Folders inside of folders; deeper ones are a mistake.
const MAX_DEPTH: usize = 32;

/// Lists a folder. A class is a folder with images somewhere in it; images beside the folders mean that folders are no
/// classes.
pub(super) fn list(folder: &Path) -> Result<Listing, DataError> {
    let Some(train) = split_folder(folder, TRAIN)? else {
        let split = Split::read(folder)?;
        let class_names = split.class_names();
        let (train, n_ignored) = (split.entries(&class_names)?, split.n_ignored);
        return Ok(Listing { class_names, train, test: Vec::new(), n_ignored, beside: split.beside() });
    };
    let split = Split::read(&train)?;
    let class_names = split.class_names();
    let test = TEST.iter().find_map(|name| split_folder(folder, name).transpose()).transpose()?;
    let test = test.map(|path| Split::read(&path)).transpose()?;
    let n_ignored = split.n_ignored + test.as_ref().map_or(0, |test| test.n_ignored);
    let test = test.map_or_else(|| Ok(Vec::new()), |test| test.entries(&class_names))?;
    let beside = split.beside();
    Ok(Listing { train: split.entries(&class_names)?, class_names, test, n_ignored, beside })
}

/// The folder of a split, its name in capitals or not.
fn split_folder(folder: &Path, name: &str) -> Result<Option<PathBuf>, DataError> {
    let mut found = named(folder, name).into_iter().filter(|path| path.is_dir());
    let (first, second) = (found.next(), found.next());
    match second {
        None => Ok(first),
        Some(path) => {
            let expected = format!("one folder of the split `{name}`");
            Err(DataError::Layout { path, expected, got: "another beside it".to_owned() })
        }
    }
}

/// All images below a folder, by path; and what was ignored.
pub(super) fn all(folder: &Path) -> Result<(Vec<Entry>, usize), DataError> {
    let mut images = Vec::new();
    let n_ignored = walk(folder, &mut Vec::new(), &mut images)?;
    images.sort();
    Ok((images.into_iter().map(|path| Entry::file(path, 0)).collect(), n_ignored))
}

/// The images of one split: those beside the folders, and those of each folder.
struct Split {
    root: PathBuf,
    loose: Vec<PathBuf>,
    folders: Vec<(String, Vec<PathBuf>)>,
    n_ignored: usize,
}

impl Split {
    fn read(root: &Path) -> Result<Self, DataError> {
        let mut split = Self { root: root.to_owned(), loose: Vec::new(), folders: Vec::new(), n_ignored: 0 };
        let canonical = fs::canonicalize(root).map_err(|source| DataError::io("opening", root, source))?;
        for path in sorted(root)? {
            match Kind::of(&path) {
                Kind::Image => split.loose.push(path),
                Kind::Folder => {
                    let mut images = Vec::new();
                    split.n_ignored += walk(&path, &mut vec![canonical.clone()], &mut images)?;
                    if !images.is_empty() {
                        split.add_folder(&path, images)?;
                    }
                }
                Kind::Other => split.n_ignored += 1,
            }
        }
        Ok(split)
    }

    /// Names that are no Unicode are shown as well as can be, as long as they stay different.
    fn add_folder(&mut self, path: &Path, images: Vec<PathBuf>) -> Result<(), DataError> {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if self.folders.iter().any(|(other, _)| *other == name) {
            let (path, got) = (path.to_owned(), format!("`{name}` again"));
            return Err(DataError::Layout { path, expected: "a class name of its own".to_owned(), got });
        }
        self.folders.push((name, images));
        Ok(())
    }

    fn class_names(&self) -> Vec<String> {
        if !self.loose.is_empty() || self.folders.is_empty() {
            return vec![UNLABELLED.to_owned()];
        }
        super::classes(self.folders.iter().map(|(name, _)| name.as_str()).collect())
    }

    /// The image for which several folders are no classes.
    fn beside(&self) -> Option<PathBuf> {
        self.loose.first().filter(|_| self.folders.len() > 1).cloned()
    }

    /// All images with their labels, in the order of the classes.
    fn entries(&self, class_names: &[String]) -> Result<Vec<Entry>, DataError> {
        let unlabelled = class_names.len() == 1 && class_names[0] == UNLABELLED;
        let mut entries: Vec<(u16, &PathBuf)> = Vec::new();
        if unlabelled {
            entries.extend(self.loose.iter().chain(self.folders.iter().flat_map(|(_, images)| images)).map(|p| (0, p)));
            entries.sort();
        } else {
            if let Some(path) = self.loose.first() {
                let expected = "images in folders of the training split's classes".to_owned();
                return Err(DataError::Layout { path: path.clone(), expected, got: "one beside them".to_owned() });
            }
            for (name, images) in &self.folders {
                let class = label(class_names, name).ok_or_else(|| {
                    let expected = format!("only classes of the training split ({} of them)", class_names.len());
                    let got = format!("`{name}`, which `train` has not");
                    DataError::Layout { path: self.root.clone(), expected, got }
                })?;
                entries.extend(images.iter().map(|path| (class, path)));
            }
            entries.sort_by_key(|&(class, _)| class);
        }
        Ok(entries.into_iter().map(|(class, path)| Entry::file(path.clone(), class)).collect())
    }
}

/// What stands at a path, links followed.
enum Kind {
    Image,
    Folder,
    Other,
}

impl Kind {
    fn of(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Self::Folder,
            Ok(metadata) if metadata.is_file() && is_image(path) => Self::Image,
            // A link to nothing or to itself is an image that cannot be read, if it has the name of one.
            Err(_) if is_image(path) => Self::Image,
            _ => Self::Other,
        }
    }
}

/// Adds the images below a folder; returns what was ignored. `above` are the folders it lies in, without links: one that
/// leads back into them is a circle.
fn walk(folder: &Path, above: &mut Vec<PathBuf>, images: &mut Vec<PathBuf>) -> Result<usize, DataError> {
    let canonical = fs::canonicalize(folder).map_err(|source| DataError::io("opening", folder, source))?;
    if above.contains(&canonical) || above.len() > MAX_DEPTH {
        return Ok(1);
    }
    above.push(canonical);
    let mut n_ignored = 0;
    for path in sorted(folder)? {
        match Kind::of(&path) {
            Kind::Image => images.push(path),
            Kind::Folder => n_ignored += walk(&path, above, images)?,
            Kind::Other => n_ignored += 1,
        }
    }
    above.pop();
    Ok(n_ignored)
}

/// The paths in a folder in the order of their bytes, but for hidden ones.
fn sorted(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source| DataError::io("listing", folder, source);
    let entries: Result<Vec<_>, _> = fs::read_dir(folder).map_err(failed)?.collect();
    let names = entries.map_err(failed)?.into_iter().map(|entry| entry.file_name());
    let mut names: Vec<OsString> = names.filter(|name| !name.as_encoded_bytes().starts_with(b".")).collect();
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}
