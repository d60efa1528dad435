//! A study: pretraining, then every fraction of the labels × seed × arm, and the table of what came out.
//!
//! Every cell of the grid is a run folder of its own and resumes as any run does. What is left to do is read from the study's
//! folder alone, so that a study can be interrupted at any time, and several processes, also on other machines that share the
//! folder, can work on it: claims keep two of them off one cell.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use selfie_data::DataSet;
use selfie_eval::record::{Arm, PretrainedFrom, Split, Task, from_json, to_pretty_json};
use selfie_eval::table::StudyTable;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::TrainError;
use crate::config::{Base, FlagValue, Overrides, Resolved, resolve};
use crate::files::{Files, require_no_file};
use crate::finetune::{self, Labels, Pretrained};
use crate::plan::{FinetunePlan, PretrainPlan, Request};
use crate::progress::{Mode, Progress};
use crate::report;
use crate::resume::differences_of;
use crate::run_folder::{read_json, require_free};
use crate::session::{Ended, Session};
use cell::Cell;
use claim::{Claim, Patience};

mod cell;
mod claim;
mod results;

#[cfg(test)]
mod tests;

/// What was asked.
pub const STUDY: &str = "study.json";
/// The table, for programs.
pub const TABLE_JSON: &str = "table.json";
/// The table, for spreadsheets.
pub const TABLE_CSV: &str = "table.csv";
/// The table, for people.
pub const TABLE_MARKDOWN: &str = "table.md";

/// How far from the recipe's learning rate the lower and the higher one lie that are tried beside it.
const RATE_FACTORS: [f64; 3] = [0.3, 1.0, 3.0];
/// The seed that learning rates are chosen with.
const TRIAL_SEED: u64 = 1;
/// Time between two looks at what other processes have finished.
const LOOK: Duration = Duration::from_secs(2);

/// What a study is of.
#[derive(Clone, Debug)]
pub struct Study {
    /// What the overrides are laid upon.
    pub base: Base,
    /// Of the configuration; bare keys are `[finetune]`'s.
    pub overrides: Overrides,
    /// Shares of the labels, in 0–1.
    pub fractions: Vec<f64>,
    /// Seeds 1 to this.
    pub n_seeds: u64,
    /// The arms.
    pub arms: Vec<Arm>,
    /// The learning rates to choose from; empty: the recipe's, a lower and a higher one.
    pub learning_rates: Vec<f64>,
    /// Pretrained weights that are there already.
    pub pretrained: Option<Pretrained>,
    /// Whether every seed has a pretraining of its own.
    pub pretrain_seeds: bool,
}

/// The runs of a study by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunCounts {
    /// Pretrainings.
    pub pretrainings: usize,
    /// Fine-tunings that choose a learning rate.
    pub trials: usize,
    /// Fine-tunings for the table.
    pub tests: usize,
}

impl Study {
    /// The configuration that every cell begins with.
    ///
    /// # Errors
    ///
    /// If it is illegal.
    pub fn resolved(&self) -> Result<Resolved, TrainError> {
        resolve(Task::Finetune, &self.base, &self.overrides)
    }

    /// How many runs of each kind there are.
    #[must_use]
    pub fn n_runs(&self) -> RunCounts {
        let n_rates = if self.learning_rates.is_empty() { RATE_FACTORS.len() } else { self.learning_rates.len() };
        let n_arms = self.fractions.len() * self.arms.len();
        RunCounts {
            pretrainings: match (self.needs_pretraining(), self.pretrain_seeds) {
                (false, _) => 0,
                (true, false) => 1,
                (true, true) => self.n_seeds as usize,
            },
            trials: if n_rates > 1 { n_arms * n_rates } else { 0 },
            tests: n_arms * self.n_seeds as usize,
        }
    }

    fn needs_pretraining(&self) -> bool {
        self.pretrained.is_none() && self.arms.iter().any(|arm| arm.is_pretrained())
    }
}

/// What one command asks of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Shares of the labels, in 0–1.
    pub fractions: Vec<f64>,
    /// Seeds 1 to this.
    pub n_seeds: u64,
    /// The arms.
    pub arms: Vec<Arm>,
}

