//! From the finished cells of a study to its choices and its table.

use selfie_data::Images;
use selfie_eval::record::{Arm, PretrainedFrom, to_pretty_json};
use selfie_eval::table::{About, Measurement, Runs, StudyTable, TestSet, Trial, Variance};

use super::cell::Cell;
use super::{Grid, STUDY, StudyRecord, TABLE_CSV, TABLE_JSON, TABLE_MARKDOWN};
use crate::TrainError;
use crate::checkpoint::WEIGHTS;
use crate::files::Files;
use crate::run_folder::read_result;

impl Grid<'_> {
    /// What was tried for an arm on a fraction; `None` while a trial is not finished, and no trials where there is no choice.
    fn trials(&self, fraction: f64, arm: Arm) -> Result<Option<Vec<Trial>>, TrainError> {
        if self.learning_rates.len() == 1 {
            return Ok(Some(Vec::new()));
        }
        let mut trials = Vec::new();
        for &learning_rate in &self.learning_rates {
            let cell = Cell::Trial { fraction, arm, learning_rate };
            if !self.is_finished(&cell)? {
                return Ok(None);
            }
            trials.push(Trial { learning_rate, top1_accuracy: self.accuracy(&cell)? });
        }
        Ok(Some(trials))
    }

    /// The learning rate of an arm on a fraction: of the best validation accuracy, of equal ones the lowest; the lowest too
    /// where every one diverged. `None` while a trial is not finished.
    pub(super) fn choice(&self, fraction: f64, arm: Arm) -> Result<Option<f64>, TrainError> {
        let trials = self.trials(fraction, arm)?;
        Ok(trials.and_then(|trials| best(&trials).or_else(|| self.learning_rates.first().copied())))
    }

    /// Writes down what the folder is asked for, and the table of those cells of it that are finished.
    pub(super) fn write_table(&self) -> Result<StudyTable, TrainError> {
        let record = self.record()?;
        let table = StudyTable::new(self.about(&record)?, self.runs(&record)?)?;
        let folder = &self.session.out;
        Files::disk().write_shared(&folder.join(STUDY), to_pretty_json(STUDY, &record)?.as_bytes())?;
        Files::disk().write_shared(&folder.join(TABLE_CSV), table.to_csv().as_bytes())?;
        Files::disk().write_shared(&folder.join(TABLE_MARKDOWN), table.to_markdown().as_bytes())?;
        Files::disk().write_shared(&folder.join(TABLE_JSON), to_pretty_json(TABLE_JSON, &table)?.as_bytes())?;
        Ok(table)
    }

    fn runs(&self, record: &StudyRecord) -> Result<Vec<Runs>, TrainError> {
        let mut all = Vec::new();
        for &fraction in &record.fractions {
            for &arm in &record.arms {
                let n_seeds = record.n_seeds_of(fraction, arm);
                let Some(learning_rate) = self.choice(fraction, arm)?.filter(|_| n_seeds > 0) else { continue };
                let trials = self.trials(fraction, arm)?.unwrap_or_default();
                let (mut runs, mut diverged) = (Vec::new(), Vec::new());
                for seed in 1..=n_seeds {
                    let cell = Cell::Test { fraction, arm, seed };
                    match self.accuracy(&cell)? {
                        Some(top1_accuracy) => runs.push(Measurement { seed, top1_accuracy }),
                        None if self.has_diverged(&cell) => diverged.push(seed),
                        None => {}
                    }
                }
                all.push(Runs { fraction, arm, learning_rate, trials, runs, diverged });
            }
        }
        Ok(all)
    }

    fn about(&self, record: &StudyRecord) -> Result<About, TrainError> {
        let of_fraction =
            |&fraction: &f64| record.arms.iter().map(|&arm| record.n_seeds_of(fraction, arm)).sum::<u64>();
        let n_runs: u64 = record.fractions.iter().map(of_fraction).sum();
        let several = record.pretrain_seeds && record.n_seeds > 1;
        let variance = if several { Variance::PretrainingAndFinetuningSeeds } else { Variance::FinetuningSeeds };
        Ok(About {
            recipe: self.resolved.recipe.clone(),
            set: self.data.name.clone(),
            test_set: Some(test_set(&self.data.test)),
            variance,
            steps: self.resolved.config.finetune.training.steps,
            pretrained_from: self.pretrained_from(record)?,
            n_runs: n_runs as usize,
        })
    }

    /// The weights that the study starts from; none while they are not there.
    fn pretrained_from(&self, record: &StudyRecord) -> Result<Vec<PretrainedFrom>, TrainError> {
        if let Some(given) = &self.study.pretrained {
            return Ok(vec![given.from().clone()]);
        }
        let mut all = Vec::new();
        for seed in 1..=record.n_seeds {
            let folder = self.folder(&Cell::Pretrain { seed });
            if let Some(result) = read_result(&folder)? {
                let path = folder.join(WEIGHTS).display().to_string();
                all.push(PretrainedFrom { path, hash: result.weights_hash });
            }
        }
        Ok(all)
    }
}

/// The first of the most accurate.
pub(super) fn best(trials: &[Trial]) -> Option<f64> {
    let mut best: Option<(f64, f64)> = None;
    for trial in trials {
        if let Some(accuracy) = trial.top1_accuracy
            && best.is_none_or(|(most, _)| accuracy > most)
        {
            best = Some((accuracy, trial.learning_rate));
        }
    }
    best.map(|(_, learning_rate)| learning_rate)
}

fn test_set(images: &Images) -> TestSet {
    let most = images.class_counts().into_iter().max().unwrap_or(0);
    TestSet { n_images: images.len(), chance: most as f64 / images.len().max(1) as f64 }
}
