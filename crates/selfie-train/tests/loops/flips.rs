//! Every changed byte of a run's checkpoint is found and named, and the one before is taken.

use std::fs;

use selfie_eval::record::Task;
use selfie_train::checkpoint::{CheckpointStore, verify};
use selfie_train::run_folder::{CHECKPOINTS, read_record};

use crate::{configuration, images, session, train};

/// Every byte of a small file, and some of a large one: `SELFIE_TORTURE` is the stride.
fn positions(n_bytes: usize) -> Vec<usize> {
    let stride = std::env::var("SELFIE_TORTURE").ok().map_or(41, |stride| stride.parse().unwrap());
    let small = n_bytes.min(4096);
    (0..small).chain((small..n_bytes).step_by(stride)).collect()
}

#[test]
fn any_changed_byte_of_a_runs_checkpoint_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (resolved, data) = (configuration(Task::Pretrain, &["steps=6", "every_steps=3", "model.width=1"]), images(30));
    train(&resolved, Task::Pretrain, &data, &session(folder.path(), None));
    let newest = folder.path().join(CHECKPOINTS).join("step-00000006");
    let (mut n_flips, mut n_tensors_named) = (0, 0);
    for name in ["manifest.json", "optimizer.safetensors", "weights.safetensors"] {
        let path = newest.join(name);
        let intact = fs::read(&path).unwrap();
        let mut damaged = intact.clone();
        for position in positions(intact.len()) {
            damaged[position] ^= 1 << (position % 8);
            fs::write(&path, &damaged).unwrap();
            damaged[position] = intact[position];
            let verified = verify(&newest).unwrap().pop().unwrap();
            let message = verified.result.unwrap_err().to_string();
            assert!(message.contains(name), "{name}, byte {position}: {message}");
            n_flips += 1;
            n_tensors_named += usize::from(message.contains("tensor `"));
        }
        fs::write(&path, &intact).unwrap();
    }
    println!("{n_flips} changed bytes, all found; {n_tensors_named} of them in a tensor, which was named");
    assert!(n_tensors_named > 0 && verify(&newest).unwrap().pop().unwrap().result.is_ok());

    fs::write(newest.join("optimizer.safetensors"), b"damaged").unwrap();
    let hash = selfie_train::resume::identity_hash(&read_record(folder.path()).unwrap().unwrap()).unwrap();
    let loaded = CheckpointStore::new(folder.path().join(CHECKPOINTS), 2).load_latest(&[hash]).unwrap().unwrap();
    assert_eq!((loaded.snapshot.step, loaded.rejected.len()), (3, 1));
}
