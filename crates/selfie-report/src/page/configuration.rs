//! What decided the runs and where they ran: hashes, environment, configuration.

use std::collections::BTreeSet;

use maud::{Markup, html};
use serde_json::Value;

use super::RunView;

pub(super) fn section(runs: &[&RunView]) -> Markup {
    if runs.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 { "Where and with what" }
            (table(runs, &facts(runs)))
            h2 { "Configuration" }
            @let (differing, same): (Vec<_>, Vec<_>) =
                keys(runs).into_iter().map(|key| row(&key, runs)).partition(|(_, values)| values.windows(2).any(|two| two[0] != two[1]));
            @if runs.len() > 1 {
                @if differing.is_empty() { p { "Every key is the same in all runs." } }
                @else { (table(runs, &differing)) }
            }
            details {
                summary { @if runs.len() > 1 { "Keys that are the same in all runs" } @else { "Every key" } }
                (table(&runs[..1], &same.into_iter().map(|(key, values)| (key, values[..1].to_vec())).collect::<Vec<_>>()))
            }
        }
    }
}

/// A name and its value in each run.
type Row = (String, Vec<String>);

fn table(runs: &[&RunView], rows: &[Row]) -> Markup {
    html! {
        div.wide { table.facts {
            @if runs.len() > 1 { thead { tr { th {} @for run in runs { th { (run.name) } } } } }
            tbody { @for (name, values) in rows {
                tr { th scope="row" { (name) } @for value in values { td { (value) } } }
            } }
        } }
    }
}

fn facts(runs: &[&RunView]) -> Vec<Row> {
    let of = |name: &str, value: &dyn Fn(&RunView) -> String| {
        (name.to_owned(), runs.iter().map(|run| value(run)).collect::<Vec<_>>())
    };
    let mut rows = vec![
        of("started", &|run| run.record.created.clone()),
        of("finished", &|run| run.result.as_ref().map_or_else(String::new, |result| result.finished.clone())),
        of("program", &|run| format!("selfie {}", run.record.version)),
        of("device", &|run| format!("{}, {}", run.record.device, run.record.dtype)),
        of("machine", &|run| {
            let machine = &run.record.machine;
            let memory = machine.memory_mib.map_or_else(String::new, |mib| format!(", {mib} MiB"));
            format!("{}, {} cores{memory}, {} {}", machine.cpu, machine.n_cores, machine.os, machine.arch)
        }),
        of("data", &|run| run.record.data_dir.clone().unwrap_or_default()),
        of("labelled subset", &|run| run.record.subset_hash.clone().unwrap_or_default()),
        of("starts from", &|run| {
            run.record
                .pretrained_from
                .as_ref()
                .map_or_else(String::new, |from| format!("{} ({})", from.path, from.hash))
        }),
        of("weights", &|run| run.result.as_ref().map_or_else(String::new, |result| result.weights_hash.clone())),
    ];
    let splits: BTreeSet<&String> = runs.iter().flat_map(|run| run.record.data_hashes.keys()).collect();
    for split in splits {
        rows.push(of(&format!("hash of {split}"), &|run| {
            run.record.data_hashes.get(split).cloned().unwrap_or_default()
        }));
    }
    rows.retain(|(_, values)| values.iter().any(|value| !value.is_empty()));
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

fn row(key: &str, runs: &[&RunView]) -> Row {
    let pointer = format!("/{}", key.replacen('.', "/", 1));
    let value = |run: &&RunView| match run.record.config.pointer(&pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    (key.to_owned(), runs.iter().map(value).collect())
}
