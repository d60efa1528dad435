//! N steps are N/2 steps, a resume and N/2 steps, bit for bit.

use std::fs;
use std::path::Path;

use candle_core::Tensor;
use selfie_eval::record::{StepMetrics, StepTime, Task};
use selfie_model::WeightsFile;
use selfie_train::run_folder::read_metrics;
use selfie_train::session::Ended;

use crate::{configuration, images, session, train};

const STEPS: u64 = 12;
const HALF: u64 = 6;
/// Fewer than the steps see, and enough that every class has a validation example.
const N_IMAGES: usize = 60;

/// Everything a finished run computed: result, last checkpoint, metrics without times.
fn computed(folder: &Path) -> (Vec<Vec<u8>>, Vec<StepMetrics>) {
    let last = folder.join(format!("checkpoints/step-{STEPS:08}"));
    let files = ["weights", "optimizer"].map(|name| last.join(format!("{name}.safetensors")));
    let files = files.into_iter().chain([folder.join("weights.safetensors")]);
    let time = StepTime { step_s: 0.0, images_per_s: 0.0, data_wait: 0.0 };
    let timeless = |metrics: StepMetrics| StepMetrics { time, ..metrics };
    let metrics = read_metrics(folder).unwrap().into_iter().map(timeless).collect();
    (files.map(|file| fs::read(file).unwrap()).collect(), metrics)
}

fn require_halves_equal_the_whole(task: Task, set: &[&str]) {
    let steps = format!("steps={STEPS}");
    let set: Vec<&str> = set.iter().copied().chain([steps.as_str()]).collect();
    let (resolved, data) = (configuration(task, &set), images(N_IMAGES));
    let (whole, halves) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());

    let ended = train(&resolved, task, &data, &session(whole.path(), None));
    assert!(matches!(ended, Ended::Finished { earlier: false, .. }), "{ended:?}");

    let ended = train(&resolved, task, &data, &session(halves.path(), Some(HALF)));
    assert_eq!(ended, Ended::Stopped { step: HALF, signal: None });
    let ended = train(&resolved, task, &data, &session(halves.path(), None));
    assert!(matches!(ended, Ended::Finished { earlier: false, .. }), "{ended:?}");

    let (whole, halves) = (computed(whole.path()), computed(halves.path()));
    assert_eq!(whole.1.len(), STEPS as usize);
    assert_eq!(whole.1, halves.1);
    assert!(whole.0 == halves.0, "weights or optimizer state differ");
}

#[test]
fn pretraining_with_sgd_resumes_bit_for_bit() {
    require_halves_equal_the_whole(Task::Pretrain, &["optimizer=sgd"]);
}

#[test]
fn pretraining_with_adamw_accumulation_clipping_and_averaged_weights_resumes_bit_for_bit() {
    let set = ["optimizer=adamw", "learning_rate=0.001", "micro_batch=4", "clip_norm=1.0", "ema_decay=0.99"];
    require_halves_equal_the_whole(Task::Pretrain, &set);
}

#[test]
fn fine_tuning_with_sgd_accumulation_and_averaged_weights_resumes_bit_for_bit() {
    let set = ["optimizer=sgd", "micro_batch=2", "ema_decay=0.9", "label_smoothing=0.1", "data.pad=4"];
    require_halves_equal_the_whole(Task::Finetune, &set);
}

#[test]
fn fine_tuning_with_adamw_resumes_bit_for_bit() {
    require_halves_equal_the_whole(Task::Finetune, &["optimizer=adamw", "learning_rate=0.001"]);
}

#[test]
fn pretraining_with_changed_patches_and_colours_resumes_bit_for_bit() {
    let set = [
        "crop=resized",
        "colour_jitter=[0.4,0.4,0.4,0.1]",
        "randaugment_ops=2",
        "patch_colour_drop=0.5",
        "patch_jitter=2",
    ];
    require_halves_equal_the_whole(Task::Pretrain, &set);
}

#[test]
fn fine_tuning_with_mixed_images_resumes_bit_for_bit() {
    require_halves_equal_the_whole(Task::Finetune, &["mixup=0.4", "cutmix=1.0", "micro_batch=4"]);
}

#[test]
fn a_pretraining_with_probes_resumes_bit_for_bit_and_computes_what_one_without_does() {
    let probes = ["probe.every_steps=4", "probe.n_examples=20", "probe.at=u"];
    require_halves_equal_the_whole(Task::Pretrain, &probes);
    let steps = format!("steps={STEPS}");
    let run = |set: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let set: Vec<&str> = set.iter().copied().chain([steps.as_str()]).collect();
        train(&configuration(Task::Pretrain, &set), Task::Pretrain, &images(N_IMAGES), &session(folder.path(), None));
        computed(folder.path())
    };
    let (probed, plain) = (run(&probes), run(&[]));
    assert!(probed.0 == plain.0, "weights or optimizer state differ");
    let steps: Vec<u64> =
        probed.1.iter().filter(|metrics| metrics.probe.is_some()).map(|metrics| metrics.step).collect();
    assert_eq!(steps, [4, 8, 12]);
    let without: Vec<StepMetrics> = probed.1.iter().map(|&metrics| StepMetrics { probe: None, ..metrics }).collect();
    assert_eq!(without, plain.1);
}

#[test]
fn the_result_holds_the_averaged_weights_and_the_checkpoint_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let steps = format!("steps={STEPS}");
    let resolved = configuration(Task::Pretrain, &["ema_decay=0.9", &steps]);
    train(&resolved, Task::Pretrain, &images(30), &session(folder.path(), None));
    let ([weights, _, result], _) = (<[Vec<u8>; 3]>::try_from(computed(folder.path()).0).unwrap(), ());
    assert_eq!(weights.len(), result.len());
    assert!(weights != result);
}

#[test]
fn both_loops_average_the_running_statistics_that_a_step_ended_with() {
    for task in [Task::Pretrain, Task::Finetune] {
        let folder = tempfile::tempdir().unwrap();
        let resolved = configuration(task, &["ema_decay=0.9", "steps=1"]);
        train(&resolved, task, &images(30), &session(folder.path(), None));
        let read = |file: &str| WeightsFile::read(&folder.path().join(file)).unwrap().tensors;
        let (end, averaged) = (read("checkpoints/step-00000001/weights.safetensors"), read("weights.safetensors"));
        let mut n_checked = 0;
        for (name, end) in end.iter().filter(|(name, _)| name.contains(".running_")) {
            // A running mean starts at 0, a variance at 1, and the first step's decay is (1 + 1) / (10 + 1).
            let start = if name.ends_with("mean") { 0.0 } else { 1.0 };
            let values = |tensor: &Tensor| tensor.to_vec1::<f32>().unwrap();
            for (average, end) in values(&averaged[name]).into_iter().zip(values(end)) {
                let expected = (2.0 * start + 9.0 * end) / 11.0;
                assert!((average - expected).abs() < 1e-6, "{name}: expected {expected}, got {average}");
                n_checked += usize::from((average - end).abs() > 1e-6);
            }
        }
        assert!(n_checked > 100, "{task}: {n_checked}");
    }
}
