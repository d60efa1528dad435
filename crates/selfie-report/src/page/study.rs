//! A study: its table, its plots over the fractions, and the curves of its runs by arm.

use maud::{Markup, html};
use selfie_eval::record::{Arm, Task};
use selfie_eval::table::{ArmCell, Difference, FractionRow, StudyTable, p_value, percent};

use super::intervals::{Group, Interval, Intervals};
use super::{N_COLOURS, RunView, StudyView, cell, chart_legend, configuration, curves, pictures, runs_table};

/// A study; `part` is its number on the page, from 1.
pub(super) fn section(part: usize, study: &StudyView) -> Markup {
    let table = &study.table;
    let runs: Vec<&RunView> = study.runs.iter().collect();
    let legend: Vec<(usize, &str)> = table.arms().into_iter().map(|arm| (colour(arm), arm.title())).collect();
    html! {
        section.study {
            h2 { "Study " (study.name) }
            p { "Test accuracy on " (table.about.set) " with the recipe " (table.about.recipe) "; "
                (table.n_finished()) " of " (table.about.n_runs) " runs are finished." }
            (accuracies(table))
            (differences(table))
            @if !table.fractions.is_empty() { ul.notes { @for note in table.notes() { li { (note) } } } }
            (chart_legend(&legend))
            div.charts {
                (accuracy_plot(table).figure())
                (difference_plot(table).figure())
            }
            (learning_rates(table))
            (curves_by_arm(&runs, table))
            details { summary { "Every run" } (runs_table(&runs, &|run| outcome(run, table))) }
        }
        (pictures::section(part, &runs))
        (configuration::of_many(&runs))
    }
}

/// An arm has its colour wherever it stands.
fn colour(arm: Arm) -> usize {
    arm as usize
}

/// The colour of a pretraining: none of an arm's.
fn pretraining_colour(idx: usize) -> usize {
    let n_arms = Arm::ALL.len();
    n_arms + idx % (N_COLOURS - n_arms)
}

/// What came out of a run, which may have diverged.
fn outcome(run: &RunView, table: &StudyTable) -> Markup {
    let row = table.fractions.iter().find(|row| run.record.fraction == Some(row.fraction));
    let cell = row.and_then(|row| row.arm(run.arm()?));
    if cell.is_some_and(|cell| cell.diverged.contains(&run.record.seed)) {
        return html! { "diverged" };
    }
    super::outcome(run)
}

fn accuracies(table: &StudyTable) -> Markup {
    if table.fractions.is_empty() {
        return html! {};
    }
    let has_paper = table.fractions.iter().any(|row| row.paper.is_some());
    html! {
        div.wide { table.cards {
            thead { tr { th { "test accuracy, %" }
                @for row in &table.fractions { th.number { (of_labels(row)) } } } }
            tbody {
                @for arm in table.arms() {
                    tr { th scope="row" { (arm.title()) }
                        @for row in &table.fractions { (cell(&of_labels(row), &accuracy(row.arm(arm)))) } }
                }
                @if has_paper {
                    tr.quiet { th scope="row" { "the paper's Selfie, as recalled" }
                        @for row in &table.fractions { (cell(&of_labels(row), &paper(row, true))) } }
                    tr.quiet { th scope="row" { "the paper, from scratch, as recalled" }
                        @for row in &table.fractions { (cell(&of_labels(row), &paper(row, false))) } }
                }
            }
        } }
    }
}

fn of_labels(row: &FractionRow) -> String {
    format!("{} % of the labels", percent(row.fraction))
}

fn accuracy(cell: Option<&ArmCell>) -> String {
    cell.map_or_else(|| "not run".to_owned(), ArmCell::accuracy)
}

fn paper(row: &FractionRow, of_selfie: bool) -> String {
    row.paper.map_or_else(
        || NONE.to_owned(),
        |paper| {
            let published = if of_selfie { paper.selfie } else { paper.supervised };
            let read = if paper.means_were_read { "*" } else { "" };
            format!("{:.1}{read} ± {:.1}", published.mean, published.std)
        },
    )
}

fn differences(table: &StudyTable) -> Markup {
    let rows: Vec<(&FractionRow, &ArmCell, &Difference)> = table
        .fractions
        .iter()
        .flat_map(|row| row.arms.iter().filter_map(move |cell| Some((row, cell, cell.difference.as_ref()?))))
        .collect();
    if rows.is_empty() {
        return html! {};
    }
    html! {
        div.wide { table.cards {
            thead { tr { th { "minus from scratch" } @for name in DIFFERENCE { th.number { (name) } } } }
            tbody { @for (row, arm, difference) in rows {
                tr { th scope="row" { (arm.arm.title()) }
                    @for (name, value) in DIFFERENCE.iter().zip(difference_cells(row, difference)) { (cell(name, &value)) } }
            } }
        } }
    }
}

/// In the place of a figure that there is not.
const NONE: &str = "—";
/// What a difference's line has.
const DIFFERENCE: [&str; 7] = ["labels", "points", "95 % interval", "paired t", "sign flips", "spread ratio", "pairs"];

