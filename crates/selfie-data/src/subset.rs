//! Which training examples are held out for validation, and of which the labels may be used.

use selfie_random::{Purpose, Stream};

use crate::DataError;

mod file;
#[cfg(test)]
mod tests;

pub use file::SubsetFile;

/// One of so many training examples of a class is held out.
const VALIDATION_ONE_OF: usize = 10;
/// The seed of the validation split, which belongs to the data and not to a run.
const VALIDATION_SEED: u64 = 0;
/// The draws of folds beside those of the split.
const FOLDS: u32 = 1;
/// In the place of a class: the order in which classes take turns.
const CLASS_TURNS: u32 = u32::MAX;

/// The training set's two parts, in ascending order. They do not depend on the run's seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splits {
    /// What is left to train on.
    pub train: Vec<u32>,
    /// A tenth of every class, rounded to the nearest whole number.
    pub validation: Vec<u32>,
}

impl Splits {
    /// Holds out the validation examples of a training set with these labels.
    #[must_use]
    pub fn new(labels: &[u16]) -> Self {
        let all: Vec<u32> = (0..labels.len() as u32).collect();
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for (class, mut members) in by_class(labels, &all).into_iter().enumerate() {
            Stream::new(VALIDATION_SEED, Purpose::Validation, class as u32, 0).shuffle(&mut members);
            let n_validation = (members.len() + VALIDATION_ONE_OF / 2) / VALIDATION_ONE_OF;
            train.extend(members.split_off(n_validation));
            validation.extend(members);
        }
        train.sort_unstable();
        validation.sort_unstable();
        Self { train, validation }
    }

    /// Checks that there is something to measure on; `class_counts` are the training set's.
    ///
    /// # Errors
    ///
    /// If no class has enough images for a tenth of them to be one.
    pub fn require_validation(&self, class_counts: &[usize]) -> Result<(), DataError> {
        if !self.validation.is_empty() {
            return Ok(());
        }
        let expected = format!(
            "{} training images or more of a class, a tenth of which are held out; without them give one learning rate, and leave out --validate",
            VALIDATION_ONE_OF / 2
        );
        let got = format!("at most {} of a class", class_counts.iter().max().unwrap_or(&0));
        Err(DataError::setting("validation images", expected, got))
    }
}

/// Deals the training examples into `n_folds` parts, class by class in a random but fixed order, so that every part has a
/// like share of every class. Each part ascends.
///
/// # Errors
///
/// If there are fewer than two parts, or a part would be empty.
pub fn folds(labels: &[u16], n_folds: usize) -> Result<Vec<Vec<u32>>, DataError> {
    if n_folds < 2 || n_folds > labels.len() {
        return Err(DataError::setting("folds", format!("2 to {}, the number of examples", labels.len()), n_folds));
    }
    let all: Vec<u32> = (0..labels.len() as u32).collect();
    let mut parts = vec![Vec::new(); n_folds];
    let mut n_dealt = 0;
    for (class, mut members) in by_class(labels, &all).into_iter().enumerate() {
        Stream::new(VALIDATION_SEED, Purpose::Validation, class as u32, FOLDS).shuffle(&mut members);
        for member in members {
            parts[n_dealt % n_folds].push(member);
            n_dealt += 1;
        }
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    Ok(parts)
}

/// The examples whose labels may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subset {
    /// Indices into the training set, ascending.
    pub examples: Vec<u32>,
    /// BLAKE3 of the indices, in hexadecimal.
    pub hash: String,
}

/// Draws the labelled examples of a run: class-balanced, and nested for one seed (5 % ⊂ 8 % ⊂ 20 %).
///
/// Classes take turns in a random but fixed order, each giving the next of its examples in random order, until there are
/// `fraction * n_train_total` of them and at least one of each class; so class sizes differ by at most one, unless a
/// class runs out. A fraction of 1 is the whole training set, the validation examples included.
///
/// - `labels`: of the whole training set
/// - `rest`: the examples to draw from, [`Splits::train`]
/// - `n_train_total`: the number the fraction counts from, the full training set
///
/// # Errors
///
/// If the fraction is not in (0, 1] or asks for more examples than `rest` holds, or if `n_train_total` is not the number
/// of labels or an example of `rest` has none.
pub fn labelled_subset(
    labels: &[u16],
    rest: &[u32],
    n_train_total: usize,
    fraction: f64,
    seed: u64,
) -> Result<Subset, DataError> {
    if !(fraction > 0.0 && fraction <= 1.0) {
        return Err(DataError::setting("labelled fraction", "more than 0 and at most 1", fraction));
    }
    if labels.len() != n_train_total || rest.iter().any(|&example| example as usize >= labels.len()) {
        let got = format!("{} labels and a largest example of {:?}", labels.len(), rest.iter().max());
        let expected = format!("a label for each of {n_train_total} training examples");
        return Err(DataError::Inconsistent { what: "labelled subset", expected, got });
    }
    if fraction == 1.0 {
        return Ok(Subset::new((0..n_train_total as u32).collect()));
    }
    let mut classes = by_class(labels, rest);
    for (class, members) in classes.iter_mut().enumerate() {
        Stream::new(seed, Purpose::Subset, class as u32, 0).shuffle(members);
        // The next example is popped from the end.
        members.reverse();
    }
    classes.retain(|members| !members.is_empty());
    Stream::new(seed, Purpose::Subset, CLASS_TURNS, 0).shuffle(&mut classes);
    let wanted = ((fraction * n_train_total as f64).round() as usize).max(classes.len());
    if wanted > rest.len() {
        let expected =
            format!("at most {} (or 1) beside the validation split", rest.len() as f64 / n_train_total as f64);
        return Err(DataError::setting("labelled fraction", expected, fraction));
    }
    let mut examples = Vec::with_capacity(wanted);
    while examples.len() < wanted {
        let n_left = wanted - examples.len();
        examples.extend(classes.iter_mut().filter_map(Vec::pop).take(n_left));
    }
    Ok(Subset::new(examples))
}

impl Subset {
    fn new(mut examples: Vec<u32>) -> Self {
        examples.sort_unstable();
        let bytes: Vec<u8> = examples.iter().flat_map(|example| example.to_le_bytes()).collect();
        Self { examples, hash: blake3::hash(&bytes).to_hex().to_string() }
    }
}

/// The given examples of every class, in the given order.
fn by_class(labels: &[u16], examples: &[u32]) -> Vec<Vec<u32>> {
    let n_classes = labels.iter().max().map_or(0, |&label| usize::from(label) + 1);
    let mut classes = vec![Vec::new(); n_classes];
    for &example in examples {
        classes[usize::from(labels[example as usize])].push(example);
    }
    classes
}
