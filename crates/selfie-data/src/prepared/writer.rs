//! Writing the prepared form: under another name until it is whole and on the disk.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::manifest::{Kind, Manifest, SplitManifest};
use super::{MANIFEST, images, require_free};
use crate::images::Moments;
use crate::{BAD_SAMPLES, BadSample, DataError};

/// Every name that is ever written.
const FILES: [&str; 10] = [
    MANIFEST,
    BAD_SAMPLES,
    "train.pixels",
    "train.files",
    "train.ends",
    "train.labels",
    "test.pixels",
    "test.files",
    "test.ends",
    "test.labels",
];

/// Makes the folder that is written to until the set is whole: `out` with `.partial` behind its name. What an import that
/// was interrupted left there is removed.
pub(crate) fn start(out: &Path) -> Result<PathBuf, DataError> {
    require_free(out)?;
    let mut name = out.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    if partial.exists() {
        FILES
            .iter()
            .map(|name| partial.join(name))
            .filter(|path| path.exists())
            .try_for_each(|path| fs::remove_file(&path).map_err(|source| DataError::Write { path, source }))?;
    }
    fs::create_dir_all(&partial).map_err(|source| DataError::Write { path: partial.clone(), source })?;
    Ok(partial)
}

/// One split while it is written, in constant memory but for labels and ends.
pub(crate) struct SplitWriter {
    path: PathBuf,
    packed: BufWriter<File>,
    n_bytes: u64,
    kind: Kind,
    labels: Vec<u16>,
    ends: Vec<u64>,
    moments: Moments,
}

impl SplitWriter {
    /// Starts a split of pixels, or of image files.
    pub(crate) fn new(partial: &Path, split: &str, is_encoded: bool) -> Result<Self, DataError> {
        let kind = if is_encoded { Kind::Files } else { Kind::Pixels };
        let end = if is_encoded { "files" } else { "pixels" };
        let path = partial.join(format!("{split}.{end}"));
        let file = File::create(&path).map_err(|source| DataError::Write { path: path.clone(), source })?;
        let packed = BufWriter::with_capacity(1 << 20, file);
        let (labels, ends) = (Vec::new(), Vec::new());
        Ok(Self { path, packed, n_bytes: 0, kind, labels, ends, moments: Moments::default() })
    }

    /// Adds an image as it is stored, and the sums over its pixels.
    pub(crate) fn add(&mut self, stored: &[u8], label: u16, moments: Moments) -> Result<(), DataError> {
        let written = self.packed.write_all(stored);
        written.map_err(|source| DataError::Write { path: self.path.clone(), source })?;
        self.n_bytes += stored.len() as u64;
        self.labels.push(label);
        if self.kind == Kind::Files {
            self.ends.push(self.n_bytes);
        }
        self.moments = self.moments.and(moments);
        Ok(())
    }

    pub(crate) fn n_images(&self) -> usize {
        self.labels.len()
    }

    /// Writes labels and ends, and waits until all of it is on the disk.
    fn finish(mut self, partial: &Path, split: &str) -> Result<SplitManifest, DataError> {
        let failed = |source| DataError::Write { path: self.path.clone(), source };
        self.packed.flush().and_then(|()| finish_file(self.packed.get_ref())).map_err(failed)?;
        let labels: Vec<u8> = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        write(&partial.join(format!("{split}.labels")), &labels)?;
        if self.kind == Kind::Files {
            let ends: Vec<u8> = self.ends.iter().flat_map(|end| end.to_le_bytes()).collect();
            write(&partial.join(format!("{split}.ends")), &ends)?;
        }
        let (n_images, n_bytes) = (self.labels.len() as u64, self.n_bytes);
        let content_hash = String::new();
        Ok(SplitManifest { kind: self.kind, n_images, n_bytes, moments: self.moments, content_hash })
    }
}

/// Finishes both splits and gives the folder its name.
pub(crate) fn publish(
    (partial, out): (&Path, &Path),
    side: usize,
    class_names: Vec<String>,
    [train, test]: [SplitWriter; 2],
    bad: &[BadSample],
) -> Result<(), DataError> {
    let (train, test) = (train.finish(partial, "train")?, test.finish(partial, "test")?);
    let mut manifest = Manifest::new(side, class_names, train, test);
    // The hash is of what was written, read again.
    let hash = |split, of| images(partial, split, &manifest, of).map(|images| images.computed_hash());
    let hashes = (hash("train", &manifest.train)?, hash("test", &manifest.test)?);
    (manifest.train.content_hash, manifest.test.content_hash) = hashes;
    let lines: String = bad.iter().filter_map(|bad| serde_json::to_string(bad).ok()).map(|line| line + "\n").collect();
    if !lines.is_empty() {
        write(&partial.join(BAD_SAMPLES), lines.as_bytes())?;
    }
    let path = partial.join(MANIFEST);
    write(&path, manifest.sealed(&path)?.as_bytes())?;
    let failed = |source| DataError::Write { path: out.to_owned(), source };
    if out.exists() {
        // Empty, as was made sure when this began.
        fs::remove_dir(out).map_err(failed)?;
    }
    fs::rename(partial, out).map_err(failed)?;
    sync_folder(out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))).map_err(failed)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let written = File::create(path).and_then(|mut file| file.write_all(bytes).and_then(|()| finish_file(&file)));
    written.map_err(|source| DataError::Write { path: path.to_owned(), source })
}

/// On the disk, and not to be changed: it will be mapped.
fn finish_file(file: &File) -> io::Result<()> {
    file.sync_all()?;
    let mut permissions = file.metadata()?.permissions();
    permissions.set_readonly(true);
    file.set_permissions(permissions)
}

/// A folder can be synced where it can be opened as a file.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
