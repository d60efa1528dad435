use std::fs;

use super::*;
use crate::DataErrorKind;

const NPZ: &[u8] = include_bytes!("../../tests/pickles/stored.npz");
const PICKLE: &[u8] = include_bytes!("../../tests/pickles/list-3.pkl");

fn read(folder: &Path, is_train: bool) -> Result<(Vec<u8>, Vec<u16>), DataError> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    Downsampled::find(folder).unwrap()?.read(is_train, |image, label| {
        pixels.extend_from_slice(image);
        labels.push(label);
        Ok(())
    })?;
    Ok((pixels, labels))
}

#[test]
fn npz_and_pickles_give_the_same_images_with_labels_from_0() {
    for (end, bytes) in [("", PICKLE), (".npz", NPZ)] {
        let folder = tempfile::tempdir().unwrap();
        for name in ["train_data_batch_1", "train_data_batch_2", "val_data"] {
            fs::write(folder.path().join(format!("{name}{end}")), bytes).unwrap();
        }
        let (pixels, labels) = read(folder.path(), true).unwrap();
        assert_eq!(labels, [0, 1, 0, 1]);
        // Planes of 120.., 124.., 128.. become pixels.
        assert_eq!(pixels[..6], [120, 124, 128, 121, 125, 129]);
        assert_eq!(read(folder.path(), false).unwrap().1, [0, 1]);
        let found = Downsampled::find(folder.path()).unwrap().unwrap();
        assert_eq!((found.side, found.n_images(true).unwrap()), (2, 4));
        assert_eq!(found.class_names(), ["0001", "1000"]);
    }
    assert!(Downsampled::find(tempfile::tempdir().unwrap().path()).is_none());
}

#[test]
fn a_label_that_is_no_class_is_named_with_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let at = PICKLE.windows(3).position(|window| window == b"M\xe8\x03").unwrap();
    for label in [1001_u16, 0] {
        let mut bytes = PICKLE.to_vec();
        bytes[at + 1..at + 3].copy_from_slice(&label.to_le_bytes());
        fs::write(folder.path().join("train_data_batch_1"), bytes).unwrap();
        let error = read(folder.path(), true).unwrap_err();
        assert_eq!(error.kind(), DataErrorKind::BadData);
        assert!(error.to_string().contains(&format!("label 1: expected 1 to 1000, got {label}")), "{error}");
    }
}

#[test]
fn a_batch_of_another_size_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("train_data_batch_1"), PICKLE).unwrap();
    let other: Vec<u8> = PICKLE.to_vec();
    let at = other.windows(4).position(|window| window == b"K\x02K\x0c").unwrap();
    let mut other = other;
    other[at + 1..at + 4].copy_from_slice(b"\x08K\x03");
    fs::write(folder.path().join("train_data_batch_2"), other).unwrap();
    assert_eq!(read(folder.path(), true).unwrap_err().kind(), DataErrorKind::BadData);
}

#[test]
fn a_test_class_that_is_not_trained_on_is_named_with_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let at = PICKLE.windows(3).position(|window| window == b"M\xe8\x03").unwrap();
    let mut bytes = PICKLE.to_vec();
    bytes[at + 1..at + 3].copy_from_slice(&500_u16.to_le_bytes());
    fs::write(folder.path().join("train_data_batch_1"), PICKLE).unwrap();
    fs::write(folder.path().join("val_data"), bytes).unwrap();
    let error = read(folder.path(), false).unwrap_err();
    assert!(error.to_string().contains("label 1: expected one of the 2 classes"), "{error}");
}
