//! What may change when a run is resumed, and a readable difference of the rest.

use std::collections::BTreeMap;

use selfie_eval::record::{RunRecord, Task, to_pretty_json};
use serde_json::{Value, json};

use crate::TrainError;
use crate::config::Config;

#[cfg(test)]
mod tests;

/// A value that decides what a run computes and is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key, with its table where it has one.
    pub key: String,
    /// Its value when the run was started.
    pub was: String,
    /// Its value now.
    pub now: String,
    /// Where the value of now came from, if it is a configuration key.
    pub source: Option<String>,
}

impl Difference {
    pub(crate) fn lines(differences: &[Self]) -> String {
        let line = |difference: &Self| {
            let source = difference.source.as_ref().map_or_else(String::new, |source| format!(" ({source})"));
            format!("  {}: was {}, now {}{source}", difference.key, difference.was, difference.now)
        };
        differences.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// What decides the bytes a run writes: task, seed, data, starting weights, device, number type and the tables the task
/// reads.
///
/// Left out, because they may change from one resumption to the next: the loader's and the checkpoints' tables, the
/// other task's table, the program's version, the machine and every path.
fn identity(record: &RunRecord) -> Value {
    let table = |name: &str| record.config.get(name).cloned().unwrap_or(Value::Null);
    json!({
        "task": record.task,
        "seed": record.seed,
        "fraction": record.fraction,
        "from": record.pretrained_from.as_ref().map(|from| &from.hash),
        "device": record.device,
        "dtype": record.dtype,
        "data": record.data_hashes,
        "subset": record.subset_hash,
        "measured on": record.split,
        "config": { "model": table("model"), "data": table("data"), record.task.name(): table(record.task.name()) },
    })
}

/// A hash of what decides the bytes a run writes, stored in each checkpoint.
///
/// # Errors
///
/// If the record has no JSON form.
pub fn identity_hash(record: &RunRecord) -> Result<String, TrainError> {
    let text = to_pretty_json("the run's identity", &identity(record))?;
    Ok(blake3::hash(text.as_bytes()).to_hex().to_string())
}

/// The values that make `now` another run than `was`; empty if `now` may resume it. A configuration key that `was` does not
/// have, because the program that began it did not, counts as if it had its default.
///
/// # Errors
///
/// If a record has no JSON form.
pub fn differences(was: &RunRecord, now: &RunRecord) -> Result<Vec<Difference>, TrainError> {
    let task = now.task;
    let (mut was, sources) = (leaves(was)?, &now.config_sources);
    let now = leaves(now)?;
    for (key, value) in defaults(task)? {
        if now.contains_key(&key) {
            was.entry(key).or_insert(value);
        }
    }
    let mut keys: Vec<&String> = was.keys().chain(now.keys()).collect();
    keys.sort();
    keys.dedup();
    let shown = |values: &BTreeMap<String, Value>, key: &String| match values.get(key) {
        None | Some(Value::Null) => "not set".to_owned(),
        Some(value) => value.to_string(),
    };
    let difference = |key: &String| {
        let (was, now) = (shown(&was, key), shown(&now, key));
        let key = key.strip_prefix("config.").unwrap_or(key).to_owned();
        (was != now).then(|| Difference { source: sources.get(&key).cloned(), key, was, now })
    };
    Ok(keys.into_iter().filter_map(difference).collect())
}

/// The defaults of the configuration as [`leaves`] of a record; what is not set by default is none of them.
fn defaults(task: Task) -> Result<BTreeMap<String, Value>, TrainError> {
    let config = serde_json::to_value(Config::default()).map_err(|error| TrainError::Internal(error.to_string()))?;
    let mut defaults = leaves(&RunRecord::new(task, "", config, BTreeMap::new()))?;
    // The length of a run is one key of three, and never new.
    defaults.retain(|key, value| key.starts_with("config.") && !value.is_null() && !key.ends_with(".steps"));
    Ok(defaults)
}

/// The identity as `path.to.value` → value. Both records pass through JSON text, so that a stored number and a computed
/// one compare equal.
fn leaves(record: &RunRecord) -> Result<BTreeMap<String, Value>, TrainError> {
    let text = to_pretty_json("the run's identity", &identity(record))?;
    let identity: Value = selfie_eval::record::from_json("the run's identity", &text)?;
    let mut leaves = BTreeMap::new();
    collect_leaves("", &identity, &mut leaves);
    Ok(leaves)
}

fn collect_leaves(path: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(values) => {
            for (key, value) in values {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect_leaves(&path, value, leaves);
            }
        }
        _ => {
            leaves.insert(path.to_owned(), value.clone());
        }
    }
}
