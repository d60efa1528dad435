//! What the manifest says.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::MAX_IMAGES;
use crate::images::Moments;
use crate::{DataError, N_CHANNELS};

/// The format's name and version.
const FORMAT: &str = "selfie data 2";
const MAX_SIDE: usize = 1024;

/// The manifest of a prepared set.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    format: String,
    /// Height and width in pixels: as stored, or as files are decoded to.
    pub(super) side: usize,
    pub(super) class_names: Vec<String>,
    pub(super) train: SplitManifest,
    pub(super) test: SplitManifest,
    /// BLAKE3 of the manifest without it, hexadecimal.
    hash: String,
}

/// One split.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SplitManifest {
    pub(super) kind: Kind,
    pub(super) n_images: u64,
    /// Of the packed file.
    pub(super) n_bytes: u64,
    pub(super) moments: Moments,
    /// [`crate::Images::content_hash`].
    pub(super) content_hash: String,
}

/// How images lie in the packed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// As pixels.
    Pixels,
    /// As image files.
    Files,
}

impl Manifest {
    pub(super) fn new(side: usize, class_names: Vec<String>, train: SplitManifest, test: SplitManifest) -> Self {
        Self { format: FORMAT.to_owned(), side, class_names, train, test, hash: String::new() }
    }

    /// The text of the file, with its hash.
    pub(super) fn sealed(mut self, path: &Path) -> Result<String, DataError> {
        self.hash = self.content_hash(path)?;
        Ok(self.text(path)? + "\n")
    }

    /// The hash of the text without a hash.
    fn content_hash(&mut self, path: &Path) -> Result<String, DataError> {
        let stored = std::mem::take(&mut self.hash);
        let hash = self.text(path).map(|text| blake3::hash(text.as_bytes()).to_hex().to_string());
        self.hash = stored;
        hash
    }

    fn text(&self, path: &Path) -> Result<String, DataError> {
        serde_json::to_string_pretty(self)
            .map_err(|error| DataError::Write { path: path.to_owned(), source: std::io::Error::other(error) })
    }

    /// Refuses another version, a changed manifest, and sizes that cannot be.
    pub(super) fn check(&mut self, path: &Path) -> Result<(), DataError> {
        if self.format != FORMAT {
            let expected = format!("{FORMAT}; import the set again");
            return Err(DataError::malformed(path, "format", expected, self.format.clone()));
        }
        let hash = self.content_hash(path)?;
        if self.hash != hash {
            return Err(DataError::malformed(path, "hash", self.hash.clone(), format!("{hash}; it was changed")));
        }
        if !(1..=MAX_SIDE).contains(&self.side) {
            return Err(DataError::malformed(path, "side", format!("1 to {MAX_SIDE}"), self.side.to_string()));
        }
        for split in [&self.train, &self.test] {
            let image_bytes = (self.side * self.side * N_CHANNELS) as u64;
            let fits = split.kind == Kind::Files || split.n_images.checked_mul(image_bytes) == Some(split.n_bytes);
            if split.n_images > MAX_IMAGES || !fits {
                let expected = format!("at most {MAX_IMAGES} images that make up n_bytes");
                let got = format!("{} images and {} bytes", split.n_images, split.n_bytes);
                return Err(DataError::malformed(path, "n_images", expected, got));
            }
        }
        Ok(())
    }
}
