use std::collections::BTreeMap;
use std::fs;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::*;

pub(super) fn tensors(name: &str, values: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![values.len()], &bytes).unwrap();
    safetensors::serialize(BTreeMap::from([(name.to_owned(), view)]), None).unwrap()
}

pub(super) fn snapshot(step: u64) -> Snapshot {
    Snapshot {
        step,
        metrics_len: 10 * step,
        events_len: step / 2000,
        config_hash: "abc".into(),
        weights: tensors("stem.conv.weight", &[step as f32, 2.0]),
        optimizer: tensors("momentum.stem.conv.weight", &[0.5, -1.0]),
    }
}

/// A store with checkpoints 1000 and 2000.
fn store() -> (tempfile::TempDir, CheckpointStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::new(folder.path().join("checkpoints"), 2);
    store.save(&snapshot(1000)).unwrap();
    store.save(&snapshot(2000)).unwrap();
    (folder, store)
}

#[test]
fn a_saved_checkpoint_is_loaded_byte_for_byte() {
    let (_folder, store) = store();
    let loaded = store.load_latest(&["abc".to_owned()]).unwrap().unwrap();
    assert_eq!(loaded.snapshot, snapshot(2000));
    assert!(loaded.rejected.is_empty());
    assert_eq!(Files::disk().names(&store.folder).unwrap(), ["step-00001000", "step-00002000"]);
    assert_eq!(Files::disk().names(&loaded.path).unwrap(), [MANIFEST, OPTIMIZER, WEIGHTS]);
}

#[test]
fn no_checkpoint_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(CheckpointStore::new(folder.path().join("none"), 2).load_latest(&["abc".to_owned()]).unwrap().is_none());
}

#[test]
fn any_flipped_byte_of_any_file_is_found_and_the_previous_checkpoint_loaded() {
    for name in [WEIGHTS, OPTIMIZER, MANIFEST] {
        let (_folder, store) = store();
        let path = store.folder.join("step-00002000").join(name);
        let intact = fs::read(&path).unwrap();
        for position in 0..intact.len() {
            // The bit flipped varies, so that white space becomes other white space in some places.
            let mut damaged = intact.clone();
            damaged[position] ^= 1 << (position % 8);
            fs::write(&path, &damaged).unwrap();
            let loaded = store.load_latest(&["abc".to_owned()]).unwrap().unwrap();
            assert_eq!(loaded.snapshot, snapshot(1000), "{name}, byte {position}");
            assert_eq!(loaded.rejected.len(), 1);
            assert_eq!(loaded.rejected[0].exit_code(), 65, "{}", loaded.rejected[0]);
            assert!(loaded.rejected[0].to_string().contains(name), "{}", loaded.rejected[0]);
        }
    }
}

#[test]
fn a_truncated_extended_or_missing_file_is_found() {
    for name in [WEIGHTS, OPTIMIZER, MANIFEST] {
        let (_folder, store) = store();
        let path = store.folder.join("step-00002000").join(name);
        let intact = fs::read(&path).unwrap();
        for damaged in [&intact[..intact.len() - 1], &[], &[intact.as_slice(), b"\n"].concat()] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(
                store.load_latest(&["abc".to_owned()]).unwrap().unwrap().snapshot.step,
                1000,
                "{name}, {} bytes",
                damaged.len()
            );
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(store.load_latest(&["abc".to_owned()]).unwrap().unwrap().snapshot.step, 1000, "{name} missing");
    }
}

#[test]
fn a_checkpoint_under_another_steps_name_is_found() {
    let (_folder, store) = store();
    fs::rename(store.folder.join("step-00001000"), store.folder.join("step-00003000")).unwrap();
    let loaded = store.load_latest(&["abc".to_owned()]).unwrap().unwrap();
    assert_eq!((loaded.snapshot.step, loaded.rejected.len()), (2000, 1));
}

#[test]
fn only_damaged_checkpoints_are_an_error_and_never_a_fresh_start() {
    let (_folder, store) = store();
    for step in ["step-00001000", "step-00002000"] {
        fs::remove_file(store.folder.join(step).join(MANIFEST)).unwrap();
    }
    let error = store.load_latest(&["abc".to_owned()]).unwrap_err();
    assert_eq!(error.exit_code(), 65);
    assert!(error.to_string().contains("step-00001000") && error.to_string().contains("step-00002000"), "{error}");
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let (_folder, store) = store();
    let error = store.load_latest(&["def".to_owned()]).unwrap_err();
    assert!(error.exit_code() == 65 && error.to_string().contains("expected def, got abc"), "{error}");
}

