//! `selfie pretrain`

use std::path::Path;

use selfie_data::SetName;
use selfie_eval::record::{Outcome, ResultRecord, Task};
use selfie_train::TrainError;
use selfie_train::config::Base;
use selfie_train::estimate;
use selfie_train::run_folder::RunName;
use selfie_train::session::Ended;

use crate::arguments::Pretrain;
use crate::context;
use crate::output;

pub(crate) fn run(arguments: &Pretrain) -> anyhow::Result<u8> {
    let train = &arguments.train;
    let (base, set) = base(arguments)?;
    let resolved = context::configuration(Task::Pretrain, &base, train, set)?;
    if arguments.recipe.is_some() && !train.quiet {
        note_another_set(train.data.as_deref(), &resolved.config.data.set);
    }
    if train.dry_run {
        let device = context::device(&train.compute)?;
        let estimate = estimate::pretrain(&resolved, train.data.as_deref(), train.seed, &device)?;
        output::print(&estimate.text(train.json)?)?;
        return Ok(0);
    }
    let data = context::data_set(&resolved.config.data.set, train.data.as_deref())?;
    let name = RunName { task: Task::Pretrain, recipe: resolved.recipe.clone(), finetune: None, seed: train.seed };
    let session = context::session(train, train.data.clone(), name.default_path())?;
    let ended = selfie_train::pretrain::run(&resolved, &data, &session)?;
    finish(&ended, &session.out, train.json)
}

/// Says so where a recipe reads a folder as another set than it looks like.
fn note_another_set(dir: Option<&Path>, set: &str) {
    if let Some(dir) = dir.filter(|dir| dir.is_dir())
        && let Ok(recognised) = context::recognise(dir)
        && recognised.set.as_str() != set
    {
        output::note(&format!("{}: {}; read as {set}, as the recipe says", dir.display(), recognised.reason));
    }
}

/// The recipe named, else the one that fits the images, and the set where that is not the recipe's.
fn base(arguments: &Pretrain) -> anyhow::Result<(Base, Option<SetName>)> {
    if let Some(recipe) = &arguments.recipe {
        return Ok((Base::from_argument(recipe)?, None));
    }
    let Some(dir) = &arguments.train.data else {
        let expected = "a recipe, or a folder of images as --data".to_owned();
        return Err(TrainError::Usage { argument: "RECIPE".to_owned(), expected, got: "neither".to_owned() }.into());
    };
    let recognised = context::recognise(dir)?;
    let (recipe, set) = match recognised.set {
        // It has CIFAR-10's size.
        SetName::Cifar100 => (SetName::Cifar10, Some(SetName::Cifar100)),
        set => (set, None),
    };
    let stem = if recipe.side() > 64 { "the 7 × 7 stem" } else { "the 3 × 3 stem for small images" };
    if !arguments.train.quiet {
        let reason = recognised.reason;
        output::note(&format!("{}: {reason}: recipe {recipe}, with {stem}", dir.display()));
    }
    Ok((Base::from_argument(recipe.as_str())?, set))
}

/// Prints how a run ended and returns the exit code.
pub(crate) fn finish(ended: &Ended, out: &Path, json: bool) -> anyhow::Result<u8> {
    match ended {
        Ended::Finished { result, earlier } => {
            let text = if json { result.to_json().map_err(output::eval)? } else { sentence(result, out, *earlier) };
            output::print(text.trim_end())?;
            Ok(0)
        }
        Ended::Stopped { step, signal } => {
            let by = signal.map_or(String::new(), |signal| format!(" by {}", signal.name()));
            if json {
                let signal = signal.map(|signal| signal.name());
                let folder = out.display().to_string();
                output::print(
                    &serde_json::json!({ "stopped_after": step, "signal": signal, "run": folder }).to_string(),
                )?;
            } else {
                let same = if signal.is_some() { "the same command" } else { "the same command without --stop-after" };
                output::print(&format!("stopped{by} after step {step}; {same} goes on: {}", out.display()))?;
            }
            Ok(signal.map_or(0, |signal| signal.exit_code()))
        }
    }
}

fn sentence(result: &ResultRecord, out: &Path, earlier: bool) -> String {
    let what = match &result.outcome {
        Outcome::Pretext { loss, accuracy, chance } => {
            format!("pretext accuracy {accuracy:.3} (chance {chance:.3}), loss {loss:.4} over the last steps")
        }
        Outcome::Classification { split, top1_accuracy, loss, n_examples, .. } => {
            format!("{split} accuracy {:.2} % of {n_examples} images, loss {loss:.4}", 100.0 * top1_accuracy)
        }
    };
    let was = if earlier { "finished before: " } else { "" };
    let (steps, minutes, speed) = (result.steps, result.wall_s / 60.0, result.images_per_s);
    format!("{was}{what}\n{steps} steps, {minutes:.1} min, {speed:.1} images/s; weights in {}", out.display())
}
