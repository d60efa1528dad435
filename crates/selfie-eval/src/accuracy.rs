//! Top-1 accuracy, per class and overall, the confusion matrix and the mean cross entropy, accumulated batch by batch.

use crate::EvalError;

#[cfg(test)]
mod tests;

/// Accumulates predictions; every number can be asked for at any time.
///
/// The same batches in the same order give the same bits: sums are f64, serial, in the order of the examples.
#[derive(Clone, Debug, PartialEq)]
pub struct AccuracyMeter {
    n_classes: usize,
    /// `[L, L]`, row: true class, column: predicted class.
    confusion: Vec<u64>,
    cross_entropy_sum: f64,
}

impl AccuracyMeter {
    /// An empty accumulator over `n_classes` classes.
    #[must_use]
    pub fn new(n_classes: usize) -> Self {
        Self { n_classes, confusion: vec![0; n_classes * n_classes], cross_entropy_sum: 0.0 }
    }

    /// Adds one batch. The prediction is the largest logit, the first of equal ones. A rejected batch leaves nothing
    /// behind.
    ///
    /// # Shapes
    ///
    /// - `logits`: `[B, L]`, scores before softmax, row by row
    /// - `labels`: `[B]`
    ///
    /// # Errors
    ///
    /// If the lengths do not agree, a label is not below the number of classes or a logit is not finite.
    pub fn add(&mut self, logits: &[f32], labels: &[u32]) -> Result<(), EvalError> {
        let n_classes = self.n_classes;
        if logits.len() != labels.len() * n_classes {
            return Err(EvalError::LogitsShape { n_labels: labels.len(), n_classes, got: logits.len() });
        }
        if let Some((example_idx, &label)) = labels.iter().enumerate().find(|(_, label)| **label as usize >= n_classes)
        {
            return Err(EvalError::Label { example_idx, label, n_classes });
        }
        if let Some(logit_idx) = logits.iter().position(|logit| !logit.is_finite()) {
            let what = format!("the logit of class {} of example {}", logit_idx % n_classes, logit_idx / n_classes);
            return Err(EvalError::NonFinite { what, value: f64::from(logits[logit_idx]) });
        }
        for (row, &label) in logits.chunks_exact(n_classes.max(1)).zip(labels) {
            let label = label as usize;
            self.confusion[label * n_classes + first_maximum(row)] += 1;
            self.cross_entropy_sum += cross_entropy(row, label);
        }
        Ok(())
    }

    /// Examples seen.
    #[must_use]
    pub fn n_examples(&self) -> u64 {
        self.confusion.iter().sum()
    }

    /// Right predictions.
    #[must_use]
    pub fn n_right(&self) -> u64 {
        (0..self.n_classes).map(|class| self.confusion(class, class)).sum()
    }

    /// Share of right predictions, in 0–1; `None` before the first example.
    #[must_use]
    pub fn top1_accuracy(&self) -> Option<f64> {
        ratio(self.n_right(), self.n_examples())
    }

    /// Share of right predictions among the examples of each class, in 0–1; `None` for a class without examples.
    #[must_use]
    pub fn per_class(&self) -> Vec<Option<f64>> {
        (0..self.n_classes).map(|class| ratio(self.confusion(class, class), self.n_examples_of(class))).collect()
    }

    /// Examples of one true class.
    #[must_use]
    pub fn n_examples_of(&self, class: usize) -> u64 {
        (0..self.n_classes).map(|predicted| self.confusion(class, predicted)).sum()
    }

    /// Examples of class `truth` predicted to be `predicted`; 0 for a class there is not.
    #[must_use]
    pub fn confusion(&self, truth: usize, predicted: usize) -> u64 {
        if truth < self.n_classes && predicted < self.n_classes {
            self.confusion[truth * self.n_classes + predicted]
        } else {
            0
        }
    }

    /// Mean cross entropy in nats; `None` before the first example.
    #[must_use]
    pub fn mean_cross_entropy(&self) -> Option<f64> {
        let n_examples = self.n_examples();
        (n_examples > 0).then(|| self.cross_entropy_sum / n_examples as f64)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn first_maximum(row: &[f32]) -> usize {
    let mut best = 0;
    for (class, logit) in row.iter().enumerate() {
        if *logit > row[best] {
            best = class;
        }
    }
    best
}

/// −log softmax(row)[label], shifted by the row's maximum so that no exponential overflows.
fn cross_entropy(row: &[f32], label: usize) -> f64 {
    let maximum = f64::from(row[first_maximum(row)]);
    let sum: f64 = row.iter().map(|logit| (f64::from(*logit) - maximum).exp()).sum();
    sum.ln() + maximum - f64::from(row[label])
}
