//! `metrics.jsonl`: one object a step, appended; a resume cuts it back to the checkpoint's length. Event files follow it line
//! by line.

use std::path::Path;

use selfie_eval::record::StepMetrics;

use super::append::AppendFile;
use super::events::EventsLog;
use crate::TrainError;

/// The open metrics file of a run.
#[derive(Debug)]
pub struct MetricsLog {
    file: AppendFile,
    events: EventsLog,
}

impl MetricsLog {
    pub(super) fn new(file: AppendFile, events: EventsLog) -> Self {
        Self { file, events }
    }

    /// Bytes of whole lines in the file: after [`MetricsLog::sync`], what a checkpoint stores.
    #[must_use]
    pub fn metrics_len(&self) -> u64 {
        self.file.len()
    }

    /// Appends a step's line.
    ///
    /// # Errors
    ///
    /// If a number is not finite (the line is dropped), or a file cannot be written (the line is kept for the next
    /// attempt).
    pub fn append(&mut self, metrics: &StepMetrics) -> Result<(), TrainError> {
        let line = metrics.to_line()?;
        let written = self.file.append(line.as_bytes());
        let followed = self.events.append(&line);
        written.and(followed)
    }

    /// Makes every line durable and returns the file's length.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn sync(&mut self) -> Result<u64, TrainError> {
        self.file.sync()?;
        Ok(self.file.len())
    }
}

/// Every whole line of a run folder's `metrics.jsonl`.
///
/// # Errors
///
/// If the file is missing, cannot be read or holds a damaged line.
pub fn read_metrics(folder: &Path) -> Result<Vec<StepMetrics>, TrainError> {
    let path = folder.join(super::METRICS);
    let text =
        std::fs::read_to_string(&path).map_err(|source| TrainError::reading(&path, source, "the run's metrics"))?;
    Ok(StepMetrics::parse_lines(&text)?)
}
