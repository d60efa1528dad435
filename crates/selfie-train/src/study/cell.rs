//! The cells of a study: which there are, when one can be computed, when it is finished, and computing it.

use std::path::Path;

use selfie_eval::record::{Arm, Outcome, Split, to_pretty_json};
use serde::Serialize;

use super::claim::Claim;
use super::{Grid, TRIAL_SEED};
use crate::TrainError;
use crate::checkpoint::WEIGHTS;
use crate::files::Files;
use crate::finetune::{self, Labels, Pretrained};
use crate::pretrain;
use crate::run_folder::read_result;
use crate::session::{Ended, Session};

/// The record of a fine-tuning that ended in a number that is not finite.
pub(super) const DIVERGED: &str = "diverged.json";

/// One run of a study.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// A pretraining.
    Pretrain { seed: u64 },
    /// A learning rate tried on the validation split.
    Trial { fraction: f64, arm: Arm, learning_rate: f64 },
    /// A run with the chosen learning rate, which ends by reading the test set.
    Test { fraction: f64, arm: Arm, seed: u64 },
}

impl Cell {
    /// The name of its run folder.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Pretrain { seed } => format!("pretrain-s{seed}"),
            Self::Trial { fraction, arm, learning_rate } => {
                format!("{fraction}-{}-learning-rate-{learning_rate}", arm.name())
            }
            Self::Test { fraction, arm, seed } => format!("{fraction}-{}-s{seed}", arm.name()),
        }
    }
}

#[derive(Debug, Serialize)]
struct Diverged {
    reason: String,
}

impl Grid<'_> {
    /// Every cell, each after those it depends on.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let seeds = 1..=self.study.n_seeds;
        let mut cells = Vec::new();
        if self.study.needs_pretraining() {
            let of = if self.study.pretrain_seeds { seeds.clone() } else { 1..=1 };
            cells.extend(of.map(|seed| Cell::Pretrain { seed }));
        }
        for &fraction in &self.study.fractions {
            for &arm in &self.study.arms {
                if self.learning_rates.len() > 1 {
                    let trial = |&learning_rate| Cell::Trial { fraction, arm, learning_rate };
                    cells.extend(self.learning_rates.iter().map(trial));
                }
            }
            // By seed, so that a study that is stopped has whole pairs.
            for seed in seeds.clone() {
                cells.extend(self.study.arms.iter().map(|&arm| Cell::Test { fraction, arm, seed }));
            }
        }
        cells
    }

    pub(super) fn is_finished(&self, cell: &Cell) -> Result<bool, TrainError> {
        Ok(read_result(&self.folder(cell))?.is_some() || self.has_diverged(cell))
    }

    /// Whether the cell ended in a number that is not finite. A pretraining that does ends the study.
    pub(super) fn has_diverged(&self, cell: &Cell) -> bool {
        !matches!(cell, Cell::Pretrain { .. }) && self.folder(cell).join(DIVERGED).exists()
    }

    /// Whether what the cell depends on is finished.
    pub(super) fn is_ready(&self, cell: &Cell) -> Result<bool, TrainError> {
        let (arm, seed) = match *cell {
            Cell::Pretrain { .. } => return Ok(true),
            Cell::Trial { arm, .. } => (arm, TRIAL_SEED),
            Cell::Test { fraction, arm, seed } => {
                if self.choice(fraction, arm)?.is_none() {
                    return Ok(false);
                }
                (arm, seed)
            }
        };
        let pretraining = Cell::Pretrain { seed: self.pretrain_seed(seed) };
        Ok(!arm.is_pretrained() || self.study.pretrained.is_some() || self.is_finished(&pretraining)?)
    }

    /// Which pretraining serves the runs of a seed.
    fn pretrain_seed(&self, seed: u64) -> u64 {
        if self.study.pretrain_seeds { seed } else { 1 }
    }

    /// Computes a cell from where its folder stands; `None` for a fine-tuning that diverged.
    pub(super) fn compute(&mut self, cell: &Cell, claim: &Claim) -> Result<Option<Ended>, TrainError> {
        claim.stops(self.session.signals.clone());
        let session = |seed| Session { out: self.folder(cell), seed, ..self.session.clone() };
        let (fraction, arm, learning_rate, seed, split) = match *cell {
            Cell::Pretrain { seed } => return pretrain::run(&self.resolved, self.data, &session(seed)).map(Some),
            Cell::Trial { fraction, arm, learning_rate } => {
                (fraction, arm, learning_rate, TRIAL_SEED, Split::Validation)
            }
            Cell::Test { fraction, arm, seed } => {
                let learning_rate = self.choice(fraction, arm)?;
                let before = || TrainError::Internal(format!("{} before its learning rate", cell.name()));
                (fraction, arm, learning_rate.ok_or_else(before)?, seed, Split::Test)
            }
        };
        let session = session(seed);
        let labels = self.labels(fraction, arm, seed, split)?;
        match finetune::run(&self.configuration(arm, learning_rate)?, self.data, &labels, &session) {
            // The others go on: what diverges here would diverge again.
            Err(error @ (TrainError::Fault { .. } | TrainError::NonFinite { .. })) => {
                self.progress.warn(&format!("{} counts as diverged: {error}", cell.name()));
                write_diverged(&session.out, &error).map(|()| None)
            }
            ended => ended.map(Some),
        }
    }

    fn labels(&mut self, fraction: f64, arm: Arm, seed: u64, split: Split) -> Result<Labels, TrainError> {
        let pretrained = if arm.is_pretrained() { Some(self.pretrained(seed)?) } else { None };
        Ok(Labels { fraction, subset: None, pretrained, split })
    }

    fn pretrained(&mut self, seed: u64) -> Result<Pretrained, TrainError> {
        if let Some(given) = &self.study.pretrained {
            return Ok(given.clone());
        }
        let seed = self.pretrain_seed(seed);
        if let Some(read) = self.pretrained.get(&seed) {
            return Ok(read.clone());
        }
        let read = Pretrained::read(&self.folder(&Cell::Pretrain { seed }).join(WEIGHTS))?;
        self.pretrained.insert(seed, read.clone());
        Ok(read)
    }

    /// The accuracy that a finished cell measured, in 0–1; `None` where it diverged.
    pub(super) fn accuracy(&self, cell: &Cell) -> Result<Option<f64>, TrainError> {
        match read_result(&self.folder(cell))?.map(|result| result.outcome) {
            Some(Outcome::Classification { top1_accuracy, .. }) => Ok(Some(top1_accuracy)),
            Some(Outcome::Pretext { .. }) => Err(TrainError::Internal(format!("{} without an accuracy", cell.name()))),
            None => Ok(None),
        }
    }
}

fn write_diverged(folder: &Path, error: &TrainError) -> Result<(), TrainError> {
    let diverged = Diverged { reason: error.to_string() };
    Files::disk().write_atomic(&folder.join(DIVERGED), to_pretty_json(DIVERGED, &diverged)?.as_bytes())
}
