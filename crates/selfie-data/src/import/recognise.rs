//! Which of the sets, and so which recipe, a folder is like.

use std::path::{Path, PathBuf};

use super::{Found, read};
use crate::cifar::{self, Cifar};
use crate::decode::dimensions;
use crate::error::lies_beside;
use crate::listing::{UNLABELLED, one_shard_if_packed};
use crate::set::require_path;
use crate::{DataError, DataSet, SetName, prepared};

/// Files whose sizes are looked at.
const N_LOOKED_AT: usize = 100;
/// Shorter sides up to this are small images, which keep their size in the network's first layers.
const SMALL_SIDE: usize = 96;

/// What was made of a folder.
#[derive(Debug)]
pub struct Recognised {
    /// The set that it can be read as.
    pub set: SetName,
    /// Why, for the user.
    pub reason: String,
    path: PathBuf,
    found: Found,
}

impl Recognised {
    /// Reads what was found as `set`, without looking through the folder again: see [`crate::open`].
    ///
    /// # Errors
    ///
    /// If its files are wrong, or too many to hold in memory.
    pub fn open(self, set: SetName) -> Result<DataSet, DataError> {
        match (self.found, set) {
            // It has no folder.
            (_, SetName::Shapes32) => crate::open(set, Some(&self.path)),
            // Which of the two CIFARs it is to be is for `set` to say, and to a CIFAR a file is an archive.
            (Found::Cifar(_), _) => read(set, &self.path),
            (_, SetName::Cifar10 | SetName::Cifar100) if self.path.is_file() => read(set, &self.path),
            (found, _) => found.read(set, &self.path),
        }
    }
}

/// Looks at what is in a folder, a list or a shard, and at the sizes of a hundred images.
///
/// # Errors
///
/// If there is nothing that can be read, or none of the images.
pub fn recognise(path: &Path) -> Result<Recognised, DataError> {
    require_path(path)?;
    let recognised = |set, reason, found| Ok(Recognised { set, reason, path: path.to_owned(), found });
    let by_side = |side: usize| if side <= SMALL_SIDE { SetName::Imagenet32 } else { SetName::Imagenet224 };
    for (cifar, set) in [(Cifar::Ten, SetName::Cifar10), (Cifar::Hundred, SetName::Cifar100)] {
        if cifar::is_at(cifar, path) {
            return recognised(set, format!("the files of {set}"), Found::Cifar(cifar));
        }
    }
    let found = Found::at(SetName::Imagenet32, path)?;
    let (set, reason) = match &found {
        Found::Prepared => {
            let side = prepared::side(path)?;
            (by_side(side), format!("a prepared set of {side} × {side} pixels"))
        }
        Found::Downsampled(rows) => {
            (SetName::Imagenet32, format!("downsampled ImageNet of {0} × {0} pixels", rows.side))
        }
        Found::Tables(tables) => {
            let images = tables.first_images()?;
            let sizes = images.into_iter().map(|image| size(image.file, &image.path));
            let side = median_side(path, sizes)?;
            let n = tables.n_images.iter().sum::<u64>();
            (by_side(side), described(n, "rows of parquet files", &tables.class_names, side))
        }
        Found::Cifar(_) => (SetName::Cifar10, "the files of cifar10".to_owned()),
        Found::Files(listing) => {
            let looked_at = one_shard_if_packed(&listing.train);
            let n = looked_at.len().min(N_LOOKED_AT);
            let entries = (0..n).map(|i| &looked_at[i * looked_at.len() / n]);
            let side = median_side(path, entries.map(|entry| size(entry.read(), &entry.path())))?;
            let n = (listing.train.len() + listing.test.len()) as u64;
            let beside = listing.beside.as_deref().map(lies_beside);
            let notes = beside.into_iter().chain(passed_over(listing.n_ignored)).map(|note| format!("; {note}"));
            let described = described(n, "image files", &listing.class_names, side);
            (by_side(side), described + &notes.collect::<String>())
        }
    };
    recognised(set, reason, found)
}

/// Files that are no images by their names, in words; nothing if there are none.
#[must_use]
pub fn passed_over(n: usize) -> Option<String> {
    let files = if n == 1 { "file" } else { "files" };
    (n > 0).then(|| format!("{n} other {files} passed over, no JPEG, PNG, WebP or BMP by name"))
}

fn described(n: u64, what: &str, class_names: &[String], side: usize) -> String {
    let classes = match class_names {
        [only] if only == UNLABELLED => "no classes".to_owned(),
        [only] => format!("one class ({only})"),
        _ => format!("{} classes", class_names.len()),
    };
    format!("{n} {what}, {classes}, shorter sides of about {side} pixels")
}

/// Width and height of a file.
fn size(file: Result<Vec<u8>, String>, path: &Path) -> Result<(usize, usize), DataError> {
    dimensions(&file.map_err(|reason| DataError::image(path, reason))?, path)
}

/// The median of the shorter sides of images, as far as they are any.
fn median_side(
    path: &Path,
    sizes: impl Iterator<Item = Result<(usize, usize), DataError>>,
) -> Result<usize, DataError> {
    let mut first_error = None;
    let mut sides: Vec<usize> = sizes
        .filter_map(|size| match size {
            Ok((width, height)) => Some(width.min(height)),
            Err(error) => {
                first_error.get_or_insert(error);
                None
            }
        })
        .collect();
    sides.sort_unstable();
    match (sides.get(sides.len() / 2), first_error) {
        (Some(&side), _) => Ok(side),
        (None, Some(error)) => Err(error),
        (None, None) => Err(DataError::NoImages { path: path.to_owned(), expected: "images", n_other: 0 }),
    }
}
