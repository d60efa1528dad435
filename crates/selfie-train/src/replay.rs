//! `selfie replay`: makes a captured step's passes again and looks for its fault.

use std::path::Path;

use candle_core::Device;
use selfie_eval::record::Task;

use crate::TrainError;
use crate::config::{Base, Overrides, Resolved, resolve};
use crate::fault::{Capture, Fault};
use crate::{finetune, pretrain};

/// What a replay came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// The fault that was captured.
    pub captured: Fault,
    /// The fault of the replay; none if every number was finite.
    pub again: Option<Fault>,
}

/// Replays the file that a run wrote for a step whose numbers were not finite.
///
/// # Errors
///
/// If the file cannot be read or is no such file.
pub fn replay(path: &Path, device: &Device) -> Result<Replayed, TrainError> {
    let capture = Capture::read(path)?;
    let captured = capture.about.fault.clone();
    let resolved = resolved(&capture, path)?;
    let again = match capture.about.record.task {
        Task::Pretrain => pretrain::replay(capture, &resolved, path, device)?,
        Task::Finetune => finetune::replay(capture, &resolved, path, device)?,
    };
    Ok(Replayed { captured, again })
}

fn resolved(capture: &Capture, path: &Path) -> Result<Resolved, TrainError> {
    let record = &capture.about.record;
    let (path, recipe, config) = (path.to_owned(), record.recipe.clone(), record.config.clone());
    resolve(record.task, &Base::Run { path, recipe, config }, &Overrides::default())
}
