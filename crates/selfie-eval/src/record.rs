//! The formats of a run folder's records: `run.json`, lines of `metrics.jsonl` and `events.jsonl`, `result.json`.
//!
//! Only the formats live here; `selfie-train` writes and reads the files. A reader accepts keys it does not know, so
//! that an older program can read a newer run.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::EvalError;

mod events;

#[cfg(test)]
mod tests;

pub use events::{Action, Event, Happened};

/// The two kinds of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Self-supervised pretraining.
    Pretrain,
    /// Fine-tuning or training from scratch on a labelled fraction.
    Finetune,
}

impl Task {
    /// The task's name in commands, configuration tables and run folders.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Finetune => "finetune",
        }
    }
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a finished classifier is measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// The fixed tenth of the training set: for choices such as the learning rate.
    Validation,
    /// The test set: read once, by the last step of an evaluation.
    Test,
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

/// The arms of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arm {
    /// Fine-tuned from pretrained weights.
    Pretrained,
    /// The control: the same steps from fresh weights.
    Scratch,
    /// Fine-tuned from pretrained weights, the attention pooling in the place of stage 4.
    AttentionPooling,
    /// A last layer on the pretrained patch network, which stays as it is.
    LinearProbe,
}

impl Arm {
    /// Every arm.
    pub const ALL: [Self; 4] = [Self::Pretrained, Self::Scratch, Self::AttentionPooling, Self::LinearProbe];

    /// The arm's name in commands, run folders and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pretrained => "pretrained",
            Self::Scratch => "scratch",
            Self::AttentionPooling => "attention-pooling",
            Self::LinearProbe => "linear-probe",
        }
    }

    /// The arm's name in tables.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Pretrained => "pretrained",
            Self::Scratch => "from scratch",
            Self::AttentionPooling => "attention pooling",
            Self::LinearProbe => "linear probe",
        }
    }

    /// Whether the arm starts from pretrained weights.
    #[must_use]
    pub fn is_pretrained(self) -> bool {
        self != Self::Scratch
    }
}

/// The machine a run started on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system.
    pub os: String,
    /// Instruction set.
    pub arch: String,
    /// Processor model; `unknown` where the system does not say.
    pub cpu: String,
    /// Logical cores this process may use.
    pub n_cores: usize,
    /// Main memory in MiB; `None` where the system does not say.
    pub memory_mib: Option<u64>,
}

/// Where a fine-tuning's starting weights came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PretrainedFrom {
    /// The run folder or weights file, as resolved when the run began.
    pub path: String,
    /// BLAKE3 of the weights file, hexadecimal.
    pub hash: String,
}

/// `run.json`: everything that decides what a run computes, and where and with what it started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of the program.
    pub version: String,
    /// Pretraining or fine-tuning.
    pub task: Task,
    /// The recipe's name, or the TOML file's stem.
    pub recipe: String,
    /// Seed of every draw of the run.
    pub seed: u64,
    /// Share of the labels, in 0–1; `None` in pretraining.
    pub fraction: Option<f64>,
    /// Starting weights; `None` from scratch and in pretraining.
    pub pretrained_from: Option<PretrainedFrom>,
    /// Device, e.g. `cpu`, `cuda:0`.
    pub device: String,
    /// Number type of activations and products.
    pub dtype: String,
    /// The resolved configuration: table → key → value.
    pub config: serde_json::Value,
    /// Where each value of the configuration came from, by `table.key`.
    pub config_sources: BTreeMap<String, String>,
    /// The folder that `--data` named, absolute; `None` where the set was found otherwise.
    #[serde(default)]
    pub data_dir: Option<String>,
    /// The data set's name: a published one's, or that of the user's own folder.
    #[serde(default)]
    pub data_name: Option<String>,
    /// BLAKE3 of each split's pixels and labels, by split.
    pub data_hashes: BTreeMap<String, String>,
    /// BLAKE3 of the labelled subset's example list; `None` in pretraining.
    pub subset_hash: Option<String>,
    /// The user's own list of examples; `None` where they were drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset_file: Option<String>,
    /// What the finished classifier is measured on; `None` in pretraining.
    pub split: Option<Split>,
    /// Updates of the whole schedule; `None` in records of older programs.
    #[serde(default)]
    pub steps: Option<u64>,
    /// Updates of warm-up, which a short schedule has fewer of than its configuration says; `None` in records of older
    /// programs.
    #[serde(default)]
    pub warmup_steps: Option<u64>,
    /// The machine the run started on.
    pub machine: Machine,
    /// When the run began, UTC, RFC 3339.
    pub created: String,
    /// What was changed when the run was resumed, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// A value that a resumption changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key, with its table where it has one.
    pub key: String,
    /// Its value before, as JSON, or where it came from.
    pub was: String,
    /// Its value since.
    pub now: String,
    /// The step after which it changed.
    pub step: u64,
    /// The hash of the run's identity before, which the checkpoints until then have.
    pub config_hash: String,
}

