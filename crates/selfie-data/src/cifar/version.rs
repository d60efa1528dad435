//! The names of CIFAR's files, versions and classes.

/// The classes of CIFAR-10 in the order of the labels, as in the official file; used where that file is missing.
pub(crate) const CLASS_NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Which of the two sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cifar {
    /// Ten classes.
    Ten,
    /// A hundred classes.
    Hundred,
}

/// One of the forms that a set is published in.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) folder: &'static str,
    pub(super) archive: &'static str,
    pub(super) train: &'static [&'static str],
    pub(super) test: &'static [&'static str],
    pub(super) class_names: &'static str,
    pub(super) content: Content,
}

/// What the files of a version hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// Label bytes and planes.
    Records { label_bytes: usize },
    /// A dict with `data` and, under one of these names, labels.
    Pickle { labels: &'static [&'static str] },
}

impl Version {
    /// The names of all files with images.
    pub(super) fn files(&self) -> impl Iterator<Item = &'static str> {
        self.train.iter().chain(self.test).copied()
    }
}

const TEN: [Version; 2] = [
    Version {
        folder: "cifar-10-batches-bin",
        archive: "cifar-10-binary.tar.gz",
        train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
        test: &["test_batch.bin"],
        class_names: "batches.meta.txt",
        content: Content::Records { label_bytes: 1 },
    },
    Version {
        folder: "cifar-10-batches-py",
        archive: "cifar-10-python.tar.gz",
        train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
        test: &["test_batch"],
        class_names: "batches.meta",
        content: Content::Pickle { labels: &["labels"] },
    },
];

const HUNDRED: [Version; 2] = [
    Version {
        folder: "cifar-100-binary",
        archive: "cifar-100-binary.tar.gz",
        train: &["train.bin"],
        test: &["test.bin"],
        class_names: "fine_label_names.txt",
        content: Content::Records { label_bytes: 2 },
    },
    Version {
        folder: "cifar-100-python",
        archive: "cifar-100-python.tar.gz",
        train: &["train"],
        test: &["test"],
        class_names: "meta",
        content: Content::Pickle { labels: &["fine_labels"] },
    },
];

impl Cifar {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ten => "cifar10",
            Self::Hundred => "cifar100",
        }
    }

    pub(super) fn versions(self) -> &'static [Version] {
        match self {
            Self::Ten => &TEN,
            Self::Hundred => &HUNDRED,
        }
    }

    pub(super) fn n_classes(self) -> usize {
        match self {
            Self::Ten => 10,
            Self::Hundred => 100,
        }
    }

    /// The key of the class names in the Python version's own file.
    pub(super) fn names_key(self) -> &'static str {
        match self {
            Self::Ten => "label_names",
            Self::Hundred => "fine_label_names",
        }
    }

    /// The names where the set's own file is missing.
    pub(super) fn class_names(self) -> Vec<String> {
        match self {
            Self::Ten => CLASS_NAMES.map(str::to_owned).to_vec(),
            Self::Hundred => (0..100).map(|class| format!("class {class:02}")).collect(),
        }
    }
}
