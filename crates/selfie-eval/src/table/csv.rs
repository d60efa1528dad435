//! A study's table as comma-separated values: a line a fraction and arm.

use std::fmt::Write as _;

use super::{StudyTable, Test};
use crate::paper::Published;
use crate::record::Arm;

const HEADER: &str = "fraction,arm,n_runs,n_diverged,mean,std,learning_rate,n_pairs,difference,low,high,p_value,sign_flip_p_value,\
                      spread_ratio,paper_mean,paper_std";

impl StudyTable {
    /// The table as CSV. Accuracies and differences are in 0–1, the paper's too; what there is not is empty.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for row in &self.fractions {
            for cell in &row.arms {
                let test = cell.difference.and_then(|difference| difference.test);
                let of_test = |of: fn(&Test) -> Option<f64>| number(test.as_ref().and_then(of));
                let paper = row.paper.and_then(|paper| match cell.arm {
                    Arm::Pretrained => Some(paper.selfie),
                    Arm::Scratch => Some(paper.supervised),
                    Arm::AttentionPooling | Arm::LinearProbe => None,
                });
                let of_paper = |of: fn(Published) -> f64| number(paper.map(|paper| of(paper) / 100.0));
                let values = [
                    row.fraction.to_string(),
                    cell.arm.name().to_owned(),
                    cell.runs.len().to_string(),
                    cell.diverged.len().to_string(),
                    number(cell.mean),
                    number(cell.std),
                    cell.learning_rate.to_string(),
                    cell.difference.map_or_else(String::new, |difference| difference.n_pairs.to_string()),
                    number(cell.difference.map(|difference| difference.mean)),
                    of_test(|test| Some(test.low)),
                    of_test(|test| Some(test.high)),
                    of_test(|test| Some(test.p_value)),
                    of_test(|test| test.sign_flip_p_value),
                    of_test(|test| test.spread_ratio),
                    of_paper(|published| published.mean),
                    of_paper(|published| published.std),
                ];
                let _ = writeln!(text, "{}", values.join(","));
            }
        }
        text
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
