use std::fs;

use super::*;

#[test]
fn a_file_is_replaced_whole_and_no_temporary_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.json");
    Files::disk().write_atomic(&path, b"first, and longer").unwrap();
    Files::disk().write_atomic(&path, b"second").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(Files::disk().names(folder.path()).unwrap(), ["run.json"]);
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    // A folder of that name cannot be replaced by a file.
    fs::create_dir_all(path.join("inside")).unwrap();
    let error = Files::disk().write_atomic(&path, b"bytes").unwrap_err();
    assert_eq!(error.exit_code(), 74, "{error}");
    assert_eq!(Files::disk().names(folder.path()).unwrap(), ["taken"]);
}

#[test]
fn a_missing_folder_cannot_be_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let error = Files::disk().write_atomic(&folder.path().join("no/file"), b"bytes").unwrap_err();
    assert_eq!(error.exit_code(), 73, "{error}");
}

#[test]
fn only_temporaries_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join(".tmp-step-1/inside")).unwrap();
    fs::write(folder.path().join(".tmp-run.json"), b"half").unwrap();
    fs::write(folder.path().join("run.json"), b"whole").unwrap();
    Files::disk().remove_temporaries(folder.path()).unwrap();
    assert_eq!(Files::disk().names(folder.path()).unwrap(), ["run.json"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_io_error_and_not_an_uncreatable_file() {
    let error = Files::disk().write_durable(Path::new("/dev/full"), b"bytes").unwrap_err();
    assert_eq!(error.exit_code(), 74, "{error}");
    let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
    assert_eq!(TrainError::creating(Path::new("run"), full()).exit_code(), 74);
    let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    assert_eq!(TrainError::creating(Path::new("run"), denied).exit_code(), 73);
}

#[test]
fn a_new_file_has_its_name_once_it_is_published_and_leaves_nothing_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for publish in [false, true] {
        let new = NewFile::create(&path).unwrap();
        std::io::Write::write_all(&mut new.file(), b"whole").unwrap();
        assert!(!path.exists());
        if publish {
            new.publish().unwrap();
        }
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    assert_eq!(Files::disk().names(folder.path()).unwrap(), ["file"]);
}
