use selfie_data::{ColourDrop, ColourJitter, Crop, DroppedChannels, JitterFill, PatchJitter, RandAugment, ResizedCrop};
use selfie_eval::record::Task;

use super::*;
use crate::TrainError;
use crate::config::{Base, Overrides, Resolved, resolve};

fn resolved(set: &[&str]) -> Resolved {
    let set = set.iter().map(|text| (*text).to_owned()).collect();
    resolve(Task::Pretrain, &Base::Defaults, &Overrides { set, ..Overrides::default() }).unwrap()
}

const REQUEST: Request = Request { n_examples: 50_000, seed: 0, stop_after: None };

fn pretrain(set: &[&str]) -> Result<PretrainPlan, TrainError> {
    PretrainPlan::new(&resolved(set), REQUEST)
}

/// What is set, the key named, part of what is expected, what was got.
const VIOLATIONS: &[(&str, &str, &str, &str)] = &[
    ("set=cifar1000", "data.set", "one of shapes32, cifar10", "cifar1000"),
    ("micro_batch=100", "pretrain.micro_batch", "a divisor of pretrain.batch = 512", "100"),
    ("batch=0", "pretrain.batch", "1 to 1048576", "0"),
    ("heads=33", "model.heads", "a divisor of the embedding's 1024 channels", "33"),
    ("heads=0", "model.heads", "a divisor", "0"),
    ("width=0", "model.width", "1 to 512", "0"),
    ("depths=[1,0,1,1]", "model.depths", "1 to 64", "0"),
    ("patch_size=5", "data.patch_size", "a divisor of data.image_size = 32", "5"),
    ("patch_size=0", "data.patch_size", "1 to 32", "0"),
    ("stem=7x7", "model.stem", "divides data.patch_size = 8", "stride 16"),
    ("n_targets=1", "data.n_targets", "at least 2 and fewer than the 16 patches", "1"),
    ("n_targets=16", "data.n_targets", "at least 2 and fewer than the 16 patches", "16"),
    ("pad=32", "data.pad", "less than data.image_size = 32", "32"),
    ("crop_scale_min=0", "data.crop_scale_min", "above 0 and at most 1", "0"),
    ("colour_jitter=[0,0,0,0.6]", "data.colour_jitter", "hue at most 0.5", "[0.0, 0.0, 0.0, 0.6]"),
    ("colour_jitter=[-1,0,0,0]", "data.colour_jitter", "at least 0", "[-1.0, 0.0, 0.0, 0.0]"),
    ("grayscale=1.5", "data.grayscale", "0 to 1", "1.5"),
    ("randaugment_ops=17", "data.randaugment_ops", "0 to 16", "17"),
    ("randaugment_magnitude=31", "data.randaugment_magnitude", "0 to 30", "31"),
    ("patch_colour_drop=-0.1", "data.patch_colour_drop", "0 to 1", "-0.1"),
    ("patch_jitter=4", "data.patch_jitter", "less than half of data.patch_size = 8", "4"),
    ("dropout=1.0", "model.dropout", "less than 1", "1"),
    ("learning_rate=0", "pretrain.learning_rate", "above 0", "0"),
    ("momentum=-0.1", "pretrain.momentum", "at least 0", "-0.1"),
    ("ema_decay=1", "pretrain.ema_decay", "less than 1", "1"),
    ("clip_norm=-1", "pretrain.clip_norm", "at least 0", "-1"),
    ("label_smoothing=1", "pretrain.label_smoothing", "less than 1", "1"),
    ("steps=0", "pretrain.steps", "1 to 4294967295 updates", "0 updates"),
    ("epochs=-1", "pretrain.epochs", "above 0", "-1"),
    ("examples=0", "pretrain.examples", "1 to 4294967295 updates", "0 updates"),
    ("epochs=1e300", "pretrain.epochs", "1 to 4294967295 updates", "18446744073709551615 updates"),
    ("keep=1", "checkpoint.keep", "2 to", "1"),
    ("every_steps=0", "checkpoint.every_steps", "1 to", "0"),
    ("queue=0", "loader.queue", "1 to", "0"),
    ("max_bad_share=1", "loader.max_bad_share", "less than 1", "1"),
];

