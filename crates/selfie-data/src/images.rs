//! Labelled images of one size, and what can be said of all of them. They lie in memory or on a map, as pixels or as
//! image files that are decoded when they are asked for; who reads an image need not know. Reading data sets is
//! `import`'s business.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::decode::Rgb;
use crate::listing::UNLABELLED;
use crate::{BadSample, DataError};

mod moments;
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub(crate) use moments::Moments;
pub(crate) use samples::{Bytes, Encoded, Names, Samples};

/// Red, green and blue, in this order.
pub const N_CHANNELS: usize = 3;
/// Image files that are decoded for a mean, where it was not computed when the set was prepared.
const N_FOR_MEAN: usize = 1000;
/// Classes that a message names.
const N_IN_WORDS: usize = 20;

/// A data set: what may be trained on, and what is looked at once. Its clones share the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSet {
    /// Its name, as on the command line.
    pub name: String,
    /// The training set, the validation examples included.
    pub train: Arc<Images>,
    /// The test set.
    pub test: Arc<Images>,
    /// An image beside several folders of images, which were taken for no classes because of it.
    pub beside: Option<PathBuf>,
}

impl DataSet {
    /// Refuses a set whose images have no classes to tell apart.
    ///
    /// # Errors
    ///
    /// [`DataError::Unlabelled`] if it has fewer than two classes.
    pub fn require_classes(&self) -> Result<(), DataError> {
        if self.train.n_classes() < 2 {
            return Err(DataError::Unlabelled {
                set: self.name.clone(),
                got: classes_in_words(self.train.class_names()),
                beside: self.beside.clone(),
            });
        }
        Ok(())
    }

    /// Refuses a set that has nothing to measure at the end.
    ///
    /// # Errors
    ///
    /// [`DataError::NoTestImages`] if it has no test images.
    pub fn require_test_images(&self) -> Result<(), DataError> {
        if self.test.is_empty() { Err(DataError::NoTestImages { set: self.name.clone() }) } else { Ok(()) }
    }
}

/// Square labelled images of one size.
#[derive(Clone, Debug)]
pub struct Images {
    side: usize,
    samples: Samples,
    labels: Vec<u16>,
    class_names: Vec<String>,
    /// What a manifest says, or what was computed once.
    moments: OnceLock<Moments>,
    content_hash: OnceLock<String>,
}

impl Images {
    /// Images of `side × side` pixels with a label each, which indexes `class_names`.
    ///
    /// # Shapes
    ///
    /// - `pixels`: `[n, H, W, C]`, RGB
    /// - `labels`: `[n]`
    ///
    /// # Errors
    ///
    /// If the number of bytes does not follow from the number of labels and the side, if a label has no class name, or
    /// if there are more images than a `u32` counts.
    pub fn new(side: usize, pixels: Vec<u8>, labels: Vec<u16>, class_names: Vec<String>) -> Result<Self, DataError> {
        Self::of_samples(side, Samples::Raw(Bytes::Memory(pixels)), labels, class_names)
    }

    /// [`Images::new`] of samples wherever they lie. Image files become `side × side` pixels when they are decoded.
    pub(crate) fn of_samples(
        side: usize,
        samples: Samples,
        labels: Vec<u16>,
        class_names: Vec<String>,
    ) -> Result<Self, DataError> {
        let inconsistent = |what, expected: String, got: String| DataError::Inconsistent { what, expected, got };
        let image_bytes = side * side * N_CHANNELS;
        if let Samples::Raw(pixels) = &samples
            && (pixels.len() != labels.len() * image_bytes || side == 0)
        {
            let expected = format!("{} labels of {image_bytes} bytes each", labels.len());
            return Err(inconsistent("pixels", expected, format!("{} bytes", pixels.len())));
        }
        if let Samples::Encoded(files) = &samples {
            let rising = files.ends.is_sorted() && files.ends.last().is_none_or(|&end| end <= files.bytes.len() as u64);
            if files.ends.len() != labels.len() || !rising || side == 0 {
                let expected = format!("{} image files one behind the other", labels.len());
                return Err(inconsistent("image files", expected, format!("{} ends", files.ends.len())));
            }
        }
        if u32::try_from(labels.len()).is_err() {
            return Err(inconsistent("number of images", format!("at most {}", u32::MAX), labels.len().to_string()));
        }
        if let Some(label) = labels.iter().find(|&&label| usize::from(label) >= class_names.len()) {
            return Err(inconsistent("labels", format!("below {}", class_names.len()), label.to_string()));
        }
        let (moments, content_hash) = (OnceLock::new(), OnceLock::new());
        Ok(Self { side, samples, labels, class_names, moments, content_hash })
    }

