use std::collections::BTreeMap;

use selfie_eval::record::PretrainedFrom;
use serde_json::json;

use super::*;

fn record(task: Task, sources: &[(&str, &str)]) -> RunRecord {
    let config = json!({ "model": { "width": 4, "depths": [1, 1, 1, 1], "stem": "3x3" }, "pretrain": { "steps": 9 } });
    let sources = sources.iter().map(|(key, source)| ((*key).to_owned(), (*source).to_owned())).collect();
    RunRecord { dtype: "f32".into(), device: "cpu".into(), seed: 1, ..RunRecord::new(task, "tiny", config, sources) }
}

fn command_of(record: &RunRecord) -> String {
    goes_on_with(Path::new("runs/a"), record)
}

#[test]
fn what_was_typed_comes_back_and_what_the_recipe_says_does_not() {
    let sources = [
        ("model.depths", "--set"),
        ("model.width", "$SELFIE_MODEL_WIDTH"),
        ("model.stem", "recipe tiny"),
        ("pretrain.steps", "--steps"),
        ("finetune.batch", "--set"),
    ];
    let mut pretrain = record(Task::Pretrain, &sources);
    pretrain.data_dir = Some("/my photos".into());
    pretrain.seed = 3;
    let expected = "`selfie pretrain tiny --data '/my photos' --set 'model.depths=[1,1,1,1]' --set model.width=4 --set \
                    pretrain.steps=9 --seed 3 --out runs/a`";
    assert_eq!(command_of(&pretrain), expected);
    pretrain.config_sources = BTreeMap::from([("model.width".to_owned(), "file my/own.toml".to_owned())]);
    assert!(command_of(&pretrain).starts_with("`selfie pretrain my/own.toml --data"));
}

#[test]
fn a_fine_tuning_takes_its_recipe_from_its_start_and_its_own_examples() {
    let mut tune = record(Task::Finetune, &[("model.width", "run runs/b")]);
    tune.fraction = Some(0.08);
    assert_eq!(command_of(&tune), "`selfie finetune --from scratch --fraction 0.08 --out runs/a`");
    tune.pretrained_from = Some(PretrainedFrom { path: "runs/b/weights.safetensors".into(), hash: String::new() });
    tune.subset_file = Some("own.txt".into());
    tune.split = Some(Split::Validation);
    let expected =
        "`selfie finetune --from runs/b/weights.safetensors --subset runs/a/subset.txt --out runs/a --validate`";
    assert_eq!(command_of(&tune), expected);
}

#[test]
fn a_studys_run_is_the_studys() {
    let study = tempfile::tempdir().unwrap();
    std::fs::write(study.path().join(STUDY), "{}").unwrap();
    let said = goes_on_with(&study.path().join("pretrain-s1"), &record(Task::Pretrain, &[]));
    assert_eq!(said, format!("the command of the study in {}", study.path().display()));
}
