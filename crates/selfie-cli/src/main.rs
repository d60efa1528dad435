//! The `selfie` command: arguments in, one call, exit code out.

mod allocator;
mod arguments;
mod choice;
mod commands;
mod context;
mod output;

use std::process::ExitCode;

use arguments::{Command, Selfie};
use clap::Parser as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use selfie_train::config::key_meant_by;

/// The commands whose --set takes keys of the configuration.
const TRAINING: [&str; 3] = ["pretrain", "finetune", "study"];

/// candle's backward pass recurses over the graph; a composed network is thousands of nodes deep.
const STACK_BYTES: usize = 256 << 20;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    let arguments = Selfie::try_parse().unwrap_or_else(|error| with_the_keys(error).exit());
    let runner = std::thread::Builder::new().name("selfie".to_owned()).stack_size(STACK_BYTES);
    let outcome = runner.spawn(move || run(arguments.command)).map(std::thread::JoinHandle::join);
    match outcome {
        Ok(Ok(Ok(code))) => ExitCode::from(code),
        Ok(Ok(Err(error))) => ExitCode::from(output::report(&error)),
        // The panic's own message is on stderr already.
        Ok(Err(_)) => ExitCode::from(70),
        Err(error) => ExitCode::from(output::report(&error.into())),
    }
}

/// Says how a key of the configuration is set where it was typed as a flag, and how a data set is named where --set is none.
fn with_the_keys(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return error };
    if let Some(tip) = tip_of_the_environment(flag) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        return error;
    }
    let name = flag.trim_start_matches('-').replace('-', "_");
    let command = std::env::args_os().nth(1);
    let is_training = command.is_some_and(|command| TRAINING.iter().any(|training| command == *training));
    // A flag that was mistyped is the likelier guess, unless this is a key to the letter.
    let is_likely = |key: &String| error.get(ContextKind::SuggestedArg).is_none() || name == *key;
    let tip = match error.kind() {
        ErrorKind::UnknownArgument if is_training => key_meant_by(&name)
            .filter(is_likely)
            .map(|key| format!("`{key}` is a key of the configuration: --set {key}=VALUE")),
        ErrorKind::UnknownArgument if name == "set" => {
            let tip = "a data set is named with --data-set; keys of the configuration belong to the training commands";
            Some(tip.to_owned())
        }
        _ => None,
    };
    if let Some(tip) = tip {
        error.remove(ContextKind::SuggestedArg);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// Names the variable where the value of a flag that was not typed is wrong.
fn tip_of_the_environment(flag: &str) -> Option<String> {
    let flag = flag.split_whitespace().next().filter(|flag| flag.starts_with("--"))?;
    let variable = format!("SELFIE_{}", flag.trim_start_matches('-').replace('-', "_").to_uppercase());
    let value = std::env::var(&variable).ok().filter(|_| !output::is_typed(flag))?;
    Some(format!("${variable} is set to {value}"))
}

fn run(command: Command) -> anyhow::Result<u8> {
    if let Some(compute) = command.compute() {
        context::threads(compute)?;
    }
    match command {
        Command::Demo(arguments) => commands::demo::run(&arguments),
        Command::Pretrain(arguments) => commands::pretrain::run(&arguments),
        Command::Finetune(arguments) => commands::finetune::run(&arguments),
        Command::Study(arguments) => commands::study::run(&arguments),
        Command::Report(arguments) => commands::report::run(&arguments),
        Command::Watch(arguments) => commands::watch::run(&arguments),
        Command::Evaluate(arguments) => commands::evaluate::run(&arguments),
        Command::Predict(arguments) => commands::predict::run(&arguments),
        Command::Embed(arguments) => commands::embed::run(&arguments),
        Command::Probe(arguments) => commands::probe::run(&arguments),
        Command::Show(arguments) => commands::show::run(&arguments),
        Command::Export(arguments) => commands::export::run(&arguments),
        Command::Push(arguments) => commands::hub::push(&arguments),
        Command::Pull(arguments) => commands::hub::pull(&arguments),
        Command::Search(arguments) => commands::search::run(&arguments),
        Command::Config(arguments) => commands::config::run(&arguments),
        Command::Checkpoint(arguments) => commands::checkpoint::run(&arguments),
        Command::Replay(arguments) => commands::replay::run(&arguments),
        Command::Data(arguments) => commands::data::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
    }
}
