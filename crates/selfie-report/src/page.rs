//! The report: one HTML file that needs nothing else, no network, no other file.
//!
//! Text from records and folders is escaped by maud; the page's own policy forbids every request.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use selfie_eval::record::{Arm, Outcome, PRETEXT_STEPS, ResultRecord, RunRecord, Task};
use selfie_eval::table::StudyTable;

use crate::Series;

mod alike;
mod axis;
mod chart;
mod configuration;
mod curves;
mod intervals;
mod pictures;
mod study;

#[cfg(test)]
mod tests;

pub use pictures::Picture;

/// Colours of the style sheet.
const N_COLOURS: usize = 8;

/// One run of a report.
#[derive(Clone, Debug)]
pub struct RunView {
    /// What the page calls it.
    pub name: String,
    /// How it was started.
    pub record: RunRecord,
    /// What came out; `None` while it is not finished.
    pub result: Option<ResultRecord>,
    /// What goes on with it, a command in backticks or words; `None` of a finished one and of a study's.
    pub goes_on_with: Option<String>,
    /// Its measurements.
    pub series: Series,
    /// Pictures made of it.
    pub pictures: Vec<Picture>,
}

/// A study with those of its runs that are there.
#[derive(Clone, Debug)]
pub struct StudyView {
    /// What the page calls it.
    pub name: String,
    /// Its table.
    pub table: StudyTable,
    /// Its pretraining runs and its runs on the test split.
    pub runs: Vec<RunView>,
}

/// What a page shows.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The page's title.
    pub title: String,
    /// When it was made, UTC, RFC 3339.
    pub made: String,
    /// Runs to compare.
    pub runs: Vec<RunView>,
    /// Studies.
    pub studies: Vec<StudyView>,
}

impl RunView {
    /// The arm of a study that the run belongs to, by its name `FRACTION-ARM-sSEED`.
    fn arm(&self) -> Option<Arm> {
        let (_, arm) = self.name.split_once('-')?;
        let (arm, _) = arm.rsplit_once("-s")?;
        Arm::ALL.into_iter().find(|known| known.name() == arm)
    }
}

impl Page {
    /// The page as HTML.
    #[must_use]
    pub fn to_html(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta http-equiv="Content-Security-Policy"
                        content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) }
                    // An icon of its own, or the browser asks for one.
                    link rel="icon" href="data:,";
                    style { (PreEscaped(include_str!("page/style.css"))) }
                }
                body {
                    header {
                        h1 { (self.title) }
                        p.quiet { "Made " (self.made) " by selfie " (env!("CARGO_PKG_VERSION")) }
                    }
                    main {
                        @for (idx, study) in self.studies.iter().enumerate() { (study::section(idx + 1, study)) }
                        @if !self.runs.is_empty() { (self.runs_section()) }
                    }
                    div #tooltip role="status" hidden {}
                    script { (PreEscaped(include_str!("page/hover.js"))) }
                }
            }
        };
        page.into_string()
    }

    fn runs_section(&self) -> Markup {
        let runs: Vec<&RunView> = self.runs.iter().collect();
        html! {
            section {
                h2 { @if runs.len() == 1 { "The run" } @else { "The runs" } }
                (runs_table(&runs, &outcome))
                @for task in [Task::Pretrain, Task::Finetune] { (curves::of_task(&runs, task)) }
            }
            (pictures::section(0, &runs))
            (configuration::section(&runs))
        }
    }
}

/// Which colour is whose.
fn chart_legend(entries: &[(usize, &str)]) -> Markup {
    html! {
        ul.legend { @for (colour, label) in entries { li class=(format!("c{}", colour % N_COLOURS)) { (label) } } }
    }
}

/// A cell of a table of figures, which a phone shows as a list: there it needs its column's name.
fn cell(name: &str, value: &str) -> Markup {
    html! { td.number data-label=(name) { (value) } }
}

/// One line a run: what it was and what came out, in the words of `outcome`.
fn runs_table(runs: &[&RunView], outcome: &dyn Fn(&RunView) -> Markup) -> Markup {
    html! {
        div.wide { table.cards {
            thead.lone { tr { th { "run" } th { "task" } th { "recipe" } th.number { "labels" } th.number { "seed" }
                th.number { "steps" } th { "result" } th.number { "minutes" } th.number { "images/s" } } }
            tbody { @for run in runs { (runs_row(run, &outcome(run))) } }
        } }
    }
}

fn runs_row(run: &RunView, outcome: &Markup) -> Markup {
    let steps = run.series.last("loss").map_or(0, |point| point.step);
    let minutes = run.result.as_ref().map(|result| result.wall_s / 60.0);
    let images_per_s = run.result.as_ref().map(|result| result.images_per_s);
    let labels = run.record.fraction.map(|fraction| format!("{} %", selfie_eval::table::percent(fraction)));
    let labels = labels.unwrap_or_default();
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.1}"));
    html! {
        tr {
            th scope="row" { (run.name) }
            td data-label="task" { (run.record.task) }
            td data-label="recipe" { (run.record.recipe) }
            (cell("labels", &labels))
            (cell("seed", &run.record.seed.to_string()))
            (cell("steps", &steps.to_string()))
            td.words data-label="result" { div { (outcome) } }
            (cell("minutes", &number(minutes)))
            (cell("images/s", &number(images_per_s)))
        }
    }
}

fn outcome(run: &RunView) -> Markup {
    let steps = run.result.as_ref().map_or(0, |result| result.steps.min(PRETEXT_STEPS));
    match run.result.as_ref().map(|result| &result.outcome) {
        None => html! { "not finished" @if let Some(what) = &run.goes_on_with { "; go on with " (command(what)) } },
        Some(Outcome::Pretext { loss, accuracy, chance }) => html! {
            "pretext accuracy " (format!("{accuracy:.3}")) " (chance " (digits(*chance)) "), loss " (format!("{loss:.4}"))
            ", means of the last " (steps) " steps"
        },
        Some(Outcome::Classification { split, top1_accuracy, n_examples, .. }) => {
            html! { (split.to_string()) " accuracy " (format!("{:.2}", 100.0 * top1_accuracy)) " % of " (n_examples) }
        }
    }
}

/// A command that stands in backticks, which breaks between its words only; other text as it is.
fn command(text: &str) -> Markup {
    let Some(command) = text.strip_prefix('`').and_then(|text| text.strip_suffix('`')) else { return html! { (text) } };
    html! { code { @for (idx, word) in command.split(' ').enumerate() { @if idx > 0 { " " } span { (word) } } } }
}

/// A value to compare with: three decimals, of what is below a hundredth two digits, and no zeros at the end.
fn digits(value: f64) -> String {
    let decimals = (1.0 - value.abs().max(1e-9).log10().floor()).clamp(3.0, 9.0) as usize;
    format!("{value:.decimals$}").trim_end_matches('0').trim_end_matches('.').to_owned()
}