#[test]
fn each_violation_names_key_expected_and_got() {
    for (set, key, expected, got) in VIOLATIONS {
        let error = pretrain(&[set]).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.exit_code(), 78, "{set}: {text}");
        assert!(text.starts_with(&format!("{key} (--set): expected ")), "{set}: {text}");
        assert!(text.contains(expected) && text.ends_with(&format!("got {got}")), "{set}: {text}");
    }
}

#[test]
fn lengths_become_steps_once_and_round_up() {
    let steps = |set: &[&str]| pretrain(set).unwrap().training.steps;
    assert_eq!(steps(&["steps=7"]), 7);
    assert_eq!(steps(&["epochs=2", "batch=100"]), 1000);
    assert_eq!(steps(&["epochs=1", "batch=512"]), 98);
    assert_eq!(steps(&["examples=1e6", "batch=128"]), 7813);
    assert_eq!(steps(&["examples=3", "batch=512"]), 1);
}

#[test]
fn warmup_is_at_most_a_tenth_of_the_schedule() {
    let warmup_steps = |set: &[&str]| pretrain(set).unwrap().training.schedule.warmup_steps();
    assert_eq!(warmup_steps(&["steps=5000", "warmup_steps=100"]), 100);
    assert_eq!(warmup_steps(&["steps=50", "warmup_steps=100"]), 5);
    assert_eq!(warmup_steps(&["steps=9"]), 0);
}

#[test]
fn stop_after_shortens_the_process_and_not_the_schedule() {
    let stopped = Request { stop_after: Some(30), ..REQUEST };
    let training = PretrainPlan::new(&resolved(&["steps=100"]), stopped).unwrap().training;
    assert_eq!((training.stop_at, training.steps, training.schedule.steps()), (30, 100, 100));
    let late = Request { stop_after: Some(300), ..REQUEST };
    assert_eq!(PretrainPlan::new(&resolved(&["steps=100"]), late).unwrap().training.stop_at, 100);
    let never = Request { stop_after: Some(0), ..REQUEST };
    assert_eq!(PretrainPlan::new(&resolved(&[]), never).unwrap_err().exit_code(), 2);
}

#[test]
fn a_small_batch_needs_no_smaller_micro_batch() {
    let training = pretrain(&["batch=32", "micro_batch=64"]).unwrap().training;
    assert_eq!((training.micro_batch, training.n_micro_batches()), (32, 1));
    let training = pretrain(&["batch=512", "micro_batch=64"]).unwrap().training;
    assert_eq!((training.micro_batch, training.n_micro_batches()), (64, 8));
    assert_eq!(pretrain(&["micro_batch=0"]).unwrap().training.n_micro_batches(), 1);
}

#[test]
fn zero_switches_clipping_and_averaging_off() {
    let training = pretrain(&[]).unwrap().training;
    assert_eq!((training.clip_norm, training.ema_decay), (None, None));
    let training = pretrain(&["clip_norm=1", "ema_decay=0.99"]).unwrap().training;
    assert_eq!((training.clip_norm, training.ema_decay), (Some(1.0), Some(0.99)));
}

#[test]
fn a_temperature_counts_for_cosines_only() {
    assert_eq!(pretrain(&["temperature=0"]).unwrap().model.logit_scale, LogitScalePlan::InverseSqrt);
    assert!(
        pretrain(&["temperature=0", "logit_scale=cosine"]).unwrap_err().to_string().starts_with("model.temperature")
    );
    let cosine = pretrain(&["logit_scale=cosine"]).unwrap().model.logit_scale;
    assert_eq!(cosine, LogitScalePlan::Cosine { temperature: 0.1 });
}

