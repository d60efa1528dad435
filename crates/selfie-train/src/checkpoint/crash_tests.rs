//! Every operation of the writer crashes or fails once: what is loaded then is the new or the previous checkpoint.

use std::path::Path;

use super::tests::snapshot;
use super::*;
use crate::files::simulated::{Fault, Left, Simulated};

const FOLDER: &str = "/run/checkpoints";
const CONFIG: &str = "abc";

fn store(disk: &Simulated) -> CheckpointStore {
    CheckpointStore::on(disk.files(), Path::new(FOLDER).to_owned(), 2)
}

/// A disk on which the checkpoints of `steps` were saved, all of it durable.
fn disk(steps: &[u64]) -> Simulated {
    let disk = Simulated::new();
    for step in steps {
        assert!(store(&disk).save(&snapshot(*step)).unwrap().is_none());
    }
    disk.restarted(Left::All)
}

/// The step that is loaded, after a check that the checkpoint is the one that was saved; 0 if there is none.
fn loaded_step(disk: &Simulated, at: &str) -> u64 {
    match store(disk).load_latest(&[CONFIG.to_owned()]).unwrap_or_else(|error| panic!("{at}: {error}")) {
        Some(loaded) => {
            assert_eq!(loaded.snapshot, snapshot(loaded.snapshot.step), "{at}: a mix");
            loaded.snapshot.step
        }
        None => 0,
    }
}

fn n_intact(disk: &Simulated) -> usize {
    let folders = step_folders(&disk.files(), Path::new(FOLDER)).unwrap();
    folders.iter().filter(|(_, path)| read_folder(&disk.files(), path).is_ok()).count()
}

/// After a start: leftovers go, and the run's next save works.
fn require_that_saving_goes_on(disk: &Simulated, step: u64, at: &str) {
    let disk = disk.copy();
    store(&disk).remove_temporaries().unwrap();
    assert!(store(&disk).save(&snapshot(step)).unwrap().is_none(), "{at}");
    assert_eq!(loaded_step(&disk.restarted(Left::Synced), at), step, "{at}");
    let names = disk.files().names(Path::new(FOLDER)).unwrap();
    assert!(names.iter().all(|name| name.starts_with(STEP_PREFIX)), "{at}: {names:?}");
}

/// Saves `step` upon `before` with each fault at each operation; returns how many cases that was.
fn fail_everywhere(before: &Simulated, previous: u64, step: u64) -> usize {
    let twin = before.copy();
    store(&twin).save(&snapshot(step)).unwrap();
    let n_operations = twin.n_operations();
    assert!(n_operations > 15, "{n_operations}");
    let least = n_intact(before).min(2);
    let mut n_cases = 0;
    for at in 0..n_operations {
        for fault in [Fault::Crash, Fault::InputOutput, Fault::NoSpace, Fault::ShortWrite] {
            let disk = before.with_fault(at, fault);
            let saved = store(&disk).save(&snapshot(step));
            for left in Left::ALL {
                let context = format!("step {step} upon {previous}, {fault:?} at operation {at}, left {left:?}");
                let restarted = disk.restarted(left);
                let loaded = loaded_step(&restarted, &context);
                match &saved {
                    Ok(_) => assert_eq!(loaded, step, "{context}: saved"),
                    Err(_) => assert!([previous, step].contains(&loaded), "{context}: loaded {loaded}"),
                }
                assert!(n_intact(&restarted) >= least, "{context}: fewer than {least} are left");
                require_that_saving_goes_on(&restarted, step + 1000, &context);
                n_cases += 1;
            }
            if fault != Fault::Crash {
                // The process goes on: with no restart between, the next save works once there is space.
                require_that_saving_goes_on(&disk, step + 1000, &format!("{fault:?} at operation {at}"));
            }
            if fault == Fault::ShortWrite {
                assert!(saved.is_ok(), "a short write is no error: operation {at}");
            }
        }
    }
    n_cases
}

#[test]
fn a_fault_at_any_operation_of_the_first_save_leaves_it_or_nothing() {
    assert!(fail_everywhere(&disk(&[]), 0, 1000) > 200);
}

#[test]
fn a_fault_at_any_operation_of_a_later_save_leaves_it_or_the_previous_one_and_always_two() {
    assert!(fail_everywhere(&disk(&[1000]), 1000, 2000) > 200);
    assert!(fail_everywhere(&disk(&[1000, 2000]), 2000, 3000) > 300);
}

#[test]
fn a_fault_at_any_operation_of_a_replacement_leaves_it_or_the_previous_one() {
    let disk = disk(&[1000, 2000]);
    let damaged = Path::new(FOLDER).join(step_name(2000)).join(OPTIMIZER);
    disk.files().remove(&damaged).unwrap();
    disk.files().sync_folder(damaged.parent().unwrap()).unwrap();
    let disk = disk.restarted(Left::All);
    assert!(fail_everywhere(&disk, 1000, 2000) > 200);
    // A timeline given up: the damaged checkpoint is later than the one that is saved.
    assert!(fail_everywhere(&disk, 1000, 1500) > 200);
}

#[test]
fn a_disk_that_gives_other_bytes_back_fails_the_save_and_keeps_every_older_one() {
    let disk = disk(&[1000, 2000]);
    let other = Snapshot { metrics_len: 1, ..snapshot(3000) };
    let temporary = Path::new(FOLDER).join(".tmp-step-00003000");
    store(&disk).write_folder(&temporary, &other).unwrap();
    let error = store(&disk).require_readable(&temporary, &snapshot(3000)).unwrap_err();
    assert!(error.to_string().contains("what was read back is not what was written"), "{error}");
    assert_eq!((loaded_step(&disk, "read back"), n_intact(&disk)), (2000, 2));
}

#[test]
fn a_fault_at_any_operation_of_a_records_write_leaves_the_old_or_the_new_one() {
    let (path, old, new) = (Path::new("/run.json"), b"old, and longer".to_vec(), b"new".to_vec());
    let before = Simulated::new();
    before.files().write_atomic(path, &old).unwrap();
    let twin = before.copy();
    twin.files().write_atomic(path, &new).unwrap();
    for at in 0..twin.n_operations() {
        for fault in [Fault::Crash, Fault::InputOutput, Fault::NoSpace, Fault::ShortWrite] {
            let disk = before.with_fault(at, fault);
            let written = disk.files().write_atomic(path, &new);
            for left in Left::ALL {
                let read = disk.restarted(left).files().read(path).unwrap();
                let expected = if written.is_ok() { vec![&new] } else { vec![&old, &new] };
                assert!(expected.contains(&&read), "{fault:?} at operation {at}, left {left:?}");
            }
        }
    }
}
