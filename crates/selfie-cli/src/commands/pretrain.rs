//! `selfie pretrain`

use std::path::Path;

use selfie_eval::record::{Outcome, PRETEXT_STEPS, ResultRecord, Task};
use selfie_train::estimate::{self, Estimate, Examples};
use selfie_train::run_folder::RunName;
use selfie_train::session::{Ended, Standing};

use crate::arguments::Pretrain;
use crate::choice;
use crate::context;
use crate::output;

pub(crate) fn run(arguments: &Pretrain) -> anyhow::Result<u8> {
    let train = &arguments.train;
    let data_dir = train.data.as_deref();
    let expected = "a recipe, or a folder of images as --data";
    let chosen = choice::choose(arguments.recipe.as_deref(), data_dir, train.quiet, expected)?;
    let resolved = context::configuration(Task::Pretrain, &chosen, train)?;
    let found = chosen.found;
    if arguments.recipe.is_some() && !train.quiet {
        choice::note_another_set(data_dir, found.as_ref(), &resolved);
    }
    let title = choice::title(&resolved, data_dir);
    let name = RunName { task: Task::Pretrain, title, finetune: None, seed: train.seed };
    if train.dry_run {
        let session = context::place(train, train.data.clone(), name.default_path(), context::device(&train.compute)?);
        let examples = Examples::find(&resolved, data_dir)?;
        let standing = examples.data().map(|data| selfie_train::pretrain::standing(&resolved, data, &session));
        let estimate = estimate::pretrain(&resolved, &examples, context::conditions(train, &session.device))?;
        return say(&estimate, standing.as_ref().map(|standing| (session.out.as_path(), standing)), train.json);
    }
    let data = choice::data_set_found(&resolved.config.data.set, data_dir, found)?;
    let session = context::session(train, train.data.clone(), name.default_path())?;
    let ended = selfie_train::pretrain::run(&resolved, &data, &session)?;
    finish(&ended, &session.out, train.json)
}

/// Prints what a run would take, and what it would find in its folder; returns the code of a start that would be refused.
pub(super) fn say(estimate: &Estimate, run: Option<(&Path, &Standing)>, json: bool) -> anyhow::Result<u8> {
    output::print(&estimate.text(run, json)?)?;
    Ok(run.map_or(0, |(_, standing)| standing.exit_code()))
}

/// Prints how a run ended and returns the exit code. What ended before may have lost its weights since.
pub(crate) fn finish(ended: &Ended, out: &Path, json: bool) -> anyhow::Result<u8> {
    match ended {
        Ended::Finished { result, earlier } => {
            let weights = if *earlier { context::weights_file(out).map(drop) } else { Ok(()) };
            let text = if json { result.to_json().map_err(output::eval)? } else { sentence(result, *earlier) };
            let place =
                if json || weights.is_err() { String::new() } else { format!("; weights in {}", out.display()) };
            output::print(&format!("{}{place}", text.trim_end()))?;
            weights.map(|()| 0)
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
                output::print(&format!(
                    "stopped{by} after step {step}; {same} goes on from there; run {}",
                    out.display()
                ))?;
            }
            Ok(signal.map_or(0, |signal| signal.exit_code()))
        }
    }
}

fn sentence(result: &ResultRecord, earlier: bool) -> String {
    let what = match &result.outcome {
        Outcome::Pretext { loss, accuracy, chance } => {
            let n = output::count(result.steps.min(PRETEXT_STEPS) as usize, "step");
            format!("pretext accuracy {accuracy:.3} (chance {chance:.3}), loss {loss:.4}, means of the last {n}")
        }
        Outcome::Classification { split, top1_accuracy, loss, n_examples, .. } => {
            let images = output::count(*n_examples as usize, "image");
            format!("{split} accuracy {:.2} % of {images}, loss {loss:.4}", 100.0 * top1_accuracy)
        }
    };
    let was = if earlier { "finished before: " } else { "" };
    let (steps, minutes, speed) = (result.steps, result.wall_s / 60.0, result.images_per_s);
    let steps = output::count(steps as usize, "step");
    format!("{was}{what}\n{steps}, {minutes:.1} min, {speed:.1} images/s")
}