#[test]
fn only_the_optimizers_own_keys_count() {
    let adamw = pretrain(&["optimizer=adamw", "momentum=7"]).unwrap().training.optimizer;
    assert_eq!(adamw, OptimizerPlan::AdamW { beta1: 0.9, beta2: 0.999, weight_decay: 1e-4 });
    assert!(pretrain(&["optimizer=adamw", "beta2=1"]).unwrap_err().to_string().starts_with("pretrain.beta2"));
}

#[test]
fn augmentation_beyond_the_papers_is_off_unless_asked_for() {
    let plan = pretrain(&[]).unwrap().data;
    assert_eq!(plan.augmentation, Some(Augmentation::default()));
    assert_eq!(plan.patches, PatchAugmentation::default());
    assert_eq!(pretrain(&["pad=0", "padding=zero", "flip=false"]).unwrap().data.augmentation, None);
    let finetune = |set: &[&str]| FinetunePlan::new(&resolved(set), REQUEST, 0.1);
    assert_eq!(finetune(&[]).unwrap().mixing, Mixing::default());
    assert_eq!(finetune(&["finetune.mixup=0.2"]).unwrap().mixing, Mixing { mixup: 0.2, cutmix: 0.0 });
    let error = finetune(&["finetune.cutmix=-1"]).unwrap_err();
    assert_eq!(error.to_string(), "finetune.cutmix (--set): expected a finite number of at least 0, got -1");
}

#[test]
fn every_augmentation_has_its_keys() {
    let set = [
        "crop=resized",
        "crop_scale_min=0.2",
        "colour_jitter=[0.4,0.3,0.2,0.1]",
        "grayscale=0.2",
        "randaugment_ops=2",
        "randaugment_magnitude=7",
        "patch_colour_drop=0.5",
        "patch_colour_fill=kept",
        "patch_jitter=2",
        "patch_jitter_fill=resize",
    ];
    let plan = pretrain(&set).unwrap().data;
    let expected = Augmentation {
        crop: Crop::Resized(ResizedCrop { min_scale: 0.2 }),
        flip: true,
        rand_augment: Some(RandAugment { n_operations: 2, magnitude: 7 }),
        colour_jitter: Some(ColourJitter { brightness: 0.4, contrast: 0.3, saturation: 0.2, hue: 0.1 }),
        grayscale: 0.2,
    };
    assert_eq!(plan.augmentation, Some(expected));
    let jitter = Some(PatchJitter { most: 2, fill: JitterFill::Resize });
    let colour_drop = Some(ColourDrop { share: 0.5, dropped: DroppedChannels::Kept });
    assert_eq!(plan.patches, PatchAugmentation { jitter, colour_drop });
}

#[test]
fn a_fraction_is_a_share_above_zero() {
    for fraction in [0.0, -0.1, 1.1, f64::NAN] {
        assert_eq!(FinetunePlan::new(&resolved(&[]), REQUEST, fraction).unwrap_err().exit_code(), 2, "{fraction}");
    }
    assert_eq!(FinetunePlan::new(&resolved(&[]), REQUEST, 1.0).unwrap().fraction, 1.0);
}

#[test]
fn the_patch_networks_last_norm_goes_to_stage_4_of_v2_only() {
    let finetune = |set: &[&str]| FinetunePlan::new(&resolved(set), REQUEST, 0.1);
    let key = "finetune.stage4_norm_from_patch_network=true";
    let expected = ClassifierPlan::Stage4 { norm_from_patch_network: true };
    assert_eq!(finetune(&[key]).unwrap().classifier, expected);
    assert!(finetune(&[key, "architecture=resnet50v1.5"]).is_err());
    assert!(finetune(&[key, "finetune.classifier=attention_pooling"]).is_err());
}

#[test]
fn the_grid_and_the_embedding_follow_from_the_keys() {
    let plan = pretrain(&["image_size=224", "patch_size=32", "n_targets=12", "stem=7x7", "width=16"]).unwrap();
    assert_eq!((plan.data.grid_side, plan.data.n_patches, plan.model.embedding), (7, 49, 256));
}
