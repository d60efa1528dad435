use super::*;

#[test]
fn a_missing_file_is_missing_input_and_any_other_failure_is_io() {
    let path = Path::new("x");
    let missing = DataError::io("reading", path, io::Error::from(io::ErrorKind::NotFound));
    assert_eq!(missing.kind(), DataErrorKind::MissingInput);
    let denied = DataError::io("reading", path, io::Error::from(io::ErrorKind::PermissionDenied));
    assert_eq!(denied.kind(), DataErrorKind::Io);
}

#[test]
fn a_place_that_is_refused_cannot_be_created_and_a_full_disk_is_io() {
    let kind = |kind| DataError::Write { path: "x".into(), source: io::Error::from(kind) }.kind();
    assert_eq!(kind(io::ErrorKind::PermissionDenied), DataErrorKind::CannotCreate);
    assert_eq!(kind(io::ErrorKind::NotFound), DataErrorKind::CannotCreate);
    assert_eq!(kind(io::ErrorKind::StorageFull), DataErrorKind::Io);
}

#[test]
fn messages_say_where_expected_got_and_what_to_do() {
    let error = DataError::CifarLabel { path: "d/data_batch_1.bin".into(), record_idx: 7, n_classes: 10, got: 77 };
    assert_eq!(
        error.to_string(),
        "d/data_batch_1.bin: record 7: expected a label of 0 to 9, got 77; the file is damaged: fetch it again"
    );
    let error = DataError::MissingSet { set: "cifar10".into(), looked_in: vec!["a".into(), "b".into()] };
    assert!(error.to_string().contains("a, b") && error.to_string().contains("`data fetch cifar10`"), "{error}");
}
