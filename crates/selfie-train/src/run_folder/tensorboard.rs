//! TensorBoard's event file of a run. It says what `metrics.jsonl` says: a resume makes it anew from the lines that were kept,
//! under the next name, so that a TensorBoard that is open goes on to it and no step is there twice. Those before stay,
//! empty: a TensorBoard that reads one of them would not get past a file that is gone.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use selfie_eval::record::unix_seconds;
use selfie_report::{Series, events};

use super::append::AppendFile;
use crate::TrainError;
use crate::files::Files;

/// What TensorBoard knows an event file by.
const PREFIX: &str = "events.out.tfevents.";

/// Bytes that are written at once when a file is made anew.
const PIECE: usize = 1 << 20;

/// The open event file of a run.
#[derive(Debug)]
pub(crate) struct TensorBoardLog {
    file: AppendFile,
    clock: Clock,
    /// When the run began.
    created: String,
}

/// The time of each line: when the run began, and how long its steps took.
#[derive(Debug)]
struct Clock {
    wall_time: f64,
}

impl Clock {
    fn new(created: &str) -> Self {
        Self { wall_time: unix_seconds(created).unwrap_or(0) as f64 }
    }

    fn event(&mut self, line: &str) -> Vec<u8> {
        let mut series = Series::default();
        series.add(line);
        self.wall_time += series.last("time/step_s").map_or(0.0, |point| point.value);
        events::metrics_line(self.wall_time, line).unwrap_or_default()
    }
}

impl TensorBoardLog {
    /// Makes the event file of the lines that are in `metrics.jsonl` and empties those before.
    pub(crate) fn open(folder: &Path, created: &str) -> Result<Self, TrainError> {
        let mut clock = Clock::new(created);
        let metrics = folder.join(super::METRICS);
        let failed = |source| TrainError::reading(&metrics, source, "expected the run's metrics");
        let lines = BufReader::new(File::open(&metrics).map_err(failed)?).lines();
        let mut bytes = events::header(clock.wall_time);
        bytes.extend(events::start(clock.wall_time, 0));
        let path = write_events(folder, created, &bytes)?;
        let mut file = AppendFile::open(&path, bytes.len() as u64)?;
        // In pieces: the lines of a long run are not held at once.
        bytes.clear();
        for line in lines {
            bytes.extend(clock.event(&line.map_err(failed)?));
            if bytes.len() >= PIECE {
                file.append(&bytes)?;
                bytes.clear();
            }
        }
        file.append(&bytes)?;
        Ok(Self { file, clock, created: created.to_owned() })
    }

    /// Makes the event file anew, after lines of `metrics.jsonl` were cut off.
    pub(crate) fn reopen(&mut self, folder: &Path) -> Result<(), TrainError> {
        *self = Self::open(folder, &self.created)?;
        Ok(())
    }

    /// Appends a line of `metrics.jsonl`.
    pub(crate) fn append(&mut self, line: &str) -> Result<(), TrainError> {
        let event = self.clock.event(line);
        self.file.append(&event)
    }
}

/// The event files in a folder, by name: all but the last are empty.
///
/// # Errors
///
/// If the folder cannot be read.
pub fn event_files(folder: &Path) -> Result<Vec<String>, TrainError> {
    let mut names: Vec<String> =
        Files::disk().names(folder)?.into_iter().filter(|name| name.starts_with(PREFIX)).collect();
    names.sort_by_key(|name| number(name));
    Ok(names)
}

/// The number in an event file's name.
fn number(name: &str) -> Option<u64> {
    name.rsplit('.').nth(1)?.parse().ok()
}

/// Writes an event file in the place of those in the folder, under a name that comes after theirs: a TensorBoard that reads
/// one of them, which are empty from here on, goes on to it. Returns its path.
///
/// # Errors
///
/// If the folder cannot be written.
pub fn write_events(folder: &Path, created: &str, bytes: &[u8]) -> Result<std::path::PathBuf, TrainError> {
    let earlier = event_files(folder)?;
    let next = earlier.iter().filter_map(|name| number(name)).max().map_or(0, |last| last + 1);
    let path = folder.join(format!("{PREFIX}{}.{next:06}.selfie", unix_seconds(created).unwrap_or(0)));
    let files = Files::disk();
    files.write_atomic(&path, bytes)?;
    for earlier in earlier.iter().map(|name| folder.join(name)) {
        if earlier.metadata().is_ok_and(|file| file.len() > 0) {
            files.write_atomic(&earlier, b"")?;
        }
    }
    Ok(path)
}
