//! The command that goes on with a run, made of its record.

use std::path::Path;

use selfie_eval::record::{RunRecord, Split, Task};
use serde_json::Value;

use crate::finetune::SUBSET;
use crate::study::STUDY;

#[cfg(test)]
mod tests;

/// What goes on with the run in `folder`: a command line, or in words the study's that it belongs to.
#[must_use]
pub fn goes_on_with(folder: &Path, record: &RunRecord) -> String {
    let study = folder.parent().filter(|study| study.join(STUDY).is_file());
    match study {
        Some(study) => format!("the command of the study in {}", study.display()),
        None => format!("`{}`", command(folder, record)),
    }
}

fn command(folder: &Path, record: &RunRecord) -> String {
    let mut words = vec!["selfie".to_owned(), record.task.name().to_owned()];
    words.extend(recipe(record));
    let mut flag = |name: &str, value: String| words.extend([name.to_owned(), value]);
    if let Some(data_dir) = &record.data_dir {
        flag("--data", data_dir.clone());
    }
    if record.task == Task::Finetune {
        flag("--from", record.pretrained_from.as_ref().map_or_else(|| "scratch".to_owned(), |from| from.path.clone()));
        match record.fraction.filter(|_| record.subset_file.is_none()) {
            Some(fraction) => flag("--fraction", fraction.to_string()),
            // What the run wrote, wherever the user's own is now.
            None => flag("--subset", folder.join(SUBSET).display().to_string()),
        }
    }
    for (key, value) in set_by_hand(record) {
        flag("--set", format!("{key}={value}"));
    }
    if record.seed != 1 {
        flag("--seed", record.seed.to_string());
    }
    if record.dtype != "f32" {
        flag("--dtype", record.dtype.clone());
    }
    if !["cpu", "cuda:0", "metal:0"].contains(&record.device.as_str()) {
        flag("--device", record.device.clone());
    }
    flag("--out", folder.display().to_string());
    words.extend((record.split == Some(Split::Validation)).then(|| "--validate".to_owned()));
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// The file or the recipe that the configuration began with; none where the starting weights bring it.
fn recipe(record: &RunRecord) -> Option<String> {
    let mut sources = record.config_sources.values();
    if let Some(file) = sources.clone().find_map(|source| source.strip_prefix("file ")) {
        return Some(file.to_owned());
    }
    let of_the_start = sources.any(|source| source.starts_with("run ") || source == "--from");
    (!of_the_start).then(|| record.recipe.clone())
}

/// The keys that a flag or a variable of the environment set, as `--set` takes them.
fn set_by_hand(record: &RunRecord) -> Vec<(&String, String)> {
    let other = if record.task == Task::Pretrain { Task::Finetune } else { Task::Pretrain };
    let is_of_other = |key: &str| key.split_once('.').is_some_and(|(table, _)| table == other.name());
    let value = |key: &str| match record.config.pointer(&format!("/{}", key.replace('.', "/")))? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    };
    let by_hand = |source: &str| source != "--from" && (source.starts_with("--") || source.starts_with('$'));
    let set = record.config_sources.iter().filter(|(key, source)| by_hand(source) && !is_of_other(key));
    set.filter_map(|(key, _)| Some((key, value(key)?))).collect()
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_./=,:+-".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
