//! `selfie checkpoint`

use selfie_train::checkpoint::{self, Content, VerifiedContent};
use serde_json::{Value, json};

use crate::arguments::{Checkpoint, CheckpointCommand};
use crate::output;

mod diff;

pub(crate) fn run(arguments: &Checkpoint) -> anyhow::Result<u8> {
    match &arguments.command {
        CheckpointCommand::Show { path, json } => {
            let content = checkpoint::show(path)?;
            let text = if *json { serde_json::to_string_pretty(&as_json(&content))? } else { as_text(&content) };
            output::print(&text)?;
            Ok(0)
        }
        CheckpointCommand::Diff { left, right, json } => diff::run(left, right, *json),
        CheckpointCommand::Verify { path } => {
            let mut codes = Vec::new();
            for verified in checkpoint::verify(path)? {
                match verified.result {
                    Ok(content) => {
                        output::print(&format!("{}: intact, {}", verified.path.display(), describe(&content)))?
                    }
                    Err(error) => {
                        output::print(&error.to_string())?;
                        codes.push(error.exit_code());
                    }
                }
            }
            // Damage says more than a file that is gone.
            Ok(codes.into_iter().min().unwrap_or(0))
        }
    }
}

fn describe(content: &VerifiedContent) -> String {
    match content {
        VerifiedContent::Checkpoint { step, bytes } => format!("step {step}, {bytes} bytes"),
        VerifiedContent::Weights { blake3 } => format!("weights, BLAKE3 {blake3}"),
    }
}

/// The tensors, then where they lie and how many they are: what is read without scrolling.
fn as_text(content: &Content) -> String {
    let (mut text, mut sums) = (String::new(), String::new());
    for (file, tensors) in &content.tensors {
        let n: usize = tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
        text.push_str(&format!("{file}\n"));
        for tensor in tensors {
            text.push_str(&format!("  {} {:?} {}\n", tensor.dtype, tensor.shape, tensor.name));
        }
        sums.push_str(&format!("\n{file}: {} tensors, {n} numbers", tensors.len()));
    }
    let step = content.manifest.as_ref().map_or_else(String::new, |manifest| format!(": step {}", manifest.step));
    format!("{text}{}{step}{sums}", content.path.display())
}

fn as_json(content: &Content) -> Value {
    let tensors: serde_json::Map<String, Value> = content
        .tensors
        .iter()
        .map(|(file, tensors)| {
            let of_file = tensors.iter().map(|t| json!({ "name": t.name, "dtype": t.dtype, "shape": t.shape }));
            (file.clone(), Value::Array(of_file.collect()))
        })
        .collect();
    let step = content.manifest.as_ref().map(|manifest| manifest.step);
    json!({ "path": content.path.display().to_string(), "step": step, "files": tensors })
}
