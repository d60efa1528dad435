//! Data sets of the Hugging Face hub: which repository holds which set, and its parquet files in the cache of the hub's own
//! client, which it shares with every other program (`HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT`). [`crate::open`] reads them
//! there like any folder of parquet files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use hf_hub::progress::{DownloadEvent, Progress, ProgressEvent, ProgressHandler};
use hf_hub::{HFClientSync, HFError};

use crate::fetch::{Checksum, FetchEvent};
use crate::tables::Tables;
use crate::{DataError, SetName};

pub mod models;
#[cfg(test)]
mod tests;

/// A set's repository and the files of its training and test split.
struct HubSet {
    set: SetName,
    owner: &'static str,
    name: &'static str,
    files: &'static [&'static str],
}

const SETS: [HubSet; 4] = [
    HubSet { set: SetName::Cifar10, owner: "uoft-cs", name: "cifar10", files: &["plain_text/*.parquet"] },
    HubSet { set: SetName::Cifar100, owner: "uoft-cs", name: "cifar100", files: &["cifar100/*.parquet"] },
    HubSet {
        set: SetName::Imagenet32,
        owner: "benjamin-paine",
        name: "imagenet-1k-32x32",
        files: &["data/train-*.parquet", "data/validation-*.parquet"],
    },
    HubSet {
        set: SetName::Imagenet224,
        owner: "ILSVRC",
        name: "imagenet-1k",
        files: &["data/train-*.parquet", "data/validation-*.parquet"],
    },
];
/// The length of the names of files that are named by their SHA-256, as the hub's large ones are in the cache.
const SHA256_DIGITS: usize = 64;

/// The folder of a set's files in the cache; what is not there is downloaded first. A set that is there whole is used
/// without the network.
///
/// # Errors
///
/// If the hub has no such set, does not give it, or cannot be reached.
pub fn folder(set: SetName, on_event: impl FnMut(FetchEvent) + Send + 'static) -> Result<PathBuf, DataError> {
    let of = HubSet::find(set)?;
    of.folder(&of.client()?, on_event)
}

/// Downloads a set into the cache, or what has changed of it, compares its files with their hashes, and returns their
/// folder.
///
/// # Errors
///
/// As [`folder`], and if a file is damaged.
pub fn fetch(set: SetName, on_event: impl FnMut(FetchEvent) + Send + 'static) -> Result<PathBuf, DataError> {
    let of = HubSet::find(set)?;
    of.fetch(&of.client()?, on_event)
}

impl HubSet {
    fn find(set: SetName) -> Result<&'static Self, DataError> {
        let found = SETS.iter().find(|of| of.set == set);
        found.ok_or_else(|| DataError::setting("hub:", SETS.map(|of| of.set.as_str()).join(", "), set))
    }

    fn client(&self) -> Result<HFClientSync, DataError> {
        HFClientSync::new().map_err(|error| self.failed("starting the client", &error))
    }

    fn folder(
        &self,
        client: &HFClientSync,
        on_event: impl FnMut(FetchEvent) + Send + 'static,
    ) -> Result<PathBuf, DataError> {
        let cached = client.dataset(self.owner, self.name).snapshot_download().local_files_only(true).send();
        match cached {
            Ok(folder) if is_whole(&folder) => Ok(folder),
            _ => self.fetch(client, on_event),
        }
    }

    fn fetch(
        &self,
        client: &HFClientSync,
        on_event: impl FnMut(FetchEvent) + Send + 'static,
    ) -> Result<PathBuf, DataError> {
        let progress = Progress::new(Bytes(Mutex::new(Counted { n_total: 0, on_event, files: Vec::new() })));
        let files = self.files.iter().map(|&pattern| pattern.to_owned()).collect();
        let repository = client.dataset(self.owner, self.name);
        let folder = repository.snapshot_download().allow_patterns(files).progress(progress).send();
        let folder = folder.map_err(|error| self.failed("downloading", &error))?;
        require_intact(&folder)?;
        if !is_whole(&folder) {
            let reason = "the repository holds no parquet files of a training and a test split".to_owned();
            return Err(DataError::Hub { set: self.id(), action: "reading", reason });
        }
        Ok(folder)
    }

    fn id(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    fn failed(&self, action: &'static str, error: &HFError) -> DataError {
        let (set, reason) = (self.id(), causes(error));
        match error {
            // The hub hides repositories that one may not see, and all that is in them.
            HFError::AuthRequired { .. }
            | HFError::Forbidden { .. }
            | HFError::RepoNotFound { .. }
            | HFError::RevisionNotFound { .. } => DataError::HubAccess { set, reason },
            HFError::Http { context } if [401, 403].contains(&context.status.as_u16()) => {
                DataError::HubAccess { set, reason }
            }
            _ => DataError::Hub { set, action, reason },
        }
    }
}

/// An error with what it came from.
fn causes(error: &HFError) -> String {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message
}

/// Whether a folder of the cache holds both splits with all their shards.
fn is_whole(folder: &Path) -> bool {
    Tables::find(folder).is_some_and(|tables| tables.is_ok_and(|tables| tables.has_test_files()))
}

/// Compares what the cache calls by its SHA-256 with it. A damaged file is removed, so that the next attempt fetches it.
fn require_intact(folder: &Path) -> Result<(), DataError> {
    for path in Tables::files(folder) {
        let stored = fs::canonicalize(&path).map_err(|source| DataError::io("looking", &path, source))?;
        let name = stored.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.len() != SHA256_DIGITS {
            continue;
        }
        let Ok(checksum) = format!("sha256:{name}").parse::<Checksum>() else { continue };
        if let Err(error) = checksum.require(&stored) {
            // The link first: without it the file counts as missing.
            let removed =
                fs::remove_file(&path).and_then(|()| if stored == path { Ok(()) } else { fs::remove_file(&stored) });
            removed.map_err(|source| DataError::Write { path: stored, source })?;
            return Err(error);
        }
    }
    Ok(())
}

/// Adds up what the client tells of single files.
struct Bytes<F>(Mutex<Counted<F>>);

struct Counted<F> {
    n_total: u64,
    /// Bytes so far, by name.
    files: Vec<(String, u64)>,
    on_event: F,
}

impl<F: FnMut(FetchEvent) + Send> ProgressHandler for Bytes<F> {
    fn on_progress(&self, event: &ProgressEvent) {
        let (ProgressEvent::Download(event), Ok(mut counted)) = (event, self.0.lock()) else { return };
        match event {
            // The first is of all files; each file has one of its own after it.
            DownloadEvent::Start { total_bytes, .. } => counted.n_total = counted.n_total.max(*total_bytes),
            DownloadEvent::Progress { files } => {
                for file in files {
                    match counted.files.iter_mut().find(|(name, _)| *name == file.filename) {
                        Some((_, n_bytes)) => *n_bytes = file.bytes_completed,
                        None => counted.files.push((file.filename.clone(), file.bytes_completed)),
                    }
                }
                let n_done = counted.files.iter().map(|(_, n_bytes)| n_bytes).sum();
                let n_total = Some(counted.n_total);
                (counted.on_event)(FetchEvent::Progress { n_done, n_total });
            }
            _ => {}
        }
    }
}
