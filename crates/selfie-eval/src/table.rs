//! The table of a comparison: arms × labelled fractions, with the paired difference, as Markdown.

use std::fmt::Write as _;

use crate::EvalError;
use crate::statistics::{PairedDifference, Summary, paired_difference};

#[cfg(test)]
mod tests;

/// Test accuracy of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// Share of the labels the run was given, in 0–1.
    pub fraction: f64,
    /// The run's seed: runs of the two arms with one seed are a pair.
    pub seed: u64,
    /// Test accuracy, in 0–1.
    pub top1_accuracy: f64,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// The row's name.
    pub name: String,
    /// Its runs, over all fractions.
    pub runs: Vec<Measurement>,
}

/// What differed between the runs behind one ±.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variance {
    /// Fine-tuning seed and labelled subset; one pretraining run served all.
    FinetuningSeeds,
    /// The pretraining's seed as well.
    PretrainingAndFinetuningSeeds,
}

impl Variance {
    fn sentence(self) -> &'static str {
        match self {
            Self::FinetuningSeeds => {
                "the fine-tuning seeds (initialisation of the new layers, batch order, labelled subset); one pretraining run serves them \
                 all, so the spread between pretraining runs is not in it"
            }
            Self::PretrainingAndFinetuningSeeds => "the pretraining seeds and the fine-tuning seeds together",
        }
    }
}

/// The comparison of two arms as a Markdown table: mean ± sample standard deviation in per cent, the difference
/// `treated − control` of the paired runs in percentage points with its 95 % interval, and a sentence that says which
/// variance the table shows.
///
/// A fraction that only one arm has stays in the table; a run without a partner of its seed counts in its mean but not
/// in the difference.
///
/// # Errors
///
/// If a measurement is not finite.
pub fn comparison(treated: &Arm, control: &Arm, variance: Variance) -> Result<String, EvalError> {
    let fractions = fractions(treated, control);
    let mut text = String::from("| test accuracy, % |");
    for fraction in &fractions {
        // Eight decimals hide the binary tail of e.g. 0.08 × 100.
        let percent = format!("{:.8}", fraction * 100.0);
        let _ = write!(text, " {} % of the labels |", percent.trim_end_matches('0').trim_end_matches('.'));
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(fractions.len()));
    for arm in [treated, control] {
        let _ = write!(text, "\n| {} |", arm.name.replace('|', "\\|"));
        for fraction in &fractions {
            let _ = write!(text, " {} |", summary_cell(&accuracies(arm, *fraction))?);
        }
    }
    text.push_str("\n| difference |");
    for fraction in &fractions {
        let _ = write!(text, " {} |", difference_cell(treated, control, *fraction)?);
    }
    let _ = write!(
        text,
        "\n\n± is the sample standard deviation over {}. Difference: {} minus {} in percentage points, paired by seed, with its 95 % \
         interval (Student's t).\n",
        variance.sentence(),
        treated.name,
        control.name
    );
    Ok(text)
}

fn fractions(treated: &Arm, control: &Arm) -> Vec<f64> {
    let mut fractions: Vec<f64> = treated.runs.iter().chain(&control.runs).map(|run| run.fraction).collect();
    fractions.sort_by(f64::total_cmp);
    fractions.dedup();
    fractions
}

fn accuracies(arm: &Arm, fraction: f64) -> Vec<f64> {
    arm.runs.iter().filter(|run| run.fraction == fraction).map(|run| run.top1_accuracy).collect()
}

fn summary_cell(accuracies: &[f64]) -> Result<String, EvalError> {
    if let Some(&value) = accuracies.iter().find(|accuracy| !accuracy.is_finite()) {
        return Err(EvalError::NonFinite { what: "a test accuracy".into(), value });
    }
    Ok(match Summary::of(accuracies) {
        None => "not run".to_owned(),
        Some(Summary { n_runs, mean, std: None }) => format!("{:.2} (n = {n_runs})", mean * 100.0),
        Some(Summary { n_runs, mean, std: Some(std) }) => {
            format!("{:.2} ± {:.2} (n = {n_runs})", mean * 100.0, std * 100.0)
        }
    })
}

fn difference_cell(treated: &Arm, control: &Arm, fraction: f64) -> Result<String, EvalError> {
    let control_of = |seed| control.runs.iter().find(|run| run.fraction == fraction && run.seed == seed);
    let pairs: Vec<(f64, f64)> = treated
        .runs
        .iter()
        .filter(|run| run.fraction == fraction)
        .filter_map(|run| Some((run.top1_accuracy * 100.0, control_of(run.seed)?.top1_accuracy * 100.0)))
        .collect();
    let (treated, control): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    match pairs.as_slice() {
        [] => Ok("no pairs".to_owned()),
        [(treated, control)] => Ok(format!("{:+.2} (one pair)", treated - control)),
        _ => {
            let PairedDifference { n_pairs, mean, low, high, p_value, .. } = paired_difference(&treated, &control)?;
            let p_value = if p_value < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p_value:.3}") };
            Ok(format!("{mean:+.2} [{low:+.2}, {high:+.2}], {p_value} ({n_pairs} pairs)"))
        }
    }
}
