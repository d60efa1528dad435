//! What each command does when nothing goes wrong.

use std::fs;

use crate::program::{ENDLESS, Folder, red_bmp};

/// As small as `tiny.toml`, upon a recipe that needs no data folder.
const SMALL: &str = "--set model.width=2 --set model.depths=[1,1,1,1] --set model.heads=2 --set model.ffn=8 \
    --set model.layers=1 --set batch=8 --set checkpoint.every_steps=4 --steps 8";

/// Every command of the contract that this version has.
const COMMANDS: [&str; 20] = [
    "demo",
    "pretrain",
    "finetune",
    "study",
    "report",
    "watch",
    "evaluate",
    "predict",
    "probe",
    "show",
    "embed",
    "search",
    "export",
    "push",
    "pull",
    "config",
    "checkpoint",
    "replay",
    "data",
    "bench",
];

#[test]
fn shapes32_is_pretrained_fine_tuned_evaluated_and_predicted_without_any_data_folder() {
    let folder = Folder::new();
    let pretrained = folder.run(&format!("pretrain shapes32 {SMALL}")).ends_with(0);
    let pretrained = pretrained.prints(&["pretext accuracy", "(chance 0.250)", "runs/pretrain-shapes32-s1"]);
    pretrained.says(&["run folder runs/pretrain-shapes32-s1", "step 8/8 loss", "images/s", "ETA"]);

    // Without --from and without a recipe: the run above and its recipe.
    let tuned = folder.run("finetune --fraction 0.05 --steps 8 --set batch=8").ends_with(0);
    let tuned = tuned.prints(&["test accuracy", "of 2000 images", "runs/finetune-shapes32-0.05-pretrained-s1"]);
    tuned.says(&["from runs/pretrain-shapes32-s1/weights.safetensors", "tensors loaded", "start fresh"]);

    let from = folder.run(&format!("finetune shapes32 --fraction 0.05 --from scratch --json -q {SMALL}")).ends_with(0);
    assert_eq!(from.stderr, "");
    let outcome = &from.json()["outcome"]["classification"];
    assert_eq!(outcome["n_examples"], 2000);

    let evaluated = folder.run("evaluate runs/finetune-shapes32-0.05-scratch-s1 --json").ends_with(0).json();
    assert_eq!(evaluated["classification"], *outcome, "evaluate and finetune measure the same");

    fs::write(folder.path("red.bmp"), red_bmp(40, 24)).unwrap();
    let run = "runs/finetune-shapes32-0.05-pretrained-s1";
    let predicted = folder.run(&format!("predict {run} red.bmp red.bmp --top 2")).ends_with(0);
    assert_eq!(predicted.stdout.lines().count(), 2);
    assert!(predicted.stdout.lines().all(|line| line.starts_with("red.bmp: ") && line.matches(" %").count() == 2));
    let predicted = folder.run(&format!("predict {run}/weights.safetensors red.bmp --json")).ends_with(0).json();
    let probs = predicted["probabilities"].as_object().unwrap();
    assert_eq!(probs.len(), 10);
    let sum: f64 = probs.values().map(|prob| prob.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "the probabilities sum to {sum}");
}

#[test]
fn a_run_folder_has_its_six_parts_and_a_finished_run_prints_its_result_again() {
    let folder = Folder::new();
    let first = folder.run("pretrain tiny.toml --data cifar --out run --json").ends_with(0);
    let parts =
        ["checkpoints", "events.jsonl", "metrics.jsonl", "result.json", "run.json", "train.log", "weights.safetensors"];
    let names = folder.names("run");
    assert!(parts.iter().all(|part| names.iter().any(|name| name == part)), "{names:?}");
    assert_eq!(folder.names("run/checkpoints"), ["step-00000015", "step-00000020"]);
    assert_eq!(
        folder.names("run/checkpoints/step-00000020"),
        ["manifest.json", "optimizer.safetensors", "weights.safetensors"]
    );
    assert_eq!(folder.metrics("run").len(), 20);
    assert!(String::from_utf8(folder.bytes("run/train.log")).unwrap().contains("step 20/20 loss"));

    let before = folder.computed("run");
    let again = folder.run("pretrain tiny.toml --data cifar --out run --json").ends_with(0);
    for key in ["steps", "weights_hash", "finished"] {
        assert_eq!(again.json()[key], first.json()[key]);
    }
    assert_eq!(again.stderr, "", "a finished run makes no step");
    assert!(folder.computed("run") == before);
    folder.run("pretrain tiny.toml --data cifar --out run").ends_with(0).prints(&["finished before: pretext accuracy"]);
}

