//! Past a number that is not finite: the run ends, leaves the batch out, or goes back to its last checkpoint.

use selfie_eval::record::{Action, Event, Happened};

use super::Run;
use crate::TrainError;
use crate::checkpoint::Loaded;
use crate::config::OnNonFinite;
use crate::fault::{Capture, Cause, Fault, Spikes};

/// More faults than this among so many steps are no bad luck.
const MAX_FAULTS: usize = 10;
const FAULT_WINDOW: u64 = 100;

const TOO_MANY: &str = "it is one of too many in few steps: training does not recover; lower the learning rate or set \
    clip_norm, with another --out";
const NOT_MENDED: &str = "leaving a batch out does not mend a parameter; go back to the last checkpoint with \
    --set on_non_finite=roll_back --allow-change on_non_finite";
const NO_CHECKPOINT: &str = "there is no checkpoint yet to go back to; lower the learning rate or set clip_norm";

impl Run {
    /// Does what the configuration asks for about a fault, before the update. Returns the checkpoint to go on from, if the
    /// run goes back to one; after an `Ok(None)` it goes on as it is, without the step.
    ///
    /// # Errors
    ///
    /// [`TrainError::Fault`] if the run ends here.
    pub(crate) fn go_past(
        &mut self,
        fault: Fault,
        policy: OnNonFinite,
        capture: impl FnOnce(&Fault) -> Result<Capture, TrainError>,
    ) -> Result<Option<Loaded>, TrainError> {
        let captured = capture(&fault)
            .and_then(|capture| capture.to_bytes())
            .and_then(|bytes| self.folder.keep_capture(fault.step, &bytes))
            // Weights that are not finite themselves are written nowhere, and a full disk is no second fault.
            .unwrap_or(None);
        self.fault_steps.retain(|step| step + FAULT_WINDOW > fault.step);
        self.fault_steps.push(fault.step);
        let refused = match policy {
            OnNonFinite::Abort => Some(None),
            _ if self.fault_steps.len() > MAX_FAULTS => Some(Some(TOO_MANY)),
            OnNonFinite::Skip => (fault.cause == Cause::Parameter).then_some(Some(NOT_MENDED)),
            OnNonFinite::RollBack => None,
        };
        let loaded = if refused.is_none() && policy == OnNonFinite::RollBack { self.go_back()? } else { None };
        let refused = match (refused, policy, &loaded) {
            (None, OnNonFinite::RollBack, None) => Some(Some(NO_CHECKPOINT)),
            (refused, ..) => refused,
        };
        let action = match (refused, policy) {
            (None, OnNonFinite::Skip) => Action::Skip,
            (None, OnNonFinite::RollBack) => Action::RollBack,
            _ => Action::Abort,
        };
        let what = Happened::NonFinite { place: fault.place(), action };
        self.log_event(&Event { step: fault.step, what, examples: fault.examples.clone() });
        if let Some(refused) = refused {
            return Err(TrainError::Fault { fault, refused, captured });
        }
        let action = match &loaded {
            None => "its batch is left out".to_owned(),
            Some(loaded) => format!("back to step {}, and the batches since are left out", loaded.snapshot.step),
        };
        let file = captured.map_or_else(String::new, |path| format!("; `selfie replay {}` repeats it", path.display()));
        self.progress.warn(&format!("{fault}: {action}{file}"));
        Ok(loaded)
    }

    /// The last checkpoint; the metrics of the steps since are cut off.
    fn go_back(&mut self) -> Result<Option<Loaded>, TrainError> {
        if let Some(saved) = self.saver.wait() {
            self.note_saved(saved)?;
        }
        let Some(loaded) = self.saver.store().load_latest(&self.config_hashes)? else { return Ok(None) };
        self.metrics.cut_to(loaded.snapshot.metrics_len)?;
        self.tensorboard.reopen(self.folder.path())?;
        self.spikes = Spikes::of_run(self.folder.path())?;
        Ok(Some(loaded))
    }
}
