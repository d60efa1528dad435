//! The arrows between crates, checked against each Cargo.toml.

use super::Problem;

/// The diagram: a crate may depend on whatever it reaches along these arrows, on no other crate of the workspace.
///
/// So: model and data never know each other, eval never trains, ops knows only random, xtask nothing (it *runs* selfie-cli).
const ARROWS: [(&str, &[&str]); 10] = [
    ("xtask", &[]),
    ("selfie-cli", &["selfie-train", "selfie-pictures"]),
    ("selfie-train", &["selfie-report", "selfie-data"]),
    ("selfie-report", &["selfie-eval"]),
    ("selfie-eval", &["selfie-model", "selfie-data"]),
    ("selfie-model", &["selfie-ops"]),
    ("selfie-data", &["selfie-random"]),
    ("selfie-ops", &["selfie-random"]),
    ("selfie-pictures", &[]),
    ("selfie-random", &[]),
];

/// Crates from outside that a crate must not name directly, by prefix.
const FORBIDDEN: [(&str, &str, &str); 3] = [
    ("xtask", "candle", "it must build in seconds"),
    ("selfie-random", "candle", "the same numbers are drawn without tensors"),
    ("selfie-data", "candle", "a data set holds no network"),
];

/// What a Cargo.toml says, as far as arrows go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    path: String,
    pub(super) name: String,
    /// Packages of every table of dependencies: normal, dev, build, per target, optional ones too.
    dependencies: Vec<String>,
}

/// Where a line of a Cargo.toml stands.
enum Section {
    Package,
    Dependencies,
    OneDependency,
    Other,
}

impl Manifest {
    /// Reads line by line as much TOML as a Cargo.toml's tables of dependencies need.
    pub(super) fn parse(path: &str, text: &str) -> Self {
        let (mut name, mut dependencies) = (String::new(), Vec::new());
        let mut section = Section::Other;
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if let Some(header) = line.strip_prefix('[').and_then(|l| l.split(']').next()) {
                section = section_of(header.trim(), &mut dependencies);
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let key = unquote(key.trim());
            match section {
                Section::Package if key == "name" => name = unquote(value.trim()).to_owned(),
                Section::Dependencies => {
                    let key = unquote(key.split('.').next().unwrap_or(key));
                    dependencies.push(renamed(value).unwrap_or(key).to_owned());
                }
                Section::OneDependency if key == "package" => {
                    dependencies.pop();
                    dependencies.push(unquote(value.trim()).to_owned());
                }
                _ => {}
            }
        }
        Self { path: path.to_owned(), name, dependencies }
    }
}

/// A `[dependencies.NAME]` header is itself a dependency.
fn section_of(header: &str, dependencies: &mut Vec<String>) -> Section {
    let is_table = |part: &str| matches!(part, "dependencies" | "dev-dependencies" | "build-dependencies");
    let mut parts = header.rsplit('.');
    let (last, before) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if header == "package" {
        Section::Package
    } else if is_table(last) {
        Section::Dependencies
    } else if is_table(before) {
        dependencies.push(unquote(last).to_owned());
        Section::OneDependency
    } else {
        Section::Other
    }
}

/// `X` of `{ …, package = "X" }`.
fn renamed(value: &str) -> Option<&str> {
    let (_, after) = value.split_once("package")?;
    let after = after.trim_start().strip_prefix('=')?.trim_start();
    after.strip_prefix('"')?.split('"').next()
}

fn unquote(text: &str) -> &str {
    text.trim_matches(['"', '\''])
}

/// Whether an arrow or a chain of arrows leads from one crate to the other.
fn reaches(from: &str, to: &str) -> bool {
    let arrows = ARROWS.iter().find(|(name, _)| *name == from).map_or(&[][..], |(_, arrows)| arrows);
    arrows.iter().any(|next| *next == to || reaches(next, to))
}

pub(super) fn check(manifests: &[Manifest]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for manifest in manifests {
        let name = manifest.name.as_str();
        if !ARROWS.iter().any(|(known, _)| *known == name) {
            let what = format!("the crate {name:?} is not in the table of arrows (xtask/src/tidy/arrows.rs)");
            problems.push(Problem::new(&manifest.path, what));
            continue;
        }
        for dependency in &manifest.dependencies {
            let of_workspace =
                manifests.iter().any(|m| m.name == *dependency) || ARROWS.iter().any(|(known, _)| known == dependency);
            if of_workspace && !reaches(name, dependency) {
                let what = format!("{name} must not depend on {dependency}: no arrow leads there");
                problems.push(Problem::new(&manifest.path, what));
            }
            for (from, prefix, reason) in FORBIDDEN {
                if from == name && dependency.starts_with(prefix) {
                    let what = format!("{name} must not depend on {dependency}: {reason}");
                    problems.push(Problem::new(&manifest.path, what));
                }
            }
        }
    }
    for (name, _) in ARROWS {
        if !manifests.iter().any(|m| m.name == name) {
            problems.push(Problem::new("Cargo.toml", format!("the crate {name} does not exist")));
        }
    }
    problems
}
