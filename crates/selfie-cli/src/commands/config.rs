//! `selfie config`

use selfie_eval::record::Task;
use selfie_train::config::{Base, Overrides, resolve};
use selfie_train::recipes::RECIPES;

use crate::arguments::{Config, ConfigCommand, TaskName};
use crate::output;

pub(crate) fn run(arguments: &Config) -> anyhow::Result<u8> {
    match &arguments.command {
        ConfigCommand::Show { recipe, task, set, json } => {
            let task = match task {
                TaskName::Pretrain => Task::Pretrain,
                TaskName::Finetune => Task::Finetune,
            };
            let environment = std::env::vars_os().collect();
            let overrides = Overrides { environment, set: set.clone(), ..Overrides::default() };
            let resolved = resolve(task, &Base::from_argument(recipe)?, &overrides)?;
            let text = if *json { serde_json::to_string_pretty(&resolved.to_json())? } else { resolved.show() };
            output::print(text.trim_end())?;
        }
        ConfigCommand::List => {
            for recipe in RECIPES {
                output::print(&format!("{:16}{}", recipe.name, recipe.summary()))?;
            }
        }
    }
    Ok(0)
}
