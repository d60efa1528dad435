use std::ffi::OsString;
use std::path::PathBuf;

use selfie_eval::record::Task;
use serde_json::json;

use super::*;
use crate::TrainError;
use crate::recipes;

fn overrides(environment: &[(&str, &str)], set: &[&str], flags: &[(&str, &str, &str)]) -> Overrides {
    let flag = |&(flag, key, value): &(&str, &str, &str)| FlagValue {
        flag: flag.into(),
        key: key.into(),
        value: value.into(),
    };
    Overrides {
        start: None,
        environment: environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect(),
        set: set.iter().map(|text| (*text).to_owned()).collect(),
        flags: flags.iter().map(flag).collect(),
    }
}

fn with_set(set: &[&str]) -> Result<Resolved, TrainError> {
    resolve(Task::Pretrain, &Base::Defaults, &overrides(&[], set, &[]))
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn each_layer_wins_over_the_one_below_and_says_so() {
    let (_folder, path) = file("[model]\nwidth = 1\nheads = 1\nffn = 1\nlayers = 1\n");
    let overrides = overrides(
        &[
            ("SELFIE_MODEL_HEADS", "2"),
            ("SELFIE_MODEL_FFN", "2"),
            ("SELFIE_MODEL_LAYERS", "2"),
            ("SELFIE_OPS", "composed"),
        ],
        &["ffn=3", "model.layers=3"],
        &[("--layers", "model.layers", "4")],
    );
    let resolved = resolve(Task::Pretrain, &Base::File(path.clone()), &overrides).unwrap();
    let model = &resolved.config.model;
    assert_eq!((model.width, model.heads, model.ffn, model.layers), (1, 2, 3, 4));
    assert_eq!(resolved.source("model.dropout"), Source::Default);
    assert_eq!(resolved.source("model.width"), Source::File(path));
    assert_eq!(resolved.source("model.heads"), Source::Environment("SELFIE_MODEL_HEADS".into()));
    assert_eq!(resolved.source("model.ffn"), Source::Set);
    assert_eq!(resolved.source("model.layers"), Source::Flag("--layers".into()));
    assert_eq!(resolved.recipe, "mine");
}

#[test]
fn a_bare_key_is_looked_for_in_the_commands_own_table_first() {
    let overrides = overrides(&[], &["batch=7", "width=3", "classifier=attention_pooling"], &[]);
    let resolved = resolve(Task::Finetune, &Base::Defaults, &overrides).unwrap();
    assert_eq!(resolved.config.finetune.training.batch, 7);
    assert_eq!(resolved.config.pretrain.batch, 512);
    assert_eq!(resolved.config.model.width, 3);
    assert_eq!(resolved.config.finetune.classifier, ClassifierKind::AttentionPooling);
}

#[test]
fn typed_values_need_no_quotes_and_lists_are_toml() {
    let resolved =
        with_set(&["optimizer=adamw", "depths=[1, 2, 3, 4]", "weight_decay=.5", "set=\"shapes32\"", "flip=false"]);
    let config = resolved.unwrap().config;
    assert_eq!(config.pretrain.optimizer, OptimizerKind::AdamW);
    assert_eq!(config.model.depths, [1, 2, 3, 4]);
    assert_eq!(config.pretrain.weight_decay, 0.5);
    assert_eq!((config.data.set.as_str(), config.data.flip), ("shapes32", false));
}

#[test]
fn a_length_replaces_the_lengths_of_the_layers_below() {
    let (_folder, path) = file("[pretrain]\nepochs = 20\n");
    let from_file = resolve(Task::Pretrain, &Base::File(path.clone()), &Overrides::default()).unwrap();
    assert_eq!((from_file.config.pretrain.steps, from_file.config.pretrain.epochs), (None, Some(20.0)));
    assert_eq!(from_file.to_json()["pretrain"].get("steps"), None);
    let with_flag = overrides(&[], &[], &[("--steps", "steps", "30")]);
    let flagged = resolve(Task::Pretrain, &Base::File(path), &with_flag).unwrap();
    assert_eq!((flagged.config.pretrain.steps, flagged.config.pretrain.epochs), (Some(30), None));
    assert_eq!(with_set(&["examples=1e6"]).unwrap().config.pretrain.examples, Some(1_000_000));
}

#[test]
fn two_lengths_in_one_layer_are_refused() {
    let (_folder, path) = file("[pretrain]\nepochs = 20\nsteps = 3\n");
    let error = resolve(Task::Pretrain, &Base::File(path), &Overrides::default()).unwrap_err();
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().contains("exactly one of steps, epochs and examples"), "{error}");
}

