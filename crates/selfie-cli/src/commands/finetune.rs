//! `selfie finetune`

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use selfie_data::{Recognised, SubsetFile};
use selfie_eval::record::{Arm, Split, Task};
use selfie_train::TrainError;
use selfie_train::checkpoint::WEIGHTS;
use selfie_train::config::{Base, ModelConfig, Resolved, name_meant_by};
use selfie_train::estimate::{self, Examples};
use selfie_train::finetune::{Labels, Pretrained};
use selfie_train::run_folder::{RECORD, RunName, begun_runs, finished_runs, read_record, read_result};
use serde_json::Value;

use crate::arguments::Finetune;
use crate::choice::{self, Chosen};
use crate::commands::pretrain::{finish, say};
use crate::context;
use crate::output;

/// Starting weights, and the pretraining run they are of where that is known.
pub(super) struct Start {
    weights: Option<PathBuf>,
    pub(super) run: Option<PathBuf>,
    /// The weights, once they were asked for.
    read: OnceCell<Pretrained>,
}

impl Start {
    /// A pretraining's run folder or weights file.
    pub(super) fn at(path: &Path) -> anyhow::Result<Self> {
        Ok(Self::of_weights(context::weights_path(path, Task::Pretrain)?))
    }

    fn of_weights(weights: PathBuf) -> Self {
        Self { run: run_of(&weights), weights: Some(weights), read: OnceCell::new() }
    }

    /// No weights.
    pub(super) fn scratch() -> Self {
        Self { weights: None, run: None, read: OnceCell::new() }
    }

    /// The weights; read once.
    pub(super) fn pretrained(&self) -> anyhow::Result<Option<&Pretrained>> {
        let Some(weights) = &self.weights else { return Ok(None) };
        if self.read.get().is_none() {
            if let (false, Some(run)) = (weights.exists(), &self.run) {
                // Says what became of them.
                context::weights_path(run, Task::Pretrain)?;
            }
            let _ = self.read.set(Pretrained::read(weights)?);
        }
        Ok(self.read.get())
    }
}

pub(crate) fn run(arguments: &Finetune) -> anyhow::Result<u8> {
    let train = &arguments.train;
    if let Some(path) = arguments.subset.as_deref().filter(|path| !path.exists()) {
        let hint = "expected a file of --subset: the number of a training example a line".to_owned();
        return Err(TrainError::Missing { path: path.to_owned(), hint }.into());
    }
    let subset = arguments.subset.as_deref().map(SubsetFile::read).transpose().map_err(output::data)?;
    let Job { start, resolved, data_dir, found } = job(arguments, subset.as_ref())?;
    if arguments.recipe.is_some() && !train.quiet {
        choice::note_another_set(data_dir.as_deref(), found.as_ref(), &resolved);
    }
    // One of the two is there: the argument parser requires it.
    let fraction = arguments.fraction.unwrap_or(1.0);
    let pretrained = start.pretrained()?.cloned();
    let arm = if pretrained.is_some() { Arm::Pretrained } else { Arm::Scratch };
    let split = if arguments.validate { Split::Validation } else { Split::Test };
    let out = default_path(arguments, subset.as_ref(), &choice::title(&resolved, data_dir.as_deref()), arm);
    let labels = Labels { fraction, subset, pretrained, split };
    if train.dry_run {
        let examples = Examples::find(&resolved, data_dir.as_deref())?;
        if !train.quiet {
            let from = labels.pretrained.as_ref().map_or("scratch", |pretrained| pretrained.from().path.as_str());
            output::note(&format!("from {from}, into {}", train.out.as_deref().unwrap_or(&out).display()));
        }
        let session = context::place(train, data_dir, out, context::device(&train.compute)?);
        let data = examples.data();
        let standing = data.map(|data| selfie_train::finetune::standing(&resolved, data, &labels, &session));
        let at = context::conditions(train, &session.device);
        let estimate = estimate::finetune(&resolved, &examples, &labels, at)?;
        return say(&estimate, standing.as_ref().map(|standing| (session.out.as_path(), standing)), train.json);
    }
    let data = choice::data_set_found(&resolved.config.data.set, data_dir.as_deref(), found)?;
    let session = context::session(train, data_dir, out)?;
    let ended = selfie_train::finetune::run(&resolved, &data, &labels, &session)?;
    finish(&ended, &session.out, train.json)
}

/// What a fine-tuning begins with.
struct Job {
    start: Start,
    resolved: Resolved,
    data_dir: Option<PathBuf>,
    found: Option<Recognised>,
}

impl Job {
    fn at(arguments: &Finetune, start: Start) -> anyhow::Result<Self> {
        let train = &arguments.train;
        let chosen = chosen(arguments.recipe.as_deref(), &start, train.data.as_deref(), train.quiet)?;
        let resolved = context::configuration(Task::Finetune, &chosen, train)?;
        let data_dir = choice::data_dir(train.data.as_deref(), start.run.as_deref())?;
        Ok(Self { start, resolved, data_dir, found: chosen.found })
    }
}