#[test]
#[cfg(target_os = "linux")]
fn as_many_threads_compute_as_asked_for() {
    let folder = Folder::new();
    let n_threads = |asked: u32| {
        let run = format!("run-{asked}");
        let command = format!("pretrain tiny.toml --data cifar --steps {ENDLESS} --threads {asked} --out {run}");
        let mut started = folder.start(&command);
        started.wait_for_steps(&folder.path(&run), 1);
        fs::read_dir(format!("/proc/{}/task", started.id())).unwrap().count()
    };
    assert_eq!(n_threads(5), n_threads(1) + 4);
}

#[test]
fn a_fine_tuning_keeps_the_pretraining_it_was_begun_from() {
    let folder = Folder::new();
    folder.run("pretrain tiny.toml --data cifar --steps 2 --out runs/first").ends_with(0);
    let command = "finetune tiny.toml --fraction 0.5 --data cifar";
    folder.run(&format!("{command} --stop-after 3")).ends_with(0).says(&["from runs/first/weights.safetensors"]);
    // Finish times have whole seconds; the later run must be the newer one.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    folder.run("pretrain tiny.toml --data cifar --steps 3 --out runs/second").ends_with(0);
    folder.run(&format!("{command} --seed 2")).ends_with(0).says(&["from runs/second/weights.safetensors"]);
    folder.run(command).ends_with(0).says(&["resuming runs/finetune-tiny-0.5-pretrained-s1 after step 3"]);
}

#[test]
fn a_fine_tuning_and_its_evaluation_find_recipe_and_data_of_their_run() {
    let folder = Folder::new();
    folder.run("pretrain tiny.toml --data cifar --steps 2").ends_with(0);
    folder.run("finetune --fraction 0.5").ends_with(0).prints(&["runs/finetune-tiny-0.5-pretrained-s1"]);
    let evaluated = folder.run("evaluate runs/finetune-tiny-0.5-pretrained-s1").ends_with(0);
    evaluated.prints(&["of 20 images", "airplane"]);
}

#[test]
fn every_json_option_prints_one_json_value() {
    let folder = Folder::new();
    let run = folder.run("pretrain tiny.toml --data cifar --out run --stop-after 5 --json").ends_with(0).json();
    assert_eq!(run["stopped_after"], 5);
    let shown = folder.run("checkpoint show run --json").ends_with(0).json();
    assert_eq!(shown["step"], 5);
    let text = folder.run("checkpoint show run").ends_with(0).stdout;
    let last: Vec<&str> = text.trim_end().rsplit('\n').take(3).collect();
    assert!(last[2].ends_with(": step 5") && last[0].contains("tensors, "), "what counts comes last: {last:?}");
    assert!(shown["files"]["weights.safetensors"].as_array().is_some_and(|tensors| tensors.len() > 10));
    let config = folder.run("config show tiny.toml --set batch=4 --json").ends_with(0).json();
    assert_eq!(config["pretrain"]["batch"], 4);
    let data = folder.run("data info cifar10 --data cifar --json").ends_with(0).json();
    assert_eq!(data["train"]["n_images"], 100);
    let bench = "bench step --task finetune --width 2 --batch 2 --steps 1 --json";
    let bench = folder.run(bench).ends_with(0).json();
    assert!(
        ["images_per_s", "median_step_s", "peak_rss_mb"].iter().all(|key| bench[key].as_f64().is_some()),
        "{bench}"
    );
}

#[test]
fn a_runs_configuration_is_shown_with_its_sources_and_one_that_no_command_takes_is_refused() {
    let folder = Folder::new();
    folder.run("pretrain tiny.toml --data cifar --out run --stop-after 5 --set batch=4 -q").ends_with(0);
    let shown = folder.run("config show run").ends_with(0).stdout;
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
    assert!(line("batch = 4 ").ends_with("# --set"), "{shown}");
    assert!(line("width = 2 ").ends_with("# file tiny.toml"), "{shown}");
    assert!(line("dropout = ").ends_with("# default"), "{shown}");

    let refused = folder.run("config show tiny.toml --set data.patch_size=7").ends_with(78);
    let trained = folder.run("pretrain tiny.toml --data cifar --set data.patch_size=7 --out other").ends_with(78);
    assert_eq!(refused.stderr, trained.stderr);
    refused.prints(&["patch_size = 7"]);

    fs::create_dir(folder.path("photos")).unwrap();
    fs::write(folder.path("photos/red.bmp"), red_bmp(32, 32)).unwrap();
    let images = folder.run("config show photos").ends_with(2);
    images.says(&["got the folder photos, which is no run; its images fit the recipe "]);
}