#[test]
fn an_unknown_key_names_its_place_and_the_nearest_keys() {
    let (_folder, path) = file("[pretrain]\nlearning_rat = 1\n");
    let error = resolve(Task::Pretrain, &Base::File(path.clone()), &Overrides::default()).unwrap_err();
    assert_eq!(error.exit_code(), 78);
    let expected = format!(
        "file {}: there is no key `pretrain.learning_rat`; did you mean `pretrain.learning_rate` or `finetune.learning_rate`?",
        path.display()
    );
    assert_eq!(error.to_string(), expected);

    assert_eq!(
        with_set(&["widht=3"]).unwrap_err().to_string(),
        "--set: there is no key `widht`; did you mean `model.width`?"
    );
    for (set, hint) in [("batchsize=16", "`pretrain.batch`"), ("lr=0.1", "`pretrain.learning_rate`")] {
        let error = with_set(&[set]).unwrap_err().to_string();
        assert!(error.split_once("did you mean").unwrap().1.contains(hint), "{error}");
    }
    let overrides = overrides(&[("SELFIE_LOADER_THREADS", "3")], &[], &[]);
    assert_eq!(
        resolve(Task::Pretrain, &Base::Defaults, &overrides).unwrap_err().to_string(),
        "$SELFIE_LOADER_THREADS: there is no key `loader.threads`; [loader] has max_bad_share, queue, workers"
    );
}

