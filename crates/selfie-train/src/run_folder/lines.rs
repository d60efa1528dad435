//! `metrics.jsonl` and `events.jsonl`: lines that are appended; a resume cuts them back to the checkpoint's length.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use selfie_eval::record::{Event, StepMetrics};

use crate::TrainError;
use crate::files::Files;

/// An open file of lines of a run.
///
/// A line that could not be written, say because the disk is full, is kept and tried again with the next one.
#[derive(Debug)]
pub struct LineLog {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines in the file.
    len: u64,
    /// Lines that are not in the file yet.
    pending: Vec<u8>,
}

impl LineLog {
    pub(super) fn open(path: &Path, len: u64) -> Result<Self, TrainError> {
        let opened = File::options().create(true).truncate(false).read(true).write(true).open(path);
        let mut file = opened.map_err(|source| TrainError::creating(path, source))?;
        let reading = |source| TrainError::reading(path, source, "the run's record");
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
        // A checkpoint that says how long this file is must not outlive its name.
        Files::disk().sync_folder(path.parent().unwrap_or(Path::new(".")))?;
        Ok(log)
    }

    /// Bytes of whole lines in the file: after [`LineLog::sync`], what a checkpoint stores.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.len
    }

    /// Appends a line, which ends in its newline.
    ///
    /// # Errors
    ///
    /// If the file cannot be written; the line is kept for the next attempt.
    pub fn append(&mut self, line: &str) -> Result<(), TrainError> {
        self.pending.extend_from_slice(line.as_bytes());
        self.write_pending()
    }

    /// Cuts the file back to its first `len` bytes, which end in a line's end.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn cut_to(&mut self, len: u64) -> Result<(), TrainError> {
        self.pending.clear();
        self.len = self.len.min(len);
        self.cut()
    }

    /// Makes every line durable and returns the file's length.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn sync(&mut self) -> Result<u64, TrainError> {
        self.mark()?.sync()?;
        Ok(self.len)
    }

    /// Writes every line; they are durable once the mark is synced, which another thread can do.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub(crate) fn mark(&mut self) -> Result<Mark, TrainError> {
        self.write_pending()?;
        let file = self.file.try_clone().map_err(|source| TrainError::writing(&self.path, source))?;
        Ok(Mark { path: self.path.clone(), file, len: self.len })
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

/// A length of such a file.
pub(crate) struct Mark {
    path: PathBuf,
    file: File,
    /// B.
    pub(crate) len: u64,
}

impl Mark {
    /// Makes at least the lines up to here durable.
    pub(crate) fn sync(&self) -> Result<(), TrainError> {
        self.file.sync_all().map_err(|source| TrainError::writing(&self.path, source))
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
            let text = text.map_err(|source| TrainError::reading(&path, source, "the run's events"))?;
            Ok(Event::parse_lines(&text)?)
        }
    }
}
