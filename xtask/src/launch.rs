//! Builds `selfie` and becomes it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

use crate::backend::{self, Machine, Request};
use crate::process::{cargo, exit_code, say};

#[cfg(test)]
mod tests;

/// `EX_CONFIG`: selfie's own exit code for a configuration that cannot work.
const BAD_CONFIGURATION: u8 = 78;

/// Builds `selfie` with the features the arguments and the machine call for, and runs it with the arguments as they are.
pub(crate) fn run(root: &Path, arguments: &[OsString]) -> Result<ExitCode> {
    let request = Request::from_environment(arguments);
    let choice = match backend::choose(&request, Machine::probe()) {
        Ok(choice) => choice,
        Err(error) => {
            say(&format!("error: {error:#}"));
            return Ok(ExitCode::from(BAD_CONFIGURATION));
        }
    };
    let features = choice.features.join(",");
    let with = if features.is_empty() { String::new() } else { format!(", features {features}") };
    say(&format!("xtask: backend {} ({}){with}", choice.backend, choice.reason));
    match build(root, &features)? {
        Ok(binary) => become_process(&binary, arguments),
        Err(status) => Ok(exit_code(status)),
    }
}

/// The path of the built binary, or how cargo ended; cargo's own messages go to standard error.
pub(crate) fn build(root: &Path, features: &str) -> Result<Result<PathBuf, ExitStatus>> {
    let mut command = cargo();
    command.args(["build", "--release", "-p", "selfie-cli"]);
    if !features.is_empty() {
        command.args(["--features", features]);
    }
    command.arg("--message-format=json-render-diagnostics");
    command.arg("--manifest-path").arg(root.join("Cargo.toml"));
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no standard output")?;
    let mut binary = None;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read cargo's messages")?;
        binary = executable_in(&line).map(PathBuf::from).or(binary);
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        return Ok(Err(status));
    }
    match binary {
        Some(binary) => Ok(Ok(binary)),
        None => bail!("cargo built selfie-cli but named no binary called selfie"),
    }
}

/// The executable that one of cargo's JSON messages reports, if it is an artifact of the binary target `selfie`.
///
/// Reads as much JSON as that takes: cargo writes no space between tokens, and escapes every quote within a string.
fn executable_in(message: &str) -> Option<String> {
    let is_selfie = message.contains(r#""reason":"compiler-artifact""#)
        && message.contains(r#""kind":["bin"]"#)
        && message.contains(r#""name":"selfie""#);
    let (_, value) = message.split_once(r#""executable":""#)?;
    is_selfie.then(|| json_string(value)).flatten()
}

/// A JSON string's value, from after its opening quote.
fn json_string(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some(value),
            '\\' => value.push(match chars.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    let digits: String = chars.by_ref().take(4).collect();
                    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
                }
                escaped => escaped,
            }),
            plain => value.push(plain),
        }
    }
}

/// Replaces this process, so that signals and the exit code are the binary's own.
#[cfg(unix)]
fn become_process(binary: &Path, arguments: &[OsString]) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let error = Command::new(binary).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", binary.display()))
}

#[cfg(not(unix))]
fn become_process(binary: &Path, arguments: &[OsString]) -> Result<ExitCode> {
    let status = Command::new(binary).args(arguments).status();
    Ok(exit_code(status.with_context(|| format!("cannot run {}", binary.display()))?))
}