fn difference_cells(row: &FractionRow, difference: &Difference) -> [String; 7] {
    let labels = format!("{} %", percent(row.fraction));
    let (mean, n_pairs) = (points(difference.mean), difference.n_pairs.to_string());
    let Some(test) = difference.test else {
        let why = difference.why_no_test().to_owned();
        return [labels, mean, why, NONE.into(), NONE.into(), NONE.into(), n_pairs];
    };
    let interval = format!("{} to {}", points(test.low), points(test.high));
    let flips = test.sign_flip_p_value.map_or_else(|| NONE.to_owned(), p_value);
    let ratio = test.spread_ratio.map_or_else(|| NONE.to_owned(), |ratio| format!("{ratio:.2}"));
    [labels, mean, interval, p_value(test.p_value), flips, ratio, n_pairs]
}

/// A difference in percentage points.
fn points(difference: f64) -> String {
    format!("{:+.2}", 100.0 * difference).replace('-', "−")
}

fn categories(table: &StudyTable) -> Vec<String> {
    table.fractions.iter().map(|row| format!("{} %", percent(row.fraction))).collect()
}

fn accuracy_plot(table: &StudyTable) -> Intervals {
    let interval = |(category, row): (usize, &FractionRow), arm: Arm| {
        let cell = row.arm(arm)?;
        let mean = 100.0 * cell.mean?;
        let of = format!("{}, {} % of the labels", arm.title(), percent(row.fraction));
        let words = format!("{of}: {}, accuracy in %", cell.accuracy());
        let bar = cell.std.map(|std| (mean - 100.0 * std, mean + 100.0 * std));
        let values = cell.runs.iter().map(|run| 100.0 * run.top1_accuracy).collect();
        Some(Interval { category, mean, bar, values, words })
    };
    let group = |arm: Arm| Group {
        colour: colour(arm),
        intervals: table.fractions.iter().enumerate().filter_map(|row| interval(row, arm)).collect(),
    };
    let title = "test accuracy, %: mean ± standard deviation, and every run";
    Intervals {
        title,
        categories: categories(table),
        groups: table.arms().into_iter().map(group).collect(),
        zero: false,
    }
}

fn difference_plot(table: &StudyTable) -> Intervals {
    let interval = |(category, row): (usize, &FractionRow), arm: Arm| {
        let difference = row.arm(arm)?.difference?;
        let bar = difference.test.map(|test| (100.0 * test.low, 100.0 * test.high));
        let of = format!("{} minus from scratch, {} % of the labels", arm.title(), percent(row.fraction));
        let words = format!("{of}: {} points", points(difference.mean));
        Some(Interval { category, mean: 100.0 * difference.mean, bar, values: Vec::new(), words })
    };
    let group = |arm: Arm| Group {
        colour: colour(arm),
        intervals: table.fractions.iter().enumerate().filter_map(|row| interval(row, arm)).collect(),
    };
    let arms = table.arms().into_iter().filter(|arm| *arm != Arm::Scratch);
    let title = "minus from scratch, points: mean and 95 % interval";
    Intervals { title, categories: categories(table), groups: arms.map(group).collect(), zero: true }
}

fn learning_rates(table: &StudyTable) -> Markup {
    let chosen: Vec<(&FractionRow, &ArmCell)> = table
        .fractions
        .iter()
        .flat_map(|row| row.arms.iter().map(move |cell| (row, cell)))
        .filter(|(_, cell)| !cell.trials.is_empty())
        .collect();
    if chosen.is_empty() {
        return html! {};
    }
    let tried = |cell: &ArmCell| {
        let trial = |trial: &selfie_eval::table::Trial| match trial.top1_accuracy {
            Some(accuracy) => format!("{}: {:.2}", trial.learning_rate, 100.0 * accuracy),
            None => format!("{}: not finite", trial.learning_rate),
        };
        cell.trials.iter().map(trial).collect::<Vec<_>>().join(", ")
    };
    html! {
        details { summary { "How the learning rates were chosen" }
            div.wide { table.cards {
                thead.lone { tr { th { "arm" } th.number { "labels" } th.number { "learning rate" } th { "validation accuracy, %" } } }
                tbody { @for (row, cell) in chosen {
                    tr { th scope="row" { (cell.arm.title()) } td.number data-label="labels" { (percent(row.fraction)) " %" }
                        td.number data-label="learning rate" { (cell.learning_rate) }
                        td data-label="validation accuracy, %" { (tried(cell))
                            @if let Some(note) = cell.choice_note() { " (" (note) ")" } } }
                } }
            } }
        }
    }
}

/// The pretraining's charts, then those of each fraction, where the runs of an arm have one colour.
fn curves_by_arm(runs: &[&RunView], table: &StudyTable) -> Markup {
    html! {
        @let pretrainings: Vec<_> = runs.iter().filter(|run| run.record.task == Task::Pretrain).enumerate()
            .map(|(idx, run)| (*run, pretraining_colour(idx), run.name.clone())).collect();
        (curves::section(curves::title(Task::Pretrain), &pretrainings))
        @for row in &table.fractions {
            @let of_row = table.arms().into_iter().flat_map(|arm| runs.iter().filter(move |run| run.arm() == Some(arm))
                .map(move |run| (*run, colour(arm), arm.title().to_owned())));
            @let of_row: Vec<_> = of_row.filter(|(run, ..)| run.record.fraction == Some(row.fraction)).collect();
            @let title = format!("{} on {} % of the labels", curves::title(Task::Finetune), percent(row.fraction));
            (curves::section(&title, &of_row))
        }
    }
}