#[test]
fn leftovers_of_a_killed_write_are_ignored_and_removed() {
    let (_folder, store) = store();
    let leftover = store.folder.join(".tmp-step-00003000");
    fs::create_dir(&leftover).unwrap();
    fs::write(leftover.join(WEIGHTS), b"half").unwrap();
    fs::create_dir(store.folder.join("step-3")).unwrap();
    assert_eq!(store.load_latest(&["abc".to_owned()]).unwrap().unwrap().snapshot.step, 2000);
    // A leftover of the very step that is written next is in nobody's way.
    store.save(&snapshot(3000)).unwrap();
    assert_eq!(store.load_latest(&["abc".to_owned()]).unwrap().unwrap().snapshot, snapshot(3000));
    fs::create_dir(&leftover).unwrap();
    store.remove_temporaries().unwrap();
    assert_eq!(Files::disk().names(&store.folder).unwrap(), ["step-00002000", "step-00003000", "step-3"]);
}

#[test]
fn the_last_ones_are_kept_and_never_fewer_than_two() {
    let folder = tempfile::tempdir().unwrap();
    for (keep, expected) in
        [(0, vec!["step-00000004", "step-00000005"]), (3, vec!["step-00000003", "step-00000004", "step-00000005"])]
    {
        let store = CheckpointStore::new(folder.path().join(keep.to_string()), keep);
        for step in 1..=5 {
            store.save(&snapshot(step)).unwrap();
        }
        assert_eq!(Files::disk().names(&store.folder).unwrap(), expected);
    }
}

#[test]
fn checkpoints_of_a_timeline_given_up_are_removed_by_the_next_save() {
    let (_folder, store) = store();
    fs::write(store.folder.join("step-00002000").join(WEIGHTS), b"damaged").unwrap();
    // Resumed from 1000 with a shorter cadence.
    store.save(&snapshot(1500)).unwrap();
    assert_eq!(Files::disk().names(&store.folder).unwrap(), ["step-00001000", "step-00001500"]);
}

#[test]
fn saving_a_step_again_replaces_it() {
    let (_folder, store) = store();
    let again = Snapshot { metrics_len: 7, ..snapshot(2000) };
    store.save(&again).unwrap();
    assert_eq!(store.load_latest(&["abc".to_owned()]).unwrap().unwrap().snapshot, again);
    assert_eq!(Files::disk().names(&store.folder).unwrap(), ["step-00001000", "step-00002000"]);
}

#[test]
fn a_non_finite_number_is_not_saved() {
    let (_folder, store) = store();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let broken = Snapshot { optimizer: tensors("momentum.stem.conv.weight", &[1.0, value]), ..snapshot(3000) };
        let error = store.save(&broken).unwrap_err();
        assert_eq!(error.exit_code(), 70);
        assert!(
            error
                .to_string()
                .starts_with("momentum.stem.conv.weight of the optimizer state is not finite at step 3000"),
            "{error}"
        );
    }
    assert_eq!(Files::disk().names(&store.folder).unwrap(), ["step-00001000", "step-00002000"]);
    assert!(require_finite_tensors("the weights", &tensors("w", &[f32::MAX, f32::MIN, 0.0]), None).is_ok());
}

#[test]
fn a_save_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("checkpoints");
    fs::write(&blocked, b"a file where the folder should be").unwrap();
    let error = CheckpointStore::new(blocked, 2).save(&snapshot(1)).unwrap_err();
    assert_eq!(error.exit_code(), 73, "{error}");
    assert_eq!(Files::disk().names(folder.path()).unwrap(), ["checkpoints"]);
}

#[test]
fn verify_tells_the_damaged_checkpoint_from_the_intact_one() {
    let (folder, store) = store();
    fs::write(store.folder.join("step-00002000").join(OPTIMIZER), b"damaged").unwrap();
    for path in [folder.path(), &store.folder] {
        let verified = verify(path).unwrap();
        let intact: Vec<bool> = verified.iter().map(|verified| verified.result.is_ok()).collect();
        assert_eq!(intact, [true, false], "{verified:?}");
    }
    assert!(verify(&store.folder.join("step-00001000")).unwrap()[0].result.is_ok());
    assert_eq!(verify(&folder.path().join("none")).unwrap_err().exit_code(), 66);
}

#[test]
fn show_lists_the_newest_checkpoints_tensors() {
    let (folder, _store) = store();
    let content = show(folder.path()).unwrap();
    assert_eq!(content.manifest.unwrap().step, 2000);
    let expected = TensorInfo { name: "stem.conv.weight".into(), dtype: "F32".into(), shape: vec![2] };
    assert_eq!(content.tensors[WEIGHTS], [expected]);
    let file = folder.path().join("no.safetensors");
    fs::write(&file, b"no tensors").unwrap();
    assert_eq!(show(&file).unwrap_err().exit_code(), 65);
}
