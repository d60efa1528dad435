//! `selfie data`

use selfie_data::{SetReport, SplitReport};

use crate::arguments::{Data, DataCommand};
use crate::context;
use crate::output;

pub(crate) fn run(arguments: &Data) -> anyhow::Result<u8> {
    let (DataCommand::Info(asked) | DataCommand::Check(asked)) = &arguments.command;
    let data = context::data_set(&asked.set, asked.data.as_deref())?;
    let report = SetReport::new(&data);
    if asked.json {
        output::print(&serde_json::to_string_pretty(&report)?)?;
        return Ok(0);
    }
    let splits = [("train", &report.train), ("test", &report.test)];
    let text = match &arguments.command {
        DataCommand::Info(_) => splits.map(|(name, split)| info(name, split)).join("\n"),
        DataCommand::Check(_) => {
            let duplicates = splits.map(|(name, split)| {
                let (n, other) = (split.n_duplicates, split.n_duplicates_with_another_label);
                format!("{name}: {} images read, {n} duplicates, {other} of them with another label", split.n_images)
            });
            format!(
                "{}\n{} test images are in the training set as well",
                duplicates.join("\n"),
                report.n_test_images_in_train
            )
        }
    };
    output::print(&format!("{}\n{text}", report.name))?;
    Ok(0)
}

fn info(name: &str, split: &SplitReport) -> String {
    let classes = split.classes.iter().map(|class| format!("{} {}", class.name, class.n_images));
    let numbers = |values: [f32; 3]| values.map(|value| format!("{value:.4}")).join(" ");
    format!(
        "{name}\n  images   {} of {side} × {side}\n  classes  {}\n  mean     {}\n  std      {}\n  blake3   {}",
        split.n_images,
        classes.collect::<Vec<_>>().join(", "),
        numbers(split.mean),
        numbers(split.std),
        split.content_hash,
        side = split.side,
    )
}
