//! Data sets by name, and where they lie.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::cifar::Cifar;
use crate::{DataError, DataSet, import, shapes32};

#[cfg(test)]
mod tests;

/// Every data set that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetName {
    /// Drawn by a program: [`crate::shapes32`].
    Shapes32,
    /// CIFAR-10: [`crate::cifar`].
    Cifar10,
    /// CIFAR-100, its fine labels: [`crate::cifar`].
    Cifar100,
    /// ImageNet at 32 pixels, or any small images.
    Imagenet32,
    /// ImageNet at 224 pixels, or any images.
    Imagenet224,
}

impl SetName {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Shapes32, Self::Cifar10, Self::Cifar100, Self::Imagenet32, Self::Imagenet224];

    /// The name on the command line, in recipes and of the folder.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shapes32 => "shapes32",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::Imagenet32 => "imagenet32",
            Self::Imagenet224 => "imagenet224",
        }
    }

    /// Height and width that image files of this set are decoded to.
    #[must_use]
    pub fn side(self) -> usize {
        match self {
            Self::Imagenet224 => 224,
            Self::Shapes32 | Self::Cifar10 | Self::Cifar100 | Self::Imagenet32 => 32,
        }
    }

    pub(crate) fn cifar(self) -> Option<Cifar> {
        match self {
            Self::Cifar10 => Some(Cifar::Ten),
            Self::Cifar100 => Some(Cifar::Hundred),
            Self::Shapes32 | Self::Imagenet32 | Self::Imagenet224 => None,
        }
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for SetName {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        let found = Self::ALL.into_iter().find(|set| set.as_str() == name);
        found.ok_or_else(|| DataError::UnknownSet { got: name.to_owned() })
    }
}

/// In the place of a folder: the set's files on the Hugging Face hub, with the feature `hub`.
const HUB: &str = "hub:";

/// Reads a data set from `dir`, else from `$SELFIE_DATA/<name>`, else from `data/<name>`. `shapes32` has no folder. A
/// `dir` of `hub:` is the set's folder in the Hugging Face hub's cache, to which it is downloaded if it is not there.
///
/// What is there may be the prepared form, which is mapped, or, for as much as fits into memory, the set's official files,
/// a folder of images, a list of them, tar shards or parquet files.
///
/// # Errors
///
/// If the set is in none of these places ([`crate::DataErrorKind::MissingInput`]), if its files are wrong, or if they
/// are too many to hold in memory.
pub fn open(name: SetName, dir: Option<&Path>) -> Result<DataSet, DataError> {
    match name {
        SetName::Shapes32 => match dir {
            None => Ok(shapes32::draw(shapes32::N_TRAIN, shapes32::N_TEST)),
            Some(dir) => Err(DataError::setting("--data", "none: shapes32 is drawn by the program", dir.display())),
        },
        // The hub's folders are called after revisions.
        _ if dir == Some(Path::new(HUB)) => {
            Ok(DataSet { name: name.to_string(), ..import::read(name, &hub_folder(name)?)? })
        }
        _ => {
            dir.map_or(Ok(()), require_path)?;
            let root = std::env::var_os("SELFIE_DATA").map(PathBuf::from);
            import::read(name, &locate(name, dir, root.as_deref())?)
        }
    }
}

/// Where the files of a set lie that is named by its place on the hub.
#[cfg(feature = "hub")]
fn hub_folder(name: SetName) -> Result<PathBuf, DataError> {
    crate::hub::folder(name, |_| ())
}

#[cfg(not(feature = "hub"))]
fn hub_folder(_: SetName) -> Result<PathBuf, DataError> {
    Err(DataError::MissingFeature { feature: "hub" })
}

/// Refuses a path that names the hub where the name of a set is needed beside it, or has one behind it.
pub(crate) fn require_path(path: &Path) -> Result<(), DataError> {
    if !path.to_string_lossy().starts_with(HUB) || path.exists() {
        return Ok(());
    }
    if cfg!(not(feature = "hub")) {
        return Err(DataError::MissingFeature { feature: "hub" });
    }
    let expected = "`hub:` alone, and the set's name as the recipe or as --data-set";
    Err(DataError::setting("the hub", expected, path.display()))
}

/// What a path of the user stands for: itself, or for `hub:` the set's folder in the hub's cache.
///
/// # Errors
///
/// If the hub does not give the set.
pub fn resolve(name: SetName, path: &Path) -> Result<PathBuf, DataError> {
    if path == Path::new(HUB) { hub_folder(name) } else { Ok(path.to_owned()) }
}

/// The folder that a set is fetched to unless another one is named: `$SELFIE_DATA/<name>`, else `data/<name>`.
#[must_use]
pub fn default_folder(name: SetName) -> PathBuf {
    std::env::var_os("SELFIE_DATA").map_or_else(|| PathBuf::from("data"), PathBuf::from).join(name.as_str())
}

/// The first of the places that exists; `root` is the value of `SELFIE_DATA`.
fn locate(name: SetName, dir: Option<&Path>, root: Option<&Path>) -> Result<PathBuf, DataError> {
    let places: Vec<PathBuf> = match dir {
        Some(dir) => vec![dir.to_path_buf()],
        None => root.into_iter().chain([Path::new("data")]).map(|root| root.join(name.as_str())).collect(),
    };
    match places.iter().find(|place| place.exists()) {
        Some(place) => Ok(place.clone()),
        None => Err(DataError::MissingSet { set: name.to_string(), looked_in: places }),
    }
}
