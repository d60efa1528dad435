//! What loading holds in memory, and what a run does.
#![cfg(target_os = "linux")]

use std::fs::{self, File};

use serde_json::{Value, json};

use crate::program::{ENDLESS, Folder};

/// Beside the images, a set's labels are held, two bytes each.
const LABEL_BYTES: u64 = 2;
/// A file that has not been written to takes no place on the disk, and reads as black images.
const IMAGE_BYTES: u64 = 32 * 32 * 3;

/// A prepared set of so many black images.
fn prepare(folder: &Folder, name: &str, n_images: u64) {
    let root = folder.path(name);
    fs::create_dir(&root).unwrap();
    let split = |split: &str, n_images: u64| {
        let file =
            |end: &str, len: u64| File::create(root.join(format!("{split}.{end}"))).unwrap().set_len(len).unwrap();
        file("pixels", n_images * IMAGE_BYTES);
        file("labels", n_images * LABEL_BYTES);
        let moments = json!({ "n_pixels": n_images * IMAGE_BYTES / 3, "sums": [0, 0, 0], "squares": [0, 0, 0] });
        let n_bytes = n_images * IMAGE_BYTES;
        json!({ "kind": "pixels", "n_images": n_images, "n_bytes": n_bytes, "moments": moments, "content_hash": "" })
    };
    let (train, test) = (split("train", n_images), split("test", 10));
    let path = root.join("selfie-data.json");
    let manifest = |hash: &str| {
        json!({
            "format": "selfie data 2", "side": 32, "class_names": ["one"], "train": &train, "test": &test, "hash": hash,
        })
    };
    // Which hash fits is what the program says of one that does not.
    fs::write(&path, manifest("").to_string()).unwrap();
    let refused = folder.run(&format!("data info imagenet32 --data {name}")).ends_with(65).stderr;
    let hash = refused.split("got ").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    fs::write(&path, manifest(hash).to_string()).unwrap();
}

fn anonymous_mib(measured: &Value) -> u64 {
    measured["anonymous_mib_most"].as_u64().unwrap()
}

/// The images come from a map, the order from a permutation that is computed: neither is held.
#[test]
fn memory_of_loading_a_million_images_is_that_of_a_thousand() {
    let folder = Folder::new();
    let (small, large) = (1000, 1_000_000);
    prepare(&folder, "small", small);
    prepare(&folder, "large", large);
    let load = |data: &str| {
        let command = "bench loader tiny.toml --set data.set=imagenet32 --batch 256 --batches 400 --workers 2 --json";
        folder.run(&format!("{command} --data {data}")).ends_with(0).json()
    };
    let (of_small, of_large) = (load("small"), load("large"));
    assert_eq!((of_small["n_examples"].as_u64(), of_large["n_examples"].as_u64()), (Some(small), Some(large)));
    let more = anonymous_mib(&of_large).saturating_sub(anonymous_mib(&of_small));
    assert!(more <= large * LABEL_BYTES / (1 << 20) + 8, "{more} MiB more: {of_small} {of_large}");
}

/// Program, images and allocator are most of a small run's memory: a count of its maps and parameters alone says nothing.
#[test]
fn a_dry_runs_memory_is_that_of_the_run() {
    let folder = Folder::new();
    for network in ["", "--set model.width=16 --set model.heads=8 --set model.ffn=160 --set batch=64"] {
        let command = format!("pretrain tiny.toml --data cifar --out run{} --steps {ENDLESS} {network}", network.len());
        let estimated = folder.run(&format!("{command} --dry-run --json")).ends_with(0).json();
        let estimated = estimated["memory_mb"].as_f64().unwrap();
        let mut run = folder.start(&command);
        run.wait_for_steps(&folder.path(&format!("run{}", network.len())), 8);
        let status = fs::read_to_string(format!("/proc/{}/status", run.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak = peak.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / 1e6;
        assert!((0.6..1.6).contains(&(estimated / peak)), "estimated {estimated:.0} MB, had {peak:.0} MB: {network}");
    }
}