/// `study.json`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyRecord {
    /// The program's version.
    pub version: String,
    /// The recipe.
    pub recipe: String,
    /// Shares of the labels, in 0–1, of all commands so far.
    pub fractions: Vec<f64>,
    /// Seeds 1 to this.
    pub n_seeds: u64,
    /// The arms of all commands so far.
    pub arms: Vec<Arm>,
    /// What each command so far asked; none in a study of an older program, which knows the last one alone.
    #[serde(default)]
    pub asked: Vec<Asked>,
    /// The learning rates that were chosen from.
    pub learning_rates: Vec<f64>,
    /// Pretrained weights that were there already.
    pub pretrained_from: Option<PretrainedFrom>,
    /// Whether every seed has a pretraining of its own.
    pub pretrain_seeds: bool,
    /// What else decides what the runs compute, table → key → value; null in a study of an older program.
    #[serde(default)]
    pub settings: Value,
}

impl StudyRecord {
    /// Seeds 1 to which of an arm were asked for on a fraction; 0 if none was.
    fn n_seeds_of(&self, fraction: f64, arm: Arm) -> u64 {
        let of = self.asked.iter().filter(|asked| asked.fractions.contains(&fraction) && asked.arms.contains(&arm));
        of.map(|asked| asked.n_seeds).max().unwrap_or(0)
    }

    /// What the finished runs of a study depend on. Fractions, seeds and arms may be added to: [`Self::add`].
    fn fixed(&self) -> Value {
        json!({
            "learning_rates": self.learning_rates,
            "from": self.pretrained_from.as_ref().map(|from| &from.hash),
            "pretrain_seeds": self.pretrain_seeds,
            "config": self.settings,
        })
    }

    /// Adds what the folder was asked for before.
    fn add(&mut self, before: &Self) {
        let last = Asked { fractions: before.fractions.clone(), n_seeds: before.n_seeds, arms: before.arms.clone() };
        let all = if before.asked.is_empty() { vec![last] } else { before.asked.clone() };
        let new = all.into_iter().filter(|asked| !self.asked.contains(asked)).collect::<Vec<_>>();
        self.asked.extend(new);
        self.fractions.extend(&before.fractions);
        self.fractions.sort_by(f64::total_cmp);
        self.fractions.dedup();
        self.arms.extend(&before.arms);
        self.arms.sort();
        self.arms.dedup();
        self.n_seeds = self.n_seeds.max(before.n_seeds);
    }
}

/// How a study ended.
#[derive(Clone, Debug, PartialEq)]
pub enum StudyEnded {
    /// Every cell is finished.
    Finished(StudyTable),
    /// A cell was stopped after a checkpoint.
    Stopped {
        /// The cell's run folder.
        folder: PathBuf,
        /// How it ended.
        ended: Ended,
    },
}

/// Computes every cell that is not finished in `session.out` and no other process computes, waits for those that others
/// compute, and writes the table after every cell.
///
/// # Errors
///
/// If a configuration is illegal, the data has no labels or too few, a cell's folder belongs to another run, or as the two
/// loops.
pub fn run(study: &Study, data: &DataSet, session: &Session) -> Result<StudyEnded, TrainError> {
    run_with(study, data, session, Patience::default())
}

/// How many of the study's cells are finished in the session's folder, and how many there are; the folder is left as it is.
///
/// # Errors
///
/// What [`run`] would be refused with before its first cell.
pub fn n_finished(study: &Study, data: &DataSet, session: &Session) -> Result<(usize, usize), TrainError> {
    require_no_file(&session.out)?;
    let grid = Grid::new(study, data, session, Patience::default())?;
    grid.record()?;
    let cells = grid.cells();
    let finished = cells.iter().map(|cell| Ok(usize::from(grid.is_finished(cell)?)));
    Ok((finished.sum::<Result<usize, TrainError>>()?, cells.len()))
}

