//! The charts of some runs: one for every name that their metrics have.

use maud::{Markup, html};
use selfie_eval::record::Task;

use super::chart::{Chart, Level, Line};
use super::{RunView, digits};

/// The charts that come first, in this order: name, title, whether its axis begins at 0.
const KNOWN: [(&str, &str, bool); 13] = [
    ("loss", "loss, nats", false),
    ("accuracy", "accuracy over the batch", false),
    ("probe/linear_accuracy", "linear probe: accuracy on held-out images", false),
    ("probe/knn_accuracy", "nearest neighbours: accuracy on held-out images", false),
    ("collapse", "collapse (0: all embeddings alike)", true),
    ("probe/spread", "spread of held-out embeddings (0: all alike)", true),
    ("probe/mean_cosine", "mean cosine of held-out embeddings (1: all alike)", true),
    ("probe/participation_ratio", "directions that held-out embeddings fill", true),
    ("lr", "learning rate", true),
    ("grad_norm", "gradient norm", true),
    ("time/images_per_s", "images a second", true),
    ("time/data_wait", "share of the time waiting for data", true),
    ("time/step_s", "seconds a step", true),
];
/// Drawn as levels, not as lines: what guessing scores in the pretext task or over a batch, and in the probes.
const CHANCE: &str = "chance";
/// As [`CHANCE`].
const PROBE_CHANCE: &str = "probe/chance";

/// The charts of the runs of a task; nothing if there are none.
pub(super) fn of_task(runs: &[&RunView], task: Task) -> Markup {
    let of_task: Vec<(&RunView, usize, String)> = runs
        .iter()
        .filter(|run| run.record.task == task)
        .enumerate()
        .map(|(idx, run)| (*run, idx, run.name.clone()))
        .collect();
    section(title(task), &of_task)
}

/// What a task is called above its charts.
pub(super) fn title(task: Task) -> &'static str {
    match task {
        Task::Pretrain => "Pretraining",
        Task::Finetune => "Fine-tuning",
    }
}

/// The charts of runs with their colours and labels; runs of one label are drawn alike and named once.
pub(super) fn section(title: &str, runs: &[(&RunView, usize, String)]) -> Markup {
    let charts: Vec<Chart> = names(runs).iter().map(|name| chart(name, runs)).collect();
    if runs.is_empty() || charts.is_empty() {
        return html! {};
    }
    let mut legend: Vec<(usize, &str)> = Vec::new();
    for (_, colour, label) in runs {
        if !legend.contains(&(*colour, label.as_str())) {
            legend.push((*colour, label.as_str()));
        }
    }
    html! {
        h3 { (title) }
        (super::chart_legend(&legend))
        div.charts { @for chart in &charts { (chart.figure()) } }
        @if charts.iter().any(Chart::has_bands) {
            p.quiet { "A line is the mean of neighbouring steps, a band their least and most." }
        }
    }
}

/// Every name of the runs' metrics: the known ones first.
fn names(runs: &[(&RunView, usize, String)]) -> Vec<String> {
    let mut names: Vec<String> = KNOWN.iter().map(|(name, ..)| (*name).to_owned()).collect();
    for (run, ..) in runs {
        for name in run.series.names() {
            if !names.contains(name) && ![CHANCE, PROBE_CHANCE].contains(&name.as_str()) {
                names.push(name.clone());
            }
        }
    }
    names.retain(|name| runs.iter().any(|(run, ..)| !run.series.get(name).is_empty()));
    names
}

fn chart(name: &str, runs: &[(&RunView, usize, String)]) -> Chart {
    let known = KNOWN.iter().find(|(known, ..)| *known == name);
    let (title, from_zero) = known.map_or((name, false), |(_, title, from_zero)| (*title, *from_zero));
    let line = |(run, colour, label): &(&RunView, usize, String)| Line {
        label: label.clone(),
        colour: *colour,
        points: run.series.get(name).to_vec(),
    };
    let lines = runs.iter().map(line).filter(|line| !line.points.is_empty()).collect();
    Chart { title: title.to_owned(), lines, levels: levels(name, runs), from_zero }
}

/// What guessing would score, each value once.
fn levels(name: &str, runs: &[(&RunView, usize, String)]) -> Vec<Level> {
    let chance = match name {
        "loss" | "accuracy" => CHANCE,
        "probe/linear_accuracy" | "probe/knn_accuracy" => PROBE_CHANCE,
        _ => return Vec::new(),
    };
    let mut chances: Vec<f64> =
        runs.iter().filter_map(|(run, ..)| run.series.last(chance)).map(|point| point.value).collect();
    chances.retain(|chance| *chance > 0.0 && *chance < 1.0);
    chances.sort_by(f64::total_cmp);
    chances.dedup();
    let value = |chance: f64| if name == "loss" { -chance.ln() } else { chance };
    let mut levels: Vec<Level> =
        chances.into_iter().map(|chance| Level { label: "chance", value: value(chance) }).collect();
    levels.dedup_by_key(|level| digits(level.value));
    levels
}
