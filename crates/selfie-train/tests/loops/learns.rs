//! A network that sees the same few images again and again must come to know them.

use selfie_eval::record::{StepMetrics, Task};
use selfie_train::run_folder::read_metrics;

use crate::{configuration, images, session, train};

/// Mean loss and accuracy of some steps.
fn mean(metrics: &[StepMetrics]) -> (f64, f64) {
    let mean = |of: fn(&StepMetrics) -> f64| metrics.iter().map(of).sum::<f64>() / metrics.len() as f64;
    (mean(|metrics| metrics.loss), mean(|metrics| metrics.accuracy))
}

/// Loss and accuracy of the first and of the last ten steps.
fn first_and_last(task: Task, n_images: usize, set: &[&str]) -> ((f64, f64), (f64, f64)) {
    let folder = tempfile::tempdir().unwrap();
    train(&configuration(task, set), task, &images(n_images), &session(folder.path(), None));
    let metrics = read_metrics(folder.path()).unwrap();
    (mean(&metrics[..10]), mean(&metrics[metrics.len() - 10..]))
}

#[test]
fn pretraining_learns_eight_images() {
    let set = ["steps=200", "learning_rate=0.3", "model.dropout=0"];
    let ((first, _), (last, accuracy)) = first_and_last(Task::Pretrain, 8, &set);
    assert!(first > 1.2, "it starts near the chance level's ln 4, got {first}");
    assert!(last < 0.7 * first, "the loss fell from {first} to {last}");
    assert!(accuracy > 0.5, "chance is 0.25, got {accuracy}");
}

#[test]
fn fine_tuning_learns_eight_images() {
    let set = ["steps=60", "learning_rate=0.05"];
    let ((first, _), (last, accuracy)) = first_and_last(Task::Finetune, 8, &set);
    assert!(first > 1.2, "it starts near the chance level's ln 10, got {first}");
    assert!(last < 0.3 * first, "the loss fell from {first} to {last}");
    assert!(accuracy > 0.9, "chance is 0.1, got {accuracy}");
}

#[test]
fn pretraining_learns_with_every_augmentation() {
    let set = [
        "steps=200",
        "learning_rate=0.3",
        "model.dropout=0",
        "data.flip=true",
        "crop=resized",
        "crop_scale_min=0.7",
        "colour_jitter=[0.2,0.2,0.2,0.05]",
        "randaugment_ops=1",
        "randaugment_magnitude=3",
        "patch_colour_drop=0.3",
        "patch_jitter=1",
    ];
    let ((first, _), (last, accuracy)) = first_and_last(Task::Pretrain, 8, &set);
    assert!(last < first, "the loss fell from {first} to {last}");
    assert!(accuracy > 0.27, "chance is 0.25, got {accuracy}");
}

#[test]
fn fine_tuning_learns_mixed_images() {
    for mixing in ["mixup=0.2", "cutmix=0.5"] {
        let ((first, _), (last, _)) =
            first_and_last(Task::Finetune, 8, &["steps=100", "learning_rate=0.05", mixing, "micro_batch=4"]);
        assert!(last < 0.7 * first, "{mixing}: the loss fell from {first} to {last}");
    }
}

#[test]
fn adamw_learns_too() {
    let set = ["steps=200", "optimizer=adamw", "learning_rate=0.01", "weight_decay=0.01", "model.dropout=0"];
    let ((first, _), (last, _)) = first_and_last(Task::Pretrain, 8, &set);
    assert!(last < 0.7 * first, "the loss fell from {first} to {last}");
}
