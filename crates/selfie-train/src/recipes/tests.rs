use std::collections::BTreeSet;

use selfie_eval::record::Task;

use super::*;
use crate::config::{Base, Overrides, resolve};
use crate::plan::{FinetunePlan, PretrainPlan, Request};

#[test]
fn every_recipe_parses_and_builds_both_plans() {
    let request = Request { n_examples: 50_000, seed: 0, stop_after: None };
    for recipe in RECIPES {
        let resolved = resolve(Task::Pretrain, &Base::Recipe(recipe), &Overrides::default()).unwrap();
        PretrainPlan::new(&resolved, request).unwrap();
        let few = Request { n_examples: 50, ..request };
        FinetunePlan::new(&resolved, few, 0.05).unwrap();
    }
}

#[test]
fn every_recipe_is_a_claim() {
    for recipe in RECIPES {
        let header: Vec<&str> = recipe.text.lines().take_while(|line| line.starts_with('#')).collect();
        for part in ["# Paper cell:", "# Command:", "# Expected:", "# Time:", "# Hardware:"] {
            assert!(header.iter().any(|line| line.starts_with(part)), "{} has no `{part}` in its header", recipe.name);
        }
        let first = format!("# {}: {}\n", recipe.name, recipe.summary());
        assert!(recipe.text.starts_with(&first), "{first}");
        let command = format!("cargo xtask pretrain {}", recipe.name);
        assert!(header.iter().any(|line| line.ends_with(&command)), "{}'s header lacks `{command}`", recipe.name);
    }
}

#[test]
fn every_file_in_configs_is_embedded() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs");
    let files: BTreeSet<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let embedded: BTreeSet<String> = names().iter().map(|name| format!("{name}.toml")).collect();
    assert_eq!(files, embedded);
}

#[test]
fn the_papers_recipes_say_the_papers_sizes() {
    let plan = |name| {
        let base = Base::Recipe(find(name).unwrap());
        let request = Request { n_examples: 50_000, seed: 0, stop_after: None };
        PretrainPlan::new(&resolve(Task::Pretrain, &base, &Overrides::default()).unwrap(), request).unwrap()
    };
    for (name, batch, n_patches, n_targets) in
        [("cifar10", 512, 16, 4), ("imagenet32", 1024, 16, 4), ("imagenet224", 1024, 49, 12)]
    {
        let plan = plan(name);
        assert_eq!((plan.training.steps, plan.training.batch, plan.model.embedding), (120_000, batch, 1024), "{name}");
        assert_eq!((plan.data.n_patches, plan.data.n_targets), (n_patches, n_targets), "{name}");
    }
}
