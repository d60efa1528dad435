//! Laying one layer upon those below: every setting is checked alone, so that an error names the place the
//! value came from and not the sum of all layers.

use std::collections::BTreeMap;

use selfie_eval::record::Task;
use serde_json::{Map, Value};

use super::Config;
use super::nearest;
use super::resolve::Resolved;
use super::settings::{Setting, parse_value};
use super::source::Source;
use crate::TrainError;

/// Keys of which a training table holds exactly one.
const DURATIONS: [&str; 3] = ["steps", "epochs", "examples"];
/// Tables in which a bare key is looked for after the command's own.
const SHARED_TABLES: [&str; 5] = ["model", "data", "loader", "checkpoint", "probe"];

/// The layers laid so far.
pub(super) struct Layers {
    /// Table → key → value, with null for a length that is not set.
    values: Map<String, Value>,
    sources: BTreeMap<String, Source>,
}

impl Layers {
    pub(super) fn new() -> Result<Self, TrainError> {
        match serde_json::to_value(Config::default()) {
            Ok(Value::Object(values)) => Ok(Self { values, sources: BTreeMap::new() }),
            other => Err(TrainError::Internal(format!("the default configuration is no table: {other:?}"))),
        }
    }

    pub(super) fn keys(&self) -> Vec<String> {
        let of_table = |(table, keys): (&String, &Value)| {
            let names: Vec<String> = keys.as_object().map_or_else(Vec::new, |keys| keys.keys().cloned().collect());
            names.into_iter().map(|name| format!("{table}.{name}")).collect::<Vec<_>>()
        };
        self.values.iter().flat_map(of_table).collect()
    }

    fn slot(&mut self, key: &str) -> Option<&mut Value> {
        let (table, name) = key.split_once('.')?;
        self.values.get_mut(table)?.get_mut(name)
    }

    /// A setting typed by hand: its key may lack the table.
    pub(super) fn typed_setting(&self, task: Task, key: &str, value: &str, source: Source) -> Setting {
        let key = key.replace('-', "_");
        let has = |table: &&str| self.values.get(*table).is_some_and(|keys| keys.get(&key).is_some());
        let table = [task.name()].into_iter().chain(SHARED_TABLES).find(has);
        let key = table.map_or_else(|| key.clone(), |table| format!("{table}.{key}"));
        Setting { key, value: parse_value(value), source }
    }

    /// Lays one layer: a length in it replaces the lengths of the layers below.
    pub(super) fn lay(&mut self, settings: Vec<Setting>) -> Result<(), TrainError> {
        let mut lengths: BTreeMap<String, String> = BTreeMap::new();
        for Setting { key, value, source } in settings {
            if self.slot(&key).is_none() {
                let hint = nearest::hint(&key, &self.keys());
                return Err(TrainError::UnknownKey { origin: source, key, hint });
            }
            if let Some((table, name)) = key.split_once('.').filter(|(_, name)| DURATIONS.contains(name)) {
                let first = lengths.entry(table.to_owned()).or_insert_with(|| name.to_owned());
                if first != name {
                    let expected = "exactly one of steps, epochs and examples".to_owned();
                    let got = format!("{name} beside {first}");
                    return Err(TrainError::BadValue { key, origin: source, expected, got });
                }
                for other in DURATIONS {
                    let other = format!("{table}.{other}");
                    self.sources.remove(&other);
                    self.slot(&other).into_iter().for_each(|slot| *slot = Value::Null);
                }
            }
            self.put(key, value, source)?;
        }
        Ok(())
    }

    fn put(&mut self, key: String, value: Value, source: Source) -> Result<(), TrainError> {
        let got = value.to_string();
        self.slot(&key).into_iter().for_each(|slot| *slot = value.clone());
        if let Err(error) = Config::deserialize_from(&self.values) {
            return Err(TrainError::WrongType { key, origin: source, got, reason: in_words(&error.to_string()) });
        }
        self.sources.insert(key, source);
        Ok(())
    }

    pub(super) fn finish(self, recipe: String) -> Result<Resolved, TrainError> {
        let internal =
            |error: serde_json::Error| TrainError::Internal(format!("the configuration cannot be read back: {error}"));
        let config = Config::deserialize_from(&self.values).map_err(internal)?;
        // Through the structs, so that `1` and `1.0` of a float key are one value.
        let Value::Object(mut values) = serde_json::to_value(&config).map_err(internal)? else {
            return Err(TrainError::Internal("the configuration is no table".to_owned()));
        };
        for keys in values.values_mut().filter_map(Value::as_object_mut) {
            keys.retain(|_, value| !value.is_null());
        }
        Ok(Resolved { config, recipe, values, sources: self.sources })
    }
}

/// An error of serde without Rust's names of number types.
fn in_words(error: &str) -> String {
    let whole = ["usize", "u64", "u32", "u16", "u8"];
    let error = whole
        .iter()
        .fold(error.to_owned(), |text, kind| text.replace(&format!("expected {kind}"), "expected a whole number"));
    error.replace("expected f64", "expected a number")
}

impl Config {
    fn deserialize_from(values: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        serde_json::from_value(Value::Object(values.clone()))
    }
}
