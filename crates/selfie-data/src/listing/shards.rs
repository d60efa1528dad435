//! Shards as WebDataset makes them: tar files, gzip'd or not, of `key.jpg` with `key.cls` (a class in text) or `key.json` (a `label`,
//! `class` or `cls` in it). A pass over the headers makes the list; images are read from the shards later.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::{Entry, Listing, Packed, UNLABELLED, classes, is_image, label, named};
use crate::DataError;

const TEST: [&str; 3] = ["val", "test", "eval"];
const PACKED: [&str; 2] = [".tar.gz", ".tgz"];
/// A class, or a sample's description.
const MAX_LABEL_BYTES: u64 = 64 << 10;
const MAX_SAMPLES: usize = 20_000_000;

/// The shards of the two splits, in order.
pub(super) struct Shards {
    train: Vec<PathBuf>,
    test: Vec<PathBuf>,
}

/// A shard by its name, or a folder with shards in it or in its `train/` and `val/`. A shard is of the test split if its
/// or its folder's name begins with `val`, `test` or `eval`.
pub(super) fn find(path: &Path) -> Result<Option<Shards>, DataError> {
    let is_shard =
        |path: &Path| (is_packed(path) || path.extension().is_some_and(|end| end == "tar")) && path.is_file();
    if is_shard(path) {
        return Ok(Some(Shards { train: vec![path.to_owned()], test: Vec::new() }));
    }
    let mut found = Vec::new();
    let folders = ["train", "val", "validation", "test"].into_iter().flat_map(|name| named(path, name));
    for folder in std::iter::once(path.to_owned()).chain(folders) {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let entries: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
        let paths = entries.map_err(|source| DataError::io("listing", &folder, source))?;
        found.extend(paths.into_iter().filter(|path| is_shard(path)));
    }
    found.sort();
    let is_test = |shard: &PathBuf| {
        let below = shard.strip_prefix(path).unwrap_or(shard).to_string_lossy().to_lowercase();
        TEST.iter().any(|name| below.starts_with(name))
    };
    let (test, train): (Vec<_>, Vec<_>) = found.into_iter().partition(is_test);
    Ok((!train.is_empty()).then_some(Shards { train, test }))
}

/// Whether a shard is compressed, by its name.
fn is_packed(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    PACKED.iter().any(|end| name.ends_with(end))
}

pub(super) fn list(shards: &Shards) -> Result<Listing, DataError> {
    let packed = Arc::new(Packed::default());
    let mut n_ignored = 0;
    let mut split = |paths: &[PathBuf]| {
        let mut samples = Vec::new();
        for path in paths {
            let shard: Arc<Path> = path.as_path().into();
            n_ignored += if is_packed(path) {
                let unpacked = packed.open(&shard).map_err(|source| damaged(path, "the compressed bytes", source))?;
                read_shard(&shard, unpacked, &mut samples)?
            } else {
                let file = File::open(path).map_err(|source| DataError::io("opening", path, source))?;
                read_shard(&shard, BufReader::new(file), &mut samples)?
            };
        }
        Ok::<_, DataError>(samples)
    };
    let (train, test) = (split(&shards.train)?, split(&shards.test)?);
    let labelled = train.iter().any(|sample| sample.class.is_some());
    let class_names = match labelled {
        true => classes(train.iter().filter_map(|sample| sample.class.as_deref()).collect()),
        false => vec![UNLABELLED.to_owned()],
    };
    let entries = |samples: Vec<Sample>| {
        let entry = |sample: Sample| {
            let class = sample.class.as_deref().unwrap_or(if labelled { "" } else { UNLABELLED });
            let class = label(&class_names, class).ok_or_else(|| {
                let expected = "a class of the training shards for every image, or none for any";
                DataError::malformed(&sample.shard, &*sample.name, expected, format!("`{class}`"))
            })?;
            let packed = is_packed(&sample.shard).then(|| packed.clone());
            Ok(Entry {
                label: class,
                file: sample.shard,
                member: Some((sample.name, sample.start, sample.len)),
                packed,
            })
        };
        samples.into_iter().map(entry).collect::<Result<Vec<Entry>, DataError>>()
    };
    Ok(Listing { train: entries(train)?, test: entries(test)?, class_names, n_ignored, beside: None })
}

