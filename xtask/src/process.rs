//! The processes around this one: cargo, the repository, standard error.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result};

/// Writes a line to standard error; a closed standard error is no reason to stop.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

/// The workspace's folder: the one above this crate's manifest, where cargo says it is today rather than where it was built.
pub(crate) fn repository_root() -> Result<PathBuf> {
    let manifest_dir = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let xtask = Path::new(&manifest_dir);
    let root = xtask.parent().with_context(|| format!("{} has no parent", xtask.display()))?;
    Ok(root.to_path_buf())
}

/// cargo, without what `cargo run` told *this* process about xtask: those variables are no part of what the user asked for.
///
/// The current folder stays the user's, because a relative `CARGO_TARGET_DIR` counts from it.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&*name);
        }
    }
    command
}

/// The exit code of a child as this process's own; 1 for a child that a signal ended.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}

/// Where cargo builds, as far as the environment says.
pub(crate) fn target_dir(root: &Path) -> PathBuf {
    let named = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = named.unwrap_or_else(|| root.join("target"));
    std::path::absolute(&target).unwrap_or(target)
}
