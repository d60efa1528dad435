//! What each layer sets, as a list of `table.key = value` with its source.

use std::ffi::OsString;

use serde_json::Value;

use super::nearest;
use super::resolve::Base;
use super::source::Source;
use crate::TrainError;

/// One value of one layer.
pub(super) struct Setting {
    /// `table.key`, or what was written in its place.
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) source: Source,
}

pub(super) fn base_settings(base: &Base) -> Result<Vec<Setting>, TrainError> {
    match base {
        Base::Defaults => Ok(Vec::new()),
        Base::Recipe(recipe) => toml_settings(recipe.text, &Source::Recipe(recipe.name.to_owned())),
        Base::File(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| TrainError::reading(path, source, "expected a TOML file"))?;
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
pub(super) fn flatten(config: &Value, source: &Source) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (table, keys) in config.as_object().into_iter().flatten() {
        match keys.as_object() {
            Some(keys) => settings.extend(keys.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| {
                Setting { key: format!("{table}.{key}"), value: value.clone(), source: source.clone() }
            })),
            None => settings.push(Setting { key: table.clone(), value: keys.clone(), source: source.clone() }),
        }
    }
    settings
}

/// `SELFIE_<TABLE>_<KEY>`. A word that is nearly a table, before one of its keys, is a setting too, and so is a
/// key without its table: both are then refused with a suggestion; everything else that begins with `SELFIE_` is none of the configuration. `keys` are `table.key`.
pub(super) fn environment_settings(environment: &[(OsString, OsString)], keys: &[String]) -> Vec<Setting> {
    let mut tables: Vec<&str> = keys.iter().filter_map(|key| key.split_once('.')).map(|(table, _)| table).collect();
    tables.dedup();
    let is_setting = |table: &str, key: &str| {
        let near =
            || nearest::name_meant_by(table, &tables).is_some_and(|near| keys.contains(&format!("{near}.{key}")));
        tables.contains(&table) || near()
    };
    let setting = |(name, value): &(OsString, OsString)| {
        let name = name.to_str()?;
        let rest = name.strip_prefix("SELFIE_")?.to_lowercase();
        let is_bare_key = || keys.iter().any(|key| key.split_once('.').is_some_and(|(_, bare)| bare == rest));
        let key = match rest.split_once('_') {
            Some((table, key)) if is_setting(table, key) => format!("{table}.{key}"),
            _ if is_bare_key() => rest,
            _ => return None,
        };
        let value = value.to_string_lossy();
        let source = Source::Environment(name.to_owned());
        (!value.is_empty()).then(|| Setting { key, value: parse_value(&value), source })
    };
    environment.iter().filter_map(setting).collect()
}

/// A value typed by hand: TOML if it is, a number such as `.1`, else text without quotes.
pub(super) fn parse_value(text: &str) -> Value {
    let text = text.trim();
    let parsed = toml::from_str::<toml::Table>(&format!("value = {text}")).ok().filter(|table| table.len() == 1);
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
        toml::Value::Float(float) => {
            serde_json::Number::from_f64(*float).map_or_else(|| Value::String(float.to_string()), Value::Number)
        }
        toml::Value::Boolean(value) => Value::from(*value),
        toml::Value::Array(values) => values.iter().map(to_json).collect(),
        toml::Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), to_json(value))).collect(),
        toml::Value::String(text) => Value::from(text.clone()),
        toml::Value::Datetime(moment) => Value::from(moment.to_string()),
    }
}
