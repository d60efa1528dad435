//! `metrics.jsonl` and `events.jsonl`: lines that are appended; a resume cuts them back to the checkpoint's length.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use selfie_eval::record::{Event, StepMetrics};

use super::append::{AppendFile, Mark};
use crate::TrainError;
use crate::files::Files;

/// Bytes of a line of metrics, rather more than they are.
const USUAL_LINE: u64 = 512;

/// An open file of lines of a run.
///
/// A line that could not be written, say because the disk is full, is kept and tried again with the next one.
#[derive(Debug)]
pub struct LineLog(AppendFile);

impl LineLog {
    pub(super) fn open(path: &Path, len: u64) -> Result<Self, TrainError> {
        let mut file = AppendFile::open(path, len)?;
        if let Some(last) = file.last_byte()?.filter(|last| *last != b'\n') {
            let reason = format!("the checkpoint expects a line's end at byte {len}, got byte {last}");
            return Err(TrainError::Corrupt { path: path.to_owned(), reason });
        }
        file.cut()?;
        // A checkpoint that says how long this file is must not outlive its name.
        Files::disk().sync_folder(path.parent().unwrap_or(Path::new(".")))?;
        Ok(Self(file))
    }

    /// Bytes of whole lines in the file: after [`LineLog::sync`], what a checkpoint stores.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.0.len()
    }

    /// Appends a line, which ends in its newline.
    ///
    /// # Errors
    ///
    /// If the file cannot be written; the line is kept for the next attempt.
    pub fn append(&mut self, line: &str) -> Result<(), TrainError> {
        self.0.append(line.as_bytes())
    }

    /// Cuts the file back to its first `len` bytes, which end in a line's end.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn cut_to(&mut self, len: u64) -> Result<(), TrainError> {
        self.0.cut_to(len)
    }

    /// Makes every line durable and returns the file's length.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn sync(&mut self) -> Result<u64, TrainError> {
        self.mark()?.sync()?;
        Ok(self.n_bytes())
    }

    /// Writes every line; they are durable once the mark is synced, which another thread can do.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub(crate) fn mark(&mut self) -> Result<Mark, TrainError> {
        self.0.mark()
    }
}

/// Every whole line of a run folder's `metrics.jsonl`.
///
/// # Errors
///
/// If the file is missing, cannot be read or holds a damaged line.
pub fn read_metrics(folder: &Path) -> Result<Vec<StepMetrics>, TrainError> {
    let path = folder.join(super::METRICS);
    let text = std::fs::read_to_string(&path)
        .map_err(|source| TrainError::reading(&path, source, "expected the run's metrics"))?;
    Ok(StepMetrics::parse_lines(&text)?)
}

/// The last `n` lines of a run folder's `metrics.jsonl`, or all if it has fewer, without reading those before: a run of a
/// million steps goes on in no more memory than one of a thousand.
///
/// # Errors
///
/// As [`read_metrics`].
pub(crate) fn read_last_metrics(folder: &Path, n: usize) -> Result<Vec<StepMetrics>, TrainError> {
    let path = folder.join(super::METRICS);
    let failed = |source| TrainError::reading(&path, source, "expected the run's metrics");
    let mut file = File::open(&path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let mut n_bytes = (n as u64 * USUAL_LINE).max(1);
    loop {
        let start = len.saturating_sub(n_bytes);
        file.seek(SeekFrom::Start(start)).map_err(failed)?;
        let mut text = Vec::new();
        file.by_ref().take(len - start).read_to_end(&mut text).map_err(failed)?;
        // Where it begins in the middle of a line, that line does not count.
        let begin =
            if start == 0 { 0 } else { text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| at + 1) };
        let whole = String::from_utf8_lossy(&text[begin..]);
        if start == 0 || whole.lines().count() > n {
            let mut metrics = StepMetrics::parse_lines(&whole)?;
            return Ok(metrics.split_off(metrics.len().saturating_sub(n)));
        }
        n_bytes *= 2;
    }
}

/// Every whole line of a run folder's `events.jsonl`; none if it has no such file, as older runs.
///
/// # Errors
///
/// If the file cannot be read or holds a damaged line.
pub fn read_events(folder: &Path) -> Result<Vec<Event>, TrainError> {
    let path = folder.join(super::EVENTS);
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        text => {
            let text = text.map_err(|source| TrainError::reading(&path, source, "expected the run's events"))?;
            Ok(Event::parse_lines(&text)?)
        }
    }
}
