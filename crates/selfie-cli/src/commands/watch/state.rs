//! What a run folder says now: read line by line as it grows.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use selfie_eval::record::{ResultRecord, RunRecord};
use selfie_eval::table::StudyTable;
use selfie_report::Series;
use selfie_train::TrainError;
use selfie_train::progress::{FAILED, MEAN_STEPS, STOPPED};
use selfie_train::run_folder::{LOG, METRICS, read_record, read_result};
use selfie_train::study::{STUDY, TABLE_JSON};

/// A run that writes down no step for so many seconds, nor for the time of so many steps, may not be running.
const SILENCE_S: f64 = 120.0;
const STEPS_OF_SILENCE: f64 = 10.0;

/// Bytes of the log's end that are looked at.
const LOG_BYTES: u64 = 16 << 10;

/// A run, as far as it is written down.
#[derive(Debug)]
pub(super) struct State {
    /// As given: a run folder or a study's.
    given: PathBuf,
    /// The run shown.
    pub(super) run: PathBuf,
    pub(super) record: RunRecord,
    pub(super) result: Option<ResultRecord>,
    /// Of a study: how many runs of its table are finished, and how many there will be.
    pub(super) study: Option<(usize, usize)>,
    pub(super) series: Series,
    /// The last lines of the log.
    pub(super) log: Vec<String>,
    /// Time since the last step was written down.
    pub(super) idle: Option<Duration>,
    /// Bytes of whole lines that were read.
    read: u64,
}

impl State {
    pub(super) fn open(given: &Path) -> Result<Self, TrainError> {
        let run = run_in(given);
        let missing = || TrainError::Missing {
            path: run.clone(),
            hint: "expected a run folder, which has a run.json, or a study's with a run in it".to_owned(),
        };
        let record = read_record(&run)?.ok_or_else(missing)?;
        let (given, series, log) = (given.to_owned(), Series::default(), Vec::new());
        let mut state = Self { given, run, record, result: None, study: None, series, log, idle: None, read: 0 };
        state.refresh()?;
        Ok(state)
    }

    /// Reads what was written since the last look.
    pub(super) fn refresh(&mut self) -> Result<(), TrainError> {
        let run = run_in(&self.given);
        if run != self.run
            && let Some(record) = read_record(&run)?
        {
            (self.run, self.record, self.series, self.read) = (run, record, Series::default(), 0);
        }
        self.result = read_result(&self.run)?;
        self.study = study(&self.given);
        let read = |path: &Path, source| TrainError::Io { action: "read", path: path.to_owned(), source };
        let (metrics, log) = (self.run.join(METRICS), self.run.join(LOG));
        self.read_metrics(&metrics).map_err(|source| read(&metrics, source))?;
        self.log = last_lines(&log).map_err(|source| read(&log, source))?;
        self.idle = metrics.metadata().and_then(|file| file.modified()).ok().and_then(|written| written.elapsed().ok());
        Ok(())
    }

    /// How the run ended without a result, as its log says.
    pub(super) fn ended(&self) -> Option<&str> {
        let said = self.log.last()?.split_once(' ')?.1;
        [STOPPED, FAILED].iter().any(|beginning| said.starts_with(beginning)).then_some(said)
    }

    /// Whether it is longer since the last step than steps take.
    pub(super) fn is_silent(&self) -> bool {
        let patience = self.recent("time/step_s").map_or(0.0, |step_s| STEPS_OF_SILENCE * step_s).max(SILENCE_S);
        self.idle.is_some_and(|idle| idle.as_secs_f64() > patience)
    }

    fn read_metrics(&mut self, path: &Path) -> io::Result<()> {
        let Some(mut file) = there(File::open(path))? else { return Ok(()) };
        if file.metadata()?.len() < self.read {
            // A resume cut it back.
            (self.series, self.read) = (Series::default(), 0);
        }
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in String::from_utf8_lossy(&bytes[..whole]).lines() {
            self.series.add(line);
        }
        self.read += whole as u64;
        Ok(())
    }

    /// Updates made.
    pub(super) fn step(&self) -> u64 {
        self.series.last("loss").map_or(0, |point| point.step)
    }

    /// Updates of the whole schedule, where the record says.
    pub(super) fn steps(&self) -> Option<u64> {
        self.record.steps.or(self.result.as_ref().map(|result| result.steps))
    }

    /// Mean of the last values of a name.
    pub(super) fn recent(&self, name: &str) -> Option<f64> {
        let points = self.series.get(name);
        let last = &points[points.len().saturating_sub(MEAN_STEPS)..];
        (!last.is_empty()).then(|| last.iter().map(|point| point.value).sum::<f64>() / last.len() as f64)
    }

    /// Seconds that are left at the present speed.
    pub(super) fn seconds_left(&self) -> Option<f64> {
        let left = self.steps()?.saturating_sub(self.step());
        Some(left as f64 * self.recent("time/step_s")?)
    }
}

/// The run in a study's folder that was written to last; any other folder itself.
fn run_in(given: &Path) -> PathBuf {
    if !given.join(STUDY).is_file() {
        return given.to_owned();
    }
    let entries = std::fs::read_dir(given).into_iter().flatten().flatten();
    let written = |path: PathBuf| {
        let modified = path.join(METRICS).metadata().and_then(|metadata| metadata.modified()).ok()?;
        Some((modified, path))
    };
    entries.filter_map(|entry| written(entry.path())).max().map_or_else(|| given.to_owned(), |(_, path)| path)
}

/// How far the table of a study's folder is; `None` of other folders and before the first cell is finished.
fn study(given: &Path) -> Option<(usize, usize)> {
    let text = std::fs::read_to_string(given.join(TABLE_JSON)).ok()?;
    let table: StudyTable = serde_json::from_str(&text).ok()?;
    Some((table.n_finished(), table.about.n_runs))
}

/// The last lines of a text file; none if it is not there.
fn last_lines(path: &Path) -> io::Result<Vec<String>> {
    let Some(mut file) = there(File::open(path))? else { return Ok(Vec::new()) };
    let begin = file.metadata()?.len().saturating_sub(LOG_BYTES);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first may be half a line.
    Ok(text.lines().skip(usize::from(begin > 0)).map(printable).collect())
}

/// A line that cannot move the cursor.
fn printable(line: &str) -> String {
    line.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// `None` of what is not there.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