#[test]
fn a_bench_shows_what_was_asked_and_where_the_time_goes() {
    let folder = Folder::new();
    let step = "bench step --task pretrain --width 2 --batch 4 --micro-batch 2 --steps 1 --threads 2 --profile";
    let table = folder.run(step).ends_with(0);
    table.prints(&["images/s", "ms/step", "GFLOP/s", "GB/s", "optimizer", "outside selfie-ops"]);
    let json = folder.run(&format!("{step} --json")).ends_with(0).json();
    let asked = [("batch", 4), ("micro_batch", 2), ("width", 2), ("image_size", 32), ("steps", 1), ("threads", 2)];
    assert!(asked.iter().all(|(key, value)| json[*key] == *value), "{json}");
    assert_eq!((json["task"].as_str(), json["dtype"].as_str()), (Some("pretrain"), Some("f32")), "{json}");
    let shares = json["profile"].as_array().unwrap().iter().map(|line| line["share"].as_f64().unwrap());
    assert!((shares.sum::<f64>() - 1.0).abs() < 1e-6, "{json}");

    let rate = folder.run("bench rate --size 64 --products 2 --json").ends_with(0).json();
    assert!(rate["gflop_per_s"].as_f64().is_some_and(|rate| rate > 0.0), "{rate}");
    assert_eq!((rate["size"].as_u64(), rate["dtype"].as_str()), (Some(64), Some("f32")), "{rate}");
}

#[test]
fn a_bench_of_the_loader_makes_the_batches_of_either_task() {
    let folder = Folder::new();
    for task in ["pretrain", "finetune"] {
        let arguments = format!("bench loader tiny.toml --data cifar --task {task} --batch 8 --workers 2 --batches 3");
        let json = folder.run(&format!("{arguments} --json")).ends_with(0).json();
        let asked = [("batch", 8), ("workers", 2), ("batches", 3), ("n_examples", 100), ("n_bad", 0)];
        assert!(asked.iter().all(|(key, value)| json[*key] == *value), "{json}");
        assert!(json["images_per_s"].as_f64().is_some_and(|rate| rate > 0.0), "{json}");
        folder.run(&arguments).ends_with(0).prints(&["images/s", "3 batches of 8 out of 100 images, 2 workers"]);
    }
    folder.run("bench loader imagenet224 --data cifar").ends_with(66);
}

#[test]
fn a_bench_measures_bf16_as_it_does_f32() {
    let folder = Folder::new();
    for task in ["pretrain", "finetune", "embed"] {
        let arguments = format!("bench step --task {task} --width 2 --batch 2 --steps 1 --dtype bf16 --json");
        let json = folder.run(&arguments).ends_with(0).json();
        assert_eq!(json["dtype"].as_str(), Some("bf16"), "{json}");
        assert!(json["loss"].as_f64().is_some_and(f64::is_finite), "{json}");
    }
}

#[test]
fn a_bench_refuses_what_it_cannot_measure() {
    let folder = Folder::new();
    let uneven = folder.run("bench step --width 2 --batch 4 --micro-batch 3").ends_with(78);
    uneven.says(&["micro_batch (--micro-batch): expected a divisor of the batch, 4, got 3"]);
}

#[test]
fn a_dry_run_says_what_a_start_in_the_folder_would_do_and_leaves_it_as_it_is() {
    let folder = Folder::new();
    let pretrain = "pretrain tiny.toml --data cifar --out run";
    let tune = "finetune tiny.toml --data cifar --from scratch --fraction 0.5 --out tuned";
    folder.run(&format!("{pretrain} --dry-run")).ends_with(0).prints(&["run       run, from the first step"]);
    assert!(!folder.exists("run"));
    for (command, out) in [(pretrain, "run"), (tune, "tuned")] {
        folder.run(&format!("{command} --stop-after 5")).ends_with(0);
        let files = |name: &str| (folder.names(name), folder.bytes(&format!("{name}/.lock")));
        let before = files(out);
        let dry = folder.run(&format!("{command} --dry-run")).ends_with(0);
        dry.prints(&[&format!("{out}, on from step 5 of "), "of it left"]);
        let other = folder.run(&format!("{command} --dry-run --set batch=4")).ends_with(78);
        other.prints(&["refused: ", "batch: was 8, now 4 (--set)"]);
        let allowed =
            folder.run(&format!("{command} --dry-run --set batch=4 --allow-change batch --json")).ends_with(0);
        assert_eq!(allowed.json()["run"]["does"], "goes on");
        assert_eq!(files(out), before);
        folder.run(command).ends_with(0);
        folder.run(&format!("{command} --dry-run")).ends_with(0).prints(&["is finished: its result would be printed"]);
    }
    let refused = folder.run("pretrain tiny.toml --data cifar --out cifar --dry-run").ends_with(73);
    refused.prints(&["refused: cifar holds other files"]);
    folder
        .run("pretrain tiny.toml --data cifar --out tiny.toml --dry-run")
        .ends_with(73)
        .prints(&["expected a folder"]);
    let misfit = folder.run("finetune --from run --fraction 0.5 --set model.width=4 --dry-run").ends_with(65);
    misfit.prints(&["refused: ", "model.width is 4 here, 2 in the weights"]);
    let mut started = folder.start(&format!("pretrain tiny.toml --data cifar --out busy --steps {ENDLESS}"));
    started.wait_for_steps(&folder.path("busy"), 1);
    let busy = folder.run(&format!("pretrain tiny.toml --data cifar --out busy --steps {ENDLESS} --dry-run"));
    busy.ends_with(73).prints(&["refused: busy is in use by another process (process "]);
}

