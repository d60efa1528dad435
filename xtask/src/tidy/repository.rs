//! Which files the repository consists of.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The files git knows or would add, by name.
pub(super) struct Repository {
    root: PathBuf,
    /// Relative to the root, `/` between the parts, sorted.
    pub(super) files: BTreeSet<String>,
}

impl Repository {
    pub(super) fn open(root: &Path) -> Result<Self> {
        let mut files = match git_files(root) {
            Some(files) => files,
            None => walk(root)?,
        };
        // A tracked file that was deleted and not yet committed, a link, a submodule.
        files.retain(|path| fs::symlink_metadata(root.join(path)).is_ok_and(|m| m.is_file()));
        Ok(Self { root: root.to_path_buf(), files })
    }

    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>> {
        fs::read(self.root.join(path)).with_context(|| format!("cannot read {path}"))
    }
}

/// `None` where there is no git or no git repository, as in an unpacked archive.
fn git_files(root: &Path) -> Option<BTreeSet<String>> {
    let mut git = Command::new("git");
    git.arg("-C").arg(root);
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().ok()?;
    let names = String::from_utf8_lossy(&output.stdout);
    let files: BTreeSet<String> = names.split('\0').filter(|name| !name.is_empty()).map(String::from).collect();
    (output.status.success() && !files.is_empty()).then_some(files)
}

pub(super) fn walk(root: &Path) -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        let entries = fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", path.display()))?;
            let name = format!("{folder}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type().with_context(|| format!("cannot look at {name}"))?;
            if kind.is_file() {
                files.insert(name);
            } else if kind.is_dir() && !is_ignored(&name) {
                folders.push(name + "/");
            }
        }
    }
    Ok(files)
}

/// What .gitignore names, for when there is no git to ask.
fn is_ignored(folder: &str) -> bool {
    matches!(folder, ".git" | "target" | "runs" | "data" | "fuzz/target")
}
