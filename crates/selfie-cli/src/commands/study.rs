//! `selfie study`

use std::path::{Path, PathBuf};

use clap::Args;
use selfie_eval::record::{Arm, Split, to_pretty_json};
use selfie_eval::table::StudyTable;
use selfie_train::TrainError;
use selfie_train::estimate::{self, Conditions, Examples};
use selfie_train::finetune::Labels;
use selfie_train::progress::Mode;
use selfie_train::session::Session;
use selfie_train::signals::Signals;
use selfie_train::study::{self, StudyEnded};

use crate::arguments::{Compute, Dtype, fraction};
use crate::choice;
use crate::commands::finetune::{Start, chosen};
use crate::commands::pretrain::finish;
use crate::context;
use crate::output;

/// Of the study's one pretraining, and the first of the fine-tunings.
const FIRST_SEED: u64 = 1;

#[derive(Args, Debug)]
pub(crate) struct Study {
    /// A recipe or a TOML file [default: that of the run in --from, else the one that fits the images in --data]
    pub(crate) recipe: Option<String>,
    /// Shares of the full training set's labels, e.g. 0.05,0.08
    #[arg(long, required = true, value_delimiter = ',', value_parser = fraction)]
    pub(crate) fractions: Vec<f64>,
    /// Seeds 1 to this of every fraction and arm
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) seeds: u64,
    /// What to compare: pretrained, scratch, attention-pooling, linear-probe
    #[arg(long, value_delimiter = ',', value_parser = arm, default_value = "pretrained,scratch")]
    pub(crate) arms: Vec<Arm>,
    /// A pretraining's run folder or weights file [default: the study pretrains]
    #[arg(long, value_name = "RUN_OR_WEIGHTS", conflicts_with = "pretrain_seeds")]
    pub(crate) from: Option<PathBuf>,
    /// Pretrain once for every seed, so that the spread between pretrainings shows
    #[arg(long)]
    pub(crate) pretrain_seeds: bool,
    /// Learning rates to choose from on the validation split, for each fraction and arm; one is no choice [default: 0.3, 1
    /// and 3 times the recipe's]
    #[arg(long, value_delimiter = ',', value_parser = learning_rate)]
    pub(crate) learning_rates: Vec<f64>,
    /// Updates of every fine-tuning; `--set pretrain.steps=N` for the pretraining
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<u64>,
    #[command(flatten)]
    pub(crate) compute: Compute,
    /// Number type of activations and products; sums and parameters are f32
    #[arg(long, default_value = "f32", env = "SELFIE_DTYPE")]
    pub(crate) dtype: Dtype,
    /// Folder of the data set; if not given `$SELFIE_DATA/<set>`, then `data/<set>`
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The study's folder, which several processes may share; if not given `runs/study-<recipe>[-<own folder>]`
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Set a key of the configuration; bare keys are the fine-tunings'
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Say which runs there would be, and what they would take, without doing it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the table as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

fn arm(text: &str) -> Result<Arm, String> {
    let found = Arm::ALL.into_iter().find(|arm| arm.name() == text);
    found.ok_or_else(|| format!("expected one of {}", Arm::ALL.map(Arm::name).join(", ")))
}

fn learning_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "expected a number above 0, such as 0.05".to_owned())
}

