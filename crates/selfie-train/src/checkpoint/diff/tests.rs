use std::fs;

use super::*;
use crate::checkpoint::CheckpointStore;
use crate::checkpoint::tests::{snapshot, tensors};

fn values(diff: &Diff, name: &str) -> TensorDifference {
    diff.tensors.iter().find(|tensor| tensor.name == name).unwrap().how.clone()
}

#[test]
fn equal_checkpoints_do_not_differ() {
    let folder = tempfile::tempdir().unwrap();
    for run in ["a", "b"] {
        CheckpointStore::new(folder.path().join(run).join("checkpoints"), 2).save(&snapshot(1000)).unwrap();
    }
    let found = diff(&folder.path().join("a"), &folder.path().join("b")).unwrap();
    assert!(found.is_empty() && found.n_equal == 2, "{found:?}");
}

#[test]
fn a_changed_number_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["left", "right"].map(|name| folder.path().join(name));
    fs::write(&paths[0], tensors("w", &[3.0, 4.0, 0.0, 0.0])).unwrap();
    fs::write(&paths[1], tensors("w", &[3.0, 4.5, 0.0, 0.0])).unwrap();
    let found = diff(&paths[0], &paths[1]).unwrap();
    // Root mean squares: of the difference √(0.25 / 4), of the first √(25 / 4).
    let expected =
        TensorDifference::Values { n_different: 1, n: 4, max_abs: 0.5, rms: 0.25, relative: Some(0.25 / 2.5) };
    assert_eq!(values(&found, "w"), expected);
    assert!(!found.is_empty() && found.n_equal == 0);
}

#[test]
fn missing_and_misshapen_tensors_and_facts_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::new(folder.path().join("checkpoints"), 2);
    store.save(&snapshot(1000)).unwrap();
    let other = crate::checkpoint::Snapshot {
        optimizer: tensors("momentum.fc.weight", &[1.0]),
        weights: tensors("stem.conv.weight", &[1.0]),
        ..snapshot(2000)
    };
    store.save(&other).unwrap();
    let step = |step: u64| folder.path().join(format!("checkpoints/step-{step:08}"));
    let found = diff(&step(1000), &step(2000)).unwrap();
    let form = TensorDifference::Form { left: "F32 [2]".into(), right: "F32 [1]".into() };
    assert_eq!(values(&found, "stem.conv.weight"), form);
    assert_eq!(values(&found, "momentum.stem.conv.weight"), TensorDifference::OnlyLeft);
    assert_eq!(values(&found, "momentum.fc.weight"), TensorDifference::OnlyRight);
    let facts: Vec<&str> = found.facts.iter().map(|fact| fact.key.as_str()).collect();
    assert_eq!(facts, ["events_len", "metrics_len", "step"]);
    assert_eq!((found.facts[2].was.as_str(), found.facts[2].now.as_str()), ("1000", "2000"));
}

#[test]
fn a_damaged_side_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::new(folder.path().join("checkpoints"), 2);
    store.save(&snapshot(1000)).unwrap();
    let path = folder.path().join("checkpoints/step-00001000");
    fs::write(path.join("weights.safetensors"), b"damaged").unwrap();
    assert_eq!(diff(&path, &path).unwrap_err().exit_code(), 65);
}