impl RunRecord {
    /// A record of a configuration, everything else empty.
    #[must_use]
    pub fn new(task: Task, recipe: &str, config: serde_json::Value, config_sources: BTreeMap<String, String>) -> Self {
        let machine =
            Machine { os: String::new(), arch: String::new(), cpu: String::new(), n_cores: 0, memory_mib: None };
        Self {
            version: String::new(),
            task,
            recipe: recipe.to_owned(),
            seed: 0,
            fraction: None,
            pretrained_from: None,
            device: String::new(),
            dtype: String::new(),
            config,
            config_sources,
            data_dir: None,
            data_name: None,
            data_hashes: BTreeMap::new(),
            subset_hash: None,
            subset_file: None,
            split: None,
            steps: None,
            warmup_steps: None,
            machine,
            created: String::new(),
            changes: Vec::new(),
        }
    }
}

/// The wall-clock part of a [`StepMetrics`]: the only part that differs between two runs of the same seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// Wall time of the step, s.
    pub step_s: f64,
    /// Images of the step over its wall time.
    pub images_per_s: f64,
    /// Share of the step's wall time spent waiting for data, in 0–1.
    pub data_wait: f64,
}

/// What the probes of a pretraining found after a step, on training images that are held out from the labels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeMetrics {
    /// The accuracy of naming the most frequent class every time, in 0–1.
    pub chance: f64,
    /// Accuracy of the nearest neighbours' votes, in 0–1; none where the images have no classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knn_accuracy: Option<f64>,
    /// Accuracy of a linear layer on the embeddings, in 0–1; none where the images have no classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linear_accuracy: Option<f64>,
    /// Spread of the normalised embeddings: 0 when all point the same way, 1 when they point everywhere alike.
    pub spread: f64,
    /// Mean cosine of all pairs of embeddings: 1 when all point the same way.
    pub mean_cosine: f64,
    /// How many directions the embeddings fill: the participation ratio of their covariance's eigenvalues.
    pub participation_ratio: f64,
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Updates made, this one included: the first line says 1.
    pub step: u64,
    /// Mean loss over the batch, nats.
    pub loss: f64,
    /// Top-1 accuracy over the batch, in 0–1: of the pretext task in pretraining, of the labels in fine-tuning.
    pub accuracy: f64,
    /// The accuracy of guessing, in 0–1.
    pub chance: f64,
    /// Spread of the normalised patch embeddings: 0 when all point the same way, 1 when they point everywhere alike.
    /// Pretraining only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse: Option<f64>,
    /// Learning rate of the update.
    pub lr: f64,
    /// Global L2 norm of the gradient before clipping.
    pub grad_norm: f64,
    /// The probes, after the steps where they were due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeMetrics>,
    /// Wall times.
    pub time: StepTime,
}

impl StepMetrics {
    /// The line, newline included.
    ///
    /// # Errors
    ///
    /// If a number is not finite: JSON cannot hold it, and no reader could plot it.
    pub fn to_line(&self) -> Result<String, EvalError> {
        let numbers = [
            ("loss", self.loss),
            ("accuracy", self.accuracy),
            ("chance", self.chance),
            ("collapse", self.collapse.unwrap_or(0.0)),
            ("lr", self.lr),
            ("grad_norm", self.grad_norm),
            ("time.step_s", self.time.step_s),
            ("time.images_per_s", self.time.images_per_s),
            ("time.data_wait", self.time.data_wait),
        ];
        let probe = self.probe.iter().flat_map(|probe| {
            [
                ("probe.chance", probe.chance),
                ("probe.knn_accuracy", probe.knn_accuracy.unwrap_or(0.0)),
                ("probe.linear_accuracy", probe.linear_accuracy.unwrap_or(0.0)),
                ("probe.spread", probe.spread),
                ("probe.mean_cosine", probe.mean_cosine),
                ("probe.participation_ratio", probe.participation_ratio),
            ]
        });
        for (name, value) in numbers.into_iter().chain(probe) {
            require_finite(|| format!("{name} of step {}", self.step), value)?;
        }
        let line = serde_json::to_string(self).map_err(|source| json_error("a metrics line", source))?;
        Ok(line + "\n")
    }

    /// Every line of a `metrics.jsonl`. A last line without its newline is one still being written and is left out.
    ///
    /// # Errors
    ///
    /// If a complete line is not a metrics object; the message names the line.
    pub fn parse_lines(text: &str) -> Result<Vec<Self>, EvalError> {
        parse_lines("metrics", text)
    }
}

