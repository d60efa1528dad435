//! `selfie bench`

use selfie_train::bench::{self, BenchStep};

use crate::arguments::{Bench, BenchCommand, BenchTask, ImageSize};
use crate::context;
use crate::output;

pub(crate) fn run(arguments: &Bench) -> anyhow::Result<u8> {
    let BenchCommand::Step(step) = &arguments.command;
    context::require_f32(step.dtype)?;
    let device = context::device(&step.compute)?;
    let task = match step.task {
        BenchTask::Pretrain => bench::BenchTask::Pretrain,
        BenchTask::Finetune => bench::BenchTask::Finetune,
        BenchTask::Embed => bench::BenchTask::Embed,
    };
    let image_size = match step.image_size {
        ImageSize::Small => 32,
        ImageSize::Large => 224,
    };
    let asked = BenchStep { task, image_size, width: step.width, batch: step.batch as usize, steps: step.steps };
    let measured = bench::step(asked, &device)?;
    if step.json {
        output::print(&serde_json::to_string(&measured)?)?;
    } else {
        let (speed, median, memory) = (measured.images_per_s, measured.median_step_s, measured.peak_rss_mb);
        output::print(&format!("{speed:.2} images/s; median step {median:.4} s; largest memory {memory} MB"))?;
    }
    Ok(0)
}
