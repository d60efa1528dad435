//! `bad_samples.jsonl` of a run: the images that turned out to be unreadable, each once, and how many may be.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use selfie_data::{BAD_SAMPLES, BadSample, require_few};
use selfie_eval::record::Split;

use crate::TrainError;
use crate::progress::Progress;

#[cfg(test)]
mod tests;

/// The unreadable images of a run, over all its resumptions.
#[derive(Debug)]
pub(crate) struct BadSamples {
    path: PathBuf,
    /// By split and example.
    found: BTreeMap<(String, u32), BadSample>,
    max_share: f64,
    n_samples: usize,
}

impl BadSamples {
    /// Reads what a run folder lists already; a half-written last line is cut off.
    pub(crate) fn open(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join(BAD_SAMPLES);
        let mut found = BTreeMap::new();
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.map_err(|source| TrainError::reading(&path, source, "expected the run's list"))?,
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            let cut = File::options().write(true).open(&path).and_then(|file| file.set_len(whole as u64));
            cut.map_err(|source| TrainError::writing(&path, source))?;
        }
        for line in text[..whole].lines() {
            let bad: BadSample = selfie_eval::record::from_json(BAD_SAMPLES, line)?;
            found.insert((bad.split.clone(), bad.example), bad);
        }
        Ok(Self { path, found, max_share: 0.0, n_samples: 0 })
    }

    /// How large a share of how many images may be unreadable, from here on.
    pub(crate) fn allow(&mut self, max_share: f64, n_samples: usize) {
        (self.max_share, self.n_samples) = (max_share, n_samples);
    }

    /// Lists those that are new, and refuses too many.
    pub(crate) fn note(&mut self, bad: &[BadSample], progress: &mut Progress) -> Result<(), TrainError> {
        for bad in bad {
            let key = (bad.split.clone(), bad.example);
            if self.found.contains_key(&key) {
                continue;
            }
            // A list that cannot be written, say on a full disk, is no reason to lose the run.
            if let Err(error) = self.append(bad) {
                progress.warn(&format!("{error}"));
            }
            progress.warn(&format!("{}: cannot be used, {}", bad.path, bad.reason));
            self.found.insert(key, bad.clone());
            self.require_few(&bad.split)?;
        }
        Ok(())
    }

    /// Lists those that a measurement left out.
    pub(crate) fn note_left_out(
        &mut self,
        bad: &[BadSample],
        split: Split,
        progress: &mut Progress,
    ) -> Result<(), TrainError> {
        // The validation examples are of the training images.
        let name = if split == Split::Validation { "train" } else { "test" };
        let bad: Vec<BadSample> = bad.iter().map(|bad| BadSample { split: name.to_owned(), ..bad.clone() }).collect();
        self.note(&bad, progress)
    }

    fn append(&self, bad: &BadSample) -> Result<(), TrainError> {
        let line = serde_json::to_string(bad).map_err(|error| TrainError::Internal(error.to_string()))? + "\n";
        let file = File::options().create(true).append(true).open(&self.path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.map_err(|source| TrainError::writing(&self.path, source))
    }

    fn require_few(&self, split: &str) -> Result<(), TrainError> {
        let of_split: Vec<&BadSample> = self.found.values().filter(|bad| bad.split == split).collect();
        match of_split.first() {
            Some(first) => Ok(require_few(of_split.len(), self.n_samples, self.max_share, first)?),
            None => Ok(()),
        }
    }
}
