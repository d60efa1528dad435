//! The layers of the configuration: defaults < recipe or file < environment < `--set` and flags.
//!
//! Each layer becomes a list of settings `table.key = value` with its source; each setting is checked alone, so that an error names the
//! place the value came from and not the sum of all layers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use selfie_eval::record::Task;
use serde_json::{Map, Value};

use super::Config;
use super::nearest;
use super::source::Source;
use crate::TrainError;
use crate::recipes;

/// Keys of which a training table holds exactly one.
const DURATIONS: [&str; 3] = ["steps", "epochs", "examples"];
/// Tables in which a bare key is looked for after the command's own.
const SHARED_TABLES: [&str; 4] = ["model", "data", "loader", "checkpoint"];

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
        let expected = format!(
            "a recipe ({}) or the path of a TOML file",
            recipes::names().join(", ")
        );
        if path.extension().is_some() || path.components().count() > 1 {
            return Err(TrainError::Missing {
                path: path.to_owned(),
                hint: format!("expected {expected}"),
            });
        }
        Err(TrainError::Usage {
            argument: "RECIPE".to_owned(),
            expected,
            got: argument.to_owned(),
        })
    }

    /// The recipe's name, the file's stem, or the recipe of the earlier run: the middle of a run folder's name.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Defaults => "default".to_owned(),
            Self::Recipe(recipe) => recipe.name.to_owned(),
            Self::File(path) => path
                .file_stem()
                .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Environment variables; those that do not begin with `SELFIE_<TABLE>_` are passed over, and so are empty ones.
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
    values: Map<String, Value>,
    sources: BTreeMap<String, Source>,
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
        let lines: Vec<(&str, String, String)> = self
            .entries()
            .map(|(table, key, value)| {
                (
                    table,
                    format!("{key} = {value}"),
                    self.source(&format!("{table}.{key}")).to_string(),
                )
            })
            .collect();
        let width = lines
            .iter()
            .map(|(_, line, _)| line.chars().count())
            .max()
            .unwrap_or(0);
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

/// Lays the layers upon each other. `task` is the command's own table, in which a bare key of `--set` is looked for first.
///
/// # Errors
///
/// If a file cannot be read or is not TOML, a key does not exist or a value has the wrong type; the error names the layer and the key.
pub fn resolve(task: Task, base: &Base, overrides: &Overrides) -> Result<Resolved, TrainError> {
    let mut layers = Layers::new()?;
    layers.lay(base_settings(base)?)?;
    layers.lay(environment_settings(
        &overrides.environment,
        &layers.tables(),
    ))?;
    let mut top = Vec::new();
    for text in &overrides.set {
        let Some((key, value)) = text
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
        else {
            let (expected, got) = ("key=value".to_owned(), format!("`{text}`"));
            return Err(TrainError::Usage {
                argument: "--set".to_owned(),
                expected,
                got,
            });
        };
        top.push(layers.typed_setting(task, key.trim(), value, Source::Set));
    }
    for flag in &overrides.flags {
        top.push(layers.typed_setting(
            task,
            &flag.key,
            &flag.value,
            Source::Flag(flag.flag.clone()),
        ));
    }
    layers.lay(top)?;
    layers.finish(base.name())
}

/// One value of one layer.
struct Setting {
    /// `table.key`, or what was written in its place.
    key: String,
    value: Value,
    source: Source,
}

/// The layers laid so far.
struct Layers {
    /// Table → key → value, with null for a length that is not set.
    values: Map<String, Value>,
    sources: BTreeMap<String, Source>,
}

impl Layers {
    fn new() -> Result<Self, TrainError> {
        match serde_json::to_value(Config::default()) {
            Ok(Value::Object(values)) => Ok(Self {
                values,
                sources: BTreeMap::new(),
            }),
            other => Err(TrainError::Internal(format!(
                "the default configuration is no table: {other:?}"
            ))),
        }
    }

    fn tables(&self) -> Vec<String> {
        self.values.keys().cloned().collect()
    }

    fn keys(&self) -> Vec<String> {
        let of_table = |(table, keys): (&String, &Value)| {
            let names: Vec<String> = keys
                .as_object()
                .map_or_else(Vec::new, |keys| keys.keys().cloned().collect());
            names
                .into_iter()
                .map(|name| format!("{table}.{name}"))
                .collect::<Vec<_>>()
        };
        self.values.iter().flat_map(of_table).collect()
    }

    fn slot(&mut self, key: &str) -> Option<&mut Value> {
        let (table, name) = key.split_once('.')?;
        self.values.get_mut(table)?.get_mut(name)
    }

    /// A setting typed by hand: its key may lack the table.
    fn typed_setting(&self, task: Task, key: &str, value: &str, source: Source) -> Setting {
        let key = key.replace('-', "_");
        let has = |table: &&str| {
            self.values
                .get(*table)
                .is_some_and(|keys| keys.get(&key).is_some())
        };
        let table = [task.name()].into_iter().chain(SHARED_TABLES).find(has);
        let key = table.map_or_else(|| key.clone(), |table| format!("{table}.{key}"));
        Setting {
            key,
            value: parse_value(value),
            source,
        }
    }

