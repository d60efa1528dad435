//! Damaged checkpoints are found, named and passed over.

use std::fs;

use crate::program::Folder;

const COMMAND: &str = "pretrain tiny.toml --data cifar";

/// Flips one bit in the middle of a file.
fn damage(folder: &Folder, file: &str) {
    let mut bytes = folder.bytes(file);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(folder.path(file), bytes).unwrap();
}

#[test]
fn verify_accepts_an_intact_run_and_names_any_file_with_a_flipped_bit() {
    let folder = Folder::new();
    folder.run(&format!("{COMMAND} --out run")).ends_with(0);
    let intact = folder.run("checkpoint verify run").ends_with(0);
    intact.prints(&["step-00000015: intact", "step-00000020: intact", "run/weights.safetensors: intact"]);
    folder.run("checkpoint verify run/checkpoints/step-00000020").ends_with(0);

    let newest = "run/checkpoints/step-00000020";
    let files =
        ["weights.safetensors", "optimizer.safetensors", "manifest.json"].map(|file| format!("{newest}/{file}"));
    for file in files.into_iter().chain(["run/weights.safetensors".to_owned()]) {
        let whole = folder.bytes(&file);
        damage(&folder, &file);
        let found = folder.run("checkpoint verify run").ends_with(65);
        found.prints(&[&format!("{file} is corrupt"), "step-00000015: intact"]);
        fs::remove_file(folder.path(&file)).unwrap();
        folder.run("checkpoint verify run").ends_with(66).prints(&[&file]);
        fs::write(folder.path(&file), whole).unwrap();
    }
    folder.run("checkpoint verify run").ends_with(0);
}

#[test]
fn a_resume_passes_over_a_damaged_checkpoint_with_a_warning_and_ends_with_the_same_bytes() {
    let folder = Folder::new();
    folder.run(&format!("{COMMAND} --out twin")).ends_with(0);
    folder.run(&format!("{COMMAND} --out run --stop-after 10")).ends_with(0);
    let newest = "run/checkpoints/step-00000010/weights.safetensors";
    damage(&folder, newest);
    let resumed = folder.run(&format!("{COMMAND} --out run -q")).ends_with(0);
    resumed.says(&["warning: passed over a checkpoint", &format!("{newest} is corrupt"), "expected BLAKE3"]);
    folder.require_same("run", "twin");
    folder.require_nothing_half_written("run");
}

#[test]
fn a_run_without_an_intact_checkpoint_is_refused_not_started_anew() {
    let folder = Folder::new();
    folder.run(&format!("{COMMAND} --out run --stop-after 10")).ends_with(0);
    for step in [5, 10] {
        damage(&folder, &format!("run/checkpoints/step-{step:08}/optimizer.safetensors"));
    }
    let refused = folder.run(&format!("{COMMAND} --out run")).ends_with(65);
    refused.says(&["run/checkpoints is corrupt: no checkpoint is intact", "step-00000005", "remove the folder"]);
    assert_eq!(folder.metrics("run").len(), 10);
}

#[test]
fn diff_says_which_tensors_of_two_checkpoints_differ_and_by_how_much() {
    let folder = Folder::new();
    folder.run(&format!("{COMMAND} --out run")).ends_with(0);
    folder.run(&format!("{COMMAND} --out other --seed 2")).ends_with(0);
    let same = folder.run("checkpoint diff run run").ends_with(0);
    same.prints(&["0 tensors differ"]);
    let steps = "checkpoint diff run/checkpoints/step-00000015 run/checkpoints/step-00000020";
    let differ = folder.run(&format!("{steps} --json")).ends_with(1).json();
    let tensors = differ["tensors"].as_array().unwrap();
    let largest = |tensor: &serde_json::Value| tensor["max_abs"].as_f64().unwrap();
    assert!(!tensors.is_empty() && tensors.iter().all(|tensor| largest(tensor) > 0.0), "{differ}");
    let step = differ["facts"].as_array().unwrap().iter().find(|fact| fact["key"] == "step").unwrap();
    assert_eq!((&step["left"], &step["right"]), (&"15".into(), &"20".into()));
    let seeds = folder.run("checkpoint diff run other").ends_with(1);
    seeds.prints(&["seed: 1 and 2", "weights.safetensors ", "optimizer.safetensors ", "at most by "]);
    folder.run("checkpoint diff run/weights.safetensors run").ends_with(0).prints(&["0 tensors differ"]);
}

