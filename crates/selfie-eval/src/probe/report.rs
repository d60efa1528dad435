//! Both probes on embeddings of a data set, once or over folds.

use std::sync::Arc;

use selfie_data::{BadSample, Images, Pictures};
use selfie_model::{EmbeddingAt, InferenceModel};
use serde::Serialize;

use crate::probe::knn::knn;
use crate::probe::linear::{LinearProbe, LinearSettings};
use crate::probe::{Labelled, chance};
use crate::statistics::sample_std;
use crate::{EvalError, Matrix, collapse, embed, spread};

/// Some labelled embeddings: `[n, D]` row by row, and `[n]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    /// Embeddings.
    pub rows: Vec<f32>,
    /// Their classes.
    pub labels: Vec<u32>,
}

impl Examples {
    fn labelled(&self, settings: &ProbeSettings) -> Result<Labelled<'_>, EvalError> {
        Labelled::new(Matrix::new(&self.rows, settings.width)?, &self.labels, settings.n_classes)
    }
}

/// The embeddings of a split's images that can be read.
#[derive(Clone, Debug)]
pub struct SplitEmbeddings {
    all: Examples,
    width: usize,
    /// The row of each image.
    row_of: Vec<Option<usize>>,
    bad: Vec<BadSample>,
}

impl SplitEmbeddings {
    /// Embeds all images of a split, called `name` in messages.
    ///
    /// # Errors
    ///
    /// If the network has no such place.
    pub fn of(
        model: &InferenceModel,
        images: &Arc<Images>,
        name: &'static str,
        at: EmbeddingAt,
    ) -> Result<Self, EvalError> {
        let pictures = Pictures::split(images.clone(), name);
        let (mut all, mut row_of, mut bad) = (Examples::default(), vec![None; images.len()], Vec::new());
        embed(model, &pictures, at, 0..pictures.len(), |batch| {
            for &picture in &batch.pictures {
                row_of[picture] = Some(all.labels.len());
                all.labels.push(u32::from(images.label(picture)));
            }
            all.rows.extend(batch.rows);
            bad.extend(batch.bad);
            Ok::<(), EvalError>(())
        })?;
        Ok(Self { all, width: model.width_at(at)?, row_of, bad })
    }

    /// Those of some images.
    ///
    /// # Panics
    ///
    /// If an image is not there.
    #[must_use]
    pub fn select(&self, images: &[u32]) -> Examples {
        let mut examples = Examples::default();
        for row in images.iter().filter_map(|&image| self.row_of[image as usize]) {
            examples.rows.extend_from_slice(&self.all.rows[row * self.width..(row + 1) * self.width]);
            examples.labels.push(self.all.labels[row]);
        }
        examples
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &Examples {
        &self.all
    }

    /// Images that cannot be read.
    #[must_use]
    pub fn bad(&self) -> &[BadSample] {
        &self.bad
    }
}

/// What is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSettings {
    /// Numbers of neighbours.
    pub ks: Vec<usize>,
    /// The linear probe.
    pub linear: LinearSettings,
    /// Classes.
    pub n_classes: usize,
    /// Numbers of an embedding.
    pub width: usize,
}

/// A share of right answers, in 0–1: those of all folds together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// The share.
    pub accuracy: f64,
    /// Sample standard deviation of the folds' shares; none of one fold.
    pub std: Option<f64>,
}

/// What the votes of `k` neighbours came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct KnnShare {
    /// Neighbours that vote, in every fold as many.
    pub k: usize,
    /// How many are right.
    #[serde(flatten)]
    pub share: Share,
}

/// What the linear layer came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinearShare {
    /// The learning rate with the lowest training objective, in each fold.
    pub learning_rates: Vec<f32>,
    /// How many are right.
    #[serde(flatten)]
    pub share: Share,
}

/// What the probes found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProbeReport {
    /// Examples fitted to, in the first fold.
    pub n_fitted: usize,
    /// Examples measured on, in all folds.
    pub n_measured: usize,
    /// The accuracy of naming one class every time, the most frequent of all that are measured, in 0–1.
    pub chance: f64,
    /// Nearest neighbours.
    pub knn: Vec<KnnShare>,
    /// The linear layer.
    pub linear: LinearShare,
    /// Spread of the measured embeddings: 0 when all point the same way, 1 when they point everywhere alike.
    pub spread: f64,
    /// Mean cosine of all pairs of them: 1 when all point the same way.
    pub mean_cosine: f64,
    /// How many directions they fill.
    pub participation_ratio: f64,
}

/// The right answers of some folds.
#[derive(Default)]
struct Answers {
    n_right: usize,
    n_all: usize,
    accuracies: Vec<f64>,
}

impl Answers {
    fn add(&mut self, n_right: usize, n_all: usize) {
        self.n_right += n_right;
        self.n_all += n_all;
        self.accuracies.push(n_right as f64 / n_all as f64);
    }

    fn share(&self) -> Share {
        Share { accuracy: self.n_right as f64 / self.n_all as f64, std: sample_std(&self.accuracies) }
    }
}

/// The numbers of neighbours that every fold has: those above stand for all, once.
fn ks_of(folds: &[(Examples, Examples)], asked: &[usize]) -> Vec<usize> {
    let most = folds.iter().map(|(fitted, _)| fitted.labels.len()).min().unwrap_or(0);
    let mut ks = Vec::with_capacity(asked.len());
    for k in asked.iter().map(|&k| k.min(most)) {
        if !ks.contains(&k) {
            ks.push(k);
        }
    }
    ks
}

/// Fits to the first of each pair and measures on the second.
///
/// # Errors
///
/// If there is no pair, one of a pair is empty, or a number is not finite.
pub fn probe(folds: &[(Examples, Examples)], settings: &ProbeSettings) -> Result<ProbeReport, EvalError> {
    if folds.is_empty() {
        return Err(EvalError::TooFew { what: "a probe", expected: 1, got: 0 });
    }
    let ks = ks_of(folds, &settings.ks);
    let mut votes: Vec<Answers> = ks.iter().map(|_| Answers::default()).collect();
    let (mut linear, mut learning_rates) = (Answers::default(), Vec::new());
    for (fitted, measured) in folds {
        let train = fitted.labelled(settings)?;
        let test = measured.labelled(settings)?;
        for (votes, knn) in votes.iter_mut().zip(knn(train, Some(test), &ks)?) {
            votes.add(knn.n_right, test.labels.len());
        }
        let layer = LinearProbe::fit(train, settings.n_classes, &settings.linear)?;
        linear.add(layer.measure(test)?.n_right() as usize, test.labels.len());
        learning_rates.push(layer.chosen().learning_rate);
    }
    let all: Vec<f32> = folds.iter().flat_map(|(_, measured)| measured.rows.iter().copied()).collect();
    let rows = Matrix::new(&all, settings.width)?;
    let labels: Vec<u32> = folds.iter().flat_map(|(_, measured)| measured.labels.iter().copied()).collect();
    Ok(ProbeReport {
        n_fitted: folds.first().map_or(0, |(fitted, _)| fitted.labels.len()),
        n_measured: rows.n_rows(),
        chance: chance(&labels),
        knn: ks.iter().zip(&votes).map(|(&k, votes)| KnnShare { k, share: votes.share() }).collect(),
        linear: LinearShare { learning_rates, share: linear.share() },
        spread: collapse(&all, settings.width).unwrap_or(0.0),
        mean_cosine: spread::mean_cosine(rows),
        participation_ratio: spread::participation_ratio(rows)?,
    })
}
