//! `metrics.csv`: a line a step, a column a name.

use std::fmt::Write as _;

use crate::series::{numbers, whole_lines};

#[cfg(test)]
mod tests;

/// A run's metrics as CSV: `step`, then every name in the order of its first appearance. Several lines of one step, say a
/// step's own and a probe's, become one; what a step does not have is empty.
#[must_use]
pub fn metrics(text: &str) -> String {
    let mut names: Vec<String> = Vec::new();
    let mut rows: Vec<(u64, Vec<Option<f64>>)> = Vec::new();
    for (step, values) in whole_lines(text).filter_map(numbers) {
        if rows.last().is_none_or(|(last, _)| *last != step) {
            rows.push((step, Vec::new()));
        }
        let Some((_, row)) = rows.last_mut() else { continue };
        for (name, value) in values {
            let column = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            });
            row.resize(row.len().max(column + 1), None);
            row[column] = Some(value);
        }
    }
    let mut text = String::from("step");
    for name in &names {
        let _ = write!(text, ",{}", quoted(name));
    }
    text.push('\n');
    for (step, row) in rows {
        let _ = write!(text, "{step}");
        for column in 0..names.len() {
            let value = row.get(column).copied().flatten();
            let _ = write!(text, ",{}", value.map_or_else(String::new, |value| value.to_string()));
        }
        text.push('\n');
    }
    text
}

/// A name that holds a comma, a quote or a line's end, in quotes.
fn quoted(name: &str) -> String {
    if name.contains([',', '"', '\n', '\r']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.to_owned() }
}
