//! The configuration and environment of many runs: each value once, with the runs that have it.

use std::collections::BTreeSet;

use maud::{Markup, html};
use selfie_eval::record::{Arm, Task};
use selfie_eval::table::percent;

use super::{Row, environment, identity, keys, row};
use crate::page::RunView;

/// A value with the runs that have it, as indices.
type Shared = (String, Vec<usize>);

/// The section; nothing of no runs.
pub(in crate::page) fn section(runs: &[&RunView]) -> Markup {
    if runs.is_empty() {
        return html! {};
    }
    let rows = keys(runs).into_iter().map(|key| by_value(used(row(&key, runs), runs)));
    let (same, differing): (Vec<_>, Vec<_>) =
        rows.filter(|(_, values)| !values.is_empty()).partition(|row| is_same(row, runs));
    let same: Vec<(String, String)> = same
        .into_iter()
        .flat_map(|(key, values)| values.into_iter().map(move |(value, _)| (key.clone(), value)))
        .collect();
    html! {
        section {
            h2 { "Where and with what" }
            (shared_table(runs, &environment(runs).into_iter().map(by_value).collect::<Vec<_>>()))
            details { summary { "Times and hashes of every run" } (table_by_run(runs, &identity(runs))) }
            h2 { "Configuration" }
            p.quiet { "Of " (runs.len()) " runs; [pretrain] is compared between pretrainings, [finetune] between fine-tunings." }
            @if differing.is_empty() { p { "Every key is the same in all runs." } }
            @else { (shared_table(runs, &differing)) }
            details {
                summary { "Keys that are the same in all runs" }
                div.wide { table.facts { tbody { @for (key, value) in same { tr { th scope="row" { (key) } td { (value) } } } } } }
            }
        }
    }
}

/// A pretraining does not use `[finetune]`, nor a fine-tuning `[pretrain]`.
fn uses(run: &RunView, key: &str) -> bool {
    let table = key.split_once('.').map_or(key, |(table, _)| table);
    [Task::Pretrain, Task::Finetune].iter().all(|task| table != task.name() || run.record.task == *task)
}

/// A key's values in the runs that use it.
fn used((key, values): Row, runs: &[&RunView]) -> Row {
    let values = values.into_iter().zip(runs).map(|(value, run)| value.filter(|_| uses(run, &key))).collect();
    (key, values)
}

/// Each value once, in the order of the runs.
fn by_value((name, values): Row) -> (String, Vec<Shared>) {
    let mut shared: Vec<Shared> = Vec::new();
    for (idx, value) in values.into_iter().enumerate() {
        let Some(value) = value else { continue };
        match shared.iter_mut().find(|(known, _)| *known == value) {
            Some((_, of)) => of.push(idx),
            None => shared.push((value, vec![idx])),
        }
    }
    (name, shared)
}

/// Whether all runs that use a key have one value of it.
fn is_same((key, values): &(String, Vec<Shared>), runs: &[&RunView]) -> bool {
    let n_users = runs.iter().filter(|run| uses(run, key)).count();
    values.len() == 1 && values.iter().all(|(_, of)| of.len() == n_users)
}

fn shared_table(runs: &[&RunView], rows: &[(String, Vec<Shared>)]) -> Markup {
    html! {
        div.wide { table.facts.shared {
            thead { tr { th {} th { "value" } th { "runs" } } }
            tbody { @for (name, values) in rows { @for (idx, (value, of)) in values.iter().enumerate() {
                tr {
                    @if idx == 0 { th scope="row" rowspan=(values.len()) { (name) } }
                    td { @if value.is_empty() { "none" } @else { (value) } }
                    td { (whose(runs, of)) }
                }
            } } }
        } }
    }
}

/// A line a run.
fn table_by_run(runs: &[&RunView], columns: &[Row]) -> Markup {
    html! {
        div.wide { table.facts {
            thead { tr { th { "run" } @for (name, _) in columns { th { (name) } } } }
            tbody { @for (idx, run) in runs.iter().enumerate() {
                tr { th scope="row" { (run.name) }
                    @for (_, values) in columns { td { (values.get(idx).cloned().flatten().unwrap_or_default()) } } }
            } }
        } }
    }
}

/// How many runs, and which in few words: a task, an arm or an arm's fraction where all of its runs are among them.
fn whose(runs: &[&RunView], of: &[usize]) -> String {
    if of.len() == runs.len() {
        return format!("all {}", runs.len());
    }
    let groups: Vec<Vec<String>> = runs.iter().map(|run| groups(run)).collect();
    let is_whole =
        |group: &&String| groups.iter().enumerate().all(|(idx, other)| of.contains(&idx) || !other.contains(group));
    let word = |idx: &usize| groups[*idx].iter().find(is_whole).unwrap_or(&runs[*idx].name).clone();
    let mut seen = BTreeSet::new();
    let words: Vec<String> = of.iter().map(word).filter(|word| seen.insert(word.clone())).collect();
    format!("{} of {}: {}", of.len(), runs.len(), words.join("; "))
}

/// What a run belongs to, from wide to narrow.
fn groups(run: &RunView) -> Vec<String> {
    let arm = run.arm().map(Arm::title);
    let with_fraction = arm.zip(run.record.fraction).map(|(arm, fraction)| format!("{arm}, {} %", percent(fraction)));
    let task = match run.record.task {
        Task::Pretrain => "pretraining",
        Task::Finetune => "fine-tuning",
    };
    [Some(task.to_owned()), arm.map(str::to_owned), with_fraction].into_iter().flatten().collect()
}
