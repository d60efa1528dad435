//! `selfie checkpoint diff`

use std::path::Path;

use selfie_train::checkpoint::{self, Diff, TensorDiff, TensorDifference};
use serde_json::{Value, json};

use crate::output;

/// The exit code when something differs, as of `diff`.
const DIFFERENT: u8 = 1;

pub(super) fn run(left: &Path, right: &Path, json: bool) -> anyhow::Result<u8> {
    let diff = checkpoint::diff(left, right)?;
    let text = if json { serde_json::to_string_pretty(&as_json(&diff))? } else { as_text(&diff) };
    output::print(&text)?;
    Ok(if diff.is_empty() { 0 } else { DIFFERENT })
}

fn as_text(diff: &Diff) -> String {
    let (left, right) = (diff.left.display(), diff.right.display());
    let mut lines =
        vec![format!("{left} and {right}: {} tensors differ, {} are equal", diff.tensors.len(), diff.n_equal)];
    lines.extend(diff.facts.iter().map(|fact| format!("  {}: {} and {}", fact.key, fact.was, fact.now)));
    lines.extend(diff.tensors.iter().map(|tensor| format!("  {} {}: {}", tensor.file, tensor.name, how(tensor))));
    lines.join("\n")
}

fn how(tensor: &TensorDiff) -> String {
    match &tensor.how {
        TensorDifference::OnlyLeft => "only in the first".to_owned(),
        TensorDifference::OnlyRight => "only in the second".to_owned(),
        TensorDifference::Form { left, right } => format!("{left} and {right}"),
        TensorDifference::Values { n_different, n, max_abs, rms, relative } => {
            let relative = relative.map_or_else(String::new, |relative| format!(" ({:.2e} of the first's)", relative));
            format!("{n_different} of {n} numbers, at most by {max_abs:.3e}, root mean square {rms:.3e}{relative}")
        }
    }
}

fn as_json(diff: &Diff) -> Value {
    let facts = diff.facts.iter().map(|fact| json!({ "key": fact.key, "left": fact.was, "right": fact.now }));
    json!({
        "left": diff.left.display().to_string(),
        "right": diff.right.display().to_string(),
        "equal_tensors": diff.n_equal,
        "tensors": diff.tensors,
        "facts": facts.collect::<Vec<_>>(),
    })
}
