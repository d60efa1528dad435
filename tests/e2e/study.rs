//! Studies: by several processes at once, and killed.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::program::Folder;

/// Ten runs of twelve steps or fewer.
pub(crate) const STUDY: &str = "study tiny.toml --data cifar --fractions 0.3,0.5 --seeds 2 --learning-rates 0.05";

/// The rows of a study's table.
fn fractions(folder: &Folder, study: &str) -> Value {
    let table: Value = serde_json::from_slice(&folder.bytes(&format!("{study}/table.json"))).unwrap();
    table["fractions"].clone()
}

/// The cells of a study's folder, with how often each was begun.
fn begun(folder: &Folder, study: &str) -> BTreeMap<String, usize> {
    let cells = folder.names(study).into_iter().filter(|name| folder.exists(&format!("{study}/{name}/train.log")));
    let begun = |cell: String| {
        let log = String::from_utf8(folder.bytes(&format!("{study}/{cell}/train.log"))).unwrap();
        (cell, log.lines().filter(|line| line.contains("run folder")).count())
    };
    cells.map(begun).collect()
}

#[test]
fn a_study_prints_its_table_and_prints_it_again() {
    let folder = Folder::new();
    let first = folder.run(&format!("{STUDY} --out study")).ends_with(0);
    let first =
        first.prints(&["| pretrained |", "| from scratch |", "paired t", "30 % of the labels", "(n = 2)", "in study"]);
    let first = first.says(&["cell 1 of 9: pretrain-s1", "cell 9 of 9: 0.5-scratch-s2"]);
    let again = folder.run(&format!("{STUDY} --out study")).ends_with(0);
    assert_eq!(again.stdout, first.stdout);
    assert!(!again.stderr.contains("cell "), "nothing is computed again: {}", again.stderr);
    for name in ["table.md", "table.csv", "table.json", "study.json"] {
        assert!(folder.exists(&format!("study/{name}")), "{name} is missing");
    }
    assert_eq!(folder.names("study/claims"), Vec::<String>::new());
    for command in ["evaluate study", "predict study tiny.toml"] {
        let study = folder.run(command).ends_with(66);
        study.says(&["this is a study; give one of the runs in it, such as study/0.", "-s2"]);
    }
    folder.run("embed study tiny.toml --out e.npy").ends_with(66).says(&["such as study/pretrain-s1"]);
    folder.run("study tiny.toml --data cifar --fractions 0.3 --arms best").ends_with(2).says(&["attention-pooling"]);
    let planned = folder.run(&format!("{STUDY} --dry-run --out planned --json")).ends_with(0).json();
    assert_eq!(
        (&planned["n_pretrainings"], &planned["n_trials"], &planned["n_tests"]),
        (&1.into(), &0.into(), &8.into())
    );
    assert!(!folder.exists("planned"));
    let done = folder.run(&format!("{STUDY} --dry-run --out study")).ends_with(0);
    done.prints(&["study: 9 of 9 runs are finished"]);
    let other = folder.run(&format!("{STUDY} --dry-run --out study --set batch=4")).ends_with(78);
    other.prints(&["refused: study is a study with other settings", "finetune.batch: was 8, now 4"]);
    folder.run("study --fractions 0.3").ends_with(2).says(&["RECIPE: expected a recipe, a folder of images as --data"]);
    folder.run("study tiny.toml --data cifar --fractions 0.95 --out other").ends_with(78);
    let of_a_classifier = folder.run("study --from study/0.3-scratch-s1 --data cifar --fractions 0.3 --out other");
    of_a_classifier.ends_with(65).says(&["holds a classifier, expected a pretraining network"]);
    assert!(!folder.exists("other"), "a study that cannot be leaves no folder");
    folder.run("show study").ends_with(66).says(&["this is a study", "pretrain-s1"]);
    let from = "study tiny.toml --data cifar --from study/pretrain-s1 --arms pretrained --fractions 0.3 --seeds 1 -q";
    folder.run(&format!("{from} --set steps=2 --learning-rates 0.05 --out tuned")).ends_with(0);
    let elsewhere = folder.run("embed tuned tiny.toml --out e.npy").ends_with(66);
    elsewhere.says(&["a study of the pretraining study/pretrain-s1", "such as tuned/0.3-pretrained-s1"]);
}

#[test]
fn two_processes_share_a_study_and_compute_every_cell_once() {
    let folder = Folder::new();
    folder.run(&format!("{STUDY} --out twin")).ends_with(0);
    let both = [0, 1].map(|_| folder.start(&format!("{STUDY} --out study")));
    let tables = both.map(|process| process.wait().ends_with(0).stdout);
    assert_eq!(tables[0], tables[1]);
    assert_eq!(fractions(&folder, "study"), fractions(&folder, "twin"));
    let begun = begun(&folder, "study");
    assert_eq!(begun.len(), 9);
    assert!(begun.values().all(|times| *times == 1), "{begun:?}");
}

#[test]
fn a_study_that_was_killed_goes_on_and_ends_with_the_same_table() {
    let folder = Folder::new();
    folder.run(&format!("{STUDY} --out twin")).ends_with(0);
    let mut first = folder.start(&format!("{STUDY} --out study"));
    first.wait_for_steps(&folder.path("study/pretrain-s1"), 1);
    drop(first);
    folder.run("report study --out early.html").ends_with(0);
    let early = String::from_utf8(folder.bytes("early.html")).unwrap();
    assert!(early.contains(" of 8 runs are finished") && early.contains("loss, nats"), "{early}");
    for cell in ["pretrain-s1", "0.3-scratch-s1", "0.5-pretrained-s2"] {
        let mut started = folder.start(&format!("{STUDY} --out study"));
        started.wait_for_steps(&folder.path(&format!("study/{cell}")), 3);
        // Dropping kills it.
        drop(started);
    }
    folder.run(&format!("{STUDY} --out study")).ends_with(0);
    assert_eq!(fractions(&folder, "study"), fractions(&folder, "twin"));
    folder.require_same("study/0.3-scratch-s1", "twin/0.3-scratch-s1");
    folder.require_same("study/0.5-pretrained-s2", "twin/0.5-pretrained-s2");
}

#[test]
fn a_study_starts_from_a_pretraining_that_is_there() {
    let folder = Folder::new();
    folder.run("pretrain tiny.toml --data cifar --out run").ends_with(0);
    let arguments =
        "--fractions 0.3 --seeds 1 --steps 4 --arms linear-probe,attention-pooling --learning-rates 0.01,0.05";
    let study = folder.run(&format!("study --from run {arguments} --out study --json")).ends_with(0).json();
    assert_eq!(study["n_runs"], 2);
    assert!(study["pretrained_from"][0]["path"].as_str().unwrap().ends_with("run/weights.safetensors"));
    assert_eq!(study["fractions"][0]["arms"][0]["trials"].as_array().unwrap().len(), 2);
    assert!(!folder.exists("study/pretrain-s1"));
}
