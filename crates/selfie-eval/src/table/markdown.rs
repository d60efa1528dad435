//! A study's table as Markdown.

use std::fmt::Write as _;

use super::{ArmCell, Difference, FractionRow, StudyTable, Test, Variance, p_value, percent};
use crate::paper::Published;
use crate::record::Arm;

impl Variance {
    /// What a ± is over.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::FinetuningSeeds => {
                "the fine-tuning seeds (initialisation of the new layers, batch order, labelled subset); one pretraining run serves them \
                 all, so the spread between pretraining runs is not in it"
            }
            Self::PretrainingAndFinetuningSeeds => "the pretraining seeds and the fine-tuning seeds together",
        }
    }
}

impl StudyTable {
    /// The table as Markdown: mean ± sample standard deviation in per cent, the paper's cells, the differences of the paired
    /// runs in percentage points, how the learning rates were chosen, and which variance the table shows.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = self.accuracies();
        text.push_str(&self.differences());
        text.push_str(&self.learning_rates());
        text.push_str(&self.notes());
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
                let end = match cell {
                    cell if cell.all_diverged() => " (the lowest: every one diverged)",
                    cell if cell.all_tied() => " (all did the same)",
                    cell if cell.chose_an_end() => " (an end of what was tried)",
                    _ => "",
                };
                let (share, arm, tried) = (percent(row.fraction), cell.arm.title(), tried.join(", "));
                let _ = write!(rows, "\n| {share} % | {arm} | {}{end} | {tried} |", cell.learning_rate);
            }
        }
        if rows.is_empty() {
            return String::new();
        }
        format!("\n| labels | arm | learning rate | validation accuracy, % |\n|---:|---|---:|---|{rows}\n")
    }

    fn notes(&self) -> String {
        let mut text = format!("\n± is the sample standard deviation over {}.", self.about.variance.sentence());
        if self.n_diverged() > 0 {
            text.push_str(
                " Runs that diverged, whose numbers were no longer finite (diverged.json in their folder says which), are in no mean \
                 and no difference: those that are left are the better ones.",
            );
        }
        if let Some(test_set) = self.about.test_set {
            let _ = write!(text, " {}", test_set.sentence());
        }
        if self.arms().contains(&Arm::Scratch) {
            text.push_str(
                " Differences are paired by seed: the runs of a seed share the labelled subset. The interval and the first p-value are \
                 Student's t; the second counts all flips of the signs, and with n pairs is never below 2/2ⁿ. The spread ratio is the \
                 arm's standard deviation over that of the runs from scratch.",
            );
        }
        if self.fractions.iter().any(|row| row.paper.is_some()) {
            text.push_str(
                " The paper's figures are of ResNet-50 at full width and 120,000 updates; those marked * were read in a primary \
                 source, the others and every ± of the paper are as recalled.",
            );
        }
        text.push('\n');
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