/// What the program says in backticks behind `go on with`.
fn command_in(said: &str) -> String {
    let (_, rest) = said.split_once("go on with `selfie ").unwrap_or_else(|| panic!("no command in {said}"));
    rest.split_once('`').unwrap().0.to_owned()
}

#[test]
fn the_command_that_an_unfinished_run_is_told_goes_on_with_it() {
    let folder = Folder::new();
    let pretrain = "pretrain tiny.toml --data cifar --out run --set model.depths=[1,1,1,2] --steps 15 --seed 3";
    folder.run(&format!("{pretrain} --stop-after 5")).ends_with(0);
    folder.run("report run").ends_with(0);
    let page = String::from_utf8(folder.bytes("run/report.html")).unwrap();
    let page = page.replace("<span>", "").replace("</span>", "").replace("<code>", "`").replace("</code>", "`");
    let said = folder.run("finetune --from run --fraction 0.5").ends_with(66).stderr;
    let command = command_in(&said).replace('\'', "");
    assert_eq!(command_in(&page).replace("'", ""), command);
    folder.run(&command).ends_with(0).says(&["resuming run after step 5"]).prints(&["15 steps"]);

    fs::write(folder.path("own.txt"), "3\n1\n7\n").unwrap();
    for (labels, out) in [("--fraction 0.5 --validate", "share"), ("--subset own.txt", "own")] {
        folder.run(&format!("finetune --from run {labels} --set batch=2 --out {out} --stop-after 4")).ends_with(0);
        let said = folder.run(&format!("evaluate {out}")).ends_with(66).stderr;
        folder.run(&command_in(&said)).ends_with(0).says(&[&format!("resuming {out} after step 4")]);
    }
}

#[test]
fn a_run_of_days_is_told_at_its_start_what_is_shorter() {
    let folder = Folder::new();
    let started = folder.start("pretrain cifar10 --data cifar --out long --set batch=2 --steps 100000000");
    let log = folder.path("long/train.log");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !fs::read_to_string(&log).is_ok_and(|log| log.contains("shorter and smaller, say: --set pretrain.steps=2000"))
    {
        assert!(std::time::Instant::now() < deadline, "no hint after a minute");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    drop(started);
    // Weeks of schedule, but minutes of it are asked for.
    let short =
        folder.run("pretrain tiny.toml --data cifar --out short --steps 4000000000 --stop-after 1").ends_with(0);
    assert!(!short.stderr.contains("shorter and smaller"), "{}", short.stderr);
}

#[test]
fn a_dry_run_of_every_recipe_says_what_it_would_take_and_touches_nothing() {
    let folder = Folder::new();
    for recipe in ["shapes32", "cifar10", "cifar10-small", "imagenet32", "imagenet224"] {
        let estimate = folder.run(&format!("pretrain {recipe} --dry-run --json")).ends_with(0).json();
        assert!(estimate["steps"].as_u64().is_some_and(|steps| steps > 0), "{estimate}");
        assert!(estimate["hours"].as_f64().is_some_and(f64::is_finite), "{estimate}");
        assert!(estimate["images_per_s"].as_f64().is_some_and(|speed| speed > 0.0), "{estimate}");
    }
    folder.run("finetune cifar10 --fraction 0.05 --from scratch --dry-run").ends_with(0).prints(&["examples  2500"]);
    assert!(!folder.exists("runs"));
}

#[test]
fn help_lists_every_command_and_each_has_help_of_its_own() {
    let folder = Folder::new();
    let help = folder.run("--help").ends_with(0);
    for command in COMMANDS {
        assert!(help.stdout.lines().any(|line| line.starts_with(&format!("  {command} "))), "{command} is not listed");
        folder.run(&format!("{command} --help")).ends_with(0).prints(&["Usage: selfie "]);
    }
    let options = ["--device", "--dtype", "--threads", "--seed", "--data", "--out", "--set", "--steps", "--stop-after"];
    let pretrain = folder.run("pretrain --help").ends_with(0).prints(&options);
    pretrain.prints(&["--json", "--quiet", "--dry-run"]);
    folder.run("bench --help").ends_with(0).prints(&["step", "rate", "loader"]);
    let options = ["--task", "--image-size", "--width", "--batch", "--micro-batch", "--dtype", "--steps", "--profile"];
    folder.run("bench step --help").ends_with(0).prints(&options).prints(&["--threads", "--device", "--json"]);
}
