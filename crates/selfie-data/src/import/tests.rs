use std::fs;
use std::io::Cursor;

use image::{ImageFormat, Rgb as Pixel, RgbImage};
use tempfile::TempDir;

use super::*;
use crate::{BAD_SAMPLES, DataErrorKind};

/// A PNG of one colour.
pub(crate) fn png(side: u32, value: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(side, side, Pixel([value; 3])).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Two classes of `n` images each, the `i`-th of grey value `i`; some of them no images.
fn folder(n: u8, side: u32, bad: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for class in ["cat", "dog"] {
        fs::create_dir(folder.path().join(class)).unwrap();
        for i in 0..n {
            let bytes = if class == "cat" && bad.contains(&i) { b"no image".to_vec() } else { png(side, i) };
            fs::write(folder.path().join(class).join(format!("{i:03}.png")), bytes).unwrap();
        }
    }
    folder
}

fn settings(source: &Path, out: &Path, side: usize) -> ImportSettings {
    let (source, out) = (source.to_owned(), out.to_owned());
    ImportSettings { set: SetName::Imagenet32, source, out, side, max_bad_share: 0.01 }
}

/// Names and bytes of a folder's files.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
}

#[test]
fn small_images_are_prepared_as_pixels_and_read_back_as_from_the_folder() {
    let source = folder(20, 48, &[]);
    let out = tempfile::tempdir().unwrap();
    let prepared = out.path().join("set");
    let mut n_done = 0;
    let report = import(&settings(source.path(), &prepared, 32), |progress| n_done += progress.n_done).unwrap();
    assert_eq!((report.n_train, report.n_test, report.n_classes, n_done), (36, 4, 2, 40));
    let (before, after) =
        (read(SetName::Imagenet32, source.path()).unwrap(), read(SetName::Imagenet32, &prepared).unwrap());
    assert!(before.train.is_encoded() && !after.train.is_encoded());
    assert_eq!((before.train.labels(), before.train.class_names()), (after.train.labels(), after.train.class_names()));
    for idx in 0..36 {
        assert_eq!(before.train.image(idx).unwrap(), after.train.image(idx).unwrap());
    }
    assert_eq!(before.train.mean_std(), after.train.mean_std());
    after.train.require_intact().unwrap();
}

#[test]
fn large_images_are_prepared_as_the_files_they_were() {
    let source = folder(10, 80, &[]);
    let out = tempfile::tempdir().unwrap();
    let prepared = out.path().join("set");
    import(&settings(source.path(), &prepared, 72), |_| ()).unwrap();
    let after = read(SetName::Imagenet32, &prepared).unwrap();
    assert!(after.train.is_encoded());
    assert_eq!((after.train.side(), after.train.picture(0).unwrap().width), (72, 80));
    let file = fs::read(source.path().join("cat/000.png")).unwrap();
    assert!((0..after.train.len()).any(|idx| after.train.stored(idx) == file));
}

#[test]
fn importing_again_gives_the_same_bytes_and_never_overwrites() {
    let source = folder(10, 48, &[3]);
    let out = tempfile::tempdir().unwrap();
    let [first, second] = ["a", "b"].map(|name| out.path().join(name));
    // What an interrupted import left is no obstacle.
    fs::create_dir(out.path().join("b.partial")).unwrap();
    fs::write(out.path().join("b.partial/train.pixels"), b"half").unwrap();
    let with_bad = |out: &Path| ImportSettings { max_bad_share: 0.2, ..settings(source.path(), out, 32) };
    import(&with_bad(&first), |_| ()).unwrap();
    import(&with_bad(&second), |_| ()).unwrap();
    assert_eq!(content(&first), content(&second));
    let error = import(&with_bad(&first), |_| ()).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::CannotCreate);
    assert!(!out.path().join("a.partial").exists());
    assert_eq!(
        import(&settings(&first, &out.path().join("c"), 32), |_| ()).unwrap_err().kind(),
        DataErrorKind::CannotCreate
    );
}

#[test]
fn files_that_are_no_images_are_left_out_listed_and_capped() {
    let source = folder(100, 8, &[7, 9]);
    let out = tempfile::tempdir().unwrap();
    let prepared = out.path().join("set");
    let settings = ImportSettings { max_bad_share: 0.02, ..settings(source.path(), &prepared, 8) };
    let report = import(&settings, |_| ()).unwrap();
    assert_eq!((report.n_train + report.n_test, report.bad.len()), (198, 2));
    let lines = fs::read_to_string(prepared.join(BAD_SAMPLES)).unwrap();
    assert_eq!(lines.lines().count(), 2);
    assert!(lines.contains("cat/007.png") && lines.contains("neither JPEG"), "{lines}");
    let strict = ImportSettings { max_bad_share: 0.0, out: out.path().join("strict"), ..settings };
    let error = import(&strict, |_| ()).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::BadData);
    assert!(!strict.out.exists());
}