fn damaged(path: &Path, part: &str, source: std::io::Error) -> DataError {
    match source.raw_os_error() {
        Some(_) => DataError::io("reading", path, source),
        None => DataError::malformed(path, part, "a whole tar archive", source.to_string()),
    }
}

/// An image of a shard.
struct Sample {
    shard: Arc<Path>,
    name: Box<str>,
    start: u64,
    len: u64,
    class: Option<String>,
}

/// Adds a shard's images in its order; returns how many files were ignored.
fn read_shard(shard: &Arc<Path>, reader: impl Read + Seek, samples: &mut Vec<Sample>) -> Result<usize, DataError> {
    let path: &Path = shard;
    let damaged = |source| damaged(path, "the list of files", source);
    let first = samples.len();
    let mut classes = BTreeMap::new();
    let mut n_ignored = 0;
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = checked_name(path, &entry)?;
        let Some(name) = name else { continue };
        let key = key(&name);
        if is_image(Path::new(&name)) {
            if samples.len() >= MAX_SAMPLES {
                return Err(DataError::malformed(path, name, format!("at most {MAX_SAMPLES} images"), "more"));
            }
            let (start, len) = (entry.raw_file_position(), entry.size());
            samples.push(Sample { shard: shard.clone(), name: name.into(), start, len, class: None });
        } else if name.ends_with(".cls") || name.ends_with(".json") {
            if entry.size() > MAX_LABEL_BYTES {
                let expected = format!("at most {MAX_LABEL_BYTES} bytes");
                return Err(DataError::malformed(path, name, expected, entry.size().to_string()));
            }
            let mut text = String::new();
            entry.read_to_string(&mut text).map_err(damaged)?;
            if let Some(class) = class_in(&name, &text) {
                classes.insert(key, class);
            }
        } else {
            n_ignored += 1;
        }
    }
    for sample in &mut samples[first..] {
        sample.class = classes.get(&key(&sample.name)).cloned();
    }
    Ok(n_ignored)
}

/// The name of a regular file; none of a folder. Names that lead elsewhere, links and devices are refused.
fn checked_name<R: Read>(path: &Path, entry: &tar::Entry<'_, R>) -> Result<Option<String>, DataError> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let refused = |got: &str| DataError::malformed(path, format!("entry `{name}`"), "a regular file in the shard", got);
    let kind = entry.header().entry_type();
    if kind.is_dir() || kind.is_pax_global_extensions() {
        return Ok(None);
    }
    if !kind.is_file() {
        return Err(refused("a link, a device or a special entry"));
    }
    let stays = Path::new(&name).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !stays {
        return Err(refused("a name that leads out of it"));
    }
    Ok(Some(name))
}

/// The part of a name that a sample's files share: up to the first dot of the last part.
fn key(name: &str) -> String {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    let end = name[start..].find('.').map_or(name.len(), |dot| start + dot);
    name[..end].to_owned()
}

fn class_in(name: &str, text: &str) -> Option<String> {
    if name.ends_with(".cls") {
        return Some(text.trim().to_owned()).filter(|class| !class.is_empty());
    }
    // Its depth is limited by the parser.
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let value = ["label", "class", "cls"].iter().find_map(|key| json.get(key))?;
    match value {
        serde_json::Value::String(class) => Some(class.clone()),
        serde_json::Value::Number(class) => Some(class.to_string()),
        _ => None,
    }
}

/// What the fuzzer feeds.
pub(crate) fn fuzz(bytes: &[u8]) {
    let mut samples = Vec::new();
    // Whatever it answers: it must answer.
    let _ = read_shard(&Path::new("fuzz.tar").into(), std::io::Cursor::new(bytes), &mut samples);
}
