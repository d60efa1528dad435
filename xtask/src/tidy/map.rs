//! ARCHITECTURE.md: every path it names exists, every crate is in it.

use std::collections::BTreeSet;

use super::{MAP, Problem};

/// Folders that only a run or a build makes.
const MADE_AT_RUN_TIME: [&str; 3] = ["target/", "runs/", "data/"];

/// `text` is `None` where there is no ARCHITECTURE.md.
pub(super) fn check(text: Option<&str>, files: &BTreeSet<String>, crates: &[&str]) -> Vec<Problem> {
    let Some(text) = text else {
        return vec![Problem::new(MAP, "does not exist: the repository has a map, and it is checked")];
    };
    let mut problems = Vec::new();
    for (line, span) in code_spans(text) {
        if let Some(path) = path_in(span)
            && !exists(path, files)
        {
            let what = format!(
                "line {line} names `{span}`, which is neither a file nor a folder here (if it is no path: leave out the slash \
                 or the backticks)"
            );
            problems.push(Problem::new(MAP, what));
        }
    }
    for name in crates {
        if !names_crate(text, name) {
            problems.push(Problem::new(MAP, format!("does not mention the crate {name}")));
        }
    }
    problems
}

/// Inline code with its line number, 1-based; not what stands in a fenced block, where pictures are drawn.
fn code_spans(text: &str) -> Vec<(usize, &str)> {
    let mut spans = Vec::new();
    let mut in_fence = false;
    for (i, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        } else if !in_fence {
            spans.extend(line.split('`').skip(1).step_by(2).map(|span| (i + 1, span)));
        }
    }
    spans
}

/// The part of a span that must exist: all of it, or the folders before a placeholder (`configs/<recipe>.toml`).
fn path_in(span: &str) -> Option<&str> {
    let looks_like_a_path =
        span.contains('/') || [".rs", ".toml", ".md"].iter().any(|end| span.len() > end.len() && span.ends_with(end));
    let is_placeholder = |c: char| "<>*{}$…".contains(c);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let elsewhere = span.contains("//")
        || span.starts_with(['/', '$', '~', '<'])
        || MADE_AT_RUN_TIME.iter().any(|folder| span.starts_with(folder));
    if !looks_like_a_path || elsewhere || !span.chars().all(|c| is_plain(c) || is_placeholder(c)) {
        return None;
    }
    let certain = match span.find(is_placeholder) {
        None => span,
        Some(placeholder) => &span[..span[..placeholder].rfind('/')?],
    };
    let certain = certain.trim_start_matches("./").trim_end_matches('/');
    (!certain.is_empty()).then_some(certain)
}

/// Whether a file or folder has this path, counted from the root or, as under a crate's heading, from any folder.
fn exists(path: &str, files: &BTreeSet<String>) -> bool {
    let (inside, folder) = (format!("/{path}"), format!("{path}/"));
    let inside_folder = format!("/{folder}");
    files.iter().any(|file| {
        file == path || file.ends_with(&inside) || file.starts_with(&folder) || file.contains(&inside_folder)
    })
}

/// `selfie-data` is not mentioned by `selfie-dataset`.
fn names_crate(text: &str, name: &str) -> bool {
    let continues = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.match_indices(name)
        .any(|(start, _)| !text[..start].ends_with(continues) && !text[start + name.len()..].starts_with(continues))
}
