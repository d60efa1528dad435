use super::*;
use crate::config::{Base, Overrides, resolve};
use crate::recipes;
use selfie_eval::record::Task;

/// Measured in no time.
const NARROW: &[&str] = &["width=2", "heads=2", "ffn=8"];

fn estimate_of(recipe: &str, set: &[&str]) -> Estimate {
    let base = Base::Recipe(recipes::find(recipe).unwrap());
    let set = set.iter().map(|text| (*text).to_owned()).collect();
    let overrides = Overrides { set, ..Overrides::default() };
    let resolved = resolve(Task::Pretrain, &base, &overrides).unwrap();
    let examples = Examples::find(&resolved, None).unwrap();
    pretrain(&resolved, &examples, Conditions { seed: 1, number_type: NumberType::F32, device: &Device::Cpu }).unwrap()
}

#[test]
fn the_papers_network_costs_what_its_arithmetic_says() {
    // Counted by hand in `bench::tests`.
    let gflop = estimate_of("cifar10", &[]).gflop_per_image;
    assert!((gflop - 7.25).abs() < 0.01, "{gflop}");
}

#[test]
fn recipes_whose_data_is_not_here_are_estimated_from_published_counts() {
    for recipe in ["imagenet32", "imagenet224"] {
        let estimate = estimate_of(recipe, NARROW);
        assert_eq!((estimate.n_examples, estimate.data_found), (1_281_167, false));
        assert!(estimate.text(None, false).unwrap().contains("as published"));
    }
}

#[test]
fn time_follows_from_steps_batch_and_speed() {
    let estimate = estimate_of("shapes32", NARROW);
    let hours = estimate.steps as f64 * estimate.batch as f64 / estimate.images_per_s / 3600.0;
    assert!((estimate.hours - hours).abs() < 1e-9 && hours > 0.0);
}

#[test]
fn a_duration_is_in_seconds_minutes_hours_or_days() {
    let durations = [0.0, 0.001, 0.5, 1.26, 47.0, 97_101.8].map(duration);
    assert_eq!(durations, ["1 s", "4 s", "30 min", "1.3 h", "47.0 h", "4046 days"]);
}

#[test]
fn a_full_size_run_on_a_processor_is_told_what_makes_it_shorter() {
    let told = |set: &[&str], device: &Device| {
        let overrides = Overrides { set: set.iter().map(|text| (*text).to_owned()).collect(), ..Overrides::default() };
        let base = Base::Recipe(recipes::find("imagenet32").unwrap());
        let resolved = resolve(Task::Pretrain, &base, &overrides).unwrap();
        let request = Request { n_examples: 1_281_167, seed: 1, stop_after: None };
        let plan = PretrainPlan::new(&resolved, request).unwrap();
        let network = network_config(&plan.model, &plan.data, Normalization::default());
        too_long(&network, None, &plan.training, NumberType::F32, device)
    };
    let hint = told(&[], &Device::Cpu).unwrap();
    for part in [
        "this takes roughly ",
        " days on ",
        "--dry-run",
        "--set pretrain.steps=2000",
        "--set pretrain.learning_rate=0.0063 ",
        "--set model.width=16",
    ] {
        assert!(hint.contains(part), "{hint}");
    }
    // What it says is no longer long.
    let keys: Vec<&str> = hint.split("--set ").skip(1).map(str::trim).collect();
    assert_eq!(told(&keys, &Device::Cpu), None);
}

#[test]
fn memory_grows_with_the_micro_batch_also_beyond_what_is_measured() {
    let wide = &["width=16", "heads=8", "ffn=160"];
    let of = |batch: &'static str| estimate_of("shapes32", &[wide.as_slice(), &[batch]].concat());
    let (small, large) = (of("batch=8"), of("batch=4096"));
    assert!(large.measured_batch < large.micro_batch, "{large:?}");
    assert!(large.memory_mb > small.memory_mb + 1000.0, "{small:?} {large:?}");
}
