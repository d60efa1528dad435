//! Saving beside training: one checkpoint at a time, written by a thread of its own.
//!
//! The bytes are those of the moment the save was asked for; training only waits where the one before is still being
//! written.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{CheckpointStore, Snapshot};
use crate::TrainError;

/// Writes the checkpoints of a run.
#[derive(Debug)]
pub(crate) struct Saver {
    store: CheckpointStore,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    step: u64,
    thread: JoinHandle<(Outcome, Duration)>,
}

/// What [`CheckpointStore::save`] returns.
type Outcome = Result<Option<TrainError>, TrainError>;

/// A save that has ended.
#[derive(Debug)]
pub(crate) struct Saved {
    /// The checkpoint's step.
    pub(crate) step: u64,
    /// What [`CheckpointStore::save`] returned.
    pub(crate) outcome: Outcome,
    /// How long it took, beside training.
    pub(crate) took: Duration,
}

impl Saver {
    pub(crate) fn new(store: CheckpointStore) -> Self {
        Self { store, running: None }
    }

    /// Where checkpoints are kept.
    pub(crate) fn store(&self) -> &CheckpointStore {
        &self.store
    }

    /// Begins to write a checkpoint, after `make_records_durable`: a checkpoint says how much of the run's records belongs
    /// to it. The one before must have been waited for.
    ///
    /// # Errors
    ///
    /// If the system gives no thread, or the one before was not waited for.
    pub(crate) fn start(
        &mut self,
        snapshot: Snapshot,
        make_records_durable: impl FnOnce() -> Result<(), TrainError> + Send + 'static,
    ) -> Result<(), TrainError> {
        if self.running.is_some() {
            return Err(TrainError::Internal("two checkpoints were to be written at once".to_owned()));
        }
        let (store, step) = (self.store.clone(), snapshot.step);
        let save = move || {
            let begun = Instant::now();
            (make_records_durable().and_then(|()| store.save(&snapshot)), begun.elapsed())
        };
        let thread = std::thread::Builder::new().name("selfie-saver".to_owned()).spawn(save);
        let failed =
            |source| TrainError::Io { action: "start a thread to write", path: self.store.folder.clone(), source };
        self.running = Some(Running { step, thread: thread.map_err(failed)? });
        Ok(())
    }

    /// The save that ended since the last call, if one did.
    pub(crate) fn finished(&mut self) -> Option<Saved> {
        if self.running.as_ref()?.thread.is_finished() { self.wait() } else { None }
    }

    /// Waits for the save that is being made, if one is.
    pub(crate) fn wait(&mut self) -> Option<Saved> {
        let Running { step, thread } = self.running.take()?;
        let panicked = |_| {
            let error = TrainError::Internal("the thread that writes checkpoints panicked".to_owned());
            (Err(error), Duration::ZERO)
        };
        let (outcome, took) = thread.join().unwrap_or_else(panicked);
        Some(Saved { step, outcome, took })
    }
}

impl Drop for Saver {
    /// A checkpoint that was begun is finished, also where training stops with an error.
    fn drop(&mut self) {
        let _ = self.wait();
    }
}
