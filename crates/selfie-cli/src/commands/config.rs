//! `selfie config`

use std::collections::BTreeMap;
use std::path::Path;

use selfie_eval::record::{RunRecord, Task};
use selfie_train::TrainError;
use selfie_train::config::{Base, Overrides, Resolved, Source, resolve};
use selfie_train::plan::{FinetunePlan, PretrainPlan, Request};
use selfie_train::recipes::{RECIPES, find};
use selfie_train::run_folder::read_record;

use crate::arguments::{Config, ConfigCommand, TaskName};
use crate::choice;
use crate::output::{self, Usage};

/// Examples of an epoch, where no data set is at hand: so few that no number of epochs is too long.
const N_EXAMPLES: u64 = 1;

pub(crate) fn run(arguments: &Config) -> anyhow::Result<u8> {
    match &arguments.command {
        ConfigCommand::Show { recipe, task, set, json } => show(recipe, *task, set, *json)?,
        ConfigCommand::List => {
            for recipe in RECIPES {
                output::print(&format!("{:16}{}", recipe.name, recipe.summary()))?;
            }
        }
    }
    Ok(0)
}

/// Prints the configuration, then refuses it where the command would.
fn show(argument: &str, task: Option<TaskName>, set: &[String], json: bool) -> anyhow::Result<()> {
    let (base, record) = base(argument)?;
    let task = match (task, &record) {
        (Some(TaskName::Finetune), _) => Task::Finetune,
        (None, Some(record)) => record.task,
        (Some(TaskName::Pretrain) | None, _) => Task::Pretrain,
    };
    // What is set now is nothing to a run that was.
    let environment = if record.is_some() { Vec::new() } else { std::env::vars_os().collect() };
    let resolved = resolve(task, &base, &Overrides { environment, set: set.to_vec(), ..Overrides::default() })?;
    let text = match json {
        true => serde_json::to_string_pretty(&resolved.to_json())?,
        false => resolved.show_from(&sources(&resolved, record.as_ref())),
    };
    output::print(text.trim_end())?;
    require_plan(task, &resolved)?;
    Ok(())
}

/// The recipe, the file, or the configuration of a run.
fn base(argument: &str) -> anyhow::Result<(Base, Option<RunRecord>)> {
    let path = Path::new(argument);
    if find(argument).is_some() || !path.is_dir() {
        return Ok((Base::from_argument(argument)?, None));
    }
    if let Some(record) = read_record(path)? {
        let (path, recipe, config) = (path.to_owned(), record.recipe.clone(), record.config.clone());
        return Ok((Base::Run { path, recipe, config }, Some(record)));
    }
    let fits = choice::choose(None, Some(path), true, "a recipe")
        .map(|chosen| format!("; its images fit the recipe {}, give that", chosen.base.name()));
    let expected = "a recipe, the path of a TOML file or a run folder";
    let fits = fits.unwrap_or_default();
    Err(Usage(format!("RECIPE: expected {expected}, got the folder {argument}, which is no run{fits}")).into())
}

/// Where each value came from; those of a run as its record says.
fn sources(resolved: &Resolved, record: Option<&RunRecord>) -> BTreeMap<String, String> {
    let mut sources = resolved.sources();
    for (key, source) in record.into_iter().flat_map(|record| &record.config_sources) {
        if matches!(resolved.source(key), Source::Run(_)) {
            sources.insert(key.clone(), source.clone());
        }
    }
    sources
}

fn require_plan(task: Task, resolved: &Resolved) -> Result<(), TrainError> {
    let request = Request { n_examples: N_EXAMPLES, seed: 0, stop_after: None };
    match task {
        Task::Pretrain => PretrainPlan::new(resolved, request).map(|_| ()),
        Task::Finetune => FinetunePlan::new(resolved, request, 1.0).map(|_| ()),
    }
}