    /// [`Images::new`] for a caller inside the crate that made all parts of the same number of images.
    pub(crate) fn of_known_sizes(side: usize, pixels: Vec<u8>, labels: Vec<u16>, class_names: Vec<String>) -> Self {
        debug_assert_eq!(pixels.len(), labels.len() * side * side * N_CHANNELS);
        let samples = Samples::Raw(Bytes::Memory(pixels));
        Self { side, samples, labels, class_names, moments: OnceLock::new(), content_hash: OnceLock::new() }
    }

    /// With what was computed when the set was prepared.
    pub(crate) fn knowing(self, moments: Moments, content_hash: String) -> Self {
        Self { moments: moments.into(), content_hash: content_hash.into(), ..self }
    }

    /// How many images there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Height and width in pixels.
    #[must_use]
    pub fn side(&self) -> usize {
        self.side
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> usize {
        self.side
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> usize {
        self.side
    }

    /// Bytes of one image.
    #[must_use]
    pub fn image_bytes(&self) -> usize {
        self.side * self.side * N_CHANNELS
    }

    /// The pixels of one image, `[H, W, C]`. A file is decoded, its shorter side resized, and its centre taken.
    ///
    /// # Errors
    ///
    /// [`DataError::Image`] if it is a file that cannot be decoded.
    ///
    /// # Panics
    ///
    /// If there is no image `idx`.
    pub fn image(&self, idx: usize) -> Result<Cow<'_, [u8]>, DataError> {
        match &self.samples {
            Samples::Raw(_) => Ok(Cow::Borrowed(self.stored(idx))),
            Samples::Encoded(_) => {
                let mut pixels = vec![0; self.image_bytes()];
                self.picture(idx)?.square(self.side, &mut pixels)?;
                Ok(Cow::Owned(pixels))
            }
        }
    }

    /// One image at the size that it was stored with: a file's own, or [`Images::side`].
    ///
    /// # Errors
    ///
    /// As [`Images::image`].
    ///
    /// # Panics
    ///
    /// If there is no image `idx`.
    pub fn picture(&self, idx: usize) -> Result<Rgb<'_>, DataError> {
        match &self.samples {
            Samples::Raw(_) => Ok(Rgb { width: self.side, height: self.side, pixels: self.stored(idx).into() }),
            Samples::Encoded(files) => files.picture(idx),
        }
    }

    /// The bytes of one image as they are stored: pixels or a file.
    ///
    /// # Panics
    ///
    /// If there is no image `idx`.
    #[must_use]
    pub fn stored(&self, idx: usize) -> &[u8] {
        match &self.samples {
            Samples::Raw(pixels) => &pixels[idx * self.image_bytes()..][..self.image_bytes()],
            Samples::Encoded(files) => files.file(idx),
        }
    }

    /// Whether images are files, which are decoded when they are asked for and so may turn out to be none.
    #[must_use]
    pub fn is_encoded(&self) -> bool {
        matches!(self.samples, Samples::Encoded(_))
    }

    /// What messages call an image file; `None` of images that lie as pixels.
    pub(crate) fn file_name(&self, idx: usize) -> Option<PathBuf> {
        match &self.samples {
            Samples::Encoded(files) => Some(files.name(idx)),
            _ => None,
        }
    }

    /// Decodes every image and returns those that cannot be; of images that lie as pixels there is none.
    #[must_use]
    pub fn bad_samples(&self, split: &'static str) -> Vec<BadSample> {
        if !self.is_encoded() {
            return Vec::new();
        }
        let bad = |idx| Some(BadSample::new(split, idx, &self.picture(idx).err()?));
        (0..self.len()).into_par_iter().filter_map(bad).collect()
    }