/// The start and the configuration. Without `--from`, a run that was begun keeps the start it has: a pretraining that
/// finished since then, on this folder or another, does not change what the same command means.
fn job(arguments: &Finetune, subset: Option<&SubsetFile>) -> anyhow::Result<Job> {
    let train = &arguments.train;
    let mut starts = starts(arguments.from.as_deref(), arguments.recipe.as_deref())?;
    let older = starts.split_off(1);
    let newest = Job::at(arguments, starts.remove(0))?;
    if arguments.from.is_some() {
        return Ok(newest);
    }
    let out = |job: &Job| {
        let title = choice::title(&job.resolved, job.data_dir.as_deref());
        train.out.clone().unwrap_or_else(|| default_path(arguments, subset, &title, Arm::Pretrained))
    };
    if let Some(start) = begun(&out(&newest))? {
        return Job::at(arguments, start);
    }
    // Their folders are named after other images only where those are a pretraining's.
    for start in older.into_iter().filter(|_| train.out.is_none() && train.data.is_none()) {
        let out = out(&Job::at(arguments, start)?);
        if read_result(&out)?.is_none()
            && let Some(start) = begun(&out)?
        {
            return Job::at(arguments, start);
        }
    }
    Ok(newest)
}

/// The start that a fine-tuning in a run folder was begun with, if its weights are still there.
fn begun(out: &Path) -> anyhow::Result<Option<Start>> {
    let from = read_record(out)?.and_then(|record| record.pretrained_from).map(|from| PathBuf::from(from.path));
    Ok(from.filter(|weights| weights.is_file()).map(Start::of_weights))
}

/// The run folder that a weights file lies in, if it lies in one.
fn run_of(weights: &Path) -> Option<PathBuf> {
    weights.parent().filter(|run| run.join(RECORD).is_file()).map(Path::to_owned)
}

fn default_path(arguments: &Finetune, subset: Option<&SubsetFile>, title: &str, arm: Arm) -> PathBuf {
    let finetune = arguments.fraction.map(|fraction| (fraction, arm));
    let seed = arguments.train.seed;
    let title = match subset {
        None => title.to_owned(),
        Some(subset) => format!("{title}-subset-{:.8}-{}", subset.hash(), arm.name()),
    };
    let path = RunName { task: Task::Finetune, title, finetune, seed }.default_path();
    // A choice on the validation split is another run than the test of what was chosen.
    if arguments.validate { PathBuf::from(format!("{}-validation", path.display())) } else { path }
}

/// The start named, else those of all finished pretrainings of the recipe, the newest first: at least one.
fn starts(from: Option<&str>, recipe: Option<&str>) -> anyhow::Result<Vec<Start>> {
    match from {
        Some("scratch") => Ok(vec![Start::scratch()]),
        Some(path) if !Path::new(path).exists() && name_meant_by(path, &["scratch"]).is_some() => {
            let (argument, expected) = ("--from".to_owned(), "a run, a weights file or `scratch`".to_owned());
            Err(TrainError::Usage { argument, expected, got: format!("{path}; did you mean scratch?") }.into())
        }
        Some(path) => Ok(vec![Start::at(Path::new(path))?]),
        None => {
            let recipe = recipe.map(|recipe| Ok::<_, TrainError>(Base::from_argument(recipe)?.name())).transpose()?;
            let runs = finished_runs(Path::new("runs"), Task::Pretrain)?.into_iter();
            let of_recipe = runs.filter(|run| recipe.as_ref().is_none_or(|recipe| run.record.recipe == *recipe));
            let starts: Vec<Start> = of_recipe.map(|run| Start::of_weights(run.path.join(WEIGHTS))).collect();
            if starts.is_empty() {
                if let Some(run) = begun_runs(Path::new("runs"), Task::Pretrain, recipe.as_deref())?.pop() {
                    // Says what goes on with it.
                    context::weights_path(&run, Task::Pretrain)?;
                }
                let of = recipe.map_or(String::new(), |recipe| format!(" of {recipe}"));
                let hint = format!(
                    "no finished pretraining{of} is there; pretrain first, or give --from a run, a weights file or `scratch`"
                );
                return Err(TrainError::Missing { path: PathBuf::from("runs"), hint }.into());
            }
            Ok(starts)
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
        return Ok(Chosen { base, set: None, found: None, model: None });
    }
    let expected = "a recipe, a folder of images as --data, or a pretraining's run folder as --from";
    // Weights that are none are told first.
    start.pretrained()?;
    let mut chosen = choice::choose(recipe, data, quiet, expected)?;
    if recipe.is_none()
        && let Some(pretrained) = start.pretrained()?
    {
        chosen.model = Some(model_of(pretrained)?);
    }
    Ok(chosen)
}

/// The table `model` of the weights' network.
fn model_of(pretrained: &Pretrained) -> anyhow::Result<Value> {
    let mut model = serde_json::to_value(pretrained.network())?;
    let keys = serde_json::to_value(ModelConfig::default())?;
    if let Some(model) = model.as_object_mut() {
        model.retain(|key, _| keys.get(key).is_some());
    }
    Ok(model)
}