    /// Lays one layer: a length in it replaces the lengths of the layers below.
    fn lay(&mut self, settings: Vec<Setting>) -> Result<(), TrainError> {
        let mut lengths: BTreeMap<String, String> = BTreeMap::new();
        for Setting { key, value, source } in settings {
            if self.slot(&key).is_none() {
                let hint = nearest::hint(&key, &self.keys());
                return Err(TrainError::UnknownKey {
                    origin: source,
                    key,
                    hint,
                });
            }
            if let Some((table, name)) = key
                .split_once('.')
                .filter(|(_, name)| DURATIONS.contains(name))
            {
                let first = lengths
                    .entry(table.to_owned())
                    .or_insert_with(|| name.to_owned());
                if first != name {
                    let expected = "exactly one of steps, epochs and examples".to_owned();
                    let got = format!("{name} beside {first}");
                    return Err(TrainError::BadValue {
                        key,
                        origin: source,
                        expected,
                        got,
                    });
                }
                for other in DURATIONS {
                    let other = format!("{table}.{other}");
                    self.sources.remove(&other);
                    self.slot(&other)
                        .into_iter()
                        .for_each(|slot| *slot = Value::Null);
                }
            }
            self.put(key, value, source)?;
        }
        Ok(())
    }

    fn put(&mut self, key: String, value: Value, source: Source) -> Result<(), TrainError> {
        let got = value.to_string();
        self.slot(&key)
            .into_iter()
            .for_each(|slot| *slot = value.clone());
        if let Err(error) = Config::deserialize_from(&self.values) {
            return Err(TrainError::WrongType {
                key,
                origin: source,
                got,
                reason: error.to_string(),
            });
        }
        self.sources.insert(key, source);
        Ok(())
    }

    fn finish(self, recipe: String) -> Result<Resolved, TrainError> {
        let internal = |error: serde_json::Error| {
            TrainError::Internal(format!("the configuration cannot be read back: {error}"))
        };
        let config = Config::deserialize_from(&self.values).map_err(internal)?;
        // Through the structs, so that `1` and `1.0` of a float key are one value.
        let Value::Object(mut values) = serde_json::to_value(&config).map_err(internal)? else {
            return Err(TrainError::Internal(
                "the configuration is no table".to_owned(),
            ));
        };
        for keys in values.values_mut().filter_map(Value::as_object_mut) {
            keys.retain(|_, value| !value.is_null());
        }
        Ok(Resolved {
            config,
            recipe,
            values,
            sources: self.sources,
        })
    }
}

impl Config {
    fn deserialize_from(values: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        serde_json::from_value(Value::Object(values.clone()))
    }
}

fn base_settings(base: &Base) -> Result<Vec<Setting>, TrainError> {
    match base {
        Base::Defaults => Ok(Vec::new()),
        Base::Recipe(recipe) => toml_settings(recipe.text, &Source::Recipe(recipe.name.to_owned())),
        Base::File(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| TrainError::reading(path, source, "a TOML file"))?;
            toml_settings(&text, &Source::File(path.clone()))
        }
        Base::Run { path, config, .. } => Ok(flatten(config, &Source::Run(path.clone()))),
    }
}

fn toml_settings(text: &str, source: &Source) -> Result<Vec<Setting>, TrainError> {
    let table: toml::Table = toml::from_str(text).map_err(|error| TrainError::Toml {
        origin: source.clone(),
        reason: error.to_string().trim_end().to_owned(),
    })?;
    Ok(flatten(&to_json(&toml::Value::Table(table)), source))
}

/// Table → key → value as a list; a value outside a table keeps its bare name, which no key has.
fn flatten(config: &Value, source: &Source) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (table, keys) in config.as_object().into_iter().flatten() {
        match keys.as_object() {
            Some(keys) => settings.extend(keys.iter().filter(|(_, value)| !value.is_null()).map(
                |(key, value)| Setting {
                    key: format!("{table}.{key}"),
                    value: value.clone(),
                    source: source.clone(),
                },
            )),
            None => settings.push(Setting {
                key: table.clone(),
                value: keys.clone(),
                source: source.clone(),
            }),
        }
    }
    settings
}

fn environment_settings(environment: &[(OsString, OsString)], tables: &[String]) -> Vec<Setting> {
    let setting = |(name, value): &(OsString, OsString)| {
        let name = name.to_str()?;
        let rest = name.strip_prefix("SELFIE_")?.to_lowercase();
        let (table, key) = tables.iter().find_map(|table| {
            Some((table, rest.strip_prefix(table.as_str())?.strip_prefix('_')?))
        })?;
        let value = value.to_string_lossy();
        (!value.is_empty()).then(|| Setting {
            key: format!("{table}.{key}"),
            value: parse_value(&value),
            source: Source::Environment(name.to_owned()),
        })
    };
    environment.iter().filter_map(setting).collect()
}

/// A value typed by hand: TOML if it is, a number such as `.1`, else text without quotes.
fn parse_value(text: &str) -> Value {
    let text = text.trim();
    let parsed = toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .filter(|table| table.len() == 1);
    if let Some(value) = parsed.as_ref().and_then(|table| table.get("value")) {
        return to_json(value);
    }
    text.parse::<f64>()
        .ok()
        .and_then(serde_json::Number::from_f64)
        .map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

/// JSON has no infinity, NaN or date: they stay text, which no key accepts.
fn to_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::Integer(value) => Value::from(*value),
        toml::Value::Float(float) => serde_json::Number::from_f64(*float)
            .map_or_else(|| Value::String(float.to_string()), Value::Number),
        toml::Value::Boolean(value) => Value::from(*value),
        toml::Value::Array(values) => values.iter().map(to_json).collect(),
        toml::Value::Table(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), to_json(value)))
            .collect(),
        toml::Value::String(text) => Value::from(text.clone()),
        toml::Value::Datetime(moment) => Value::from(moment.to_string()),
    }
}
