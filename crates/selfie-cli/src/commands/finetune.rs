//! `selfie finetune`

use std::path::{Path, PathBuf};

use selfie_data::{Recognised, SubsetFile};
use selfie_eval::record::{Arm, Split, Task};
use selfie_train::TrainError;
use selfie_train::checkpoint::WEIGHTS;
use selfie_train::config::{Base, Resolved};
use selfie_train::estimate::{self, Examples};
use selfie_train::finetune::{Labels, Pretrained};
use selfie_train::run_folder::{RECORD, RunName, finished_runs, read_record};

use crate::arguments::Finetune;
use crate::choice::{self, Chosen};
use crate::commands::pretrain::finish;
use crate::context;
use crate::output;

/// Starting weights, and the pretraining run they are of where that is known.
pub(super) struct Start {
    pub(super) weights: Option<PathBuf>,
    pub(super) run: Option<PathBuf>,
}

impl Start {
    /// A pretraining's run folder or weights file.
    pub(super) fn at(path: &Path) -> anyhow::Result<Self> {
        let weights = context::weights_file(path)?;
        let run = run_of(&weights);
        Ok(Self { weights: Some(weights), run })
    }

    /// No weights.
    pub(super) fn scratch() -> Self {
        Self { weights: None, run: None }
    }
}

pub(crate) fn run(arguments: &Finetune) -> anyhow::Result<u8> {
    let train = &arguments.train;
    let subset = arguments.subset.as_deref().map(SubsetFile::read).transpose().map_err(output::data)?;
    let Begin { start, resolved, data_dir, found } = begin(arguments, subset.as_ref())?;
    // One of the two is there: the argument parser requires it.
    let fraction = arguments.fraction.unwrap_or(1.0);
    let pretrained = start.weights.as_deref().map(Pretrained::read).transpose()?;
    let arm = if pretrained.is_some() { Arm::Pretrained } else { Arm::Scratch };
    let split = if arguments.validate { Split::Validation } else { Split::Test };
    let out = default_path(arguments, subset.as_ref(), &choice::title(&resolved, data_dir.as_deref()), arm);
    let labels = Labels { fraction, subset, pretrained, split };
    if train.dry_run {
        let device = context::device(&train.compute)?;
        let examples = Examples::find(&resolved, data_dir.as_deref())?;
        let estimate = estimate::finetune(&resolved, &examples, &labels, context::conditions(train, &device))?;
        output::print(&estimate.text(train.json)?)?;
        return Ok(0);
    }
    let data = choice::data_set_found(&resolved.config.data.set, data_dir.as_deref(), found)?;
    let session = context::session(train, data_dir, out)?;
    let ended = selfie_train::finetune::run(&resolved, &data, &labels, &session)?;
    finish(&ended, &session.out, train.json)
}

/// What a fine-tuning begins with.
struct Begin {
    start: Start,
    resolved: Resolved,
    data_dir: Option<PathBuf>,
    found: Option<Recognised>,
}

impl Begin {
    fn at(arguments: &Finetune, start: Start) -> anyhow::Result<Self> {
        let train = &arguments.train;
        let chosen = chosen(arguments.recipe.as_deref(), &start, train.data.as_deref(), train.quiet)?;
        let resolved = context::configuration(Task::Finetune, &chosen.base, train, chosen.set)?;
        let data_dir = choice::data_dir(train.data.as_deref(), start.run.as_deref())?;
        Ok(Self { start, resolved, data_dir, found: chosen.found })
    }
}

/// The start and the configuration. Without `--from`, a run that was begun keeps the start it has: a pretraining that
/// finished since then does not change what the same command means.
fn begin(arguments: &Finetune, subset: Option<&SubsetFile>) -> anyhow::Result<Begin> {
    let newest = Begin::at(arguments, start(arguments.from.as_deref(), arguments.recipe.as_deref())?)?;
    if arguments.from.is_some() {
        return Ok(newest);
    }
    let title = choice::title(&newest.resolved, newest.data_dir.as_deref());
    let out = arguments.train.out.clone().unwrap_or_else(|| default_path(arguments, subset, &title, Arm::Pretrained));
    let begun_from = read_record(&out)?.and_then(|record| record.pretrained_from).map(|from| PathBuf::from(from.path));
    let Some(weights) = begun_from.filter(|weights| weights.is_file()) else { return Ok(newest) };
    let run = run_of(&weights);
    Begin::at(arguments, Start { weights: Some(weights), run })
}

/// The run folder that a weights file lies in, if it lies in one.
fn run_of(weights: &Path) -> Option<PathBuf> {
    weights.parent().filter(|run| run.join(RECORD).is_file()).map(Path::to_owned)
}

fn default_path(arguments: &Finetune, subset: Option<&SubsetFile>, title: &str, arm: Arm) -> PathBuf {
    let finetune = arguments.fraction.map(|fraction| (fraction, arm));
    let seed = arguments.train.seed;
    let recipe = match subset {
        None => title.to_owned(),
        Some(subset) => format!("{title}-subset-{:.8}-{}", subset.hash(), arm.name()),
    };
    let path = RunName { task: Task::Finetune, recipe, finetune, seed }.default_path();
    // A choice on the validation split is another run than the test of what was chosen.
    if arguments.validate { PathBuf::from(format!("{}-validation", path.display())) } else { path }
}

fn start(from: Option<&str>, recipe: Option<&str>) -> anyhow::Result<Start> {
    match from {
        Some("scratch") => Ok(Start::scratch()),
        Some(path) => Start::at(Path::new(path)),
        None => {
            let recipe = recipe.map(|recipe| Ok::<_, TrainError>(Base::from_argument(recipe)?.name())).transpose()?;
            let runs = finished_runs(Path::new("runs"), Task::Pretrain)?;
            let newest = runs.into_iter().find(|run| recipe.as_ref().is_none_or(|recipe| run.record.recipe == *recipe));
            let Some(run) = newest else {
                let of = recipe.map_or(String::new(), |recipe| format!(" of {recipe}"));
                let hint = format!(
                    "no finished pretraining{of} is there; pretrain first, or give --from a run, a weights file or `scratch`"
                );
                return Err(TrainError::Missing { path: PathBuf::from("runs"), hint }.into());
            };
            Ok(Start { weights: Some(run.path.join(WEIGHTS)), run: Some(run.path) })
        }
    }
}

/// The recipe named, else the one that the pretraining run was started with, else the one that fits the images.
pub(super) fn chosen(recipe: Option<&str>, start: &Start, data: Option<&Path>, quiet: bool) -> anyhow::Result<Chosen> {
    if recipe.is_none()
        && let Some(run) = &start.run
        && let Some(record) = read_record(run)?
    {
        let base = Base::Run { path: run.clone(), recipe: record.recipe, config: record.config };
        return Ok(Chosen { base, set: None, found: None });
    }
    let expected = "a recipe, a folder of images as --data, or a pretraining's run folder as --from";
    choice::choose(recipe, data, quiet, expected)
}
