//! Where a value of the configuration came from.

use std::path::PathBuf;

/// Where a value of the configuration came from, the least binding first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The program's default.
    Default,
    /// The configuration of an earlier run, which a fine-tuning takes over.
    Run(PathBuf),
    /// An embedded recipe, by name.
    Recipe(String),
    /// A TOML file.
    File(PathBuf),
    /// An environment variable, by name.
    Environment(String),
    /// `--set`
    Set,
    /// A flag of its own, as typed: `--steps`.
    Flag(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Run(path) => write!(f, "run {}", path.display()),
            Self::Recipe(name) => write!(f, "recipe {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "${name}"),
            Self::Set => f.write_str("--set"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}
