//! `selfie finetune`

use std::path::{Path, PathBuf};

use selfie_data::SubsetFile;
use selfie_eval::record::{Arm, Split, Task};
use selfie_train::checkpoint::WEIGHTS;
use selfie_train::config::{Base, Resolved};
use selfie_train::finetune::{Labels, Pretrained};
use selfie_train::run_folder::{RECORD, RunName, finished_runs, read_record};
use selfie_train::{TrainError, estimate};

use crate::arguments::Finetune;
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
    let (start, resolved) = start_and_configuration(arguments, subset.as_ref())?;
    // One of the two is there: the argument parser requires it.
    let fraction = arguments.fraction.unwrap_or(1.0);
    let data_dir = context::data_dir(train.data.as_deref(), start.run.as_deref())?;
    let pretrained = start.weights.as_deref().map(Pretrained::read).transpose()?;
    let arm = if pretrained.is_some() { Arm::Pretrained } else { Arm::Scratch };
    let split = if arguments.validate { Split::Validation } else { Split::Test };
    let out = default_path(arguments, subset.as_ref(), &resolved, arm);
    let labels = Labels { fraction, subset, pretrained, split };
    if train.dry_run {
        let device = context::device(&train.compute)?;
        let estimate = estimate::finetune(&resolved, data_dir.as_deref(), train.seed, &labels, &device)?;
        output::print(&estimate.text(train.json)?)?;
        return Ok(0);
    }
    let data = context::data_set(&resolved.config.data.set, data_dir.as_deref())?;
    let session = context::session(train, data_dir, out)?;
    let ended = selfie_train::finetune::run(&resolved, &data, &labels, &session)?;
    finish(&ended, &session.out, train.json)
}

/// The start and the configuration. Without `--from`, a run that was begun keeps the start it has: a pretraining that
/// finished since then does not change what the same command means.
fn start_and_configuration(arguments: &Finetune, subset: Option<&SubsetFile>) -> anyhow::Result<(Start, Resolved)> {
    let recipe = arguments.recipe.as_deref();
    let configuration =
        |start: &Start| context::configuration(Task::Finetune, &base(recipe, start)?, &arguments.train, None);
    let newest = start(arguments.from.as_deref(), recipe)?;
    let resolved = configuration(&newest)?;
    if arguments.from.is_some() {
        return Ok((newest, resolved));
    }
    let out =
        arguments.train.out.clone().unwrap_or_else(|| default_path(arguments, subset, &resolved, Arm::Pretrained));
    let begun_from = read_record(&out)?.and_then(|record| record.pretrained_from).map(|from| PathBuf::from(from.path));
    let Some(weights) = begun_from.filter(|weights| weights.is_file()) else { return Ok((newest, resolved)) };
    let run = run_of(&weights);
    let begun = Start { weights: Some(weights), run };
    let resolved = configuration(&begun)?;
    Ok((begun, resolved))
}

/// The run folder that a weights file lies in, if it lies in one.
fn run_of(weights: &Path) -> Option<PathBuf> {
    weights.parent().filter(|run| run.join(RECORD).is_file()).map(Path::to_owned)
}

fn default_path(arguments: &Finetune, subset: Option<&SubsetFile>, resolved: &Resolved, arm: Arm) -> PathBuf {
    let finetune = arguments.fraction.map(|fraction| (fraction, arm));
    let seed = arguments.train.seed;
    let recipe = match subset {
        None => resolved.recipe.clone(),
        Some(subset) => format!("{}-subset-{:.8}-{}", resolved.recipe, subset.hash(), arm.name()),
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

/// The recipe named, else the one that the pretraining run was started with.
pub(super) fn base(recipe: Option<&str>, start: &Start) -> anyhow::Result<Base> {
    if let Some(recipe) = recipe {
        return Ok(Base::from_argument(recipe)?);
    }
    if let Some(run) = &start.run
        && let Some(record) = read_record(run)?
    {
        return Ok(Base::Run { path: run.clone(), recipe: record.recipe, config: record.config });
    }
    let expected = "a recipe, since --from names no run folder that has one".to_owned();
    Err(TrainError::Usage { argument: "RECIPE".to_owned(), expected, got: "none".to_owned() }.into())
}