#[test]
fn a_key_outside_a_table_and_an_unknown_table_are_unknown() {
    for (text, key, hint) in
        [("width = 3", "width", "`model.width`"), ("[modle]\nwidth = 3", "modle.width", "`model.width`")]
    {
        let (_folder, path) = file(text);
        match resolve(Task::Pretrain, &Base::File(path), &Overrides::default()) {
            Err(TrainError::UnknownKey { key: got, hint: got_hint, .. }) => {
                assert_eq!(got, key);
                assert!(got_hint.contains(hint), "{got_hint}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_wrong_type_names_key_source_and_value() {
    for (set, part) in [
        ("width=wide", "model.width (--set): got \"wide\""),
        ("width=-3", "model.width (--set): got -3"),
        ("optimizer=lion", "`sgd` or `adamw`"),
        ("depths=[1,2,3]", "model.depths (--set): got [1,2,3]"),
        ("steps=1.5", "expected a whole number"),
        ("batch=abc", "expected a whole number"),
        ("learning_rate=abc", "expected a number"),
        ("learning_rate=nan", "pretrain.learning_rate (--set): got \"NaN\""),
        ("finetune.classifier=mlp", "`stage4`, `attention_pooling`, `patch_network`"),
    ] {
        let error = with_set(&[set]).unwrap_err();
        assert!(matches!(error, TrainError::WrongType { .. }), "{set}: {error:?}");
        assert!(error.to_string().contains(part), "{set}: {error}");
    }
}

#[test]
fn broken_toml_and_a_set_without_a_value_are_told_apart() {
    let (_folder, path) = file("[model\nwidth = 3");
    let error = resolve(Task::Pretrain, &Base::File(path), &Overrides::default()).unwrap_err();
    assert!(error.exit_code() == 78 && error.to_string().contains("line 1"), "{error}");
    assert_eq!(with_set(&["width"]).unwrap_err().exit_code(), 2);
    assert_eq!(with_set(&["=3"]).unwrap_err().exit_code(), 2);
}

#[test]
fn a_recipe_argument_is_a_recipe_a_file_or_an_error_that_lists_them() {
    assert_eq!(Base::from_argument("cifar10").unwrap().name(), "cifar10");
    let (_folder, path) = file("");
    assert_eq!(Base::from_argument(path.to_str().unwrap()).unwrap(), Base::File(path));
    assert_eq!(Base::from_argument("no/such.toml").unwrap_err().exit_code(), 66);
    let error = Base::from_argument("cifar11").unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("cifar10-small"), "{error}");
    let error = Base::from_argument("cifar10smal").unwrap_err().to_string();
    assert!(error.contains("did you mean cifar10-small?"), "{error}");
}

#[test]
fn what_show_prints_reads_back_as_the_same_configuration() {
    let base = Base::Recipe(recipes::find("cifar10-small").unwrap());
    let resolved = resolve(Task::Pretrain, &base, &overrides(&[], &["batch=64"], &[])).unwrap();
    let text = resolved.show();
    assert!(text.lines().any(|line| line.starts_with("batch = 64 ") && line.ends_with("# --set")), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("width = 16 ") && line.ends_with("# recipe cifar10-small")),
        "{text}"
    );
    let (_folder, path) = file(&text);
    let read = resolve(Task::Pretrain, &Base::File(path), &Overrides::default()).unwrap();
    assert_eq!(read.config, resolved.config);
}

#[test]
fn the_configuration_of_an_earlier_run_is_a_base() {
    let small =
        resolve(Task::Pretrain, &Base::Recipe(recipes::find("cifar10-small").unwrap()), &Overrides::default()).unwrap();
    let base = Base::Run { path: "runs/a".into(), recipe: "cifar10-small".into(), config: small.to_json() };
    let resolved = resolve(Task::Finetune, &base, &Overrides::default()).unwrap();
    assert_eq!(resolved.config, small.config);
    assert_eq!(resolved.source("model.width").to_string(), "run runs/a");
}

#[test]
fn whole_and_float_spellings_of_one_number_are_one_value() {
    let whole = with_set(&["learning_rate=1", "steps=30"]).unwrap();
    let float = with_set(&["learning_rate=1.0", "steps=3e1"]).unwrap();
    assert_eq!(whole.to_json(), float.to_json());
    assert_eq!(whole.to_json()["pretrain"]["learning_rate"], json!(1.0));
    assert_eq!(whole.to_json()["pretrain"]["steps"], json!(30));
}

#[test]
fn an_empty_variable_is_no_setting() {
    let overrides = overrides(&[("SELFIE_MODEL_WIDTH", ""), ("SELFIE_DATA", "/data"), ("HOME", "/root")], &[], &[]);
    assert_eq!(resolve(Task::Pretrain, &Base::Defaults, &overrides).unwrap().config, Config::default());
}

#[test]
fn an_environment_variable_of_a_mistyped_table_is_refused_and_one_of_no_table_is_none_of_ours() {
    let resolved = |name| resolve(Task::Pretrain, &Base::Defaults, &overrides(&[(name, "16")], &[], &[]));
    let message = resolved("SELFIE_MODLE_WIDTH").unwrap_err().to_string();
    assert!(message.contains("SELFIE_MODLE_WIDTH") && message.contains("`model.width`"), "{message}");
    let message = resolved("SELFIE_LEARNING_RATE").unwrap_err().to_string();
    assert!(message.contains("SELFIE_LEARNING_RATE") && message.contains("`pretrain.learning_rate`"), "{message}");
    for other in ["SELFIE_DEVICE", "SELFIE_TEST_DEVICE", "SELFIE_CAMERA_WIDTH", "SELFIE_NODE_NAME", "SELFIE_PROXY_URL"]
    {
        assert!(resolved(other).is_ok(), "{other}");
    }
}

#[test]
fn a_flag_that_is_a_key_is_known_by_its_name_its_initials_and_its_beginning() {
    for (flag, key) in [
        ("batch", "batch"),
        ("batch-size", "batch"),
        ("learning-rate", "learning_rate"),
        ("lr", "learning_rate"),
        ("width", "width"),
    ] {
        assert_eq!(key_meant_by(flag).as_deref(), Some(key), "{flag}");
    }
    assert_eq!(key_meant_by("frobnicate"), None);
}

#[test]
fn a_name_is_suggested_for_a_slip_and_not_for_another_word() {
    for (wrong, name) in [("scrath", "scratch"), ("cta", "cat"), ("shapes23", "shapes32"), ("pitcures", "pictures")] {
        assert_eq!(name_meant_by(wrong, &["unrelated", name]), Some(name), "{wrong}");
    }
    for (wrong, name) in [("nope", "one"), ("nothere", "other"), ("a", "bc")] {
        assert_eq!(name_meant_by(wrong, &[name]), None, "{wrong}");
    }
}
