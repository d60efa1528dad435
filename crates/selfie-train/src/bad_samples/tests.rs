use super::*;
use crate::progress::Mode;

fn bad(example: u32) -> BadSample {
    BadSample { split: "train".into(), example, path: format!("{example}.jpg"), reason: "an empty file".into() }
}

fn progress() -> Progress {
    Progress::new(Mode::Quiet, 1, 0, None)
}

fn open(folder: &Path, n_samples: usize) -> BadSamples {
    let mut samples = BadSamples::open(folder).unwrap();
    samples.allow(0.01, n_samples);
    samples
}

fn n_lines(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join(BAD_SAMPLES)).unwrap().lines().count()
}

#[test]
fn each_image_is_listed_once_over_all_resumptions() {
    let folder = tempfile::tempdir().unwrap();
    let mut samples = open(folder.path(), 1000);
    samples.note(&[bad(3), bad(3), bad(9)], &mut progress()).unwrap();
    let file = File::options().append(true).open(folder.path().join(BAD_SAMPLES));
    file.unwrap().write_all(b"{\"split\":").unwrap();
    let mut again = open(folder.path(), 1000);
    again.note(&[bad(9), bad(4)], &mut progress()).unwrap();
    assert_eq!(n_lines(folder.path()), 3);
}

#[test]
fn more_than_the_share_are_refused_as_bad_data() {
    let folder = tempfile::tempdir().unwrap();
    let mut samples = open(folder.path(), 200);
    samples.note(&[bad(1), bad(2)], &mut progress()).unwrap();
    let error = samples.note(&[bad(3)], &mut progress()).unwrap_err();
    assert_eq!(error.exit_code(), 65);
    let text = error.to_string();
    assert!(text.contains("3 of 200 images") && text.contains("1.jpg: an empty file"), "{text}");
    assert_eq!(n_lines(folder.path()), 3, "the last one is listed too");
}

#[test]
fn one_of_few_images_is_allowed_unless_the_share_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut samples = open(folder.path(), 5);
    samples.note(&[bad(1)], &mut progress()).unwrap();
    samples.allow(0.0, 5);
    assert!(samples.note(&[bad(2)], &mut progress()).is_err());
}
