//! Data sets by name, and where they lie.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{DataError, DataSet, cifar10, shapes32};

#[cfg(test)]
mod tests;

/// Every data set that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetName {
    /// Drawn by a program: [`crate::shapes32`].
    Shapes32,
    /// CIFAR-10: [`crate::cifar10`].
    Cifar10,
    /// ImageNet at 32 pixels.
    Imagenet32,
    /// ImageNet at 224 pixels.
    Imagenet224,
}

impl SetName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Shapes32, Self::Cifar10, Self::Imagenet32, Self::Imagenet224];

    /// The name on the command line, in recipes and of the folder.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shapes32 => "shapes32",
            Self::Cifar10 => "cifar10",
            Self::Imagenet32 => "imagenet32",
            Self::Imagenet224 => "imagenet224",
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

/// Reads a data set from `dir`, else from `$SELFIE_DATA/<name>`, else from `data/<name>`. `shapes32` has no folder. A `dir` of `hub:` downloads CIFAR-10 from the Hugging Face hub into its cache.
///
/// # Errors
///
/// If the set is in none of these places or cannot be read yet ([`crate::DataErrorKind::MissingInput`]), or if its files
/// are wrong.
pub fn open(name: SetName, dir: Option<&Path>) -> Result<DataSet, DataError> {
    match name {
        SetName::Shapes32 => match dir {
            None => Ok(shapes32::draw(shapes32::N_TRAIN, shapes32::N_TEST)),
            Some(dir) => Err(DataError::setting("--data", "none: shapes32 is drawn by the program", dir.display())),
        },
        SetName::Cifar10 if dir == Some(Path::new(HUB)) => from_hub(),
        SetName::Cifar10 => {
            let root = std::env::var_os("SELFIE_DATA").map(PathBuf::from);
            cifar10::open(&locate(name, dir, root.as_deref())?)
        }
        SetName::Imagenet32 | SetName::Imagenet224 => Err(DataError::NotYet { set: name.to_string() }),
    }
}

#[cfg(feature = "hub")]
fn from_hub() -> Result<DataSet, DataError> {
    crate::hub::cifar10()
}

#[cfg(not(feature = "hub"))]
fn from_hub() -> Result<DataSet, DataError> {
    Err(DataError::setting("feature `hub`", "a program built with it to read from the hub", "one built without it"))
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
