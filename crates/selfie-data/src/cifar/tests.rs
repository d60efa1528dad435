use super::*;

const RECORD_BYTES: usize = 1 + IMAGE_BYTES;
const TRAIN_FILES: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST_FILE: &str = "test_batch.bin";
const CLASS_NAMES_FILE: &str = "batches.meta.txt";
const FOLDER: &str = "cifar-10-batches-bin";
const ARCHIVE: &str = "cifar-10-binary.tar.gz";

fn open(path: &Path) -> Result<DataSet, DataError> {
    super::open(Cifar::Ten, path)
}

use crate::DataErrorKind;
use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

/// A record whose pixel at (y, x) is (y, x, label).
fn record(label: u8) -> Vec<u8> {
    let plane = |value: fn(usize) -> u8| (0..PLANE_BYTES).map(value).collect::<Vec<u8>>();
    [vec![label], plane(|i| (i / SIDE) as u8), plane(|i| (i % SIDE) as u8), vec![label; PLANE_BYTES]].concat()
}

fn records(labels: &[u8]) -> Vec<u8> {
    labels.iter().flat_map(|&label| record(label)).collect()
}

/// File names and contents of a small data set: two records in each training file, one test record.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut files: Vec<_> = (0_u8..).zip(TRAIN_FILES).map(|(i, name)| (name, records(&[2 * i, 2 * i + 1]))).collect();
    files.push((TEST_FILE, records(&[7])));
    files.push((CLASS_NAMES_FILE, "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n".into()));
    files
}

fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn archive(prefix: &str, files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // Not `append_data`: it refuses the names that a hostile archive may hold.
        header.as_old_mut().name[..prefix.len() + name.len()].copy_from_slice(format!("{prefix}{name}").as_bytes());
        header.set_cksum();
        builder.append(&header, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn open_archive(bytes: &[u8]) -> Result<DataSet, DataError> {
    let folder = folder(&[("any name.tar.gz", bytes.to_vec())]);
    open(&folder.path().join("any name.tar.gz"))
}

#[test]
fn planes_become_channels_last_pixels_in_the_files_order() {
    let data = open(folder(&files()).path()).unwrap();
    assert_eq!(data.train.labels(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(data.test.labels(), [7]);
    assert_eq!(data.train.class_names()[3], "d");
    let image = data.train.image(4).unwrap();
    for (y, x) in [(0, 0), (0, 31), (31, 0), (5, 17)] {
        assert_eq!(image[(y * 32 + x) * 3..][..3], [y as u8, x as u8, 4], "y {y} x {x}");
    }
}

#[test]
fn all_layouts_give_the_same_data() {
    let expected = open(folder(&files()).path()).unwrap();
    let nested = tempfile::tempdir().unwrap();
    fs::create_dir(nested.path().join(FOLDER)).unwrap();
    for (name, bytes) in files() {
        fs::write(nested.path().join(FOLDER).join(name), bytes).unwrap();
    }
    assert_eq!(open(nested.path()).unwrap(), expected);
    let packed = folder(&[(ARCHIVE, archive("cifar-10-batches-bin/", &files()))]);
    assert_eq!(open(packed.path()).unwrap(), expected);
    assert_eq!(open_archive(&archive("./cifar-10-batches-bin/", &files())).unwrap(), expected);
    assert_eq!(open_archive(&archive("", &files())).unwrap(), expected);
}

#[test]
fn without_the_list_of_names_the_official_ones_are_used() {
    let data = open(folder(&files()[..6]).path()).unwrap();
    assert_eq!(data.train.class_names()[9], "truck");
}

#[test]
fn a_cut_off_file_is_named_with_the_first_record_that_is_not_whole() {
    for (n_bytes, record_idx, got) in [(RECORD_BYTES + 100, 1, 100), (0, 0, 0), (3072, 0, 3072)] {
        let mut files = files();
        files[2].1.truncate(n_bytes);
        let error = open(folder(&files).path()).unwrap_err();
        assert_eq!(error.kind(), DataErrorKind::BadData);
        let message = error.to_string();
        let expected = format!("data_batch_3.bin: record {record_idx}: expected records of 3073 bytes");
        assert!(message.contains(&expected) && message.contains(&format!("got {got} bytes")), "{message}");
    }
}

#[test]
fn a_label_that_is_no_class_is_named_with_its_record() {
    let mut files = files();
    files[4].1[RECORD_BYTES] = 10;
    let message = open(folder(&files).path()).unwrap_err().to_string();
    assert!(message.contains("data_batch_5.bin: record 1: expected a label of 0 to 9, got 10"), "{message}");
}

#[test]
fn a_missing_file_or_folder_is_missing_input() {
    for place in [1, 5] {
        let mut files = files();
        let (name, _) = files.remove(place);
        let error = open(folder(&files).path()).unwrap_err();
        assert_eq!(error.kind(), DataErrorKind::MissingInput);
        assert!(error.to_string().contains(name), "{error}");
        let error = open_archive(&archive("cifar-10-batches-bin/", &files)).unwrap_err();
        assert_eq!(error.kind(), DataErrorKind::MissingInput);
        assert!(error.to_string().contains(name), "{error}");
    }
    let empty = tempfile::tempdir().unwrap();
    for path in [empty.path(), &empty.path().join("none")] {
        assert_eq!(open(path).unwrap_err().kind(), DataErrorKind::MissingInput);
    }
}

#[test]
fn a_wrong_list_of_names_is_refused() {
    let mut files = files();
    files[6].1 = b"a\nb\n".to_vec();
    let message = open(folder(&files).path()).unwrap_err().to_string();
    assert!(message.contains("expected 10 class names, one a line, got 2"), "{message}");
}

#[test]
fn a_file_far_too_large_is_refused_before_it_is_read() {
    let folder = folder(&files());
    File::create(folder.path().join(TEST_FILE)).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(open(folder.path()), Err(DataError::TooLarge { got: 0x100_0000_0000, .. })));
}

#[test]
fn damaged_archives_are_bad_data_wherever_they_are_cut() {
    let whole = archive("cifar-10-batches-bin/", &files());
    for n_bytes in [0, 5, 100, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        let error = open_archive(&whole[..n_bytes]).unwrap_err();
        assert_eq!(error.kind(), DataErrorKind::BadData, "{n_bytes} of {} bytes: {error}", whole.len());
    }
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x10;
    assert_eq!(open_archive(&flipped).unwrap_err().kind(), DataErrorKind::BadData);
    assert_eq!(open_archive(b"no archive at all").unwrap_err().kind(), DataErrorKind::BadData);
}

#[test]
fn names_that_point_out_of_the_archive_are_ignored_and_double_ones_refused() {
    let hostile = archive("../../cifar-10-batches-bin/", &files());
    assert_eq!(open_archive(&hostile).unwrap_err().kind(), DataErrorKind::MissingInput);
    let twice = [files(), files()].concat();
    let message = open_archive(&archive("", &twice)).unwrap_err().to_string();
    assert!(message.contains("twice"), "{message}");
}

#[test]
fn a_long_name_which_could_be_as_long_as_the_archive_is_not_read() {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    let long = b"test_batch.bin\0";
    header.set_size(long.len() as u64);
    header.set_cksum();
    builder.append(&header, long.as_slice()).unwrap();
    for (name, bytes) in files() {
        let name = if name == TEST_FILE { "other" } else { name };
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, bytes.as_slice()).unwrap();
    }
    let error = open_archive(&builder.into_inner().unwrap().finish().unwrap()).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::MissingInput, "{error}");
}

#[test]
fn an_archive_is_not_read_past_the_limit_of_its_unpacked_size() {
    let bomb = archive("", &[("filler", vec![0; 3_000_000])]);
    let folder = folder(&[("bomb.tar.gz", bomb)]);
    let path = folder.path().join("bomb.tar.gz");
    assert!(archive::read_at_most(&path, Cifar::Ten, 4_000_000).is_ok());
    for limit in [1_000_000, 3_000_512] {
        let error = archive::read_at_most(&path, Cifar::Ten, limit).unwrap_err();
        assert!(matches!(error, DataError::TooLarge { got, .. } if got == limit), "{error}");
    }
}

/// The real data set, if `SELFIE_DATA` says where it is.
#[test]
fn real_cifar10_has_its_published_counts_and_statistics() {
    let root = std::env::var_os("SELFIE_DATA").map(PathBuf::from);
    let Some(path) = root.map(|root| root.join("cifar10")).filter(|path| path.is_dir()) else {
        println!("skipped: SELFIE_DATA names no folder with cifar10");
        return;
    };
    let data = open(&path).unwrap();
    assert_eq!(data.train.class_counts(), [5000; 10]);
    assert_eq!(data.test.class_counts(), [1000; 10]);
    assert_eq!(data.train.class_names(), CLASS_NAMES);
    // The means and standard deviations everyone normalises with.
    let (mean, std) = data.train.mean_std();
    for (got, published) in mean.into_iter().chain(std).zip([0.4914, 0.4822, 0.4465, 0.2470, 0.2435, 0.2616]) {
        assert!((got - published).abs() < 5e-5, "{got} {published}");
    }
    // The first training image is a frog.
    assert_eq!(data.train.label(0), 6);
}

/// A pickle as Python 2 wrote CIFAR's: `data`, and labels under a name.
fn python_file(labels_key: &str, labels: &[u8]) -> Vec<u8> {
    let mut bytes =
        b"\x80\x02}q\x01(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R".to_vec();
    bytes.extend(b"(K\x01K");
    bytes.push(labels.len() as u8);
    bytes.extend(b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T");
    bytes.extend((labels.len() as u32 * IMAGE_BYTES as u32).to_le_bytes());
    labels.iter().for_each(|&label| bytes.extend(&record(label)[1..]));
    bytes.extend(b"tbU");
    bytes.push(labels_key.len() as u8);
    bytes.extend(labels_key.as_bytes());
    bytes.extend(b"](");
    labels.iter().for_each(|&label| bytes.extend([b'K', label]));
    bytes.extend(b"eu.");
    bytes
}

#[test]
fn the_python_version_gives_the_same_data_as_the_binary_one() {
    let mut binary = files();
    binary.pop();
    let expected = open(folder(&binary).path()).unwrap();
    let names = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"];
    let mut python: Vec<_> =
        (0_u8..).zip(names).map(|(i, name)| (name, python_file("labels", &[2 * i, 2 * i + 1]))).collect();
    python.push(("test_batch", python_file("labels", &[7])));
    assert_eq!(open(folder(&python).path()).unwrap(), expected);
    let packed = archive("cifar-10-batches-py/", &python);
    assert_eq!(open(folder(&[("cifar-10-python.tar.gz", packed.clone())]).path()).unwrap(), expected);
    assert_eq!(open_archive(&packed).unwrap(), expected);
    python[3].1 = python_file("labels", &[10, 0]);
    let message = open(folder(&python).path()).unwrap_err().to_string();
    assert!(message.contains("data_batch_4: record 0: expected a label of 0 to 9, got 10"), "{message}");
}

#[test]
fn cifar_100_has_its_fine_labels() {
    let two_labels = |labels: &[u8]| labels.iter().flat_map(|&label| [&[3], &record(label)[..]].concat()).collect();
    let binary: Vec<(&str, Vec<u8>)> = vec![("train.bin", two_labels(&[99, 0])), ("test.bin", two_labels(&[50]))];
    let python = [("train", python_file("fine_labels", &[99, 0])), ("test", python_file("fine_labels", &[50]))];
    let data = super::open(Cifar::Hundred, folder(&binary).path()).unwrap();
    assert_eq!((data.train.labels(), data.test.labels()), ([99, 0].as_slice(), [50].as_slice()));
    assert_eq!(super::open(Cifar::Hundred, folder(&python).path()).unwrap(), data);
    let error = super::open(Cifar::Ten, folder(&binary).path()).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::MissingInput);
}
