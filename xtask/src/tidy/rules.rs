//! Rules for single files: size, kind, and text that must not be there.

use super::Problem;

const MAX_FILE_BYTES: usize = 2 << 20;
const MAX_RUST_LINES: usize = 700;

// Written in two halves, so that this file keeps its own rules.
const UNFINISHED: [&str; 3] = [concat!("to", "do!("), concat!("un", "implemented!("), concat!("#[", "ignore")];
const PATHS_OF_ONE_MACHINE: [&str; 2] = [concat!("/wo", "rk/"), concat!("/tm", "p/w")];

/// What holds for every file.
pub(super) fn check_file(path: &str, content: &[u8]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if content.len() > MAX_FILE_BYTES {
        let what = format!("is {} bytes, more than {MAX_FILE_BYTES}: keep it out of the repository", content.len());
        problems.push(Problem::new(path, what));
    }
    if path.ends_with(".safetensors") && !may_hold_tensors(path) {
        let what = "is a weights file outside testdata/ and crates/*/tests/: keep it out of the repository";
        problems.push(Problem::new(path, what));
    }
    for text in PATHS_OF_ONE_MACHINE {
        if let Some(line) = line_of(content, text) {
            problems.push(Problem::new(path, format!("line {line} has {text:?}, a path of one machine")));
        }
    }
    problems
}

/// What holds for Rust files.
pub(super) fn check_rust(path: &str, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_RUST_LINES {
        let what = format!("has {lines} lines, more than {MAX_RUST_LINES}: split it by subject");
        problems.push(Problem::new(path, what));
    }
    for unfinished in UNFINISHED {
        if let Some(line) = line_of(text.as_bytes(), unfinished) {
            problems.push(Problem::new(path, format!("line {line} has `{unfinished}`: finish it or take it out")));
        }
    }
    problems
}

/// The image is built by the toolchain of everyone else.
pub(super) fn check_dockerfile(path: &str, dockerfile: &str, toolchain: &str) -> Vec<Problem> {
    let value = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key).map(str::to_owned));
        line.map(|value| value.trim().trim_matches('"').to_owned())
    };
    let (ours, theirs) = (value(dockerfile, "ARG RUST="), value(toolchain, "channel ="));
    if ours.is_some() && ours == theirs {
        return Vec::new();
    }
    let word = |version: Option<String>| version.unwrap_or_else(|| "none".to_owned());
    let what = format!("`ARG RUST={}`, expected rust-toolchain.toml's {}", word(ours), word(theirs));
    vec![Problem::new(path, what)]
}

fn may_hold_tensors(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts[..], ["testdata", ..] | ["crates", _, "tests", ..])
}

/// The line, 1-based, where `text` first occurs.
fn line_of(content: &[u8], text: &str) -> Option<usize> {
    let at = content.windows(text.len()).position(|window| window == text.as_bytes())?;
    Some(content[..at].iter().filter(|byte| **byte == b'\n').count() + 1)
}
