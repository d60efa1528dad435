//! The table of a study: arms × labelled fractions, each with its spread, and its paired difference from the control.
//!
//! [`StudyTable`] is what `table.json` holds; Markdown and CSV are made from it.

use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::paper::{self, PaperCell};
use crate::record::{Arm, PretrainedFrom};
use crate::statistics::{PairedDifference, Summary, paired_difference, sign_flip_p_value};

mod csv;
mod markdown;
mod notes;

#[cfg(test)]
mod tests;

/// What differed between the runs behind one ±.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variance {
    /// Fine-tuning seed and labelled subset; one pretraining run served all.
    FinetuningSeeds,
    /// The pretraining's seed as well.
    PretrainingAndFinetuningSeeds,
}

/// What accuracies are measured on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestSet {
    /// Its images.
    pub n_images: usize,
    /// The accuracy of always answering its most frequent class, in 0–1.
    pub chance: f64,
}

impl TestSet {
    /// In words, with what one image counts.
    #[must_use]
    pub fn sentence(self) -> String {
        let Self { n_images, chance } = self;
        let image = 100.0 / n_images.max(1) as f64;
        let chance = 100.0 * chance;
        format!(
            "The test set has {n_images} images, so that one of them is {image:.2} points; always answering its most frequent class is {chance:.2} %."
        )
    }
}

/// What a table is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The recipe of every run.
    pub recipe: String,
    /// The data set: a published one's name, or that of the user's own folder.
    pub set: String,
    /// What the accuracies are measured on; `None` in tables of older programs.
    #[serde(default)]
    pub test_set: Option<TestSet>,
    /// What differed between the runs behind one ±.
    pub variance: Variance,
    /// Updates of every run; `None` where the recipe counts epochs.
    pub steps: Option<u64>,
    /// The pretrained weights, one file a pretraining seed.
    pub pretrained_from: Vec<PretrainedFrom>,
    /// Runs that the study has, finished or not.
    pub n_runs: usize,
}

/// A learning rate that was tried on the validation split.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The highest learning rate of the schedule.
    pub learning_rate: f64,
    /// Validation accuracy, in 0–1; `None` if a number stopped being finite.
    pub top1_accuracy: Option<f64>,
}

/// Test accuracy of one run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// The run's seed: runs of two arms with one seed share the labelled subset and are a pair.
    pub seed: u64,
    /// Test accuracy, in 0–1.
    pub top1_accuracy: f64,
}

/// The runs of one arm on one fraction of the labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Runs {
    /// Share of the labels, in 0–1.
    pub fraction: f64,
    /// The arm.
    pub arm: Arm,
    /// The learning rate of the runs.
    pub learning_rate: f64,
    /// How it was chosen; empty where there was no choice.
    pub trials: Vec<Trial>,
    /// The runs that are finished.
    pub runs: Vec<Measurement>,
    /// The seeds whose run ended in a number that is not finite.
    pub diverged: Vec<u64>,
}

/// `table.json`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyTable {
    /// What the table is of.
    #[serde(flatten)]
    pub about: About,
    /// Its rows, the smallest fraction first.
    pub fractions: Vec<FractionRow>,
}

/// The arms on one fraction of the labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FractionRow {
    /// Share of the labels, in 0–1.
    pub fraction: f64,
    /// One entry an arm, in the order of [`Arm`].
    pub arms: Vec<ArmCell>,
    /// What the paper reports for this share of these labels.
    pub paper: Option<PaperCell>,
}

/// One arm on one fraction of the labels. Accuracies are in 0–1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmCell {
    /// The arm.
    pub arm: Arm,
    /// The learning rate of the runs.
    pub learning_rate: f64,
    /// How it was chosen; empty where there was no choice.
    pub trials: Vec<Trial>,
    /// The finished runs, by seed.
    pub runs: Vec<Measurement>,
    /// The seeds whose run ended in a number that is not finite: they are in no mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diverged: Vec<u64>,
    /// Mean test accuracy; `None` of no runs.
    pub mean: Option<f64>,
    /// Sample standard deviation; `None` of fewer than two runs.
    pub std: Option<f64>,
    /// The difference from the runs from scratch; `None` of those themselves, and where no seed is in both arms.
    pub difference: Option<Difference>,
}