/// Every whole line of a file of JSON lines.
fn parse_lines<T: DeserializeOwned>(what: &str, text: &str) -> Result<Vec<T>, EvalError> {
    let complete = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let parse = |(line_idx, line)| {
        serde_json::from_str(line).map_err(|source| json_error(&format!("{what} line {}", line_idx + 1), source))
    };
    complete.lines().enumerate().map(parse).collect()
}

/// Test accuracy of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassAccuracy {
    /// The class's name.
    pub class: String,
    /// Test examples of the class.
    pub n_examples: u64,
    /// Share of them predicted right, in 0–1; `None` if there are none.
    pub top1_accuracy: Option<f64>,
}

/// The last steps whose means are a pretraining's outcome; all of a shorter one.
pub const PRETEXT_STEPS: u64 = 100;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Pretraining: the pretext task at the end of the schedule.
    Pretext {
        /// Mean loss over the last [`PRETEXT_STEPS`], nats.
        loss: f64,
        /// Pretext accuracy over the same steps, in 0–1.
        accuracy: f64,
        /// The accuracy of guessing, in 0–1.
        chance: f64,
    },
    /// Fine-tuning: the classifier on a split.
    Classification {
        /// The split: the test set is read once, by this.
        split: Split,
        /// Top-1 accuracy, in 0–1.
        top1_accuracy: f64,
        /// Mean cross entropy, nats.
        loss: f64,
        /// Examples of the split.
        n_examples: u64,
        /// Accuracy of each class.
        per_class: Vec<ClassAccuracy>,
    },
}

/// `result.json`: written last; a run that has one is finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultRecord {
    /// Updates made.
    pub steps: u64,
    /// What came out.
    pub outcome: Outcome,
    /// BLAKE3 of `weights.safetensors`, hexadecimal.
    pub weights_hash: String,
    /// Wall time of all steps, over all resumptions, s.
    pub wall_s: f64,
    /// Training images over that time.
    pub images_per_s: f64,
    /// When the run finished, UTC, RFC 3339.
    pub finished: String,
}

impl ResultRecord {
    /// The record as the text of `result.json`.
    ///
    /// # Errors
    ///
    /// If a number is not finite.
    pub fn to_json(&self) -> Result<String, EvalError> {
        let (loss, accuracy) = match &self.outcome {
            Outcome::Pretext { loss, accuracy, .. } => (*loss, *accuracy),
            Outcome::Classification { loss, top1_accuracy, .. } => (*loss, *top1_accuracy),
        };
        let numbers =
            [("loss", loss), ("accuracy", accuracy), ("wall_s", self.wall_s), ("images_per_s", self.images_per_s)];
        for (name, value) in numbers {
            require_finite(|| format!("the result's {name}"), value)?;
        }
        to_pretty_json("result.json", self)
    }
}

/// A record as indented JSON text that ends in a newline.
///
/// # Errors
///
/// If `value` has no JSON form; `what` names it in the message.
pub fn to_pretty_json<T: Serialize>(what: &str, value: &T) -> Result<String, EvalError> {
    let text = serde_json::to_string_pretty(value).map_err(|source| json_error(what, source))?;
    Ok(text + "\n")
}

/// A record read from JSON text.
///
/// # Errors
///
/// If the text is not JSON or lacks a key; `what` names it in the message.
pub fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, EvalError> {
    serde_json::from_str(text).map_err(|source| json_error(what, source))
}

/// A moment as UTC, RFC 3339, to the second: sorting the texts sorts the moments. Moments before 1970 read as 1970.
#[must_use]
pub fn utc(moment: SystemTime) -> String {
    let seconds = moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a civil date, counted in 400-year eras that begin on 1 March (Howard Hinnant, "chrono-compatible
    // low-level date algorithms").
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Seconds since 1970 of a moment as [`utc`] writes it; `None` of another text.
#[must_use]
pub fn unix_seconds(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: char| -> Option<[u64; 3]> {
        let numbers: Option<Vec<u64>> = text.split(by).map(|part| part.parse().ok()).collect();
        numbers?.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(time, ':')?);
    // The way back of the algorithm in `utc`.
    let year = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (146_097 * era + day_of_era).checked_sub(719_468)?;
    Some(86_400 * days + 3600 * hour + 60 * minute + second)
}

fn require_finite(what: impl Fn() -> String, value: f64) -> Result<(), EvalError> {
    if value.is_finite() { Ok(()) } else { Err(EvalError::NonFinite { what: what(), value }) }
}

fn json_error(what: &str, source: serde_json::Error) -> EvalError {
    EvalError::Json { what: what.to_owned(), source }
}
