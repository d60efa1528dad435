use super::*;
use crate::record::{ClassAccuracy, Task};
use selfie_model::{ClassifierConfig, ClassifierKind, SelfieConfig};
use std::collections::BTreeMap;

fn record(set: &str) -> RunRecord {
    let config = serde_json::json!({ "data": { "set": set }, "model": { "width": 16 } });
    RunRecord {
        fraction: Some(0.08),
        data_hashes: BTreeMap::from([("train".to_owned(), "abc".to_owned())]),
        ..RunRecord::new(Task::Finetune, "cifar10-small", config, BTreeMap::new())
    }
}

fn result() -> ResultRecord {
    let per_class = vec![ClassAccuracy { class: "cat".into(), n_examples: 2, top1_accuracy: Some(0.5) }];
    ResultRecord {
        steps: 800,
        outcome: Outcome::Classification {
            split: Split::Test,
            top1_accuracy: 0.5991,
            loss: 1.2,
            n_examples: 10_000,
            per_class,
        },
        weights_hash: "def".into(),
        wall_s: 300.0,
        images_per_s: 170.0,
        finished: String::new(),
    }
}

fn text(record: Option<&RunRecord>, result: Option<&ResultRecord>) -> String {
    let classes = vec!["cat".to_owned(), "dog".to_owned()];
    let network = SelfieConfig { width: 16, ..SelfieConfig::default() };
    let metadata = Metadata::Classifier(ClassifierConfig { network, kind: ClassifierKind::Stage4, classes });
    let files = [("model.safetensors".to_owned(), "the weights".to_owned())];
    let card = Card {
        name: "a \"name\"",
        metadata: &metadata,
        n_parameters: 1234,
        weights_hash: "def",
        record,
        result,
        license: Some("mit"),
        files: &files,
    };
    card.text()
}

#[test]
fn the_hubs_metadata_stands_in_front_and_has_the_accuracy() {
    let (record, result) = (record("cifar10"), result());
    let text = text(Some(&record), Some(&result));
    let (yaml, _) = text.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    for line in [
        "pipeline_tag: image-classification",
        "license: \"mit\"",
        "- uoft-cs/cifar10",
        "- name: \"a \\\"name\\\"\"",
        "      split: test",
        "      value: 0.5991",
    ] {
        assert!(yaml.lines().any(|found| found == line), "no `{line}` in {yaml}");
    }
    for part in
        ["59.91 % of 10000 images of the test split", "8 % of the labels", "| recipe | cifar10-small |", "`def`"]
    {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
}

#[test]
fn what_is_not_known_is_not_said() {
    let text = text(None, None);
    assert!(!text.contains("model-index") && !text.contains("datasets:") && !text.contains("## Results"));
    assert!(text.contains("## Training\n\nUnknown."));
    let drawn = record("shapes32");
    assert!(!self::text(Some(&drawn), None).contains("datasets:"));
    // A user's own folder, which has the form of ImageNet.
    let own = RunRecord { data_name: Some("photos".to_owned()), ..record("imagenet224") };
    let own = self::text(Some(&own), Some(&result()));
    assert!(own.contains("the images of photos alone") && !own.contains("imagenet-1k"), "{own}");
}

#[test]
fn the_warm_up_that_was_made_is_shown_beside_the_one_that_was_asked_for() {
    let mut short = record("cifar10");
    short.warmup_steps = Some(4);
    assert!(text(Some(&short), Some(&result())).contains("| warm-up | 4 steps |"));
    short.config["finetune"] = serde_json::json!({ "warmup_steps": 100 });
    let text = text(Some(&short), Some(&result()));
    assert!(text.contains("| warm-up | 4 steps, a tenth of all, instead of 100 |"), "{text}");
}
