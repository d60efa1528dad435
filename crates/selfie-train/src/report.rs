//! From run folders and studies' folders to what a report shows of them.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use selfie_eval::record::{from_json, utc};
use selfie_report::page::{Picture, RunView, StudyView};
use selfie_report::{Series, csv, events};

use crate::TrainError;
use crate::files::{Files, write_atomic};
use crate::run_folder::{METRICS, RECORD, goes_on_with, read_record, read_result, write_events};
use crate::study::{STUDY, TABLE_JSON};

/// Pictures of a run: PNG files.
pub const PICTURES: &str = "pictures";
/// A run's metrics for spreadsheets.
pub const METRICS_CSV: &str = "metrics.csv";

/// What is in a folder.
#[derive(Clone, Debug)]
pub enum View {
    /// A run.
    Run(Box<RunView>),
    /// A study and its runs, but for those that only chose a learning rate.
    Study(Box<StudyView>),
}

/// Reads a run folder or a study's folder.
///
/// # Errors
///
/// If it is neither, or one of its files cannot be read or is damaged.
pub fn read(folder: &Path) -> Result<View, TrainError> {
    let name = name_of(folder);
    if folder.join(STUDY).is_file() {
        let path = folder.join(TABLE_JSON);
        let text = std::fs::read_to_string(&path).map_err(|source| {
            TrainError::reading(&path, source, "the study has no table until its first cell is finished")
        })?;
        let table = from_json(&path.display().to_string(), &text)?;
        let mut runs = Vec::new();
        for cell in Files::disk().names(folder)? {
            if !cell.contains("-learning-rate-")
                && let Some(run) = read_run(&folder.join(&cell), cell)?
            {
                runs.push(run);
            }
        }
        return Ok(View::Study(Box::new(StudyView { name, table, runs })));
    }
    let mut run = read_run(folder, name)?.ok_or_else(|| TrainError::Missing {
        path: folder.to_owned(),
        hint: "expected a run folder, which has a run.json, a study's, which has a study.json, or a folder of them"
            .to_owned(),
    })?;
    run.goes_on_with = run.result.is_none().then(|| goes_on_with(folder, &run.record));
    Ok(View::Run(Box::new(run)))
}

/// The runs and studies that lie in a folder which is neither, by name; none of any other folder.
///
/// # Errors
///
/// If the folder cannot be read.
pub fn within(given: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let holds_one = |folder: &Path| folder.join(RECORD).is_file() || folder.join(STUDY).is_file();
    if holds_one(given) || !given.is_dir() {
        return Ok(Vec::new());
    }
    let within = Files::disk().names(given)?.into_iter().map(|name| given.join(name));
    Ok(within.filter(|folder| holds_one(folder)).collect())
}

/// The folder's own name, or the path where that has none.
fn name_of(folder: &Path) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    absolute.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn read_run(folder: &Path, name: String) -> Result<Option<RunView>, TrainError> {
    let Some(record) = read_record(folder)? else { return Ok(None) };
    let series = Series::parse(&metrics_text(folder)?);
    Ok(Some(RunView {
        name,
        record,
        result: read_result(folder)?,
        goes_on_with: None,
        series,
        pictures: pictures(folder)?,
    }))
}

/// A run's `metrics.jsonl`; empty before its first step.
fn metrics_text(folder: &Path) -> Result<String, TrainError> {
    let path = folder.join(METRICS);
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        text => text.map_err(|source| TrainError::reading(&path, source, "expected the run's metrics")),
    }
}

fn pictures(folder: &Path) -> Result<Vec<Picture>, TrainError> {
    let folder = folder.join(PICTURES);
    let mut pictures = Vec::new();
    for file in Files::disk().names(&folder)? {
        if let Some(name) = file.strip_suffix(".png") {
            let path = folder.join(&file);
            let bytes =
                std::fs::read(&path).map_err(|source| TrainError::reading(&path, source, "expected a picture"))?;
            pictures.push(Picture { name: name.to_owned(), bytes });
        }
    }
    Ok(pictures)
}

/// Writes a run's `metrics.csv` beside its `metrics.jsonl`, and returns its path.
///
/// # Errors
///
/// If the metrics cannot be read or the file cannot be written.
pub fn write_csv(folder: &Path) -> Result<PathBuf, TrainError> {
    let path = folder.join(METRICS_CSV);
    Files::disk().write_atomic(&path, csv::metrics(&metrics_text(folder)?).as_bytes())?;
    Ok(path)
}

/// Writes a run's pictures as TensorBoard events beside them, at the run's last step; the numbers are in the run folder's own
/// event file. Returns the path; `None` if there are no pictures.
///
/// # Errors
///
/// If the events cannot be written.
pub fn write_picture_events(folder: &Path, run: &RunView) -> Result<Option<PathBuf>, TrainError> {
    if run.pictures.is_empty() {
        return Ok(None);
    }
    let now = now();
    let step = run.series.last("loss").map_or(0, |point| point.step);
    let mut bytes = events::header(now);
    for picture in &run.pictures {
        bytes.extend(events::picture(now, step, &picture.name, &picture.bytes).unwrap_or_default());
    }
    write_events(&folder.join(PICTURES), &utc(SystemTime::now()), &bytes).map(Some)
}

/// Writes a study's table as TensorBoard's text.
pub(crate) fn write_table_events(folder: &Path, markdown: &str) -> Result<PathBuf, TrainError> {
    let now = now();
    let mut bytes = events::header(now);
    bytes.extend(events::markdown(now, 0, "study/text_summary", markdown));
    write_events(folder, &utc(SystemTime::now()), &bytes)
}

/// Writes a page, whole or not at all.
///
/// # Errors
///
/// If it cannot be written.
pub fn write_page(path: &Path, html: &str) -> Result<(), TrainError> {
    write_atomic(path, html.as_bytes())
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
