//! The layers of the configuration: defaults < recipe or file < starting weights < environment < `--set` and flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use selfie_eval::record::Task;
use serde_json::{Map, Value, json};

use super::Config;
use super::layers::Layers;
use super::nearest;
use super::settings::{base_settings, environment_settings, flatten};
use super::source::Source;
use crate::TrainError;
use crate::recipes;

/// What the overrides are laid upon.
#[derive(Clone, Debug, PartialEq)]
pub enum Base {
    /// The defaults alone.
    Defaults,
    /// An embedded recipe.
    Recipe(&'static recipes::Recipe),
    /// A TOML file.
    File(PathBuf),
    /// The configuration stored by an earlier run.
    Run {
        /// The run folder.
        path: PathBuf,
        /// The recipe that run was started with.
        recipe: String,
        /// Its `config`.
        config: Value,
    },
}

impl Base {
    /// The recipe of that name, or the TOML file at that path.
    ///
    /// # Errors
    ///
    /// If there is neither: [`TrainError::Missing`] for what looks like a path, else [`TrainError::Usage`].
    pub fn from_argument(argument: &str) -> Result<Self, TrainError> {
        if let Some(recipe) = recipes::find(argument) {
            return Ok(Self::Recipe(recipe));
        }
        let path = Path::new(argument);
        if path.is_file() {
            return Ok(Self::File(path.to_owned()));
        }
        let expected = format!("a recipe ({}) or the path of a TOML file", recipes::names().join(", "));
        if path.is_dir() {
            let got = format!("the folder {argument}; images are given as --data {argument}");
            return Err(TrainError::Usage { argument: "RECIPE".to_owned(), expected, got });
        }
        if path.extension().is_some() || path.components().count() > 1 {
            return Err(TrainError::Missing { path: path.to_owned(), hint: format!("expected {expected}") });
        }
        let got = match nearest::name_meant_by(argument, &recipes::names()) {
            Some(near) => format!("{argument}; did you mean {near}?"),
            None => argument.to_owned(),
        };
        Err(TrainError::Usage { argument: "RECIPE".to_owned(), expected, got })
    }

    /// The recipe's name, the file's stem, or the recipe of the earlier run.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Defaults => "default".to_owned(),
            Self::Recipe(recipe) => recipe.name.to_owned(),
            Self::File(path) => path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
            Self::Run { recipe, .. } => recipe.clone(),
        }
    }
}

/// A flag that stands for one key, such as `--steps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagValue {
    /// As typed, for messages.
    pub flag: String,
    /// The key, bare or with its table, like the key of `--set`.
    pub key: String,
    /// Its value, as typed.
    pub value: String,
}

/// Everything laid upon the [`Base`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// The table `model` as the starting weights have it, laid next to the base; weights from elsewhere bring no recipe.
    pub start: Option<Value>,
    /// Environment variables; those that do not begin with `SELFIE_<TABLE>_`, or nearly so, are passed over, and so are empty
    /// ones.
    pub environment: Vec<(OsString, OsString)>,
    /// `key=value`, as typed after `--set`.
    pub set: Vec<String>,
    /// Flags of their own.
    pub flags: Vec<FlagValue>,
}

/// The configuration with the source of every value.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The values.
    pub config: Config,
    /// The recipe's name: see [`Base::name`].
    pub recipe: String,
    pub(super) values: Map<String, Value>,
    pub(super) sources: BTreeMap<String, Source>,
}

impl Resolved {
    /// The values as JSON: table → key → value; lengths that are not set are left out.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Object(self.values.clone())
    }

    /// The source of a value, by `table.key`.
    #[must_use]
    pub fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }

    /// The source of every value, by `table.key`, as text.
    #[must_use]
    pub fn sources(&self) -> BTreeMap<String, String> {
        self.entries()
            .map(|(table, key, _)| format!("{table}.{key}"))
            .map(|key| (key.clone(), self.source(&key).to_string()))
            .collect()
    }

    /// The configuration as a TOML file whose comments say where each value came from.
    #[must_use]
    pub fn show(&self) -> String {
        self.show_from(&self.sources())
    }

    /// As [`Self::show`], with other words for where each value came from, by `table.key`.
    #[must_use]
    pub fn show_from(&self, sources: &BTreeMap<String, String>) -> String {
        let lines: Vec<(&str, String, String)> = self
            .entries()
            .map(|(table, key, value)| {
                let source = sources.get(&format!("{table}.{key}")).cloned().unwrap_or_default();
                (table, format!("{key} = {value}"), source)
            })
            .collect();
        let width = lines.iter().map(|(_, line, _)| line.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        let mut current = "";
        for (table, line, source) in &lines {
            if *table != current {
                let gap = if current.is_empty() { "" } else { "\n" };
                text.push_str(&format!("{gap}[{table}]\n"));
                current = table;
            }
            text.push_str(&format!("{line:width$}  # {source}\n"));
        }
        text
    }

    fn entries(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.values.iter().flat_map(|(table, keys)| {
            let keys = keys.as_object().into_iter().flatten();
            keys.map(move |(key, value)| (table.as_str(), key.as_str(), value))
        })
    }
}

/// The configuration key, without its table, that somebody may have meant who typed a flag called `name`.
#[must_use]
pub fn key_meant_by(name: &str) -> Option<String> {
    let keys = Layers::new().ok()?.keys();
    nearest::bare_key(&name.replace('-', "_"), &keys).map(str::to_owned)
}

/// Lays the layers upon each other. `task` is the command's own table, in which a bare key of `--set` is looked for
/// first.
///
/// # Errors
///
/// If a file cannot be read or is not TOML, a key does not exist or a value has the wrong type; the error names the
/// layer and the key.
pub fn resolve(task: Task, base: &Base, overrides: &Overrides) -> Result<Resolved, TrainError> {
    let mut layers = Layers::new()?;
    layers.lay(base_settings(base)?)?;
    if let Some(model) = &overrides.start {
        layers.lay(flatten(&json!({ "model": model }), &Source::Flag("--from".to_owned())))?;
    }
    layers.lay(environment_settings(&overrides.environment, &layers.keys()))?;
    let mut top = Vec::new();
    for text in &overrides.set {
        let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
            let (expected, got) = ("key=value".to_owned(), format!("`{text}`"));
            return Err(TrainError::Usage { argument: "--set".to_owned(), expected, got });
        };
        top.push(layers.typed_setting(task, key.trim(), value, Source::Set));
    }
    for flag in &overrides.flags {
        top.push(layers.typed_setting(task, &flag.key, &flag.value, Source::Flag(flag.flag.clone())));
    }
    layers.lay(top)?;
    layers.finish(base.name())
}
