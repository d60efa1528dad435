//! A study's table as Markdown.

use std::fmt::Write as _;

use super::{ArmCell, Difference, FractionRow, StudyTable, Test, p_value, percent};
use crate::paper::Published;
use crate::record::Arm;

impl StudyTable {
    /// The table as Markdown: mean ± sample standard deviation in per cent, the paper's cells, the differences of the paired
    /// runs in percentage points, how the learning rates were chosen, and which variance the table shows.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = self.accuracies();
        text.push_str(&self.differences());
        text.push_str(&self.learning_rates());
        text.push_str(&self.reading_aid());
        text
    }

    fn accuracies(&self) -> String {
        let mut text = String::from("| test accuracy, % |");
        for row in &self.fractions {
            let _ = write!(text, " {} % of the labels |", percent(row.fraction));
        }
        let _ = write!(text, "\n|---|{}", "---:|".repeat(self.fractions.len()));
        for arm in self.arms() {
            let cells =
                self.fractions.iter().map(|row| row.arm(arm).map_or_else(|| "not run".to_owned(), ArmCell::accuracy));
            let _ = write!(text, "\n| {} | {} |", arm.title(), cells.collect::<Vec<_>>().join(" | "));
        }
        if self.fractions.iter().any(|row| row.paper.is_some()) {
            for (name, of_selfie) in [("the paper's Selfie", true), ("the paper, from scratch", false)] {
                let cells = self.fractions.iter().map(|row| published(row, of_selfie));
                let _ = write!(text, "\n| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
            }
        }
        text.push('\n');
        text
    }

    fn differences(&self) -> String {
        let mut rows = String::new();
        for row in &self.fractions {
            for cell in row.arms.iter().filter(|cell| cell.arm != Arm::Scratch) {
                if let Some(difference) = &cell.difference {
                    let (share, arm) = (percent(row.fraction), cell.arm.title());
                    let _ = write!(rows, "\n| {share} % | {arm} | {} |", difference_cells(difference));
                }
            }
        }
        if rows.is_empty() {
            return String::new();
        }
        format!(
            "\n| labels | minus from scratch | points | 95 % interval | paired t | sign flips | spread ratio | pairs |\n\
             |---:|---|---:|---:|---:|---:|---:|---:|{rows}\n"
        )
    }

    fn learning_rates(&self) -> String {
        let mut rows = String::new();
        for row in &self.fractions {
            for cell in row.arms.iter().filter(|cell| !cell.trials.is_empty()) {
                let tried: Vec<String> =
                    cell.trials.iter().map(|trial| trial_cell(trial.learning_rate, trial.top1_accuracy)).collect();
                let note = cell.choice_note().map_or_else(String::new, |note| format!(" ({note})"));
                let (share, arm, tried) = (percent(row.fraction), cell.arm.title(), tried.join(", "));
                let _ = write!(rows, "\n| {share} % | {arm} | {}{note} | {tried} |", cell.learning_rate);
            }
        }
        if rows.is_empty() {
            return String::new();
        }
        format!("\n| labels | arm | learning rate | validation accuracy, % |\n|---:|---|---:|---|{rows}\n")
    }

    fn reading_aid(&self) -> String {
        let mut text = format!("\n{}\n", self.notes().join(" "));
        let (finished, all) = (self.n_finished(), self.about.n_runs);
        if finished < all {
            let _ = write!(text, "\n{finished} of {all} runs are finished.\n");
        }
        text
    }
}

fn published(row: &FractionRow, of_selfie: bool) -> String {
    let Some(paper) = &row.paper else { return "—".to_owned() };
    let Published { mean, std } = if of_selfie { paper.selfie } else { paper.supervised };
    let read = if paper.means_were_read { "*" } else { "" };
    format!("{mean:.1}{read} ± {std:.1}")
}

fn difference_cells(difference: &Difference) -> String {
    let &Difference { n_pairs, mean, test } = difference;
    let points = format!("{:+.2}", mean * 100.0);
    let Some(Test { low, high, p_value: t, sign_flip_p_value, spread_ratio, .. }) = test else {
        return format!("{points} | {} | | | | {n_pairs}", difference.why_no_test());
    };
    let flips = sign_flip_p_value.map_or_else(|| "too many pairs".to_owned(), p_value);
    let ratio = spread_ratio.map_or_else(|| "—".to_owned(), |ratio| format!("{ratio:.2}"));
    let interval = format!("{:+.2} to {:+.2}", low * 100.0, high * 100.0);
    format!("{points} | {interval} | {} | {flips} | {ratio} | {n_pairs}", p_value(t))
}

fn trial_cell(learning_rate: f64, accuracy: Option<f64>) -> String {
    match accuracy {
        Some(accuracy) => format!("{learning_rate}: {:.2}", accuracy * 100.0),
        None => format!("{learning_rate}: not finite"),
    }
}
