//! Subsets as files: the number of a training example a line, counted from 0 in the order of the set. Ours begin with
//! lines that say which set they are of; in a user's own file those may be missing.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Subset;
use crate::{DataError, Images};

const FORMAT: &str = "# selfie subset 1";
/// Before the content hash of the training set.
const TRAIN: &str = "# train ";
/// Before the hash of the examples.
const EXAMPLES: &str = "# examples ";
/// Ten million lines.
const MAX_BYTES: u64 = 100_000_000;

/// A file that names the labelled examples, read but not yet compared with a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubsetFile {
    path: PathBuf,
    /// Each with its line.
    examples: Vec<(usize, u32)>,
    /// Content hash of the training set it is of, if it says so.
    train_hash: Option<String>,
    subset: Subset,
}

impl SubsetFile {
    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a file of numbers, one a line; empty lines and those that begin with `#` are passed over, but for the hashes
    /// that [`Subset::to_text`] writes.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, a line is no number, an example is named twice or none is, or if the examples are not
    /// those that the file's own hash says.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let failed = |source| DataError::io("reading", path, source);
        let mut text = String::new();
        File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text)).map_err(failed)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(DataError::TooLarge { path: path.to_owned(), limit: MAX_BYTES, got: text.len() as u64 });
        }
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, DataError> {
        let (mut examples, mut train_hash, mut hash) = (Vec::new(), None, None);
        for (line_idx, line) in text.lines().map(str::trim).enumerate() {
            if let Some(of) = line.strip_prefix(TRAIN) {
                train_hash = Some(of.to_owned());
            } else if let Some(of) = line.strip_prefix(EXAMPLES) {
                hash = Some(of.to_owned());
            } else if !line.is_empty() && !line.starts_with('#') {
                let example = line.parse().map_err(|_| at(path, line_idx, "the number of a training example", line))?;
                examples.push((line_idx, example));
            }
        }
        let mut sorted: Vec<(u32, usize)> = examples.iter().map(|&(line_idx, example)| (example, line_idx)).collect();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let got = format!("{} again, after line {}", twice[1].0, twice[0].1 + 1);
            return Err(at(path, twice[1].1, "every example once", &got));
        }
        if examples.is_empty() {
            return Err(DataError::malformed(path, "the examples", "at least one", "none"));
        }
        let subset = Subset::new(sorted.into_iter().map(|(example, _)| example).collect());
        if let Some(hash) = hash.filter(|hash| *hash != subset.hash) {
            let got = format!("{}; it was changed or cut off", subset.hash);
            return Err(DataError::malformed(path, "the hash of its examples", hash, got));
        }
        Ok(Self { path: path.to_owned(), examples, train_hash, subset })
    }

    /// The hash of the examples: the same for any order of the lines.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.subset.hash
    }

    /// How many examples the file names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Never: a file names at least one example.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// The subset of a training set.
    ///
    /// # Errors
    ///
    /// If an example is not in the set, is one of `held_out`, or if the file says that it is of another set.
    pub fn of(&self, train: &Images, held_out: &[u32]) -> Result<Subset, DataError> {
        let content_hash = train.content_hash();
        if let Some(hash) = self.train_hash.as_ref().filter(|hash| **hash != content_hash) {
            let expected = format!("one of this training set, {content_hash}");
            return Err(DataError::malformed(&self.path, "the subset", expected, format!("one of {hash}")));
        }
        for &(line_idx, example) in &self.examples {
            if example as usize >= train.len() {
                let expected = format!("the number of a training example, 0 to {}", train.len().saturating_sub(1));
                return Err(at(&self.path, line_idx, &expected, &example.to_string()));
            }
            if held_out.binary_search(&example).is_ok() {
                let expected = "examples outside of the validation split, which is measured";
                return Err(at(&self.path, line_idx, expected, &example.to_string()));
            }
        }
        Ok(self.subset.clone())
    }
}

fn at(path: &Path, line_idx: usize, expected: &str, got: &str) -> DataError {
    DataError::malformed(path, format!("line {}", line_idx + 1), expected, got)
}

impl Subset {
    /// The text of a file that [`SubsetFile::read`] takes: which training set it is of, and its examples.
    #[must_use]
    pub fn to_text(&self, train: &Images) -> String {
        let mut text = format!("{FORMAT}\n{TRAIN}{}\n{EXAMPLES}{}\n", train.content_hash(), self.hash);
        self.examples.iter().for_each(|example| text.push_str(&format!("{example}\n")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataErrorKind, Splits, labelled_subset};

    fn train(n: usize) -> Images {
        let labels = (0..n).map(|i| (i % 2) as u16).collect();
        Images::new(1, vec![7; 3 * n], labels, vec!["a".into(), "b".into()]).unwrap()
    }

    fn read(text: &str) -> Result<SubsetFile, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        SubsetFile::read(file.path())
    }

    #[test]
    fn a_written_subset_is_read_back_and_a_users_own_list_is_taken() {
        let train = train(100);
        let rest = Splits::new(train.labels()).train;
        let subset = labelled_subset(train.labels(), &rest, 100, 0.2, 3).unwrap();
        let file = read(&subset.to_text(&train)).unwrap();
        assert_eq!(file.of(&train, &[]).unwrap(), subset);
        let own = read("  7\r\n# my choice\n\n3\n").unwrap().of(&train, &[]).unwrap();
        assert_eq!(own.examples, [3, 7]);
        assert_eq!(own.hash, read("3\n7").unwrap().hash());
        assert_eq!(read("3\n7").unwrap().len(), 2);
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, part) in [
            ("1\n-1", "line 2"),
            ("a", "line 1"),
            ("1\n2.0", "line 2"),
            ("5\n6\n5", "line 3: expected every example once, got 5 again, after line 1"),
            ("4294967296", "line 1"),
            ("# nothing\n", "at least one"),
            ("# examples 00\n1", "hash of its examples"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.kind(), DataErrorKind::BadData);
            assert!(error.to_string().contains(part), "{error}");
        }
        assert_eq!(SubsetFile::read(Path::new("no/such")).unwrap_err().kind(), DataErrorKind::MissingInput);
    }

    #[test]
    fn examples_outside_the_set_or_held_out_and_other_sets_are_refused() {
        let of = |text: &str, held_out: &[u32]| read(text).unwrap().of(&train(10), held_out).unwrap_err().to_string();
        assert!(of("3\n10", &[]).contains("line 2: expected the number of a training example, 0 to 9, got 10"));
        assert!(of("3\n4", &[1, 4, 6]).contains("line 2: expected examples outside of the validation split"));
        let other = Subset::new(vec![1]).to_text(&train(11));
        assert!(of(&other, &[]).contains("one of this training set"));
    }
}