fn run_with(study: &Study, data: &DataSet, session: &Session, patience: Patience) -> Result<StudyEnded, TrainError> {
    let mut grid = Grid::new(study, data, session, patience)?;
    Files::disk().create_folder(&session.out)?;
    // A report can be made from the beginning.
    grid.write_table()?;
    loop {
        match grid.next_cell()? {
            Next::Compute(cell, claim) => {
                let ended = grid.compute(&cell, &claim)?;
                drop(claim);
                grid.write_table()?;
                if let Some(ended @ Ended::Stopped { .. }) = ended {
                    return Ok(StudyEnded::Stopped { folder: grid.folder(&cell), ended });
                }
            }
            Next::Wait(cell) => {
                if let Some(ended) = grid.wait(&cell) {
                    return Ok(StudyEnded::Stopped { folder: grid.folder(&cell), ended });
                }
            }
            Next::Done => {
                let table = grid.write_table()?;
                report::write_table_events(&session.out, &table.to_markdown())?;
                return Ok(StudyEnded::Finished(table));
            }
        }
    }
}

/// What a process can do next.
enum Next {
    /// A cell that is now this process's.
    Compute(Cell, Claim),
    /// A cell that is not finished and that others compute, or that depends on such a one.
    Wait(Cell),
    /// Every cell is finished.
    Done,
}

/// A study with what every cell shares.
struct Grid<'a> {
    study: &'a Study,
    data: &'a DataSet,
    session: &'a Session,
    patience: Patience,
    resolved: Resolved,
    learning_rates: Vec<f64>,
    /// The study's own pretrainings by seed, read once.
    pretrained: BTreeMap<u64, Pretrained>,
    progress: Progress,
    waits: bool,
}

impl<'a> Grid<'a> {
    /// Refuses here what would be refused after hours.
    fn new(study: &'a Study, data: &'a DataSet, session: &'a Session, patience: Patience) -> Result<Self, TrainError> {
        data.require_classes()?;
        let resolved = study.resolved()?;
        let learning_rates = match study.learning_rates.as_slice() {
            [] => RATE_FACTORS.map(|factor| rounded(factor * resolved.config.finetune.training.learning_rate)).to_vec(),
            given => given.to_vec(),
        };
        let mode = if session.progress == Mode::Quiet { Mode::Quiet } else { Mode::Plain };
        let grid = Self {
            study,
            data,
            session,
            patience,
            resolved,
            learning_rates,
            pretrained: BTreeMap::new(),
            progress: Progress::new(mode, 0, 0, None),
            waits: false,
        };
        grid.check()?;
        Ok(grid)
    }

    fn check(&self) -> Result<(), TrainError> {
        self.data.require_test_images()?;
        let images = &self.data.train;
        let request = Request { n_examples: images.len() as u64, seed: TRIAL_SEED, stop_after: None };
        if self.study.needs_pretraining() {
            PretrainPlan::new(&self.resolved, request)?;
        }
        let split = if self.learning_rates.len() > 1 { Split::Validation } else { Split::Test };
        for &fraction in &self.study.fractions {
            let labels = Labels { fraction, subset: None, pretrained: None, split };
            finetune::chosen(self.data, &labels, TRIAL_SEED)?;
            for &arm in &self.study.arms {
                for &learning_rate in &self.learning_rates {
                    FinetunePlan::new(&self.configuration(arm, learning_rate)?, request, fraction)?;
                }
            }
        }
        Ok(())
    }