#[test]
fn a_flipped_bit_is_told_with_its_tensor() {
    let folder = Folder::new();
    folder.run(&format!("{COMMAND} --out run --stop-after 10")).ends_with(0);
    let file = "run/checkpoints/step-00000010/weights.safetensors";
    let mut bytes = folder.bytes(file);
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let first: serde_json::Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    let tensors = first.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    let (name, _) = tensors.min_by_key(|(_, tensor)| tensor["data_offsets"][0].as_u64()).unwrap();
    bytes[header] ^= 1;
    fs::write(folder.path(file), &bytes).unwrap();
    folder.run("checkpoint verify run").ends_with(65).prints(&[&format!("tensor `{name}` differs")]);
    bytes[header] ^= 1;
    bytes[header - 2] ^= 1;
    fs::write(folder.path(file), &bytes).unwrap();
    folder.run("checkpoint verify run").ends_with(65).prints(&["its header differs"]);
}

#[test]
fn weights_that_are_not_the_results_are_refused_wherever_they_are_used() {
    let folder = Folder::new();
    folder.run(&format!("{COMMAND} --out run -q")).ends_with(0);
    let tune = "finetune --fraction 0.5 --steps 2 -q";
    folder.run(&format!("{tune} --from run --out tuned")).ends_with(0);
    fs::write(folder.path("red.bmp"), crate::program::red_bmp(32, 32)).unwrap();
    for run in ["run", "tuned"] {
        damage(&folder, &format!("{run}/weights.safetensors"));
    }
    for (run, command) in [
        ("run", format!("{tune} --from run --out other")),
        ("run", format!("{tune} --from run/weights.safetensors --out other")),
        ("tuned", "evaluate tuned".to_owned()),
        ("tuned", "predict tuned red.bmp".to_owned()),
        ("run", "embed run red.bmp --out e.npy".to_owned()),
        ("run", "export run --out exported".to_owned()),
        ("run", "probe run".to_owned()),
    ] {
        let ran = folder.run(&command).ends_with(65);
        let ran = ran.says(&[
            &format!("{run}/weights.safetensors is corrupt: expected BLAKE3 "),
            "result.json names the first: give the last checkpoint's weights",
        ]);
        assert_eq!(ran.stdout, "", "selfie {command}");
    }
    for left in ["other", "e.npy", "exported"] {
        assert!(!folder.exists(left), "{left}");
    }
    folder.run("embed run/checkpoints/step-00000020/weights.safetensors red.bmp --out e.npy -q").ends_with(0);
}

#[test]
fn a_finished_run_without_its_weights_is_told_from_one_that_is_not_finished() {
    let folder = Folder::new();
    folder.run(&format!("{COMMAND} --out runs/one -q")).ends_with(0);
    fs::remove_file(folder.path("runs/one/weights.safetensors")).unwrap();
    let instead = "give the last checkpoint's weights, runs/one/checkpoints/step-00000020/weights.safetensors";
    for command in ["export runs/one --out exported", "finetune --fraction 0.5 --steps 2"] {
        let gone = folder.run(command).ends_with(66);
        gone.says(&["runs/one/weights.safetensors is missing: the run is finished, and its weights are gone", instead]);
    }
    fs::remove_dir_all(folder.path("runs/one/checkpoints")).unwrap();
    folder.run("export runs/one --out exported").ends_with(66).says(&["restore the file from a copy"]);
}

#[test]
fn a_network_that_computes_no_numbers_ends_with_70_and_writes_none() {
    let folder = Folder::new();
    folder.run("finetune tiny.toml --data cifar --from scratch --fraction 0.5 --out tuned -q").ends_with(0);
    fs::write(folder.path("red.bmp"), crate::program::red_bmp(32, 32)).unwrap();
    let mut bytes = folder.bytes("tuned/weights.safetensors");
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for number in bytes[header..].chunks_exact_mut(4) {
        number.copy_from_slice(&f32::NAN.to_le_bytes());
    }
    fs::write(folder.path("nan.safetensors"), bytes).unwrap();
    for command in [
        "predict nan.safetensors red.bmp",
        "predict nan.safetensors red.bmp --json",
        "embed nan.safetensors red.bmp --out e.jsonl",
    ] {
        let ran = folder.run(command).ends_with(70);
        let ran = ran.says(&["nan.safetensors: ", " is not finite", "give intact weights"]);
        assert_eq!(ran.stdout, "", "selfie {command}");
    }
    assert!(!folder.exists("e.jsonl"));
}

#[test]
fn a_finished_run_that_lost_its_weights_says_so_when_it_is_run_again() {
    let folder = Folder::new();
    let command = "pretrain tiny.toml --data cifar --steps 4 --out run";
    folder.run(command).ends_with(0).prints(&["weights in run"]);
    folder.run(command).ends_with(0).prints(&["finished before", "weights in run"]);
    fs::remove_file(folder.path("run/weights.safetensors")).unwrap();
    let gone = folder.run(command).ends_with(66).prints(&["finished before"]).says(&["its weights are gone"]);
    assert!(!gone.stdout.contains("weights in"), "{}", gone.stdout);
}
