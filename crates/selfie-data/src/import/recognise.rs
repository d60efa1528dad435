//! Which of the sets, and so which recipe, a folder is like.

use std::path::Path;

use super::Found;
use crate::cifar::{self, Cifar};
use crate::decode::dimensions;
use crate::listing::one_shard_if_packed;
use crate::{DataError, SetName, prepared};

/// Files whose sizes are looked at.
const N_LOOKED_AT: usize = 100;
/// Shorter sides up to this are small images, which keep their size in the network's first layers.
const SMALL_SIDE: usize = 96;

/// What was made of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// The set that it can be read as.
    pub set: SetName,
    /// Why, for the user.
    pub reason: String,
}

/// Looks at what is in a folder, a list or a shard, and at the sizes of a hundred images.
///
/// # Errors
///
/// If there is nothing that can be read, or none of the images.
pub fn recognise(path: &Path) -> Result<Recognised, DataError> {
    let by_side = |side: usize| if side <= SMALL_SIDE { SetName::Imagenet32 } else { SetName::Imagenet224 };
    for (cifar, set) in [(Cifar::Ten, SetName::Cifar10), (Cifar::Hundred, SetName::Cifar100)] {
        if cifar::is_at(cifar, path) {
            return Ok(Recognised { set, reason: format!("the files of {set}") });
        }
    }
    match Found::at(SetName::Imagenet32, path)? {
        Found::Prepared => {
            let side = prepared::side(path)?;
            Ok(Recognised { set: by_side(side), reason: format!("a prepared set of {side} × {side} pixels") })
        }
        Found::Downsampled(rows) => {
            let reason = format!("downsampled ImageNet of {0} × {0} pixels", rows.side);
            Ok(Recognised { set: SetName::Imagenet32, reason })
        }
        Found::Tables(tables) => {
            let images = tables.first_images()?;
            let sizes = images.into_iter().map(|image| size(image.file, &image.path));
            let side = median_side(path, sizes)?;
            let n = tables.n_images.iter().sum::<u64>();
            Ok(Recognised {
                set: by_side(side),
                reason: described(n, "rows of parquet files", &tables.class_names, side),
            })
        }
        Found::Cifar(_) => Ok(Recognised { set: SetName::Cifar10, reason: "the files of cifar10".to_owned() }),
        Found::Files(listing) => {
            let looked_at = one_shard_if_packed(&listing.train);
            let n = looked_at.len().min(N_LOOKED_AT);
            let entries = (0..n).map(|i| &looked_at[i * looked_at.len() / n]);
            let side = median_side(path, entries.map(|entry| size(entry.read(), &entry.path())))?;
            let n = (listing.train.len() + listing.test.len()) as u64;
            let other = match listing.n_ignored {
                0 => String::new(),
                n => format!("; {n} other files passed over, which are no JPEG, PNG, WebP or BMP by their names"),
            };
            let reason = format!("{}{other}", described(n, "image files", &listing.class_names, side));
            Ok(Recognised { set: by_side(side), reason })
        }
    }
}

fn described(n: u64, what: &str, class_names: &[String], side: usize) -> String {
    let classes = match class_names.len() {
        1 => "no classes".to_owned(),
        n_classes => format!("{n_classes} classes"),
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
