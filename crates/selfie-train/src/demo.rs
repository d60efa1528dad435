//! The main job on the embedded default: pretrain on drawn shapes, fine-tune on few labels, compare with a control.

use std::path::PathBuf;

use selfie_data::{DataSet, SetName};
use selfie_eval::record::{Arm, Outcome, Split, Task};
use selfie_eval::table::{self, Measurement, Variance, comparison};
use serde::Serialize;

use crate::TrainError;
use crate::checkpoint::WEIGHTS;
use crate::config::{Base, Overrides, Resolved, resolve};
use crate::finetune::{self, Labels, Pretrained};
use crate::pretrain;
use crate::recipes;
use crate::session::{Ended, Session};

/// The recipe of the demonstration.
const RECIPE: &str = "shapes32";
/// The share of the labels that it fine-tunes on.
const FRACTION: f64 = 0.05;

/// What the demonstration came to.
#[derive(Clone, Debug, Serialize)]
pub struct Demonstration {
    /// The pretext task at the end of pretraining.
    pub pretext: Outcome,
    /// Test accuracy of each fine-tuning: arm, seed, accuracy.
    pub runs: Vec<(Arm, u64, f64)>,
    /// The comparison as a Markdown table.
    pub table: String,
}

/// Pretrains, fine-tunes with each of `seeds` and trains a control from scratch, in run folders below `session.out`.
///
/// Run again after an interruption, it goes on where it stood.
///
/// # Errors
///
/// As the two loops. A run that a signal stopped is an `Ok(Err(…))` with how it ended.
pub fn run(seeds: u64, session: &Session) -> Result<Result<Demonstration, Ended>, TrainError> {
    let data = selfie_data::open(SetName::Shapes32, None)?;
    let recipe =
        recipes::find(RECIPE).ok_or_else(|| TrainError::Internal(format!("recipe {RECIPE} is not embedded")))?;
    let resolved = |task| resolve(task, &Base::Recipe(recipe), &Overrides::default());
    let folder = session.out.join("pretrain");
    let ended = pretrain::run(&resolved(Task::Pretrain)?, &data, &at(session, folder.clone(), session.seed))?;
    let Ended::Finished { result, .. } = ended else { return Ok(Err(ended)) };
    let pretrained = Pretrained::read(&folder.join(WEIGHTS))?;
    let arms = [(Arm::Pretrained, labels(Some(pretrained))), (Arm::Scratch, labels(None))];
    let finetune = resolved(Task::Finetune)?;

    let mut runs = Vec::new();
    for seed in 1..=seeds {
        for (arm, labels) in &arms {
            let session = at(session, session.out.join(format!("{}-s{seed}", arm.name())), seed);
            match fine_tuned(&finetune, &data, labels, &session)? {
                Ok(accuracy) => runs.push((*arm, seed, accuracy)),
                Err(ended) => return Ok(Err(ended)),
            }
        }
    }
    let table = comparison(&row(&runs, Arm::Pretrained), &row(&runs, Arm::Scratch), Variance::FinetuningSeeds)?;
    Ok(Ok(Demonstration { pretext: result.outcome, runs, table }))
}

fn at(session: &Session, out: PathBuf, seed: u64) -> Session {
    Session { out, seed, ..session.clone() }
}

fn labels(pretrained: Option<Pretrained>) -> Labels {
    Labels { fraction: FRACTION, subset: None, pretrained, split: Split::Test }
}

/// The test accuracy of one fine-tuning, or how it ended before it had one.
fn fine_tuned(
    resolved: &Resolved,
    data: &DataSet,
    labels: &Labels,
    session: &Session,
) -> Result<Result<f64, Ended>, TrainError> {
    match finetune::run(resolved, data, labels, session)? {
        Ended::Finished { result, .. } => match result.outcome {
            Outcome::Classification { top1_accuracy, .. } => Ok(Ok(top1_accuracy)),
            Outcome::Pretext { .. } => Err(TrainError::Internal("a fine-tuning without an accuracy".to_owned())),
        },
        ended => Ok(Err(ended)),
    }
}

fn row(runs: &[(Arm, u64, f64)], arm: Arm) -> table::Arm {
    let name = match arm {
        Arm::Pretrained => "pretrained",
        Arm::Scratch => "from scratch",
    };
    let of_arm = runs.iter().filter(|(of, _, _)| *of == arm);
    let measure = |&(_, seed, top1_accuracy): &(Arm, u64, f64)| Measurement { fraction: FRACTION, seed, top1_accuracy };
    table::Arm { name: name.to_owned(), runs: of_arm.map(measure).collect() }
}
