//! `cargo xtask tidy`: the rules of this repository that no compiler checks.
//!
//! Each rule is a function from text to problems, so that a test can show it failing on made-up input.

mod arrows;
mod map;
mod repository;
mod rules;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::process::say;
use repository::Repository;

const MAP: &str = "ARCHITECTURE.md";
const DOCKERFILE: &str = "Dockerfile";
const TOOLCHAIN: &str = "rust-toolchain.toml";

/// A broken rule and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    path: String,
    what: String,
}

impl Problem {
    fn new(path: &str, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), what: what.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// Checks the repository and lists every problem on standard error.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let problems = check(root)?;
    for problem in &problems {
        say(&format!("tidy: {problem}"));
    }
    if problems.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("tidy: problems found: {}", problems.len()));
    Ok(ExitCode::FAILURE)
}

fn check(root: &Path) -> Result<Vec<Problem>> {
    let repository = Repository::open(root)?;
    let mut problems = Vec::new();
    let mut manifests = Vec::new();
    let mut map_text = None;
    for path in &repository.files {
        let content = repository.read(path)?;
        problems.extend(rules::check_file(path, &content));
        let Ok(text) = String::from_utf8(content) else {
            continue;
        };
        if path.ends_with(".rs") {
            problems.extend(rules::check_rust(path, &text));
        }
        if is_crate_manifest(path) {
            manifests.push(arrows::Manifest::parse(path, &text));
        } else if path == MAP {
            map_text = Some(text);
        }
    }
    if repository.files.contains(DOCKERFILE) {
        let text = |path: &str| repository.read(path).map(|content| String::from_utf8_lossy(&content).into_owned());
        problems.extend(rules::check_dockerfile(DOCKERFILE, &text(DOCKERFILE)?, &text(TOOLCHAIN)?));
    }
    problems.extend(arrows::check(&manifests));
    let crates: Vec<&str> = manifests.iter().map(|m| m.name.as_str()).collect();
    problems.extend(map::check(map_text.as_deref(), &repository.files, &crates));
    Ok(problems)
}

/// A member of the workspace; the fuzz targets are a workspace of their own.
fn is_crate_manifest(path: &str) -> bool {
    path == "xtask/Cargo.toml" || (path.starts_with("crates/") && path.ends_with("/Cargo.toml"))
}