/// An arm minus the control, paired by seed, in units of accuracy (0.01 is a percentage point).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Pairs.
    pub n_pairs: usize,
    /// Mean difference.
    pub mean: f64,
    /// What more than one pair says; `None` too where all have the same difference, which says nothing of its spread.
    pub test: Option<Test>,
}

/// How sure a mean difference is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// Sample standard deviation of the differences.
    pub std: f64,
    /// Lower end of the 95 % interval of the mean (Student's t).
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided p-value of the paired t-test.
    pub p_value: f64,
    /// Two-sided p-value of all flips of signs; `None` where there are too many pairs to count them.
    pub sign_flip_p_value: Option<f64>,
    /// Standard deviation of the arm's paired runs over that of the control's: below 1 the arm varies less. `None` where the
    /// control's is 0.
    pub spread_ratio: Option<f64>,
}

impl StudyTable {
    /// The table of the finished runs.
    ///
    /// # Errors
    ///
    /// If a test accuracy is not finite.
    pub fn new(about: About, mut all: Vec<Runs>) -> Result<Self, EvalError> {
        for runs in &mut all {
            runs.runs.sort_by_key(|run| run.seed);
            if let Some(run) = runs.runs.iter().find(|run| !run.top1_accuracy.is_finite()) {
                return Err(EvalError::NonFinite { what: "a test accuracy".into(), value: run.top1_accuracy });
            }
        }
        all.sort_by(|left, right| left.fraction.total_cmp(&right.fraction).then(left.arm.cmp(&right.arm)));
        let mut fractions = Vec::new();
        for of_fraction in all.chunk_by(|left, right| left.fraction == right.fraction) {
            let fraction = of_fraction[0].fraction;
            let control = of_fraction.iter().find(|runs| runs.arm == Arm::Scratch);
            let arms = of_fraction.iter().map(|runs| ArmCell::new(runs, control)).collect::<Result<_, _>>()?;
            fractions.push(FractionRow { fraction, arms, paper: paper::cell(&about.set, fraction) });
        }
        Ok(Self { about, fractions })
    }

    /// The arms of the table, each once.
    #[must_use]
    pub fn arms(&self) -> Vec<Arm> {
        let has = |arm: &Arm| self.fractions.iter().any(|row| row.arm(*arm).is_some());
        Arm::ALL.into_iter().filter(has).collect()
    }

    /// Finished runs, with those that diverged.
    #[must_use]
    pub fn n_finished(&self) -> usize {
        self.cells().map(|cell| cell.runs.len() + cell.diverged.len()).sum()
    }

    /// Runs that diverged.
    #[must_use]
    pub fn n_diverged(&self) -> usize {
        self.cells().map(|cell| cell.diverged.len()).sum()
    }

    fn cells(&self) -> impl Iterator<Item = &ArmCell> {
        self.fractions.iter().flat_map(|row| &row.arms)
    }
}

impl FractionRow {
    /// The cell of an arm.
    #[must_use]
    pub fn arm(&self, arm: Arm) -> Option<&ArmCell> {
        self.arms.iter().find(|cell| cell.arm == arm)
    }
}

impl ArmCell {
    fn new(runs: &Runs, control: Option<&Runs>) -> Result<Self, EvalError> {
        let accuracies: Vec<f64> = runs.runs.iter().map(|run| run.top1_accuracy).collect();
        let summary = Summary::of(&accuracies);
        let control = control.filter(|_| runs.arm != Arm::Scratch);
        Ok(Self {
            arm: runs.arm,
            learning_rate: runs.learning_rate,
            trials: runs.trials.clone(),
            runs: runs.runs.clone(),
            diverged: runs.diverged.clone(),
            mean: summary.map(|summary| summary.mean),
            std: summary.and_then(|summary| summary.std),
            difference: control.map(|control| Difference::new(runs, control)).transpose()?.flatten(),
        })
    }

