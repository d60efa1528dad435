//! Wrong input: each mistake has its exit code and a message that says where, what was expected, what was there and
//! what to do; and it leaves nothing behind.

use std::fs;

use crate::program::{Folder, Ran, red_bmp};

/// A mistake, its exit code and what its message must have.
pub(crate) type Mistake = (&'static str, i32, &'static [&'static str]);

pub(crate) const OF_USAGE: [Mistake; 12] = [
    ("pretrain shapes33", 2, &["RECIPE: expected a recipe (shapes32, ", "path of a TOML file", "got shapes33"]),
    ("pretrain", 2, &["RECIPE: expected a recipe, or a folder of images as --data"]),
    ("pretrain shapes32 --batch-size 32", 2, &["'--batch-size'", "a key of the configuration: --set batch=VALUE"]),
    ("pretrain shapes32 --step 100", 2, &["a similar argument exists: '--steps'"]),
    ("evaluate cifar --set cifar10", 2, &["a data set is named with --data-set"]),
    ("pretrian shapes32", 2, &["pretrian", "pretrain"]),
    ("pretrain tiny.toml --data cifar --set batch", 2, &["--set: expected key=value, got `batch`"]),
    ("pretrain tiny.toml --data cifar --device gpu", 2, &["--device: expected auto, cpu, cuda", "got gpu"]),
    ("pretrain tiny.toml --data cifar --stop-after 0", 2, &["--stop-after: expected", "at least 1, got 0"]),
    ("data check cifar1", 2, &["SET: expected one of shapes32, cifar10, ", "got cifar1; did you mean cifar10?"]),
    (
        "finetune tiny.toml --data cifar --fraction 0.5 --from scrath",
        2,
        &["--from: expected a run, a weights file or `scratch`, got scrath; did you mean scratch?"],
    ),
    ("finetune tiny.toml --data cifar --from scratch --fraction 1.5", 2, &["--fraction", "'1.5'", "at most 1"]),
];

pub(crate) const OF_CONFIGURATION: [Mistake; 7] = [
    (
        "pretrain tiny.toml --data cifar --set learning_rat=1",
        78,
        &["--set: there is no key `learning_rat`", "`pretrain.learning_rate`"],
    ),
    ("pretrain tiny.toml --data cifar --set modl.width=2", 78, &["no key `modl.width`", "`model.width`"]),
    (
        "pretrain tiny.toml --data cifar --allow-change lerning_rate",
        78,
        &["--allow-change: there is no key `lerning_rate`", "`pretrain.learning_rate`"],
    ),
    ("pretrain tiny.toml --data cifar --set batch=many", 78, &["pretrain.batch (--set)", "many"]),
    ("pretrain tiny.toml --data cifar --set heads=5", 78, &["model.heads (--set): expected a divisor of", "got 5"]),
    ("pretrain tiny.toml --data cifar --steps 0", 78, &["pretrain.steps (--steps)", "got 0 updates"]),
    ("pretrain broken.toml --data cifar", 78, &["broken.toml is not valid TOML", "line 2"]),
];

pub(crate) const OF_INPUT: [Mistake; 15] = [
    ("pretrain missing.toml", 66, &["missing.toml is missing: expected a recipe", "path of a TOML file"]),
    ("pretrain tiny.toml --data nowhere", 66, &["data set cifar10", "expected it in nowhere", "--data"]),
    ("pretrain tiny.toml", 66, &["expected it in data/cifar10", "--data"]),
    ("pretrain imagenet32", 66, &["imagenet32", "expected it in data/imagenet32", "--data"]),
    (
        "finetune tiny.toml --fraction 0.5",
        66,
        &["no finished pretraining of tiny", "--from a run, a weights file or `scratch`"],
    ),
    ("finetune tiny.toml --data cifar --fraction 0.5 --from nowhere", 66, &["nowhere is missing", "a weights file"]),
    ("evaluate nowhere", 66, &["nowhere is missing", "a finished run's folder or a weights file"]),
    ("evaluate cifar", 66, &["cifar/weights.safetensors is missing", "this is no run folder"]),
    ("finetune --fraction 0.5 --from tiny.toml", 65, &["tiny.toml is not a weights file: expected a safetensors file"]),
    (
        "finetune tiny.toml --data cifar --from scratch --subset nope.txt",
        66,
        &["nope.txt is missing: expected a file of --subset"],
    ),
    (
        "replay tiny.toml",
        65,
        &["expected a captured fault, a file of a run's folder `faults`", "got another kind of file"],
    ),
    (
        "search nosuch.npy tiny.toml",
        66,
        &["nosuch.npy is missing: expected an .npy or .safetensors file that `selfie embed` made"],
    ),
    ("predict tiny.toml tiny.toml", 65, &["tiny.toml is not a weights file"]),
    ("checkpoint verify nowhere", 66, &["nowhere is missing: expected a run folder"]),
    ("checkpoint show tiny.toml", 65, &["tiny.toml is corrupt"]),
];

#[test]
fn every_mistake_has_its_exit_code_and_message_and_leaves_nothing_behind() {
    let folder = Folder::new();
    fs::write(folder.path("broken.toml"), "[pretrain]\nbatch = = 8\n").unwrap();
    let before = folder.names(".");
    for (command, code, parts) in OF_USAGE.into_iter().chain(OF_CONFIGURATION).chain(OF_INPUT) {
        let ran = folder.run(command).ends_with(code).says(parts);
        assert_eq!(ran.stdout, "", "selfie {command}: an error is no result");
        assert_eq!(folder.names("."), before, "selfie {command} left something behind");
    }
}

#[test]
fn a_cut_off_data_file_and_a_wrong_label_are_named_with_their_record() {
    let folder = Folder::new();
    let path = folder.path("cifar/data_batch_3.bin");
    let intact = fs::read(&path).unwrap();
    fs::write(&path, &intact[..intact.len() - 1]).unwrap();
    let cut = folder.run("pretrain tiny.toml --data cifar --out run").ends_with(65);
    cut.says(&[
        "cifar/data_batch_3.bin: record 19: expected records of 3073 bytes",
        "got 3072 bytes",
        "fetch it again",
    ]);

    let mut wrong = intact;
    wrong[7 * 3073] = 10;
    fs::write(&path, wrong).unwrap();
    for command in ["pretrain tiny.toml --out run", "data check cifar10"] {
        let wrong = folder.run(&format!("{command} --data cifar")).ends_with(65);
        wrong.says(&["cifar/data_batch_3.bin: record 7: expected a label of 0 to 9, got 10", "fetch it again"]);
    }

    fs::remove_file(&path).unwrap();
    let missing = folder.run("pretrain tiny.toml --data cifar --out run").ends_with(66);
    missing.says(&["cifar/data_batch_3.bin: found nothing there; check the path"]);
    assert!(!folder.exists("run"));
}

#[test]
fn an_instruction_set_that_is_not_there_is_refused() {
    let folder = Folder::new();
    let mut command = folder.command("bench step --width 2 --batch 2 --steps 1");
    let output = command.env("SELFIE_ISA", "avx1024").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("($SELFIE_ISA)") && said.contains("portable") && said.contains("got avx1024"), "{said}");
}

#[test]
fn a_value_of_the_environment_that_cannot_be_used_is_named_by_its_variable() {
    let folder = Folder::new();
    let arguments = "bench step --width 2 --batch 2 --steps 1";
    let says = |variable: &str, value: &str, flags: &str, part: &str| {
        let arguments = format!("{arguments} {flags}");
        let output = folder.command(&arguments).env(variable, value).output().unwrap();
        Ran::new(&arguments, &output).ends_with(2).says(&[part]);
    };
    says("SELFIE_DEVICE", "foo", "", "$SELFIE_DEVICE: expected auto, cpu, cuda, cuda:N or metal, got foo");
    says("SELFIE_DEVICE", "foo", "--device=bar", "--device: expected auto, cpu, cuda, cuda:N or metal, got bar");
    says("SELFIE_THREADS", "many", "", "$SELFIE_THREADS is set to many");
}

#[test]
fn a_file_of_another_kind_is_told_what_was_expected_in_its_place() {
    let folder = Folder::new();
    fs::create_dir(folder.path("run")).unwrap();
    let hint = "expected a file in the folder `faults` of a run";
    folder.run("replay run").ends_with(66).says(&[&format!("run does not fit: {hint}")]);
    folder.run("replay nix").ends_with(66).says(&[&format!("nix is missing: {hint}")]);
}

#[test]
fn a_changed_key_is_refused_on_resume_with_the_difference() {
    let folder = Folder::new();
    let command = "pretrain tiny.toml --data cifar --out run";
    folder.run(&format!("{command} --stop-after 5")).ends_with(0);
    let before = folder.bytes("run/run.json");
    let changed = folder.run(&format!("{command} --set batch=4 --set model.width=4 --seed 2")).ends_with(78);
    changed.says(&[
        "run was started with other values",
        "pretrain.batch: was 8, now 4 (--set)",
        "model.width: was 2, now 4 (--set)",
        "seed: was 1, now 2",
        "choose another --out",
    ]);
    folder.run(&format!("{command} --dtype bf16")).ends_with(78).says(&["dtype: was \"f32\", now \"bf16\""]);
    let fixed = folder.run(&format!("{command} --set model.width=4")).ends_with(78);
    assert!(!fixed.stderr.contains("--allow-change"), "no checkpoint goes on with it: {}", fixed.stderr);
    assert!(folder.bytes("run/run.json") == before);
    assert_eq!(folder.metrics("run").len(), 5);

    let path = folder.path("cifar/test_batch.bin");
    let mut data = fs::read(&path).unwrap();
    data[1] ^= 1;
    fs::write(&path, &data).unwrap();
    fs::write(folder.path("cifar/data_batch_1.bin"), &data).unwrap();
    folder.run(command).ends_with(78).says(&["data.train: was"]);
}

#[test]
fn an_allowed_change_goes_on_from_the_checkpoint_and_is_recorded() {
    let folder = Folder::new();
    let command = "pretrain tiny.toml --data cifar --out run";
    folder.run(&format!("{command} --stop-after 10")).ends_with(0);
    let before = folder.bytes("run/run.json");
    let slower = "--set learning_rate=0.01";
    let refused = folder.run(&format!("{command} {slower} --seed 2 --allow-change seed")).ends_with(78);
    refused.says(&["pretrain.learning_rate: was 0.05, now 0.01 (--set)", "--allow-change KEY"]);

    for (set, tensor) in [
        ("--set model.width=4 --allow-change model.width", "`attention_pooling.layers.0.linear1.weight`"),
        ("--set model.architecture=resnet50v1.5 --allow-change architecture", "is missing"),
        ("--set optimizer=adamw --allow-change optimizer", "`first_moment."),
    ] {
        let other = folder.run(&format!("{command} {set}")).ends_with(78);
        let key = set.rsplit(' ').next().unwrap();
        let other = other.says(&["run/checkpoints/step-00000010/", tensor, "take the change back"]);
        assert!(other.stderr.contains(&format!("{key} was ")), "{}", other.stderr);
        assert!(folder.bytes("run/run.json") == before, "{set}: a change that does not fit is not recorded");
    }

    let went_on = folder.run(&format!("{command} {slower} --allow-change learning_rate --stop-after 12")).ends_with(0);
    went_on.says(&["resuming run after step 10", "changed: pretrain.learning_rate: was 0.05, now 0.01"]);
    let record: serde_json::Value = serde_json::from_slice(&folder.bytes("run/run.json")).unwrap();
    let change = &record["changes"][0];
    assert_eq!((&change["key"], &change["step"]), (&"pretrain.learning_rate".into(), &10.into()), "{record}");
    folder.run(command).ends_with(78).says(&["pretrain.learning_rate: was 0.01, now 0.05"]);
    folder.run(&format!("{command} {slower}")).ends_with(0).says(&["resuming run after step 12"]);
    assert_eq!(folder.metrics("run").len(), 20);

    let finished = folder.run(&format!("{command} --steps 30 --allow-change steps --allow-change learning_rate"));
    finished.ends_with(78).says(&["run is finished", "pretrain.steps: was 20, now 30", "choose another --out"]);
}

#[test]
fn weights_that_do_not_fit_are_refused_by_name_and_leave_no_run_behind() {
    let folder = Folder::new();
    folder.run("pretrain tiny.toml --data cifar --out narrow --steps 2").ends_with(0);
    let without_out = "finetune tiny.toml --data cifar --fraction 0.5 --steps 2";
    let finetune = format!("{without_out} --out tuned");

    let wide = folder.run(&format!("{finetune} --from narrow --set model.width=4")).ends_with(65);
    let shapes = "`stages.0.blocks.0.conv1.weight`: expected shape [4, 4, 1, 1], got [2, 2, 1, 1]";
    let wide =
        wide.says(&["narrow/weights.safetensors", "model.width is 4 here, 2 in the weights; ", shapes, "--from"]);
    assert_eq!(wide.stderr.matches("expected shape").count(), 3, "{}", wide.stderr);
    assert!(!folder.exists("tuned"), "the corrected command must not find another run's folder");

    let whole = folder.bytes("narrow/weights.safetensors");
    for n_bytes in [0, 7, whole.len() / 2, whole.len() - 1] {
        fs::write(folder.path("cut.safetensors"), &whole[..n_bytes]).unwrap();
        let cut = folder.run(&format!("{finetune} --from cut.safetensors")).ends_with(65);
        cut.says(&["cut.safetensors is not a weights file"]);
    }
    assert!(!folder.exists("tuned"));

    folder.run(&format!("{finetune} --from narrow")).ends_with(0);
    let wrong = folder.run(&format!("{without_out} --from tuned --out again")).ends_with(65);
    wrong.says(&["tuned/weights.safetensors holds a classifier, expected a pretraining network"]);
    fs::write(folder.path("red.bmp"), red_bmp(32, 32)).unwrap();
    let wrong = folder.run("predict narrow red.bmp").ends_with(65);
    wrong.says(&["narrow/weights.safetensors holds a pretraining network, expected a classifier; "]);
    folder.run("evaluate narrow --data cifar").ends_with(65).says(&["selfie finetune --from narrow --fraction 0.1"]);
    folder.run("predict tuned red.bmp").ends_with(0).prints(&["red.bmp: "]);
    let missing = folder.run("predict tuned blue.bmp").ends_with(66);
    missing.says(&["blue.bmp: expected an image, a folder of images, a list or a shard"]);
    let some = folder.run("predict tuned tiny.toml red.bmp").ends_with(65);
    some.says(&["left out: tiny.toml: expected an image"]).prints(&["red.bmp: "]);
    fs::create_dir(folder.path("pictures")).unwrap();
    fs::write(folder.path("pictures/red.bmp"), red_bmp(32, 32)).unwrap();
    folder.run("predict tuned pictures").ends_with(0).prints(&["pictures/red.bmp: "]);
}

#[test]
fn a_folder_of_other_files_is_not_trained_in() {
    let folder = Folder::new();
    let refused = folder.run("pretrain tiny.toml --data cifar --out cifar").ends_with(73);
    refused.says(&["cifar holds other files", "choose another --out"]);
    assert_eq!(folder.names("cifar").len(), 6);
    folder.run("pretrain tiny.toml --data cifar --out run --steps 2").ends_with(0);
    fs::create_dir(folder.path("folder.npy")).unwrap();
    for command in [
        "pretrain tiny.toml --data cifar --out tiny.toml",
        "pretrain tiny.toml --data cifar --out tiny.toml/run",
        "export run --out tiny.toml",
        "show run --out tiny.toml",
        "study tiny.toml --data cifar --fractions 0.5 --seeds 1 --out tiny.toml",
    ] {
        folder
            .run(command)
            .ends_with(73)
            .says(&["cannot write to tiny.toml: expected a folder, or nothing yet, found a file"]);
    }
    for command in ["embed run --data-set cifar10 --data cifar --out folder.npy", "report run --out folder.npy"] {
        let refused = folder.run(command).ends_with(73);
        refused
            .says(&["cannot write to folder.npy: expected the name of a file, found a folder; choose another --out"]);
    }
}

#[test]
fn training_that_diverges_stops_with_the_step_and_leaves_finite_numbers_only() {
    let folder = Folder::new();
    for (rate, every) in [("1e30", 1), ("1e20", 2), ("1e38", 1)] {
        let run = format!("rate-{rate}");
        let command = format!("--data cifar --set learning_rate={rate} --set every_steps={every} --out {run}");
        let diverged = folder.run(&format!("pretrain tiny.toml {command}")).ends_with(70);
        diverged.says(&["is not finite at step ", "lower the learning rate or set clip_norm"]);
        assert!(!folder.exists(&format!("{run}/result.json")) && !folder.exists(&format!("{run}/weights.safetensors")));
        // JSON has no NaN: a line that holds one does not parse.
        let n_steps = folder.metrics(&run).len();
        folder.require_nothing_half_written(&run);
        for checkpoint in folder.names(&format!("{run}/checkpoints")) {
            for file in ["weights.safetensors", "optimizer.safetensors"] {
                require_finite(&folder.bytes(&format!("{run}/checkpoints/{checkpoint}/{file}")));
            }
        }
        let again = folder.run(&format!("pretrain tiny.toml {command}")).ends_with(70);
        again.says(&["is not finite at step "]);
        assert_eq!(folder.metrics(&run).len(), n_steps, "a second attempt stops at the same step");
    }
    let tuned = "finetune tiny.toml --data cifar --fraction 0.5 --from scratch --set learning_rate=1e30 --out tuned";
    folder.run(tuned).ends_with(70).says(&["is not finite at step "]);
    assert!(!folder.exists("tuned/result.json"));
}

fn require_finite(safetensors: &[u8]) {
    let tensors = selfie_model::tensors_from_bytes(safetensors, std::path::Path::new("of the run")).unwrap();
    assert!(!tensors.is_empty());
    for (name, tensor) in tensors {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(values.iter().all(|value| value.is_finite()), "{name} holds a number that is not finite");
    }
}

/// `no-dictionary.parquet` with one bit changed: other people's reader panics on its negative offset.
#[test]
fn a_panic_of_other_peoples_reader_is_an_error_of_the_file() {
    let folder = Folder::new();
    fs::create_dir(folder.path("tables")).unwrap();
    let file = include_bytes!("../../crates/selfie-data/tests/parquet/negative-offset.parquet");
    fs::write(folder.path("tables/train.parquet"), file).unwrap();
    let ran = folder.run("data info imagenet32 --data tables").ends_with(65);
    let ran = ran.says(&["train.parquet", "expected a parquet file, got one that its reader fails on"]);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

#[test]
fn a_list_without_tabs_and_an_unfinished_pretraining_are_told_as_what_they_are() {
    let folder = Folder::new();
    fs::write(folder.path("a.bmp"), red_bmp(32, 32)).unwrap();
    fs::write(folder.path("list.txt"), "a.bmp cat\n").unwrap();
    let line = "list.txt: line 1: expected the path of an image, and behind a TAB its class, got `a.bmp cat`, which has no TAB";
    folder.run("pretrain --data list.txt --out run").ends_with(65).says(&[line]);

    folder.run("pretrain tiny.toml --data cifar --out runs/begun --stop-after 5 -q").ends_with(0);
    let unfinished = folder.run("finetune --fraction 0.5").ends_with(66);
    unfinished
        .says(&["runs/begun/weights.safetensors is missing: the run is not finished; go on with `selfie pretrain "]);
    fs::create_dir(folder.path("other")).unwrap();
    folder.run("finetune tiny.toml --data cifar --fraction 0.5 --from nothere").ends_with(66).says(&["weights file\n"]);

    let tune = "finetune tiny.toml --data cifar --from scratch --fraction 0.5 --steps 2";
    folder.run(tune).ends_with(0);
    let again = folder.run(&format!("{tune} --set batch=4")).ends_with(78);
    again.says(&["choose another --out, say runs/finetune-tiny-0.5-scratch-s1-2"]);
}
