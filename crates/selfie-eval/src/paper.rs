//! Table 1 of the paper, to stand beside ours; docs/paper.md says which figures were read and which are recalled.

use serde::{Deserialize, Serialize};

/// Test accuracy as the paper prints it, in per cent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// Mean, %.
    pub mean: f64,
    /// Standard deviation, percentage points.
    pub std: f64,
}

/// What the paper reports for a data set and a share of its labels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PaperCell {
    /// From scratch.
    pub supervised: Published,
    /// Pretrained.
    pub selfie: Published,
    /// Whether the means were read in a primary source; otherwise they are recalled, as every deviation is.
    pub means_were_read: bool,
}

/// The paper's cell of a data set, by the recipes' name of it, and a share of the labels in 0–1.
#[must_use]
pub fn cell(set: &str, fraction: f64) -> Option<PaperCell> {
    let row = TABLE.iter().find(|(of, share, ..)| *of == set && *share == fraction)?;
    let &(_, _, (mean, std), (selfie_mean, selfie_std), means_were_read) = row;
    let selfie = Published { mean: selfie_mean, std: selfie_std };
    Some(PaperCell { supervised: Published { mean, std }, selfie, means_were_read })
}

/// Data set, share of the labels, supervised, Selfie, whether the means were read.
type Row = (&'static str, f64, (f64, f64), (f64, f64), bool);

const TABLE: [Row; 12] = [
    ("cifar10", 0.05, (75.9, 0.7), (75.9, 0.4), false),
    ("cifar10", 0.08, (79.3, 1.0), (80.3, 0.3), false),
    ("cifar10", 0.2, (88.3, 0.3), (89.1, 0.5), false),
    ("cifar10", 1.0, (95.5, 0.2), (95.7, 0.1), false),
    ("imagenet32", 0.05, (13.1, 0.8), (18.3, 0.1), false),
    ("imagenet32", 0.1, (25.9, 0.5), (30.2, 0.5), false),
    ("imagenet32", 0.2, (32.7, 0.4), (33.5, 0.2), false),
    ("imagenet32", 1.0, (55.7, 0.6), (56.4, 0.6), false),
    ("imagenet224", 0.05, (35.6, 0.7), (46.7, 0.4), true),
    ("imagenet224", 0.1, (59.6, 0.2), (61.9, 0.2), false),
    ("imagenet224", 0.2, (65.7, 0.2), (67.1, 0.2), false),
    ("imagenet224", 1.0, (76.9, 0.2), (77.0, 0.1), false),
];
