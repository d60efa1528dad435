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
        ("selfie data 2", "selfie data 1"),
        ("\"side\": 8", "\"side\": 9"),
        ("\"side\": 8", "\"side\": 4294967296"),
        ("\"n_images\": 18", "\"n_images\": 18446744073709551615"),
        ("\"kind\": \"pixels\"", "\"kind\": \"files\""),
        ("\"cat\",\n    ", ""),
        ("\"cat\"", "\"cow\""),
        ("{", ""),
    ] {
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        assert_eq!(read(SetName::Imagenet32, &prepared).unwrap_err().kind(), DataErrorKind::BadData, "{to}");
        // With a hash that fits, it is the values that are refused.
        let resealed = resealed(&text.replacen(from, to, 1));
        if to.contains("cow") {
            assert!(text.replacen(from, to, 1) != resealed);
            continue;
        }
        fs::write(&path, resealed).unwrap();
        let error = read(SetName::Imagenet32, &prepared).unwrap_err();
        let missing = to.contains("files");
        let expected = if missing { DataErrorKind::MissingInput } else { DataErrorKind::BadData };
        assert_eq!(error.kind(), expected, "{to}: {error}");
        assert!(!error.to_string().contains("it was changed"), "{to}: {error}");
    }
    fs::write(&path, text).unwrap();
    read(SetName::Imagenet32, &prepared).unwrap();
}

/// The text of a manifest with the hash that it would have had.
fn resealed(text: &str) -> String {
    let start = text.rfind("\"hash\": \"").unwrap() + 9;
    let end = start + text[start..].find('"').unwrap();
    let without = format!("{}{}", &text[..start], text[end..].trim_end());
    format!("{}{}{}", &text[..start], blake3::hash(without.as_bytes()).to_hex(), &text[end..])
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
pub(crate) fn bomb() -> Vec<u8> {
    let header = [b"IHDR".as_slice(), &30_000_u32.to_be_bytes(), &30_000_u32.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&header);
    // As far as an empty first chunk of pixels, with its checksum.
    let pixels = b"\0\0\0\0IDAT\x35\xaf\x06\x1e";
    [b"\x89PNG\r\n\x1a\n\0\0\0\x0d", header.as_slice(), &crc.sum().to_be_bytes(), pixels].concat()
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
    assert_eq!((report.n_train, report.n_ignored), (5, 1), "{report:?}");
    let bad: Vec<&str> = report.bad.iter().map(|bad| bad.path.rsplit('/').next().unwrap()).collect();
    let bad_names = ["bad-bomb.png", "bad-empty.jpg", "bad-link.jpg", "bad-text.jpg", "bad-truncated.png", "self.png"];
    assert_eq!(bad, bad_names);
    assert!(report.bad[0].reason.contains("30000 × 30000"), "{}", report.bad[0].reason);
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

#[test]
fn what_was_recognised_opens_as_the_set_itself_does() {
    let source = folder(6, 40, &[]);
    for set in [SetName::Imagenet32, SetName::Imagenet224, SetName::Cifar10] {
        let (found, read) = (recognise(source.path()).unwrap().open(set).unwrap(), read(set, source.path()).unwrap());
        assert_eq!((&found.name, found.train.len()), (&read.name, read.train.len()));
        assert_eq!(found.train.content_hash(), read.train.content_hash());
        assert_eq!(found.test.content_hash(), read.test.content_hash());
    }
    let drawn = recognise(source.path()).unwrap().open(SetName::Shapes32).unwrap_err();
    assert_eq!(drawn.kind(), DataErrorKind::Configuration);
}

#[test]
fn parquet_files_are_read_recognised_and_prepared_like_a_folder() {
    let source = tempfile::tempdir().unwrap();
    let mut images: Vec<Vec<u8>> = (0..20).map(|value| png(40, value)).collect();
    images[7] = b"no image".to_vec();
    let labels: Vec<i64> = (0..20).map(|i| i % 2).collect();
    fs::write(source.path().join("train.parquet"), crate::formats::parquet::tests::written(&images, &labels)).unwrap();
    fs::write(source.path().join("test.parquet"), crate::formats::parquet::tests::written(&images[..4], &labels[..4]))
        .unwrap();
    let recognised = recognise(source.path()).unwrap();
    assert_eq!(recognised.set, SetName::Imagenet32);
    assert!(recognised.reason.contains("24 rows of parquet files, 2 classes"), "{}", recognised.reason);
    let before = read(SetName::Cifar10, source.path()).unwrap();
    assert_eq!((before.train.len(), before.test.len(), before.train.label(3)), (20, 4, 1));
    let bad = before.train.bad_samples("train");
    assert!(bad.len() == 1 && bad[0].path.ends_with("train.parquet/row 7"), "{bad:?}");
    let out = tempfile::tempdir().unwrap();
    let [prepared, again] = ["set", "again"].map(|name| out.path().join(name));
    let settings = |out| ImportSettings { max_bad_share: 0.1, ..settings(source.path(), out, 32) };
    let report = import(&settings(&prepared), |_| ()).unwrap();
    assert_eq!((report.n_train, report.n_test, report.bad.len()), (19, 4, 1));
    assert_eq!(report.bad[0].example, 7);
    import(&settings(&again), |_| ()).unwrap();
    assert_eq!(content(&prepared), content(&again));
    let after = read(SetName::Imagenet32, &prepared).unwrap();
    assert_eq!(after.train.image(18).unwrap(), before.train.image(19).unwrap());
}
