//! `selfie report`

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use selfie_eval::record::utc;
use selfie_report::page::{Page, RunView};
use selfie_train::report::{self, View};

use crate::output;

#[derive(Args, Debug)]
pub(crate) struct Report {
    /// Run folders, studies' folders, and folders of them such as runs/
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// The page to write [default: report.html in the folder, or here for several]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The page's title [default: the folders' names]
    #[arg(long)]
    pub(crate) title: Option<String>,
    /// Also write metrics.csv into every run folder named, and into those of a study named
    #[arg(long)]
    pub(crate) csv: bool,
    /// Also write the pictures of the same folders as TensorBoard events; their numbers are there already
    #[arg(long)]
    pub(crate) tensorboard: bool,
}

pub(crate) fn run(arguments: &Report) -> anyhow::Result<u8> {
    let mut page = Page { made: utc(SystemTime::now()), ..Page::default() };
    let mut names = Vec::new();
    for (folder, view) in views(&arguments.runs)? {
        match view {
            View::Run(run) => {
                names.push(run.name.clone());
                write_beside(arguments, &folder, &run)?;
                page.runs.push(*run);
            }
            View::Study(study) => {
                names.push(study.name.clone());
                for run in &study.runs {
                    write_beside(arguments, &folder.join(&run.name), run)?;
                }
                page.studies.push(*study);
            }
        }
    }
    page.title = arguments.title.clone().unwrap_or_else(|| names.join(", "));
    let out = match (&arguments.out, arguments.runs.as_slice()) {
        (Some(out), _) => out.clone(),
        (None, [one]) => one.join("report.html"),
        (None, _) => Path::new("report.html").to_owned(),
    };
    report::write_page(&out, &page.to_html())?;
    output::print(&out.display().to_string())?;
    Ok(0)
}

/// What is in the folders given, and in folders of them: of these, one that cannot be read is left out.
fn views(given: &[PathBuf]) -> anyhow::Result<Vec<(PathBuf, View)>> {
    let mut views = Vec::new();
    for given in given {
        let within = report::within(given)?;
        if within.is_empty() {
            views.push((given.clone(), report::read(given)?));
        }
        for folder in within {
            match report::read(&folder) {
                Ok(view) => views.push((folder, view)),
                Err(error) => output::note(&format!("{}: left out: {error}", folder.display())),
            }
        }
    }
    Ok(views)
}

/// What is written into a run's folder where it is asked for.
fn write_beside(arguments: &Report, folder: &Path, run: &RunView) -> anyhow::Result<()> {
    if arguments.csv {
        output::print(&report::write_csv(folder)?.display().to_string())?;
    }
    if arguments.tensorboard
        && let Some(path) = report::write_picture_events(folder, run)?
    {
        output::print(&path.display().to_string())?;
    }
    Ok(())
}
