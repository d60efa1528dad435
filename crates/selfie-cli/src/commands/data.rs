//! `selfie data`

use std::path::Path;
use std::time::{Duration, Instant};

use selfie_data::{
    BadSample, DataError, DataSet, ImportProgress, ImportReport, ImportSettings, SetName, SetReport, SplitReport,
    UNLABELLED, contact_sheet, lies_beside, passed_over,
};
use selfie_train::TrainError;

use crate::arguments::{Data, DataArguments, DataCommand, DataImport};
use crate::choice;
use crate::context;
use crate::output;

/// Bad files that are named; the JSON has all of them.
const N_NAMED: usize = 20;
/// Classes that are counted one by one.
const N_CLASSES: usize = 20;
/// Time between two lines of progress.
const INTERVAL: Duration = Duration::from_secs(2);

pub(crate) fn run(arguments: &Data) -> anyhow::Result<u8> {
    match &arguments.command {
        DataCommand::Fetch(asked) => super::fetch::run(asked),
        DataCommand::Info(asked) => info(asked),
        DataCommand::Check(asked) => check(asked),
        DataCommand::Import(asked) => import(asked),
    }
}

fn info(asked: &DataArguments) -> anyhow::Result<u8> {
    let data = data_set(asked)?;
    let report = SetReport::new(&data);
    if asked.json {
        output::print(&serde_json::to_string_pretty(&report)?)?;
        return Ok(0);
    }
    let text = splits(&report).map(|(name, split)| of_split(name, split)).join("\n");
    output::print(&format!("{}\n{text}", report.name))?;
    Ok(0)
}

fn check(asked: &DataArguments) -> anyhow::Result<u8> {
    let data = data_set(asked)?;
    for images in [&data.train, &data.test] {
        images.require_intact().map_err(output::data)?;
    }
    let report = SetReport::with_bad_samples(&data);
    let code = exit_code(&report.bad);
    if asked.json {
        output::print(&serde_json::to_string_pretty(&report)?)?;
        return Ok(code);
    }
    let mut lines = vec![report.name.clone()];
    lines.extend(splits(&report).map(|(name, split)| {
        let (images, duplicates) =
            (output::count(split.n_images, "image"), output::count(split.n_duplicates, "duplicate"));
        let other = split.n_duplicates_with_another_label;
        format!("{name}: {images}, {duplicates}, {other} of them with another label\n  classes  {}", classes(split))
    }));
    let n_both = report.n_test_images_in_train;
    let are = if n_both == 1 { "is" } else { "are" };
    lines.push(format!("{} {are} in the training set as well", output::count(n_both, "test image")));
    lines.push(format!("{} cannot be used", output::count(report.bad.len(), "image")));
    lines.extend(bad_lines(&report.bad));
    output::print(&lines.join("\n"))?;
    Ok(code)
}

