//! Folders that cannot be written and disks that are full.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::program::{Folder, Ran, names};

/// The user `nobody`.
const NOBODY: u32 = 65534;

#[test]
fn an_unwritable_folder_is_refused_by_name() {
    let folder = Folder::new();
    let closed = folder.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let arguments = "pretrain tiny.toml --data cifar --out closed/run";
    let mut command = folder.command(arguments);
    if rustix::process::geteuid().is_root() {
        // Nothing is unwritable to root.
        fs::set_permissions(folder.path("."), fs::Permissions::from_mode(0o755)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    match command.output() {
        Ok(output) => {
            let refused = Ran::new(arguments, &output).ends_with(73);
            refused.says(&["cannot create closed/run", "Permission denied", "choose a writable --out"]);
            assert!(names(&closed).is_empty());
        }
        Err(error) => println!("skipped: another user cannot start {}: {error}", env!("CARGO_BIN_EXE_selfie")),
    }
}

/// A small file system in memory, gone when the test ends.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// `None`, with a message, where this process may not mount.
    fn mount(folder: &Folder, kib: u32) -> Option<Self> {
        let path = folder.path("disk");
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(&path);
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self { path });
        }
        println!("skipped: this process may not mount a tmpfs");
        None
    }

    fn grow(&self, kib: u32) {
        let options = format!("remount,size={kib}k");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.path).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.path).status().ok();
    }
}

const COMMAND: &str = "pretrain tiny.toml --data cifar";

#[test]
fn a_first_save_on_a_full_disk_ends_the_run_and_leaves_nothing_half_written() {
    let folder = Folder::new();
    // A checkpoint of the tiny network takes 74 kB.
    let Some(disk) = SmallDisk::mount(&folder, 64) else { return };
    let full = folder.run(&format!("{COMMAND} --out disk/run")).ends_with(74);
    full.says(&["cannot write disk/run/checkpoints/", "No space left on device", "free some space"]);
    assert_eq!(folder.metrics("disk/run").len(), 5, "the first save is due after step 5");
    assert_eq!(folder.names("disk/run/checkpoints"), Vec::<String>::new());
    assert!(!folder.exists("disk/run/result.json"));
    folder.require_nothing_half_written("disk/run");

    folder.run(&format!("{COMMAND} --out twin")).ends_with(0);
    disk.grow(1024);
    folder.run(&format!("{COMMAND} --out disk/run")).ends_with(0);
    folder.require_same("disk/run", "twin");
}

#[test]
fn a_later_save_on_a_full_disk_is_a_warning_until_the_last_one() {
    let folder = Folder::new();
    // Room for one checkpoint and the records, not for a second one.
    let Some(disk) = SmallDisk::mount(&folder, 140) else { return };
    let full = folder.run(&format!("{COMMAND} --out disk/run")).ends_with(74);
    full.says(&["warning: no checkpoint of step 10", "training goes on", "error: cannot write disk/run/checkpoints/"]);
    assert_eq!(folder.names("disk/run/checkpoints"), ["step-00000005"]);
    assert!(!folder.exists("disk/run/result.json"));
    folder.require_nothing_half_written("disk/run");

    folder.run(&format!("{COMMAND} --out twin")).ends_with(0);
    disk.grow(1024);
    let resumed = folder.run(&format!("{COMMAND} --out disk/run")).ends_with(0);
    resumed.says(&["resuming disk/run after step 5"]);
    folder.require_same("disk/run", "twin");
}

#[test]
fn a_disk_too_small_for_the_record_is_told_at_once() {
    let folder = Folder::new();
    let Some(disk) = SmallDisk::mount(&folder, 64) else { return };
    // More than fits: what fits stays.
    fs::write(disk.path.join("filler"), vec![0; 128 << 10]).unwrap_err();
    folder.run(&format!("{COMMAND} --out disk/run")).ends_with(74).says(&[
        "disk/run",
        "No space left",
        "free some space",
    ]);
    assert!(!folder.exists("disk/run/run.json"));
}
