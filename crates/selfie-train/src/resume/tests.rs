use selfie_eval::record::{Machine, PretrainedFrom, Task};

use super::*;
use crate::config::{Base, Overrides, resolve};

fn record(task: Task, set: &[&str]) -> RunRecord {
    let set = set.iter().map(|text| (*text).to_owned()).collect();
    let resolved = resolve(task, &Base::Defaults, &Overrides { set, ..Overrides::default() }).unwrap();
    RunRecord {
        version: "0.1.0".into(),
        task,
        recipe: resolved.recipe.clone(),
        seed: 0,
        fraction: None,
        pretrained_from: None,
        device: "cpu".into(),
        dtype: "f32".into(),
        config: resolved.to_json(),
        config_sources: resolved.sources(),
        data_dir: None,
        data_name: None,
        data_hashes: BTreeMap::from([("train".into(), "aa".into())]),
        subset_hash: None,
        subset_file: None,
        split: None,
        steps: None,
        warmup_steps: None,
        machine: Machine { os: "linux".into(), arch: "x86_64".into(), cpu: "a".into(), n_cores: 2, memory_mib: None },
        created: "2025-01-01T00:00:00Z".into(),
        changes: Vec::new(),
    }
}

#[test]
fn loader_cadence_machine_and_the_other_tasks_table_may_change() {
    let was = record(Task::Pretrain, &[]);
    let set = ["workers=9", "queue=9", "every_steps=9", "keep=9", "finetune.batch=9", "finetune.steps=9"];
    let mut now = record(Task::Pretrain, &set);
    now.machine.n_cores = 64;
    now.created = "2026-01-01T00:00:00Z".into();
    now.version = "0.2.0".into();
    assert_eq!(differences(&was, &now).unwrap(), []);
    assert_eq!(identity_hash(&was).unwrap(), identity_hash(&now).unwrap());
}

#[test]
fn every_other_key_is_listed_with_both_values_and_its_source() {
    let was = record(Task::Pretrain, &["epochs=20"]);
    let mut now = record(Task::Pretrain, &["steps=30", "width=32"]);
    now.seed = 1;
    now.data_hashes.insert("train".into(), "bb".into());
    let differences = differences(&was, &now).unwrap();
    assert_eq!(
        Difference::lines(&differences),
        "  model.width: was 64, now 32 (--set)\n  pretrain.epochs: was 20.0, now not set\n  \
         pretrain.steps: was not set, now 30 (--set)\n  data.train: was \"aa\", now \"bb\"\n  seed: was 0, now 1"
    );
    assert_ne!(identity_hash(&was).unwrap(), identity_hash(&now).unwrap());
}

#[test]
fn what_is_compared_by_its_hash_is_named_by_its_path() {
    let of = |folder: &str, hash: &str, weights: &str, flip: &str| {
        let mut record = record(Task::Finetune, &[flip]);
        record.data_dir = Some(folder.to_owned());
        record.data_hashes.insert("train".into(), hash.into());
        record.pretrained_from = Some(PretrainedFrom { path: weights.into(), hash: format!("{hash}0123456789") });
        record
    };
    let differences =
        differences(&of("/a/photos", "aa", "one", "flip=true"), &of("/b/photos", "bb", "two", "flip=false")).unwrap();
    assert_eq!(
        Difference::lines(&differences),
        "  data.flip: was true, now false (--set)\n  data.train: was /a/photos (aa…), now /b/photos (bb…)\n  from: was one (aa012345…), now two (bb012345…)"
    );
}

#[test]
fn the_content_of_the_starting_weights_counts_and_their_path_does_not() {
    let from = |path: &str, hash: &str| RunRecord {
        pretrained_from: Some(PretrainedFrom { path: path.into(), hash: hash.into() }),
        ..record(Task::Finetune, &[])
    };
    assert_eq!(differences(&from("a", "11"), &from("b", "11")).unwrap(), []);
    assert_eq!(differences(&from("a", "11"), &from("a", "22")).unwrap().len(), 1);
    assert_eq!(differences(&from("a", "11"), &record(Task::Finetune, &[])).unwrap().len(), 1);
}

#[test]
fn a_record_read_back_from_json_is_the_same_run() {
    // The last two come back as another number, and as yet another the second time, from a reader that rounds twice.
    let long = [
        "0.30000000000000004",
        "0.1234567890123456789",
        "3.3333333333333334e-8",
        "7.313469358009405e-8",
        "5.911534350013039e-8",
    ];
    for value in long {
        let now = record(Task::Pretrain, &[&format!("learning_rate={value}"), &format!("weight_decay={value}")]);
        let text = to_pretty_json("run.json", &now).unwrap();
        let was: RunRecord = selfie_eval::record::from_json("run.json", &text).unwrap();
        assert_eq!(differences(&was, &now).unwrap(), [], "{value}");
        assert_eq!(identity_hash(&was).unwrap(), identity_hash(&now).unwrap(), "{value}");
    }
}

#[test]
fn a_run_from_before_a_key_was_there_goes_on_with_its_default_and_with_no_other_value() {
    let now = record(Task::Pretrain, &[]);
    let mut was = now.clone();
    let data = was.config["data"].as_object_mut().unwrap();
    data.remove("colour_jitter").unwrap();
    data.remove("patch_jitter_fill").unwrap();
    was.config["pretrain"].as_object_mut().unwrap().remove("ema_decay").unwrap();
    assert_eq!(differences(&was, &now).unwrap(), []);
    let changed = record(Task::Pretrain, &["ema_decay=0.9", "data.patch_jitter_fill=\"resize\""]);
    let keys: Vec<String> = differences(&was, &changed).unwrap().into_iter().map(|d| d.key).collect();
    assert_eq!(keys, ["data.patch_jitter_fill", "pretrain.ema_decay"]);
    // A run of so many epochs has no steps, and does not get the default's.
    let epochs = record(Task::Pretrain, &["epochs=2"]);
    assert_eq!(differences(&epochs, &now).unwrap().len(), 2);
}
