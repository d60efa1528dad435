//! Labelled images of one size, in memory, and what can be said of all of them. Reading files is `cifar10`'s business.

use std::sync::Arc;

use rayon::prelude::*;

use crate::DataError;

#[cfg(test)]
mod tests;

/// Red, green and blue, in this order.
pub const N_CHANNELS: usize = 3;

/// A data set: what may be trained on, and what is looked at once. Its clones share the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSet {
    /// Its name, as on the command line.
    pub name: String,
    /// The training set, the validation examples included.
    pub train: Arc<Images>,
    /// The test set.
    pub test: Arc<Images>,
}

/// Square labelled images of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    side: usize,
    pixels: Vec<u8>,
    labels: Vec<u16>,
    class_names: Vec<String>,
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
        let inconsistent = |what, expected: String, got: String| DataError::Inconsistent { what, expected, got };
        let image_bytes = side * side * N_CHANNELS;
        if pixels.len() != labels.len() * image_bytes || side == 0 {
            let expected = format!("{} labels of {image_bytes} bytes each", labels.len());
            return Err(inconsistent("pixels", expected, format!("{} bytes", pixels.len())));
        }
        if u32::try_from(labels.len()).is_err() {
            return Err(inconsistent("number of images", format!("at most {}", u32::MAX), labels.len().to_string()));
        }
        if let Some(label) = labels.iter().find(|&&label| usize::from(label) >= class_names.len()) {
            return Err(inconsistent("labels", format!("below {}", class_names.len()), label.to_string()));
        }
        Ok(Self { side, pixels, labels, class_names })
    }

    /// [`Images::new`] for a caller inside the crate that made all parts of the same number of images.
    pub(crate) fn of_known_sizes(side: usize, pixels: Vec<u8>, labels: Vec<u16>, class_names: Vec<String>) -> Self {
        debug_assert_eq!(pixels.len(), labels.len() * side * side * N_CHANNELS);
        Self { side, pixels, labels, class_names }
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

    /// The pixels of one image, `[H, W, C]`.
    ///
    /// # Panics
    ///
    /// If there is no image `idx`.
    #[must_use]
    pub fn image(&self, idx: usize) -> &[u8] {
        &self.pixels[idx * self.image_bytes()..][..self.image_bytes()]
    }

    /// All pixels, `[n, H, W, C]`.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
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

    /// BLAKE3 of size, labels and pixels, in hexadecimal: equal for equal data, wherever it was read from.
    #[must_use]
    pub fn content_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"selfie images 1\0");
        hasher.update(&(self.side as u64).to_le_bytes());
        hasher.update(&(self.len() as u64).to_le_bytes());
        let labels: Vec<u8> = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        hasher.update(&labels);
        hasher.update(&self.pixels);
        hasher.finalize().to_hex().to_string()
    }

    /// Mean and standard deviation of every channel over all pixels, in units where 255 is 1.
    ///
    /// Zeros if there is no image. The sums are exact, so that the result does not depend on the number of threads.
    #[must_use]
    pub fn mean_std(&self) -> ([f32; N_CHANNELS], [f32; N_CHANNELS]) {
        let zero = || ([0_u64; N_CHANNELS], [0_u64; N_CHANNELS]);
        let (sums, squares) = self
            .pixels
            .par_chunks(self.image_bytes())
            .fold(zero, |mut totals, image| {
                for pixel in image.chunks_exact(N_CHANNELS) {
                    for (channel, &value) in pixel.iter().enumerate() {
                        totals.0[channel] += u64::from(value);
                        totals.1[channel] += u64::from(value) * u64::from(value);
                    }
                }
                totals
            })
            .reduce(zero, |a, b| (add(a.0, b.0), add(a.1, b.1)));
        let n = ((self.pixels.len() / N_CHANNELS).max(1)) as f64;
        let mean = sums.map(|sum| sum as f64 / n / 255.0);
        let std = std::array::from_fn(|channel| {
            let mean_square = squares[channel] as f64 / n / (255.0 * 255.0);
            (mean_square - mean[channel] * mean[channel]).max(0.0).sqrt() as f32
        });
        (mean.map(|mean| mean as f32), std)
    }
}

fn add(a: [u64; N_CHANNELS], b: [u64; N_CHANNELS]) -> [u64; N_CHANNELS] {
    std::array::from_fn(|channel| a[channel] + b[channel])
}