    /// What the folder is asked for, now and before; refused where it is another study's or none.
    fn record(&self) -> Result<StudyRecord, TrainError> {
        let folder = &self.session.out;
        let foreign = Files::disk().names(folder)?.into_iter().find(|name| !name.starts_with('.'));
        if let (Some(found), false) = (foreign, folder.join(STUDY).exists()) {
            return Err(TrainError::NotARunFolder { path: folder.clone(), found });
        }
        let record = StudyRecord {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            recipe: self.resolved.recipe.clone(),
            fractions: self.study.fractions.clone(),
            n_seeds: self.study.n_seeds,
            arms: self.study.arms.clone(),
            asked: vec![Asked {
                fractions: self.study.fractions.clone(),
                n_seeds: self.study.n_seeds,
                arms: self.study.arms.clone(),
            }],
            learning_rates: self.learning_rates.clone(),
            pretrained_from: self.study.pretrained.as_ref().map(|pretrained| pretrained.from().clone()),
            pretrain_seeds: self.study.pretrain_seeds,
            settings: self.settings(),
        };
        // Through its text, so that a stored number and a computed one compare equal.
        let mut record: StudyRecord = from_json(STUDY, &to_pretty_json(STUDY, &record)?)?;
        if let Some(was) = read_json::<StudyRecord>(&folder.join(STUDY))? {
            let differences = differences_of(&was.fixed(), &record.fixed(), &self.resolved.sources());
            if !was.settings.is_null() && !differences.is_empty() {
                return Err(TrainError::StudyChanged { folder: folder.clone(), differences });
            }
            record.add(&was);
        }
        Ok(record)
    }

    fn settings(&self) -> Value {
        let config = self.resolved.to_json();
        let table = |name: &str| config.get(name).cloned().unwrap_or_default();
        json!({
            "model": table("model"),
            "data": table("data"),
            "pretrain": table("pretrain"),
            "finetune": table("finetune"),
            "dtype": self.session.number_type.to_string(),
            "images": { "train": self.data.train.content_hash(), "test": self.data.test.content_hash() },
        })
    }

    /// The run folder of a cell.
    fn folder(&self, cell: &Cell) -> PathBuf {
        self.session.out.join(cell.name())
    }

    /// The configuration of an arm's runs.
    fn configuration(&self, arm: Arm, learning_rate: f64) -> Result<Resolved, TrainError> {
        let flag = |flag: &str, key: &str, value: &str| FlagValue {
            flag: flag.to_owned(),
            key: format!("finetune.{key}"),
            value: value.to_owned(),
        };
        let mut overrides = self.study.overrides.clone();
        overrides.flags.push(flag("--learning-rates", "learning_rate", &learning_rate.to_string()));
        match arm {
            Arm::Pretrained | Arm::Scratch => {}
            Arm::AttentionPooling => overrides.flags.push(flag("--arms", "classifier", "attention_pooling")),
            Arm::LinearProbe => {
                overrides.flags.push(flag("--arms", "classifier", "patch_network"));
                overrides.flags.push(flag("--arms", "last_layer_only", "true"));
            }
        }
        resolve(Task::Finetune, &self.study.base, &overrides)
    }

    /// The first cell that can be computed and that nobody else computes.
    fn next_cell(&mut self) -> Result<Next, TrainError> {
        let cells = self.cells();
        let mut open = None;
        for (cell_idx, cell) in cells.iter().enumerate() {
            if self.is_finished(cell)? {
                continue;
            }
            if self.is_ready(cell)?
                && let Some(claim) = Claim::take(&self.session.out, &cell.name(), self.patience)?
            {
                // Another process may have finished it since the look above.
                if self.is_finished(cell)? {
                    continue;
                }
                // Somebody trains there without a claim, or has lost it and is about to see that.
                if matches!(require_free(&self.folder(cell)), Err(TrainError::Locked { .. })) {
                    open.get_or_insert_with(|| cell.clone());
                    continue;
                }
                self.waits = false;
                self.progress.note(&format!("cell {} of {}: {}", cell_idx + 1, cells.len(), cell.name()));
                return Ok(Next::Compute(cell.clone(), claim));
            }
            open.get_or_insert_with(|| cell.clone());
        }
        Ok(open.map_or(Next::Done, Next::Wait))
    }

    /// Waits until it is time to look again; a signal ends the study.
    fn wait(&mut self, cell: &Cell) -> Option<Ended> {
        if !self.waits {
            self.waits = true;
            self.progress.note(&format!("waiting for what other processes compute, such as {}", cell.name()));
        }
        let started = Instant::now();
        while started.elapsed() < LOOK.min(self.patience.0) {
            if let Some(signal) = self.session.signals.as_ref().and_then(crate::signals::Signals::received) {
                return Some(Ended::Stopped { step: 0, signal: Some(signal) });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }
}

/// To three digits: 3 × 0.05 is 0.15.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}
