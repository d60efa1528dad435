//! What may change when a run is resumed, and a readable difference of the rest.

use std::collections::BTreeMap;
use std::fmt;

use selfie_eval::record::{Change, RunRecord, to_pretty_json};
use serde_json::{Map, Value, json};

use crate::TrainError;
use crate::config::{Config, Source, key_hint};

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

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.source.as_ref().map_or_else(String::new, |source| format!(" ({source})"));
        write!(f, "{}: was {}, now {}{source}", self.key, self.was, self.now)
    }
}

impl Difference {
    /// Whether a checkpoint's tensors do not fit the new value, so that allowing the change is of no use.
    pub(crate) fn changes_tensors(&self) -> bool {
        let is_of_the_network = self.key.strip_prefix("model.").is_some_and(|key| !FREE_OF_MODEL.contains(&key));
        is_of_the_network || OF_TENSORS.contains(&self.key.as_str())
    }

    pub(crate) fn lines(differences: &[Self]) -> String {
        differences.iter().map(|difference| format!("  {difference}")).collect::<Vec<_>>().join("\n")
    }
}

/// What decides the bytes a run writes: task, seed, data, starting weights, device, number type and the tables the task
/// reads.
///
/// Left out, because they may change from one resumption to the next: the loader's and the checkpoints' tables, the
/// other task's table, the program's version, the machine and every path.
fn identity(record: &RunRecord, defaults: &Value) -> Value {
    let table = |name: &str| completed(record.config.get(name), defaults.get(name));
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

/// A table with the keys that did not exist yet when it was stored, at their defaults: a run goes on with a newer program.
fn completed(stored: Option<&Value>, defaults: Option<&Value>) -> Value {
    let Some(stored) = stored else { return Value::Null };
    let (Some(keys), Some(defaults)) = (stored.as_object(), defaults.and_then(Value::as_object)) else {
        return stored.clone();
    };
    // A length that is not set is a null, and no missing key.
    let mut all: Map<String, Value> = defaults.clone();
    all.retain(|key, _| !LENGTHS.contains(&key.as_str()));
    all.extend(keys.clone());
    Value::Object(all)
}

/// The keys of the table `model` that may change while a network is trained.
const FREE_OF_MODEL: [&str; 2] = ["dropout", "temperature"];
/// Keys of other tables that tensors depend on, and the task itself.
const OF_TENSORS: [&str; 5] =
    ["task", "data.image_size", "data.patch_size", "pretrain.optimizer", "finetune.optimizer"];

/// The keys of which a training table holds one.
const LENGTHS: [&str; 3] = ["steps", "epochs", "examples"];

/// The default of every key.
fn defaults() -> Result<Value, TrainError> {
    serde_json::to_value(Config::default()).map_err(|error| TrainError::Internal(error.to_string()))
}

/// A hash of what decides the bytes a run writes, stored in each checkpoint.
///
/// # Errors
///
/// If the record has no JSON form.
pub fn identity_hash(record: &RunRecord) -> Result<String, TrainError> {
    hash(&identity(record, &defaults()?))
}

/// The hashes that the checkpoints of a run may have: of what it is, of what it was before each change, and of its record
/// as an older program, which had fewer keys, took it.
pub(crate) fn accepted_hashes(record: &RunRecord) -> Result<Vec<String>, TrainError> {
    let before = record.changes.iter().map(|change| change.config_hash.clone());
    let mut hashes = vec![identity_hash(record)?, hash(&identity(record, &Value::Null))?];
    hashes.extend(before);
    Ok(hashes)
}

fn hash(identity: &Value) -> Result<String, TrainError> {
    let text = to_pretty_json("the run's identity", identity)?;
    Ok(blake3::hash(text.as_bytes()).to_hex().to_string())
}

/// Whether one of the keys in `allowed`, each with its table or without, is this difference's.
pub(crate) fn is_allowed(difference: &Difference, allowed: &[String]) -> bool {
    let key = &difference.key;
    allowed
        .iter()
        .map(|allowed| allowed.replace('-', "_"))
        .any(|allowed| *key == allowed || key.strip_suffix(&allowed).is_some_and(|table| table.ends_with('.')))
}

/// Refuses a key in `allowed` that is none.
pub(crate) fn require_known(allowed: &[String], record: &RunRecord) -> Result<(), TrainError> {
    let (defaults, identity) = (defaults()?, identity(record, &Value::Null));
    let keys: Vec<String> = leaves(&defaults).into_keys().chain(leaves(&identity).into_keys()).collect();
    for key in allowed.iter().map(|key| key.replace('-', "_")) {
        let is_key = |known: &String| *known == key || known.ends_with(&format!(".{key}"));
        if !keys.iter().any(is_key) {
            let hint = key_hint(&key, &leaves(&defaults).into_keys().collect::<Vec<_>>());
            return Err(TrainError::UnknownKey { origin: Source::Flag("--allow-change".to_owned()), key, hint });
        }
    }
    Ok(())
}

/// The record of a run that goes on with the values of `now`, in which `differences` were allowed after `step`.
pub(crate) fn changed(
    was: RunRecord,
    now: &RunRecord,
    differences: Vec<Difference>,
    step: u64,
) -> Result<RunRecord, TrainError> {
    let config_hash = identity_hash(&was)?;
    let change = |Difference { key, was, now, .. }| Change { key, was, now, step, config_hash: config_hash.clone() };
    let changes = was.changes.into_iter().chain(differences.into_iter().map(change)).collect();
    Ok(RunRecord { created: was.created, changes, ..now.clone() })
}

/// The values that make `now` another run than `was`; empty if `now` may resume it.
///
/// # Errors
///
/// If a record has no JSON form.
pub fn differences(was: &RunRecord, now: &RunRecord) -> Result<Vec<Difference>, TrainError> {
    if was.task != now.task {
        // Every key of both tables would follow.
        let (was, now) = (was.task.to_string(), now.task.to_string());
        return Ok(vec![Difference { key: "task".to_owned(), was, now, source: None }]);
    }
    let mut differences = differences_of(&canonical(was)?, &canonical(now)?, &now.config_sources);
    for Difference { key, was: before, now: after, .. } in &mut differences {
        if let (Some(was), Some(now)) = (origin(key, was), origin(key, now)) {
            (*before, *after) = (with_origin(before, &was), with_origin(after, &now));
        }
    }
    Ok(differences)
}

/// Where what a key has the hash of came from: a hash says nothing to a reader.
fn origin(key: &str, record: &RunRecord) -> Option<String> {
    match key {
        "from" => record.pretrained_from.as_ref().map(|from| from.path.clone()),
        _ => {
            // A key of the table `data` is called alike.
            let split = key.strip_prefix("data.")?;
            record.data_hashes.get(split)?;
            record.data_dir.clone().or_else(|| record.data_name.clone())
        }
    }
}

fn with_origin(hash: &str, origin: &str) -> String {
    format!("{origin} ({:.8}…)", hash.trim_matches('"'))
}

/// The leaves in which two values differ; `sources` says where values of now came from, by key.
pub(crate) fn differences_of(was: &Value, now: &Value, sources: &BTreeMap<String, String>) -> Vec<Difference> {
    let (was, now) = (leaves(was), leaves(now));
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
    keys.into_iter().filter_map(difference).collect()
}

/// The identity, through JSON text, so that a stored number and a computed one compare equal.
fn canonical(record: &RunRecord) -> Result<Value, TrainError> {
    let text = to_pretty_json("the run's identity", &identity(record, &defaults()?))?;
    Ok(selfie_eval::record::from_json("the run's identity", &text)?)
}

/// A value as `path.to.value` → value.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    collect_leaves("", value, &mut leaves);
    leaves
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
