//! What can be said of a data set without training on it: counts, statistics, hashes, duplicates.

use std::collections::HashSet;

use rayon::prelude::*;
use serde::Serialize;

use crate::{BadSample, DataSet, Images, N_CHANNELS};

mod sheet;
#[cfg(test)]
mod tests;

pub use sheet::contact_sheet;

/// A data set's inspection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetReport {
    /// The set's name.
    pub name: String,
    /// The training set.
    pub train: SplitReport,
    /// The test set.
    pub test: SplitReport,
    /// Test images that occur in the training set as well: the same pixels, or the same file.
    pub n_test_images_in_train: usize,
    /// Images that cannot be decoded, of both splits; empty unless they were looked for.
    pub bad: Vec<BadSample>,
}

/// One split's inspection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitReport {
    /// How many images there are, without those that are known to be no image.
    pub n_images: usize,
    /// Height and width in pixels.
    pub side: usize,
    /// How many images each class has.
    pub classes: Vec<ClassCount>,
    /// Per channel, in units where 255 is 1; none of no images.
    pub mean: Option<[f32; N_CHANNELS]>,
    /// As `mean`.
    pub std: Option<[f32; N_CHANNELS]>,
    /// [`Images::content_hash`].
    pub content_hash: String,
    /// Images that occurred before in the same split: the same pixels, or the same file.
    pub n_duplicates: usize,
    /// Those of them whose label is another one.
    pub n_duplicates_with_another_label: usize,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Its name.
    pub name: String,
    /// How many images it has.
    pub n_images: usize,
}

impl SetReport {
    /// Inspects both splits: a few passes over what is stored, on all cores.
    #[must_use]
    pub fn new(data: &DataSet) -> Self {
        Self::without(data, [Vec::new(), Vec::new()])
    }

    /// [`SetReport::new`], with every image decoded; what cannot be is listed and not counted.
    #[must_use]
    pub fn with_bad_samples(data: &DataSet) -> Self {
        Self::without(data, [data.train.bad_samples("train"), data.test.bad_samples("test")])
    }

    fn without(data: &DataSet, bad: [Vec<BadSample>; 2]) -> Self {
        let (train, test) = (sorted_hashes(&data.train, &bad[0]), sorted_hashes(&data.test, &bad[1]));
        let in_train = |hash: &[u8; 32]| train.binary_search_by(|(other, _)| other.cmp(hash)).is_ok();
        Self {
            name: data.name.clone(),
            train: SplitReport::new(&data.train, &train),
            test: SplitReport::new(&data.test, &test),
            n_test_images_in_train: test.iter().filter(|(hash, _)| in_train(hash)).count(),
            bad: bad.concat(),
        }
    }
}

impl SplitReport {
    fn new(images: &Images, sorted: &[([u8; 32], u16)]) -> Self {
        let mut counts = vec![0; images.n_classes()];
        sorted.iter().for_each(|(_, label)| counts[usize::from(*label)] += 1);
        let counts = images.class_names().iter().zip(counts);
        let (mean, std) = (!images.is_empty()).then(|| images.mean_std()).unzip();
        let duplicates = sorted.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        Self {
            n_images: sorted.len(),
            side: images.side(),
            classes: counts.map(|(name, n_images)| ClassCount { name: name.clone(), n_images }).collect(),
            mean,
            std,
            content_hash: images.content_hash(),
            n_duplicates: duplicates.clone().count(),
            n_duplicates_with_another_label: duplicates.filter(|pair| pair[0].1 != pair[1].1).count(),
        }
    }
}

/// The BLAKE3 hash and the label of every image that is not `bad`, equal images next to each other.
fn sorted_hashes(images: &Images, bad: &[BadSample]) -> Vec<([u8; 32], u16)> {
    let bad: HashSet<u32> = bad.iter().map(|bad| bad.example).collect();
    let mut hashes: Vec<([u8; 32], u16)> = (0..images.len())
        .into_par_iter()
        .filter(|&idx| !bad.contains(&(idx as u32)))
        .map(|idx| (*blake3::hash(images.stored(idx)).as_bytes(), images.label(idx)))
        .collect();
    hashes.par_sort_unstable();
    hashes
}
