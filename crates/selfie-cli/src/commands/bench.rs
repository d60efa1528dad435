//! `selfie bench`

use selfie_eval::record::Task;
use selfie_train::bench::{self, BenchResult, LoaderResult, ProfileLine};
use selfie_train::config::{Base, FlagValue, Overrides, resolve};

use crate::arguments::{Bench, BenchCommand, BenchLoader, BenchRate, BenchStep, BenchTask, ImageSize, TaskName};
use crate::choice;
use crate::context;
use crate::output;

pub(crate) fn run(arguments: &Bench) -> anyhow::Result<u8> {
    match &arguments.command {
        BenchCommand::Step(arguments) => step(arguments),
        BenchCommand::Rate(arguments) => rate(arguments),
        BenchCommand::Loader(arguments) => loader(arguments),
    }
}

fn step(arguments: &BenchStep) -> anyhow::Result<u8> {
    let device = context::device(&arguments.compute)?;
    let asked = bench::BenchStep {
        task: match arguments.task {
            BenchTask::Pretrain => bench::BenchTask::Pretrain,
            BenchTask::Finetune => bench::BenchTask::Finetune,
            BenchTask::Embed => bench::BenchTask::Embed,
        },
        image_size: match arguments.image_size {
            ImageSize::Small => 32,
            ImageSize::Large => 224,
        },
        width: arguments.width,
        batch: arguments.batch as usize,
        micro_batch: arguments.micro_batch.unwrap_or(arguments.batch) as usize,
        dtype: arguments.dtype.number_type(),
        steps: arguments.steps,
    };
    let measured = bench::step(asked, arguments.profile, &device)?;
    if arguments.json {
        output::print(&serde_json::to_string(&measured)?)?;
    } else {
        output::print(&describe(&measured))?;
    }
    Ok(0)
}

fn rate(arguments: &BenchRate) -> anyhow::Result<u8> {
    let device = context::device(&arguments.compute)?;
    let asked = bench::BenchRate {
        dtype: arguments.dtype.number_type(),
        size: usize::from(arguments.size),
        products: usize::from(arguments.products),
    };
    let measured = bench::rate(asked, &device)?;
    if arguments.json {
        output::print(&serde_json::to_string(&measured)?)?;
    } else {
        let (best, median) = (measured.gflop_per_s, measured.median_gflop_per_s);
        output::print(&format!("{best:.1} GFLOP/s; median product {median:.1}"))?;
    }
    Ok(0)
}

fn loader(arguments: &BenchLoader) -> anyhow::Result<u8> {
    let task = match arguments.task {
        TaskName::Pretrain => Task::Pretrain,
        TaskName::Finetune => Task::Finetune,
    };
    let flag = |flag: &str, key: &str, value: String| FlagValue { flag: flag.to_owned(), key: key.to_owned(), value };
    let flags = vec![
        flag("--batch", "batch", arguments.batch.to_string()),
        flag("--workers", "loader.workers", arguments.workers.to_string()),
    ];
    let environment = std::env::vars_os().collect();
    let overrides = Overrides { environment, set: arguments.set.clone(), flags, ..Overrides::default() };
    let resolved = resolve(task, &Base::from_argument(&arguments.recipe)?, &overrides)?;
    let data = choice::data_set(&resolved.config.data.set, arguments.data.as_deref())?;
    let asked = bench::BenchLoader { task, batches: arguments.batches.into(), seed: arguments.seed };
    let measured = bench::loader(&resolved, &data, asked)?;
    if arguments.json {
        output::print(&serde_json::to_string(&measured)?)?;
    } else {
        output::print(&describe_loader(&measured))?;
    }
    Ok(0)
}

fn describe_loader(measured: &LoaderResult) -> String {
    let LoaderResult { images_per_s, workers, n_examples, batch, asked, .. } = measured;
    let per_core =
        measured.images_per_cpu_s.map(|rate| format!("; {rate:.0} a second of computing")).unwrap_or_default();
    let memory = measured.anonymous_mib_before.zip(measured.anonymous_mib_most);
    let memory = memory.map(|(before, most)| format!("; memory beside maps {before} MiB before, at most {most} MiB"));
    let bad =
        if measured.n_bad > 0 { format!("; {}", output::count(measured.n_bad, "bad image")) } else { String::new() };
    let n_batches = asked.batches;
    format!(
        "{images_per_s:.0} images/s{per_core}; {n_batches} batches of {batch} out of {n_examples} images, {workers} workers\
         {}{bad}",
        memory.unwrap_or_default()
    )
}

fn describe(measured: &BenchResult) -> String {
    let BenchResult { images_per_s, median_step_s, peak_rss_mb, gflop_per_s, .. } = measured;
    let faults = measured.page_faults_per_step;
    let faults = faults.map(|faults| format!("; {faults:.0} page faults a step")).unwrap_or_default();
    let line = format!(
        "{images_per_s:.2} images/s; median step {median_step_s:.4} s; {gflop_per_s:.1} GFLOP/s; \
         largest memory {peak_rss_mb} MiB{faults}"
    );
    measured.profile.as_deref().map_or_else(|| line.clone(), |profile| format!("{line}\n\n{}", table(profile)))
}

/// A profile as a table of fixed columns.
fn table(lines: &[ProfileLine]) -> String {
    let number = |value: Option<f64>, decimals: usize| value.map_or("–".to_owned(), |v| format!("{v:.decimals$}"));
    let name_width = lines.iter().map(|line| line.op.chars().count()).max().unwrap_or(0).max(5);
    let row = |op: &str, rest: [String; 5]| {
        let [calls, ms, share, gflop, gb] = rest;
        format!("{op:<name_width$} {calls:>7} {ms:>10} {share:>8} {gflop:>9} {gb:>8}")
    };
    let head = ["calls", "ms/step", "share", "GFLOP/s", "GB/s"].map(str::to_owned);
    let mut rows = vec![row("class", head)];
    for line in lines {
        let share = format!("{:.1} %", 100.0 * line.share);
        let rates = (number(line.gflop_per_s, 1), number(line.gb_per_s, 1));
        rows.push(row(&line.op, [number(line.calls, 0), format!("{:.2}", line.ms), share, rates.0, rates.1]));
    }
    let total: f64 = lines.iter().map(|line| line.ms).sum();
    let none = || String::from("–");
    rows.push(row("step", [none(), format!("{total:.2}"), "100.0 %".to_owned(), none(), none()]));
    rows.join("\n")
}