pub(crate) fn run(arguments: &Study) -> anyhow::Result<u8> {
    let start = arguments.from.as_deref().map_or_else(|| Ok(Start::scratch()), Start::at)?;
    let chosen = chosen(arguments.recipe.as_deref(), &start, arguments.data.as_deref(), arguments.quiet)?;
    let study = study::Study {
        overrides: context::overrides(&arguments.set, arguments.steps, &chosen),
        fractions: sorted(&arguments.fractions, f64::total_cmp),
        n_seeds: arguments.seeds,
        arms: sorted(&arguments.arms, Arm::cmp),
        learning_rates: sorted(&arguments.learning_rates, f64::total_cmp),
        pretrained: start.pretrained()?.cloned(),
        pretrain_seeds: arguments.pretrain_seeds,
        base: chosen.base,
    };
    let found = chosen.found;
    let data_dir = choice::data_dir(arguments.data.as_deref(), start.run.as_deref())?;
    let resolved = study.resolved()?;
    if arguments.recipe.is_some() && !arguments.quiet {
        choice::note_another_set(data_dir.as_deref(), found.as_ref(), &resolved);
    }
    let title = choice::title(&resolved, data_dir.as_deref());
    let out = arguments.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("study-{title}")));
    let mut session = Session {
        out,
        data_dir: choice::recorded(data_dir.clone()),
        seed: FIRST_SEED,
        stop_after: None,
        device: context::device(&arguments.compute)?,
        number_type: arguments.dtype.number_type(),
        progress: Mode::detect(arguments.quiet),
        signals: None,
        allow_change: Vec::new(),
        inject: Vec::new(),
    };
    if arguments.dry_run {
        let examples = Examples::find(&resolved, data_dir.as_deref())?;
        return dry_run(&study, &examples, &session, arguments.json);
    }
    let data = choice::data_set_found(&resolved.config.data.set, data_dir.as_deref(), found)?;
    session.signals = Some(Signals::install()?);
    match study::run(&study, &data, &session)? {
        StudyEnded::Finished(table) => print(&table, &session.out, arguments.json),
        StudyEnded::Stopped { folder, ended } => finish(&ended, &folder, arguments.json),
    }
}

/// Prints how many runs of which kind there would be, and roughly how long they would take one after another.
fn dry_run(study: &study::Study, examples: &Examples, session: &Session, json: bool) -> anyhow::Result<u8> {
    let finished = examples.data().map(|data| study::n_finished(study, data, session));
    let code = finished.as_ref().and_then(|found| found.as_ref().err()).map_or(0, TrainError::exit_code);
    let at = Conditions { seed: FIRST_SEED, number_type: session.number_type, device: &session.device };
    let resolved = study.resolved()?;
    let counts = study.n_runs();
    let fraction = study.fractions.last().copied().unwrap_or(1.0);
    let labels = Labels { fraction, subset: None, pretrained: None, split: Split::Test };
    let finetune = estimate::finetune(&resolved, examples, &labels, at)?;
    let pretrain = estimate::pretrain(&resolved, examples, at)?;
    let n_finetunings = counts.trials + counts.tests;
    let hours = counts.pretrainings as f64 * pretrain.hours + n_finetunings as f64 * finetune.hours;
    if json {
        let n_finished = finished.as_ref().and_then(|found| Some(found.as_ref().ok()?.0));
        let error = finished.as_ref().and_then(|found| Some(found.as_ref().err()?.to_string()));
        let estimate = serde_json::json!({ "pretraining": pretrain, "finetuning": finetune, "n_pretrainings": counts.pretrainings,
            "n_trials": counts.trials, "n_tests": counts.tests, "hours": hours, "folder": session.out.display().to_string(),
            "n_finished": n_finished, "error": error });
        output::print(&serde_json::to_string_pretty(&estimate)?)?;
        return Ok(code);
    }
    if counts.pretrainings > 0 {
        output::print(&format!("pretraining\n{}\n", pretrain.text(None, false)?))?;
    }
    output::print(&format!("a fine-tuning on {fraction} of the labels\n{}\n", finetune.text(None, false)?))?;
    let study::RunCounts { pretrainings, trials, tests } = counts;
    output::print(&format!(
        "pretrainings: {pretrainings}; fine-tunings to choose learning rates: {trials}, for the table: {tests}; about {} one after another",
        estimate::duration(hours)
    ))?;
    match finished {
        Some(Ok((n, n_all))) => {
            output::print(&format!("{}: {n} of {n_all} runs are finished", session.out.display()))?;
        }
        Some(Err(error)) => output::print(&format!("refused: {error}"))?,
        None => {}
    }
    Ok(code)
}

/// In order, each once.
fn sorted<T: Copy + PartialEq>(values: &[T], order: impl Fn(&T, &T) -> std::cmp::Ordering) -> Vec<T> {
    let mut values = values.to_vec();
    values.sort_by(order);
    values.dedup();
    values
}

/// Prints a finished study's table.
pub(super) fn print(table: &StudyTable, out: &Path, json: bool) -> anyhow::Result<u8> {
    if json {
        output::print(to_pretty_json("table.json", table).map_err(output::eval)?.trim_end())?;
    } else {
        output::print(table.to_markdown().trim_end())?;
        output::print(&format!("\nThe runs and the table (.md, .csv, .json) are in {}.", out.display()))?;
    }
    Ok(0)
}
