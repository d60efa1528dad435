//! `metrics.jsonl`: one object a step, appended; a resume cuts it back to the checkpoint's length.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use selfie_eval::record::StepMetrics;

use crate::TrainError;

/// The open metrics file of a run.
///
/// A line that could not be written, say because the disk is full, is kept and tried again with the next one.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines in the file.
    len: u64,
    /// Lines that are not in the file yet.
    pending: Vec<u8>,
}

impl MetricsLog {
    pub(super) fn open(path: &Path, len: u64) -> Result<Self, TrainError> {
        let opened = File::options().create(true).truncate(false).read(true).write(true).open(path);
        let mut file = opened.map_err(|source| TrainError::creating(path, source))?;
        let reading = |source| TrainError::reading(path, source, "the run's metrics");
        let found = file.metadata().map_err(reading)?.len();
        if found < len {
            let reason = format!("the checkpoint expects at least {len} bytes, got {found}");
            return Err(TrainError::Corrupt { path: path.to_owned(), reason });
        }
        if len > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(len - 1)).and_then(|_| file.read_exact(&mut last)).map_err(reading)?;
            if last != *b"\n" {
                let reason = format!("the checkpoint expects a line's end at byte {len}, got byte {}", last[0]);
                return Err(TrainError::Corrupt { path: path.to_owned(), reason });
            }
        }
        let mut log = Self { path: path.to_owned(), file, len, pending: Vec::new() };
        log.cut()?;
        Ok(log)
    }

    /// Bytes of whole lines in the file: after [`MetricsLog::sync`], what a checkpoint stores.
    #[must_use]
    pub fn metrics_len(&self) -> u64 {
        self.len
    }

    /// Appends a step's line.
    ///
    /// # Errors
    ///
    /// If a number is not finite (the line is dropped), or the file cannot be written (the line is kept for the next
    /// attempt).
    pub fn append(&mut self, metrics: &StepMetrics) -> Result<(), TrainError> {
        self.pending.extend_from_slice(metrics.to_line()?.as_bytes());
        self.write_pending()
    }

    /// Makes every line durable and returns the file's length.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn sync(&mut self) -> Result<u64, TrainError> {
        self.write_pending()?;
        self.file.sync_all().map_err(|source| TrainError::writing(&self.path, source))?;
        Ok(self.len)
    }

    fn write_pending(&mut self) -> Result<(), TrainError> {
        let sought = self.file.seek(SeekFrom::Start(self.len));
        if let Err(source) = sought.and_then(|_| self.file.write_all(&self.pending)) {
            // Half a line may have been written.
            self.cut()?;
            return Err(TrainError::writing(&self.path, source));
        }
        self.len += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn cut(&mut self) -> Result<(), TrainError> {
        self.file.set_len(self.len).map_err(|source| TrainError::writing(&self.path, source))
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
