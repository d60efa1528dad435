//! Pictures to be used as they are, in the order they were given: image files, or a split of a data set. Nothing is
//! held out, sorted by class or augmented.

use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;

use crate::decode::{Rgb, decode};
use crate::listing::{Entry, entries_in_order};
use crate::{BadSample, DataError, Images, N_CHANNELS};

#[cfg(test)]
mod tests;

/// What pictures of files are called where a split has its name.
const FILES: &str = "files";

/// Pictures in a fixed order.
#[derive(Clone, Debug)]
pub struct Pictures(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// And how many other files were passed over.
    Files(Vec<Entry>, usize),
    /// Of the examples chosen, or of all.
    Split(Arc<Images>, &'static str, Option<Vec<u32>>),
}

/// The pictures of a range that can be read, as the network takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Squares {
    /// `[n, side, side, C]`
    pub pixels: Vec<u8>,
    /// Which pictures these are, `[n]`.
    pub pictures: Vec<usize>,
    /// Those of the range that cannot be read.
    pub bad: Vec<BadSample>,
}

impl Pictures {
    /// Image files; of a folder all images below it by path, of a list (`.txt`, `.tsv`) its lines, of a shard (`.tar`) its
    /// members.
    ///
    /// # Errors
    ///
    /// If a path is not there, or there is no picture at all.
    pub fn files(paths: &[PathBuf]) -> Result<Self, DataError> {
        let (mut entries, mut n_ignored) = (Vec::new(), 0);
        for path in paths {
            let (of_path, ignored) = entries_in_order(path)?;
            entries.extend(of_path);
            n_ignored += ignored;
        }
        if entries.is_empty() {
            let path = paths.first().cloned().unwrap_or_default();
            return Err(DataError::NoImages { path, expected: "images (JPEG, PNG, WebP, BMP)", n_other: n_ignored });
        }
        Ok(Self(Kind::Files(entries, n_ignored)))
    }

    /// Files that were passed over, because they are no images by their names.
    #[must_use]
    pub fn n_ignored(&self) -> usize {
        match &self.0 {
            Kind::Files(_, n_ignored) => *n_ignored,
            Kind::Split(..) => 0,
        }
    }

    /// All pictures of a data set's split, called `name`.
    #[must_use]
    pub fn split(images: Arc<Images>, name: &'static str) -> Self {
        Self(Kind::Split(images, name, None))
    }

    /// Some pictures of a split, in the order given.
    ///
    /// # Errors
    ///
    /// If one of them is not there.
    pub fn chosen(images: Arc<Images>, name: &'static str, examples: Vec<u32>) -> Result<Self, DataError> {
        if let Some(example) = examples.iter().find(|&&example| example as usize >= images.len()) {
            return Err(DataError::setting("examples", format!("indices below {}", images.len()), example));
        }
        Ok(Self(Kind::Split(images, name, Some(examples))))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::Files(entries, _) => entries.len(),
            Kind::Split(images, _, None) => images.len(),
            Kind::Split(_, _, Some(examples)) => examples.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A file's path; of a split that lies as pixels, `train/17`.
    ///
    /// # Panics
    ///
    /// If there is no picture `idx`.
    #[must_use]
    pub fn name(&self, idx: usize) -> String {
        match &self.0 {
            Kind::Files(entries, _) => entries[idx].path().to_string_lossy().into_owned(),
            Kind::Split(images, name, _) => match images.file_name(self.example(idx)) {
                Some(path) => path.to_string_lossy().into_owned(),
                None => format!("{name}/{}", self.example(idx)),
            },
        }
    }

    /// The class of a picture of a split that has classes.
    ///
    /// # Panics
    ///
    /// If there is no picture `idx`.
    #[must_use]
    pub fn class(&self, idx: usize) -> Option<&str> {
        match &self.0 {
            Kind::Files(..) => None,
            Kind::Split(images, ..) if images.n_classes() < 2 => None,
            Kind::Split(images, ..) => Some(&images.class_names()[usize::from(images.label(self.example(idx)))]),
        }
    }

    /// One picture at its own size.
    ///
    /// # Errors
    ///
    /// [`DataError::Image`] if it cannot be read.
    ///
    /// # Panics
    ///
    /// If there is no picture `idx`.
    pub fn picture(&self, idx: usize) -> Result<Rgb<'_>, DataError> {
        match &self.0 {
            Kind::Files(entries, _) => {
                let path = entries[idx].path();
                let bytes = entries[idx].read().map_err(|reason| DataError::image(&path, reason))?;
                decode(&bytes, &path)
            }
            Kind::Split(images, ..) => images.picture(self.example(idx)),
        }
    }

    /// The pictures of a range, decoded on all cores and made `side × side` as [`Rgb::square`] does.
    ///
    /// # Panics
    ///
    /// If the range ends beyond the last picture.
    #[must_use]
    pub fn squares(&self, range: std::ops::Range<usize>, side: usize) -> Squares {
        let square = |idx: usize| {
            let mut pixels = vec![0; side * side * N_CHANNELS];
            let read = self.picture(idx).and_then(|picture| picture.square(side, &mut pixels));
            read.map(|()| pixels).map_err(|error| BadSample::new(self.split_name(), idx, &error))
        };
        let read: Vec<Result<Vec<u8>, BadSample>> = range.clone().into_par_iter().map(square).collect();
        let mut squares = Squares::default();
        for (idx, read) in range.zip(read) {
            match read {
                Ok(pixels) => {
                    squares.pixels.extend(pixels);
                    squares.pictures.push(idx);
                }
                Err(bad) => squares.bad.push(bad),
            }
        }
        squares
    }

    fn split_name(&self) -> &'static str {
        match &self.0 {
            Kind::Files(..) => FILES,
            Kind::Split(_, name, _) => name,
        }
    }

    /// A picture's number in its split.
    fn example(&self, idx: usize) -> usize {
        match &self.0 {
            Kind::Split(_, _, Some(examples)) => examples[idx] as usize,
            Kind::Files(..) | Kind::Split(..) => idx,
        }
    }
}
