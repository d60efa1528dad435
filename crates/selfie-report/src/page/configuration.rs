//! What decided the runs and where they ran: hashes, environment, configuration.

use std::collections::BTreeSet;

use maud::{Markup, html};
use serde_json::Value;

use super::RunView;

mod many;

pub(super) use many::section as of_many;

/// Most runs that have a column each.
const MAX_COLUMNS: usize = 5;

/// A name and its value in each run, `None` where a run has nothing of the kind.
type Row = (String, Vec<Option<String>>);

/// A column a run, or [`of_many`] where that would be too many.
pub(super) fn section(runs: &[&RunView]) -> Markup {
    if runs.is_empty() {
        return html! {};
    }
    if runs.len() > MAX_COLUMNS {
        return of_many(runs);
    }
    let rows = keys(runs).into_iter().map(|key| row(&key, runs));
    let (differing, same): (Vec<Row>, Vec<Row>) =
        rows.partition(|(_, values)| values.windows(2).any(|two| two[0] != two[1]));
    let same: Vec<Row> = same.into_iter().map(|(key, values)| (key, values.into_iter().take(1).collect())).collect();
    html! {
        section {
            h2 { "Where and with what" }
            (table(runs, &[environment(runs), identity(runs)].concat()))
            h2 { "Configuration" }
            @if runs.len() > 1 {
                @if differing.is_empty() { p { "Every key is the same in all runs." } }
                @else { (table(runs, &differing)) }
            }
            details {
                summary { @if runs.len() > 1 { "Keys that are the same in all runs" } @else { "Every key" } }
                (table(&runs[..1], &same))
            }
        }
    }
}

fn table(runs: &[&RunView], rows: &[Row]) -> Markup {
    html! {
        div.wide { table.facts {
            @if runs.len() > 1 { thead { tr { th {} @for run in runs { th { (run.name) } } } } }
            tbody { @for (name, values) in rows {
                tr { th scope="row" { (name) } @for value in values { td { (value.as_deref().unwrap_or_default()) } } }
            } }
        } }
    }
}

/// What many runs share: program, machine, data.
fn environment(runs: &[&RunView]) -> Vec<Row> {
    let mut rows = vec![
        of("program", runs, &|run| Some(format!("selfie {}", run.record.version))),
        of("device", runs, &|run| Some(format!("{}, {}", run.record.device, run.record.dtype))),
        of("machine", runs, &|run| {
            let machine = &run.record.machine;
            let memory = machine.memory_mib.map_or_else(String::new, |mib| format!(", {mib} MiB"));
            Some(format!("{}, {} cores{memory}, {} {}", machine.cpu, machine.n_cores, machine.os, machine.arch))
        }),
        of("data", runs, &|run| run.record.data_dir.clone()),
    ];
    let splits: BTreeSet<&String> = runs.iter().flat_map(|run| run.record.data_hashes.keys()).collect();
    rows.extend(
        splits
            .into_iter()
            .map(|split| of(&format!("hash of {split}"), runs, &|run| run.record.data_hashes.get(split).cloned())),
    );
    without_empty(rows)
}

/// What a run has of its own: times, examples, weights.
fn identity(runs: &[&RunView]) -> Vec<Row> {
    without_empty(vec![
        of("started", runs, &|run| Some(run.record.created.clone())),
        of("finished", runs, &|run| run.result.as_ref().map(|result| result.finished.clone())),
        of("labelled subset", runs, &|run| run.record.subset_hash.clone()),
        of("starts from", runs, &|run| {
            run.record.pretrained_from.as_ref().map(|from| format!("{} ({})", from.path, from.hash))
        }),
        of("weights", runs, &|run| run.result.as_ref().map(|result| result.weights_hash.clone())),
    ])
}

fn of(name: &str, runs: &[&RunView], value: &dyn Fn(&RunView) -> Option<String>) -> Row {
    (name.to_owned(), runs.iter().map(|run| value(run).filter(|value| !value.is_empty())).collect())
}

fn without_empty(mut rows: Vec<Row>) -> Vec<Row> {
    rows.retain(|(_, values)| values.iter().any(Option::is_some));
    rows
}

/// Every `table.key` of the runs' configurations.
fn keys(runs: &[&RunView]) -> Vec<String> {
    let tables = runs.iter().filter_map(|run| run.record.config.as_object()).flatten();
    let keys: BTreeSet<String> = tables
        .flat_map(|(table, values)| {
            values.as_object().into_iter().flatten().map(move |(key, _)| format!("{table}.{key}"))
        })
        .collect();
    keys.into_iter().collect()
}

/// A key that is there without a value has an empty one.
fn row(key: &str, runs: &[&RunView]) -> Row {
    let pointer = format!("/{}", key.replacen('.', "/", 1));
    let value = |run: &&RunView| match run.record.config.pointer(&pointer)? {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    };
    (key.to_owned(), runs.iter().map(value).collect())
}
