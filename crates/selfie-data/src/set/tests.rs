use super::*;
use crate::DataErrorKind;

#[test]
fn names_survive_text() {
    for set in SetName::ALL {
        assert_eq!(set.to_string().parse::<SetName>().unwrap(), set);
    }
    let error = "cifar1000".parse::<SetName>().unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::Configuration);
    assert!(error.to_string().contains("cifar1000"));
}

#[test]
fn the_given_folder_comes_before_the_environment() {
    let (given, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let in_root = root.path().join("cifar10");
    std::fs::create_dir(&in_root).unwrap();
    let place = |dir, root| locate(SetName::Cifar10, dir, root);
    assert_eq!(place(Some(given.path()), Some(root.path())).unwrap(), given.path());
    assert_eq!(place(None, Some(root.path())).unwrap(), in_root);
}

#[test]
fn a_given_folder_that_is_not_there_is_not_replaced_by_another() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("cifar10")).unwrap();
    let error = locate(SetName::Cifar10, Some(Path::new("no/such/folder")), Some(root.path())).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::MissingInput);
    let message = error.to_string();
    assert!(message.contains("no/such/folder") && message.contains("data fetch cifar10"), "{message}");
}
