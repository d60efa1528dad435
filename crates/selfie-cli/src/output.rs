//! What reaches the user: results on stdout, errors on stderr, the exit code.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;

use selfie_data::DataError;
use selfie_eval::EvalError;
use selfie_model::ModelError;
use selfie_pictures::PictureError;
use selfie_train::TrainError;
use selfie_train::config::path_meant_by;

/// What [`selfie_model::Metadata::kind`] calls a pretraining network.
const PRETRAINING: &str = "a pretraining network";

/// An error of usage that the argument parser cannot see.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Prints an error with its causes and returns its exit code.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    let mut message = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // A transparent wrapper says what its cause says.
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    let missing = error.downcast_ref::<TrainError>().and_then(TrainError::missing_path);
    if let Some(meant) = missing.filter(|path| was_typed(path)).and_then(path_meant_by) {
        message.push_str(&format!("; did you mean {}?", meant.display()));
    }
    let _ = writeln!(io::stderr(), "error: {message}");
    exit_code(error)
}

/// Whether a path is an argument of this command, and so may be mistyped.
fn was_typed(path: &Path) -> bool {
    let typed = |argument: OsString| {
        let value = argument.to_str().and_then(|argument| argument.split_once('=')).map(|(_, value)| Path::new(value));
        Path::new(&argument) == path || value == Some(path)
    };
    std::env::args_os().skip(1).any(typed)
}

/// Whether a flag is among this command's arguments.
pub(crate) fn is_typed(flag: &str) -> bool {
    let is_flag = |argument: OsString| {
        let rest = argument.to_str().and_then(|argument| argument.strip_prefix(flag));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    std::env::args_os().any(is_flag)
}

/// Where a value came from that a flag gives, else a variable of the environment.
pub(crate) fn flag_or_variable(flag: &str, variable: &str) -> String {
    if is_typed(flag) { flag.to_owned() } else { format!("${variable}") }
}

/// `1 image`, `2 images`.
pub(crate) fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<TrainError>() {
            return error.exit_code();
        }
        if cause.is::<Usage>() {
            return 2;
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return if error.kind() == io::ErrorKind::NotFound { 66 } else { 74 };
        }
    }
    70
}

/// The errors of the libraries all have their exit codes in [`TrainError`].
pub(crate) fn data(error: DataError) -> anyhow::Error {
    TrainError::from(error).into()
}

/// As [`data`]. The one flag that names a place in a network is --at.
pub(crate) fn model(error: ModelError) -> anyhow::Error {
    match error {
        ModelError::Place { .. } => Usage(format!("--at: {error}")).into(),
        other => TrainError::from(other).into(),
    }
}

/// As [`model`].
pub(crate) fn eval(error: EvalError) -> anyhow::Error {
    match error {
        EvalError::Model(error) => model(error),
        other => TrainError::from(other).into(),
    }
}

/// As [`model`], where a classifier is asked for; `given` is the run or the weights file.
pub(crate) fn classifier(error: ModelError, given: &Path) -> anyhow::Error {
    match error {
        ModelError::Kind { got, .. } if got == PRETRAINING => {
            TrainError::NotFinetuned { given: given.to_owned(), source: error }.into()
        }
        other => model(other),
    }
}

/// A picture that cannot be written at the place that a flag names.
pub(crate) fn picture(flag: &'static str, error: PictureError) -> anyhow::Error {
    match error {
        PictureError::Write { path, source } => TrainError::CannotWrite { flag, path, source }.into(),
        other => other.into(),
    }
}

/// Tells something on stderr, where progress goes; a reader that is gone is no error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints a result on stdout. A reader that has closed its end is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let written =
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
