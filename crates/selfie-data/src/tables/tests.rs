use tempfile::TempDir;

use super::*;
use crate::DataErrorKind;
use crate::formats::parquet::tests::written;
use crate::import::tests::png;

/// A folder of parquet files with one row a value: an image of that grey, whose label is the value modulo 3.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, values) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let images: Vec<Vec<u8>> = values.iter().map(|&value| png(8, value)).collect();
        let labels: Vec<i64> = values.iter().map(|value| i64::from(value % 3)).collect();
        fs::write(path, written(&images, &labels)).unwrap();
    }
    folder
}

/// The greys of a split in order.
fn greys(tables: &Tables, is_train: bool) -> Vec<u8> {
    let mut greys = Vec::new();
    let read = tables.read(is_train, |images| {
        for image in images {
            let pixels = crate::decode::decode(&image.file.unwrap(), &image.path).unwrap().pixels;
            assert_eq!(u16::from(pixels[0] % 3), image.label);
            greys.push(pixels[0]);
        }
        Ok(())
    });
    read.unwrap();
    greys
}

fn error(folder: &TempDir) -> DataError {
    Tables::find(folder.path()).unwrap().unwrap_err()
}

#[test]
fn the_hubs_layouts_give_the_splits_in_the_files_order() {
    for [first, second, test] in [
        ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"],
        ["plain_text/train/0000.parquet", "plain_text/train/0001.parquet", "plain_text/validation/0000.parquet"],
        ["train-a.parquet", "train-b.parquet", "val.parquet"],
        ["train/x.parquet", "train/y.PARQUET", "valid/x.parquet"],
        ["Train/x.parquet", "Train/y.parquet", "VAL/x.parquet"],
    ] {
        let folder = folder(&[(second, &[2, 3]), (first, &[0, 1]), (test, &[4])]);
        let tables = Tables::find(folder.path()).unwrap().unwrap();
        assert_eq!(tables.class_names, ["0000", "0001", "0002"][..3], "{first}");
        assert_eq!((greys(&tables, true), greys(&tables, false)), (vec![0, 1, 2, 3], vec![4]));
        assert_eq!(tables.n_images, [4, 1]);
    }
}

#[test]
fn a_validation_split_goes_before_a_test_split_without_labels() {
    let folder = folder(&[("train.parquet", &[0, 1, 2]), ("validation.parquet", &[4])]);
    let unlabelled = written(&[png(8, 9)], &[-1]);
    fs::write(folder.path().join("test.parquet"), unlabelled).unwrap();
    assert_eq!(greys(&Tables::find(folder.path()).unwrap().unwrap(), false), [4]);
}

#[test]
fn without_a_test_split_a_tenth_of_every_class_is_held_out() {
    let values: Vec<u8> = (0..60).collect();
    let folder = folder(&[("a.parquet", &values[..30]), ("b.parquet", &values[30..])]);
    let tables = Tables::find(folder.path()).unwrap().unwrap();
    let (train, test) = (greys(&tables, true), greys(&tables, false));
    assert_eq!((train.len(), test.len(), tables.n_images), (54, 6, [54, 6]));
    assert_eq!(test.iter().filter(|&&value| value % 3 == 0).count(), 2);
    let mut all = [train, test].concat();
    all.sort_unstable();
    assert_eq!(all, values);
    assert_eq!(Tables::find(&folder.path().join("a.parquet")).unwrap().unwrap().n_images, [27, 3]);
}

#[test]
fn a_missing_shard_and_several_configurations_are_refused() {
    let missing = folder(&[("data/train-00000-of-00003.parquet", &[0]), ("data/train-00002-of-00003.parquet", &[1])]);
    let message = error(&missing).to_string();
    assert!(message.contains("train-00001-of-00003.parquet"), "{message}");
    assert_eq!(error(&missing).kind(), DataErrorKind::MissingInput);
    let several = folder(&[("32/train.parquet", &[0]), ("64/train.parquet", &[0])]);
    assert!(error(&several).to_string().contains("`32`, `64`"), "{}", error(&several));
    let test_alone = folder(&[("test.parquet", &[0])]);
    assert_eq!(error(&test_alone).kind(), DataErrorKind::MissingInput);
}

#[test]
fn labels_that_are_no_classes_are_named_by_row() {
    let folder = tempfile::tempdir().unwrap();
    for label in [-1, 70_000] {
        fs::write(folder.path().join("train.parquet"), written(&[png(8, 0), png(8, 1)], &[0, label])).unwrap();
        let message = error(&folder).to_string();
        assert!(message.contains("row 1") && message.contains(&label.to_string()), "{message}");
    }
    fs::write(folder.path().join("train.parquet"), b"PAR1 and nothing more than that").unwrap();
    assert_eq!(error(&folder).kind(), DataErrorKind::BadData);
}

#[test]
fn a_folder_of_images_is_none_of_tables() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("cat")).unwrap();
    fs::write(folder.path().join("cat/1.png"), png(8, 1)).unwrap();
    assert!(Tables::find(folder.path()).is_none());
    assert!(Tables::find(&folder.path().join("cat/1.png")).is_none());
    assert!(Tables::find(Path::new("no/such/folder")).is_none());
}