    /// The class of one image.
    ///
    /// # Panics
    ///
    /// If there is no image `idx`.
    #[must_use]
    pub fn label(&self, idx: usize) -> u16 {
        self.labels[idx]
    }

    /// The class of every image.
    #[must_use]
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// The name of every class.
    #[must_use]
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// How many classes there are, occurring or not.
    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.class_names.len()
    }

    /// How many images every class has.
    #[must_use]
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.n_classes()];
        for &label in &self.labels {
            counts[usize::from(label)] += 1;
        }
        counts
    }

    /// BLAKE3 of size, labels and pixels or files, in hexadecimal: equal for equal data, wherever it was read from.
    #[must_use]
    pub fn content_hash(&self) -> String {
        self.content_hash.get_or_init(|| self.computed_hash()).clone()
    }

    /// Compares the content with the hash that was written when the set was prepared; other sets have none.
    ///
    /// # Errors
    ///
    /// If they differ.
    pub fn require_intact(&self) -> Result<(), DataError> {
        let Some(expected) = self.content_hash.get().cloned() else { return Ok(()) };
        let got = self.computed_hash();
        if got == expected {
            return Ok(());
        }
        let what = "content hash of the prepared set, which is damaged: import it again";
        Err(DataError::Inconsistent { what, expected, got })
    }

    /// [`Images::content_hash`], computed in any case.
    pub(crate) fn computed_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let format: &[u8] = if self.is_encoded() { b"selfie image files 1\0" } else { b"selfie images 1\0" };
        hasher.update(format);
        hasher.update(&(self.side as u64).to_le_bytes());
        hasher.update(&(self.len() as u64).to_le_bytes());
        let labels: Vec<u8> = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        hasher.update(&labels);
        match &self.samples {
            Samples::Raw(pixels) => hasher.update(pixels),
            Samples::Encoded(files) => {
                let ends: Vec<u8> = files.ends.iter().flat_map(|end| end.to_le_bytes()).collect();
                hasher.update(&ends).update(&files.bytes)
            }
        };
        hasher.finalize().to_hex().to_string()
    }

    /// Mean and standard deviation of every channel over all pixels, in units where 255 is 1; zeros if there is no image.
    ///
    /// Of image files that were not prepared, a thousand are decoded for it, evenly spaced. The sums are exact, so that
    /// the result does not depend on the number of threads.
    #[must_use]
    pub fn mean_std(&self) -> ([f32; N_CHANNELS], [f32; N_CHANNELS]) {
        self.moments.get_or_init(|| self.computed_moments()).mean_std()
    }

    fn computed_moments(&self) -> Moments {
        let n = if self.is_encoded() { self.len().min(N_FOR_MEAN) } else { self.len() };
        let of_image = |i: usize| match self.image(i * self.len() / n) {
            Ok(pixels) => Moments::default().with(&pixels),
            // It is refused, and counted, where it is trained on.
            Err(_) => Moments::default(),
        };
        (0..n).into_par_iter().map(of_image).reduce(Moments::default, Moments::and)
    }
}

/// Names of classes for messages: all of a few, the number of many.
#[must_use]
pub fn classes_in_words(class_names: &[String]) -> String {
    match class_names {
        [] => "no classes".to_owned(),
        [only] if only == UNLABELLED => "images without labels".to_owned(),
        [only] => format!("one class ({only})"),
        few if few.len() <= N_IN_WORDS => few.join(", "),
        many => format!("{} classes", many.len()),
    }
}

impl PartialEq for Images {
    /// Equal sides, labels, names and stored bytes.
    fn eq(&self, other: &Self) -> bool {
        let same_kind = self.is_encoded() == other.is_encoded();
        same_kind
            && (self.side, &self.labels, &self.class_names) == (other.side, &other.labels, &other.class_names)
            && (0..self.len()).all(|idx| self.stored(idx) == other.stored(idx))
    }
}

impl Eq for Images {}
