//! A run that was interrupted ends with the bytes of one that was not.

use rustix::process::Signal;

use crate::program::Folder;

const PRETRAIN: &str = "pretrain tiny.toml --data cifar --steps 90";
const FINETUNE: &str = "finetune tiny.toml --data cifar --fraction 0.5 --from scratch --steps 60";

/// Kills `command` when its run has recorded so many steps, for each of `kills`, then lets it end.
fn killed_and_run_again(folder: &Folder, command: &str, kills: &[usize]) {
    let command = format!("{command} --out killed");
    for &n_steps in kills {
        let mut started = folder.start(&command);
        started.wait_for_steps(&folder.path("killed"), n_steps);
        started.send(Signal::KILL);
        assert_eq!(started.wait().code, None, "the program ended before it was killed");
        assert!(!folder.exists("killed/result.json"));
    }
    // A checkpoint may have been half-way when the process died: one of the two before is whole.
    let before = kills.last().unwrap() / 5 * 5;
    let resumed = folder.run(&command).ends_with(0).says(&["resuming killed after step "]);
    let step = resumed.stderr.split("after step ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    assert!(step.parse::<usize>().unwrap() + 5 >= before, "resumed after step {step}, killed after {before}");
}

#[test]
fn a_pretraining_killed_three_times_ends_with_the_same_bytes() {
    let folder = Folder::new();
    folder.run(&format!("{PRETRAIN} --out twin")).ends_with(0);
    killed_and_run_again(&folder, PRETRAIN, &[7, 23, 41]);
    folder.require_same("killed", "twin");
    assert_eq!(folder.metrics("killed").len(), 90);
    folder.require_nothing_half_written("killed");
}

#[test]
fn a_fine_tuning_killed_twice_ends_with_the_same_bytes() {
    let folder = Folder::new();
    folder.run(&format!("{FINETUNE} --out twin")).ends_with(0);
    killed_and_run_again(&folder, FINETUNE, &[6, 22]);
    folder.require_same("killed", "twin");
    folder.require_nothing_half_written("killed");
}

#[test]
fn a_bf16_training_killed_twice_ends_with_the_same_bytes() {
    let folder = Folder::new();
    let command = format!("{PRETRAIN} --dtype bf16");
    folder.run(&format!("{command} --out twin")).ends_with(0);
    killed_and_run_again(&folder, &command, &[12, 38]);
    folder.require_same("killed", "twin");
    folder.run(&format!("{PRETRAIN} --out f32")).ends_with(0);
    assert!(folder.bytes("twin/weights.safetensors") != folder.bytes("f32/weights.safetensors"));
}

#[test]
fn stopping_half_way_and_changing_threads_workers_and_cadence_changes_no_byte() {
    let folder = Folder::new();
    for (task, command, half) in [("pretrain", PRETRAIN, 44), ("finetune", FINETUNE, 31)] {
        let (twin, halves) = (format!("{task}-twin"), format!("{task}-halves"));
        folder.run(&format!("{command} --out {twin} --threads 1 --set loader.workers=0")).ends_with(0);
        let stopped = folder.run(&format!("{command} --out {halves} --threads 2 --stop-after {half}")).ends_with(0);
        stopped.prints(&[&format!("stopped after step {half}"), "without --stop-after"]);
        assert!(!folder.exists(&format!("{halves}/result.json")));
        let other = "--threads 1 --set loader.workers=3 --set loader.queue=2 --set checkpoint.every_steps=7 -q";
        folder.run(&format!("{command} --out {halves} {other}")).ends_with(0);
        folder.require_same(&halves, &twin);
    }
}

#[test]
fn another_seed_gives_other_bytes() {
    let folder = Folder::new();
    for seed in [1, 2] {
        folder.run(&format!("pretrain tiny.toml --data cifar --out seed-{seed} --seed {seed}")).ends_with(0);
    }
    assert!(folder.bytes("seed-1/weights.safetensors") != folder.bytes("seed-2/weights.safetensors"));
    assert!(folder.metrics("seed-1") != folder.metrics("seed-2"));
}