    /// Mean ± sample standard deviation in per cent, with the runs behind them: `64.50 ± 0.14 (n = 2, 1 diverged)`.
    #[must_use]
    pub fn accuracy(&self) -> String {
        let diverged = match self.diverged.len() {
            0 => String::new(),
            n => format!("{n} diverged"),
        };
        let spread = self.std.map_or_else(String::new, |std| format!(" ± {:.2}", 100.0 * std));
        match self.mean {
            None if diverged.is_empty() => "not run".to_owned(),
            None => diverged,
            Some(mean) => {
                let comma = if diverged.is_empty() { "" } else { ", " };
                format!("{:.2}{spread} (n = {}{comma}{diverged})", 100.0 * mean, self.runs.len())
            }
        }
    }

    /// Whether every learning rate that was tried ended in a number that is not finite.
    #[must_use]
    pub fn all_diverged(&self) -> bool {
        !self.trials.is_empty() && self.trials.iter().all(|trial| trial.top1_accuracy.is_none())
    }

    /// Whether every learning rate that was tried did as well as any other.
    #[must_use]
    pub fn all_tied(&self) -> bool {
        self.trials.len() > 1 && self.trials.windows(2).all(|pair| pair[0].top1_accuracy == pair[1].top1_accuracy)
    }

    /// Whether the chosen learning rate is the lowest or the highest of those tried, so that a better one may lie beyond.
    #[must_use]
    pub fn chose_an_end(&self) -> bool {
        let tried = || self.trials.iter().map(|trial| trial.learning_rate);
        let (low, high) = (tried().fold(f64::INFINITY, f64::min), tried().fold(0.0, f64::max));
        self.trials.len() > 1 && !self.all_tied() && (self.learning_rate == low || self.learning_rate == high)
    }
}

impl Difference {
    /// Why there is no test.
    #[must_use]
    pub fn why_no_test(&self) -> &'static str {
        if self.n_pairs == 1 { "one pair" } else { "the same in all pairs" }
    }

    /// A run without a partner of its seed counts in its arm's mean but not here.
    fn new(treated: &Runs, control: &Runs) -> Result<Option<Self>, EvalError> {
        let control_of = |seed| control.runs.iter().find(|run| run.seed == seed).map(|run| run.top1_accuracy);
        let pairs = treated.runs.iter().filter_map(|run| Some((run.top1_accuracy, control_of(run.seed)?)));
        let (treated, control): (Vec<f64>, Vec<f64>) = pairs.unzip();
        let test = match treated.len() {
            0 => return Ok(None),
            1 => return Ok(Some(Self { n_pairs: 1, mean: treated[0] - control[0], test: None })),
            _ => paired_difference(&treated, &control)?,
        };
        let PairedDifference { n_pairs, mean, std, low, high, p_value } = test;
        if std <= f64::EPSILON {
            return Ok(Some(Self { n_pairs, mean, test: None }));
        }
        let sign_flip_p_value = sign_flip_p_value(&treated, &control)?;
        let spread = |values: &[f64]| Summary::of(values).and_then(|summary| summary.std).filter(|std| *std > 0.0);
        let spread_ratio = spread(&control).map(|control| spread(&treated).unwrap_or(0.0) / control);
        let test = Test { std, low, high, p_value, sign_flip_p_value, spread_ratio };
        Ok(Some(Self { n_pairs, mean, test: Some(test) }))
    }
}

/// A share as per cent. Eight decimals hide the binary tail of e.g. 0.07 × 100.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = format!("{:.8}", share * 100.0);
    percent.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `p = 0.021`
#[must_use]
pub fn p_value(value: f64) -> String {
    if value < 0.001 { "p < 0.001".to_owned() } else { format!("p = {value:.3}") }
}