#[test]
fn a_changed_byte_of_a_prepared_set_is_found_by_its_check() {
    let source = folder(10, 8, &[]);
    let out = tempfile::tempdir().unwrap();
    let prepared = out.path().join("set");
    import(&settings(source.path(), &prepared, 8), |_| ()).unwrap();
    let path = prepared.join("train.pixels");
    let mut bytes = fs::read(&path).unwrap();
    bytes[5] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, &bytes).unwrap();
    let data = read(SetName::Imagenet32, &prepared).unwrap();
    assert_eq!(data.train.require_intact().unwrap_err().kind(), DataErrorKind::BadData);
    data.test.require_intact().unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, &bytes[1..]).unwrap();
    let error = read(SetName::Imagenet32, &prepared).unwrap_err();
    assert!(error.to_string().contains("bytes as in its manifest"), "{error}");
}

#[test]
fn damaged_manifests_are_bad_data() {
    let source = folder(10, 8, &[]);
    let out = tempfile::tempdir().unwrap();
    let prepared = out.path().join("set");
    import(&settings(source.path(), &prepared, 8), |_| ()).unwrap();
    let path = prepared.join("selfie-data.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    for (from, to) in [
        ("selfie data 1", "selfie data 2"),
        ("\"side\": 8", "\"side\": 9"),
        ("\"side\": 8", "\"side\": 4294967296"),
        ("\"n_images\": 18", "\"n_images\": 18446744073709551615"),
        ("\"kind\": \"pixels\"", "\"kind\": \"files\""),
        ("\"cat\",", ""),
        ("{", ""),
    ] {
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let error = read(SetName::Imagenet32, &prepared).unwrap_err();
        let missing = to.contains("files");
        let expected = if missing { DataErrorKind::MissingInput } else { DataErrorKind::BadData };
        assert_eq!(error.kind(), expected, "{to}: {error}");
    }
}

#[test]
fn a_folder_is_recognised_by_the_size_of_its_images() {
    for (side, set) in [(32, SetName::Imagenet32), (200, SetName::Imagenet224)] {
        let recognised = recognise(folder(3, side, &[1]).path()).unwrap();
        assert_eq!(recognised.set, set);
        assert!(recognised.reason.contains(&format!("about {side} pixels")), "{}", recognised.reason);
    }
    let error = recognise(folder(0, 32, &[]).path()).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::MissingInput);
}

#[test]
fn a_folder_without_classes_cannot_be_classified() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.png"), png(8, 1)).unwrap();
    let data = read(SetName::Imagenet32, folder.path()).unwrap();
    let error = data.require_classes().unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::BadData);
    assert!(error.to_string().contains("one folder a class"), "{error}");
    assert_eq!((data.train.len(), data.test.len()), (1, 0));
}

/// A PNG that is only a header, of 30,000 × 30,000 pixels.
fn bomb() -> Vec<u8> {
    let header = [b"IHDR".as_slice(), &30_000_u32.to_be_bytes(), &30_000_u32.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&header);
    [b"\x89PNG\r\n\x1a\n\0\0\0\x0d", header.as_slice(), &crc.sum().to_be_bytes()].concat()
}

#[cfg(unix)]
#[test]
fn in_a_folder_of_every_mistake_each_bad_file_is_named_and_each_odd_one_is_read() {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    let source = tempfile::tempdir().unwrap();
    let class = source.path().join("class");
    fs::create_dir(&class).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(class.join(name), bytes).unwrap();
    let mut deep = Cursor::new(Vec::new());
    image::ImageBuffer::from_pixel(9, 9, Pixel([65_535_u16, 0, 0])).write_to(&mut deep, ImageFormat::Png).unwrap();
    write("good-cmyk.jpg", include_bytes!("../../tests/images/cmyk.jpg"));
    write("good-16-bit.png", &deep.into_inner());
    write("good-1-pixel.png", &png(1, 5));
    write("good-wrong-extension.jpg", &png(40, 6));
    fs::write(class.join(std::ffi::OsStr::from_bytes(b"good-\xff\xfe.png")), png(40, 7)).unwrap();
    write("bad-empty.jpg", b"");
    write("bad-truncated.png", &png(40, 8)[..60]);
    write("bad-text.jpg", b"<html>");
    write("bad-bomb.png", &bomb());
    symlink("nowhere", class.join("bad-link.jpg")).unwrap();
    symlink("..", class.join("circle")).unwrap();
    symlink("self.png", class.join("self.png")).unwrap();
    let out = tempfile::tempdir().unwrap();
    let settings = ImportSettings { max_bad_share: 0.9, ..settings(source.path(), &out.path().join("set"), 32) };
    let report = import(&settings, |_| ()).unwrap();
    assert_eq!((report.n_train, report.n_ignored), (5, 2), "{report:?}");
    let bad: Vec<&str> = report.bad.iter().map(|bad| bad.path.rsplit('/').next().unwrap()).collect();
    assert_eq!(bad, ["bad-bomb.png", "bad-empty.jpg", "bad-link.jpg", "bad-text.jpg", "bad-truncated.png"]);
}

#[test]
fn a_file_that_becomes_unreadable_or_another_costs_one_example() {
    let source = folder(10, 32, &[]);
    let listing = Listing::find(source.path()).unwrap();
    fs::remove_file(listing.train[0].path()).unwrap();
    fs::remove_file(listing.train[1].path()).unwrap();
    fs::create_dir(listing.train[1].path()).unwrap();
    let files = in_memory(&listing.train);
    assert_eq!((files.file(0).len(), files.file(1).len()), (0, 0));
    assert!(listing.train[1].read().unwrap_err().contains("no regular file"));
}