fn splits(report: &SetReport) -> [(&'static str, &SplitReport); 2] {
    [("train", &report.train), ("test", &report.test)]
}

/// The set named, else the one that fits the folder; with its contact sheet, if one was asked for.
fn data_set(asked: &DataArguments) -> anyhow::Result<DataSet> {
    let (name, found) = match (&asked.set, &asked.data) {
        (Some(name), _) => (choice::set_name("SET", name)?.to_string(), None),
        (None, Some(dir)) => {
            let recognised = choice::recognise(dir)?;
            output::note(&format!("{}: {}", dir.display(), recognised.reason));
            (recognised.set.to_string(), Some(recognised))
        }
        (None, None) => {
            let expected = "the name of a data set, or its folder as --data".to_owned();
            return Err(TrainError::Usage { argument: "SET".to_owned(), expected, got: "neither".to_owned() }.into());
        }
    };
    let data = choice::data_set_found(&name, asked.data.as_deref(), found)?;
    if let Some(path) = &asked.sheet {
        context::folder_of(path);
        contact_sheet(&data.train, path).map_err(|error| match error {
            DataError::Write { path, source } => TrainError::CannotWrite { flag: "--sheet", path, source }.into(),
            other => output::data(other),
        })?;
        output::note(&format!("{}: some images of every class", path.display()));
    }
    Ok(data)
}

/// How many images each class has, or the least and the most of many classes.
fn classes(split: &SplitReport) -> String {
    let classes = split.classes.iter().filter(|class| class.n_images > 0);
    let counts: Vec<usize> = classes.clone().map(|class| class.n_images).collect();
    if counts.is_empty() || split.classes.iter().all(|class| class.name == UNLABELLED) {
        "none".to_owned()
    } else if counts.len() > N_CLASSES {
        let (least, most) = (counts.iter().min().unwrap_or(&0), counts.iter().max().unwrap_or(&0));
        format!("{} with {least} to {most} images", counts.len())
    } else {
        classes.map(|class| format!("{} {}", class.name, class.n_images)).collect::<Vec<_>>().join(", ")
    }
}

fn of_split(name: &str, split: &SplitReport) -> String {
    let (Some(mean), Some(std)) = (split.mean, split.std) else { return format!("{name}\n  images   0") };
    let numbers = |values: [f32; 3]| values.map(|value| format!("{value:.4}")).join(" ");
    format!(
        "{name}\n  images   {} of {side} × {side}\n  classes  {}\n  mean     {}\n  std      {}\n  blake3   {}",
        split.n_images,
        classes(split),
        numbers(mean),
        numbers(std),
        split.content_hash,
        side = split.side,
    )
}

/// The code of a command that did what it could: images that cannot be read are bad data, though all others were.
pub(crate) fn exit_code(bad: &[BadSample]) -> u8 {
    if bad.is_empty() { 0 } else { 65 }
}

/// What was left out, if anything was.
pub(crate) fn left_out(bad: &[BadSample]) -> Vec<String> {
    if bad.is_empty() {
        return Vec::new();
    }
    let were = if bad.len() == 1 { "was" } else { "were" };
    let head = format!("{} cannot be read and {were} left out:", output::count(bad.len(), "image"));
    std::iter::once(head).chain(bad_lines(bad)).collect()
}

/// A line for each of the first bad images.
fn bad_lines(bad: &[BadSample]) -> Vec<String> {
    let named = bad.iter().take(N_NAMED).map(|bad| format!("  {}: {}", bad.path, bad.reason));
    let more = bad.len().saturating_sub(N_NAMED);
    named.chain((more > 0).then(|| format!("  and {more} more (--json lists all)"))).collect()
}

fn import(asked: &DataImport) -> anyhow::Result<u8> {
    let set: SetName = match &asked.data_set {
        Some(name) => choice::set_name("--data-set", name)?,
        None => {
            let recognised = choice::recognise(&asked.source)?;
            if !asked.quiet {
                output::note(&format!("{}: {}", asked.source.display(), recognised.reason));
            }
            recognised.set
        }
    };
    let settings = ImportSettings {
        set,
        source: selfie_data::resolve(set, &asked.source).map_err(output::data)?,
        out: asked.out.clone(),
        side: asked.side.map_or(set.side(), usize::from),
        max_bad_share: asked.max_bad_share,
    };
    let mut lines = ProgressLines::new(asked.quiet);
    let report = selfie_data::import(&settings, |progress| lines.show(progress)).map_err(output::data)?;
    let text = if asked.json { serde_json::to_string_pretty(&report)? } else { imported(&report, &asked.out) };
    output::print(&text)?;
    Ok(exit_code(&report.bad))
}

fn imported(report: &ImportReport, out: &Path) -> String {
    let of = match report.n_classes {
        1 => String::new(),
        n_classes => format!(" of {n_classes} classes"),
    };
    let (n_train, n_test, side) = (report.n_train, report.n_test, report.side);
    let tests = output::count(n_test, "test image");
    let mut lines = vec![format!("{n_train} training and {tests}{of} at {side} × {side} in {}", out.display())];
    lines.extend(report.beside.as_deref().map(lies_beside));
    lines.extend(passed_over(report.n_ignored));
    lines.extend(left_out(&report.bad));
    lines.join("\n")
}

/// How far an import is, a line now and then.
struct ProgressLines {
    quiet: bool,
    start: Instant,
    last: Instant,
}

impl ProgressLines {
    fn new(quiet: bool) -> Self {
        let now = Instant::now();
        Self { quiet, start: now, last: now }
    }

    fn show(&mut self, progress: ImportProgress) {
        let ImportProgress { split, n_done, n_total } = progress;
        if self.quiet || (self.last.elapsed() < INTERVAL && n_done < n_total) {
            return;
        }
        self.last = Instant::now();
        let seconds = self.start.elapsed().as_secs_f64();
        output::note(&format!("{split}: {n_done} of {n_total} images, {seconds:.1} s"));
    }
}
