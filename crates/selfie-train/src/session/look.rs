//! What a start in a run folder would do, told without touching the folder.

use std::path::Path;

use selfie_eval::record::RunRecord;
use serde_json::{Value, json};

use super::{Session, begin};
use crate::TrainError;
use crate::checkpoint::CheckpointStore;
use crate::plan::{CheckpointPlan, TrainingPlan};
use crate::resume::{self, Difference, accepted_hashes};
use crate::run_folder::{Begin, CHECKPOINTS, find, require_free};

/// What a start would do.
#[derive(Debug)]
pub enum Standing {
    /// Begin with the first step.
    Fresh,
    /// Go on.
    Resumes {
        /// Updates made.
        step: u64,
        /// Updates of the whole schedule.
        steps: u64,
        /// What is changed, and allowed to.
        differences: Vec<Difference>,
    },
    /// Print the result that is there.
    Finished,
    /// End with this error.
    Refused(TrainError),
}

impl Standing {
    /// What [`super::Run::open`] would find.
    pub(crate) fn of(session: &Session, record: &RunRecord, plans: (&TrainingPlan, CheckpointPlan)) -> Self {
        Self::found(session, record, plans).unwrap_or_else(Self::Refused)
    }

    fn found(
        session: &Session,
        record: &RunRecord,
        (training, checkpoint): (&TrainingPlan, CheckpointPlan),
    ) -> Result<Self, TrainError> {
        resume::require_known(&session.allow_change, record)?;
        require_free(&session.out)?;
        let (begun, finished) = begin(&session.out, session, |allowed| find(&session.out, record, allowed))?;
        let (was, differences) = match begun {
            _ if finished.is_some() => return Ok(Self::Finished),
            Begin::Fresh | Begin::Replaced(_) => return Ok(Self::Fresh),
            Begin::Resumed(was) => (was, Vec::new()),
            Begin::Changed { was, differences } => (was, differences),
        };
        let store = CheckpointStore::new(session.out.join(CHECKPOINTS), checkpoint.keep);
        let step = store.load_latest(&accepted_hashes(&was)?)?.map_or(0, |loaded| loaded.snapshot.step);
        Ok(Self::Resumes { step, steps: training.steps, differences })
    }

    /// The code that such a start ends with, where it is refused.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(error) => error.exit_code(),
            _ => 0,
        }
    }

    /// In words, of the run folder.
    #[must_use]
    pub fn text(&self, folder: &Path) -> String {
        let folder = folder.display();
        match self {
            Self::Fresh => format!("{folder}, from the first step"),
            Self::Resumes { step, steps, differences } => {
                let changes = differences.iter().map(|difference| format!("\n          changed: {difference}"));
                format!("{folder}, on from step {step} of {steps}{}", changes.collect::<String>())
            }
            Self::Finished => format!("{folder}, which is finished: its result would be printed, and nothing computed"),
            Self::Refused(error) => format!("refused: {error}"),
        }
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self, folder: &Path) -> Value {
        let (does, step, error) = match self {
            Self::Fresh => ("starts", Some(0), None),
            Self::Resumes { step, .. } => ("goes on", Some(*step), None),
            Self::Finished => ("is finished", None, None),
            Self::Refused(error) => ("is refused", None, Some(error.to_string())),
        };
        json!({ "folder": folder.display().to_string(), "does": does, "step": step, "error": error })
    }
}
