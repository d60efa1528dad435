//! Making batches ahead of the training step. The loader knows nothing about what a batch is.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::DataError;

#[cfg(test)]
mod tests;

/// Makes the batches of consecutive steps on its own threads and hands them out in the order of the steps, whatever the
/// number of threads. At most `queue` batches are made ahead. Dropping it ends the threads.
///
/// An error, or a panic of the source, comes in the place of its batch and ends the loader.
pub struct Loader<T> {
    source: Arc<Source<T>>,
    steps: Range<u64>,
    shared: Arc<Shared<T>>,
    workers: Vec<JoinHandle<()>>,
    waited: Duration,
}

type Source<T> = dyn Fn(u64) -> Result<T, DataError> + Send + Sync;

struct Shared<T> {
    state: Mutex<State<T>>,
    /// A batch was made.
    made: Condvar,
    /// A batch was taken, or the loader ends.
    taken: Condvar,
}

struct State<T> {
    ready: BTreeMap<u64, Result<T, DataError>>,
    /// The steps no worker has begun.
    unclaimed: Range<u64>,
    /// Steps from here on must wait until batches are taken.
    claim_end: u64,
    stopped: bool,
}

impl<T: Send + 'static> Loader<T> {
    /// A loader of the given steps with `workers` threads; with none, each batch is made when it is asked for.
    ///
    /// A `queue` of 0 counts as 1. If the system gives fewer threads, the loader does with those.
    pub fn new(
        source: impl Fn(u64) -> Result<T, DataError> + Send + Sync + 'static,
        steps: Range<u64>,
        workers: usize,
        queue: usize,
    ) -> Self {
        let state = State {
            ready: BTreeMap::new(),
            unclaimed: steps.clone(),
            claim_end: steps.start.saturating_add(queue.max(1) as u64),
            stopped: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), made: Condvar::new(), taken: Condvar::new() });
        let source: Arc<Source<T>> = Arc::new(source);
        let spawn = |worker: usize| {
            let (source, shared) = (source.clone(), shared.clone());
            let thread = std::thread::Builder::new().name(format!("selfie-loader-{worker}"));
            thread.spawn(move || shared.work(&source)).ok()
        };
        let workers: Vec<JoinHandle<()>> = (0..workers).map_while(spawn).collect();
        Self { source, steps, shared, workers, waited: Duration::ZERO }
    }

    /// The batch of the next step; none after the last one or after an error.
    pub fn next_batch(&mut self) -> Option<Result<T, DataError>> {
        let start = Instant::now();
        let step = self.steps.next()?;
        let batch = if self.workers.is_empty() { make(&self.source, step) } else { self.shared.take(step) };
        if batch.is_err() {
            self.steps.start = self.steps.end;
            self.shared.stop();
        }
        self.waited += start.elapsed();
        Some(batch)
    }
}

impl<T> Loader<T> {
    /// How long [`Loader::next_batch`] has taken so far: time in which nothing was trained.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl<T: Send + 'static> Iterator for Loader<T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch()
    }
}

impl<T> Drop for Loader<T> {
    fn drop(&mut self) {
        self.shared.stop();
        for worker in self.workers.drain(..) {
            // A worker catches its source's panics, and its own would have nowhere to go here.
            let _ = worker.join();
        }
    }
}

impl<T> std::fmt::Debug for Loader<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Loader")
            .field("steps", &self.steps)
            .field("workers", &self.workers.len())
            .field("waited", &self.waited)
            .finish_non_exhaustive()
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's life.
    fn work(&self, source: &Arc<Source<T>>) {
        while let Some(step) = self.claim() {
            let batch = make(source, step);
            self.lock().ready.insert(step, batch);
            self.made.notify_all();
        }
    }

    /// The next step to make, when there is room for its batch; none when there is nothing left to do.
    fn claim(&self) -> Option<u64> {
        let full = |state: &mut State<T>| {
            !state.stopped && !state.unclaimed.is_empty() && state.unclaimed.start >= state.claim_end
        };
        let mut state = self.taken.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        if state.stopped { None } else { state.unclaimed.next() }
    }

    fn take(&self, step: u64) -> Result<T, DataError> {
        let mut state = self.lock();
        let batch = loop {
            match state.ready.remove(&step) {
                Some(batch) => break batch,
                None => state = self.made.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        state.claim_end += 1;
        drop(state);
        self.taken.notify_all();
        batch
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.taken.notify_all();
    }
}

fn make<T>(source: &Arc<Source<T>>, step: u64) -> Result<T, DataError> {
    catch_unwind(AssertUnwindSafe(|| source(step)))
        .unwrap_or_else(|payload| Err(DataError::WorkerPanic { step, message: message(payload.as_ref()) }))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
