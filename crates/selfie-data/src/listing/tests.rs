use std::fs;

use tempfile::TempDir;

use super::*;
use crate::DataErrorKind;

/// A folder with empty files.
fn folder(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
    folder
}

/// Paths below the folder with their labels.
fn shown(entries: &[Entry], root: &Path) -> Vec<(String, u16)> {
    let shown = |entry: &Entry| entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned();
    entries.iter().map(|entry| (shown(entry), entry.label)).collect()
}

#[test]
fn folders_are_classes_in_the_order_of_their_names() {
    let folder =
        folder(&["train/b/2.PNG", "train/b/1.jpg", "train/a/deep/er/x.jpeg", "val/b/v.webp", "train/a/notes.txt"]);
    let listing = Listing::find(folder.path()).unwrap();
    assert_eq!(listing.class_names, ["a", "b"]);
    let train = shown(&listing.train, folder.path());
    assert_eq!(train, [("train/a/deep/er/x.jpeg".into(), 0), ("train/b/1.jpg".into(), 1), ("train/b/2.PNG".into(), 1)]);
    assert_eq!(shown(&listing.test, folder.path()), [("val/b/v.webp".into(), 1)]);
    assert_eq!(listing.n_ignored, 1);
}

#[test]
fn splits_are_known_in_capitals_too_and_two_of_one_name_are_refused() {
    let upper = folder(&["Train/a/1.jpg", "Train/b/1.jpg", "VAL/a/1.jpg"]);
    let listing = Listing::find(upper.path()).unwrap();
    assert_eq!(listing.class_names, ["a", "b"]);
    assert_eq!(shown(&listing.test, upper.path()), [("VAL/a/1.jpg".into(), 0)]);

    let lists = tempfile::tempdir().unwrap();
    fs::write(lists.path().join("Train.TXT"), "1.jpg\ta\n2.jpg\tb\n").unwrap();
    fs::write(lists.path().join("Test.txt"), "3.jpg\ta\n").unwrap();
    let listing = Listing::find(lists.path()).unwrap();
    assert_eq!((listing.train.len(), listing.test.len()), (2, 1));

    let shards = tempfile::tempdir().unwrap();
    for split in ["Train", "Test"] {
        fs::create_dir(shards.path().join(split)).unwrap();
        let bytes = shard(&[("0.jpg", b"x", FILE), ("0.cls", b"dog", FILE)]);
        fs::write(shards.path().join(split).join("0.tar"), bytes).unwrap();
    }
    let listing = Listing::find(shards.path()).unwrap();
    assert_eq!((listing.train.len(), listing.test.len()), (1, 1));

    // Where the system tells them apart.
    let both = folder(&["Train/a/1.jpg", "train/a/2.jpg", "train/b/1.jpg"]);
    if fs::read_dir(both.path()).unwrap().count() == 2 {
        let error = Listing::find(both.path()).unwrap_err();
        assert!(error.to_string().contains("one folder of the split `train`"), "{error}");
    }
}

#[test]
fn images_without_folders_have_no_labels_and_no_test_split() {
    let folder = folder(&["b.jpg", "a.jpg", "more/c.jpg", ".hidden.jpg"]);
    let listing = Listing::find(folder.path()).unwrap();
    assert_eq!(listing.class_names, [UNLABELLED]);
    let names = [("a.jpg".into(), 0), ("b.jpg".into(), 0), ("more/c.jpg".into(), 0)];
    assert_eq!(shown(&listing.train, folder.path()), names);
    assert!(listing.test.is_empty());
}

#[test]
fn without_a_test_split_a_tenth_of_every_class_is_held_out_and_always_the_same() {
    let files: Vec<String> = (0..60).map(|i| format!("{}/{i:02}.jpg", ["a", "b"][i % 2])).collect();
    let folder = folder(&files.iter().map(String::as_str).collect::<Vec<_>>());
    let listing = Listing::find(folder.path()).unwrap();
    assert_eq!((listing.train.len(), listing.test.len()), (54, 6));
    assert_eq!(listing.test.iter().filter(|entry| entry.label == 0).count(), 3);
    assert_eq!(Listing::find(folder.path()).unwrap(), listing);
    let both = [listing.train, listing.test].concat();
    let mut paths: Vec<PathBuf> = both.iter().map(Entry::path).collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 60);
}

#[test]
fn a_test_class_that_is_not_trained_on_is_refused_by_name() {
    let folder = folder(&["train/a/1.jpg", "train/b/1.jpg", "val/c/1.jpg"]);
    let error = Listing::find(folder.path()).unwrap_err();
    assert!(error.to_string().contains("`c`"), "{error}");
    assert_eq!(error.kind(), DataErrorKind::BadData);
}

#[test]
fn a_folder_without_images_is_missing_input_and_says_what_it_holds() {
    let folder = folder(&["a.txt2", "b/c.gif"]);
    let error = Listing::find(folder.path()).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::MissingInput);
    assert!(error.to_string().contains("among 2 other files"), "{error}");
    assert_eq!(Listing::find(Path::new("no/such")).unwrap_err().kind(), DataErrorKind::MissingInput);
}

#[cfg(unix)]
#[test]
fn links_in_a_circle_end_and_names_that_are_no_unicode_are_read() {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    let folder = folder(&["a/1.jpg", "b/1.jpg"]);
    symlink("..", folder.path().join("a/up")).unwrap();
    symlink(".", folder.path().join("a/self")).unwrap();
    symlink("loop.jpg", folder.path().join("a/loop.jpg")).unwrap();
    symlink("gone", folder.path().join("a/gone.jpg")).unwrap();
    symlink("../b/1.jpg", folder.path().join("a/linked.jpg")).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe.jpg");
    fs::write(folder.path().join("b").join(odd), b"").unwrap();
    let listing = Listing::find(folder.path()).unwrap();
    assert_eq!(listing.class_names, ["a", "b"]);
    let paths: Vec<PathBuf> = [listing.train, listing.test].concat().iter().map(Entry::path).collect();
    assert!(paths.contains(&folder.path().join("b").join(odd)));
    assert!(paths.contains(&folder.path().join("a/gone.jpg")), "it is found to be unreadable when it is read");
    assert_eq!((paths.len(), listing.n_ignored), (6, 2));
}

#[test]
fn a_list_names_paths_from_its_own_folder_with_classes_behind_a_tab() {
    let folder = folder(&["x/1.jpg"]);
    let list = folder.path().join("list.txt");
    fs::write(&list, "x/1.jpg\tdog\n\nx/2 with space.jpg\tcat\r\n").unwrap();
    let listing = Listing::find(&list).unwrap();
    assert_eq!(listing.class_names, ["cat", "dog"]);
    let names = [("x/1.jpg".into(), 1), ("x/2 with space.jpg".into(), 0)];
    assert_eq!(shown(&[listing.train, listing.test].concat(), folder.path()), names);
    fs::write(&list, "x/1.jpg\nx/2.jpg\n").unwrap();
    assert_eq!(Listing::find(&list).unwrap().class_names, [UNLABELLED]);
    for (text, part) in [("a.jpg\tdog\nb.jpg\n", "line 2"), ("\u{fffd}", "")] {
        let bytes = if part.is_empty() { b"a.jpg\tdog\n\xff\n".to_vec() } else { text.into() };
        fs::write(&list, bytes).unwrap();
        let error = Listing::find(&list).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}

fn shard(entries: &[(&str, &[u8], tar::EntryType)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes, kind) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_entry_type(*kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

const FILE: tar::EntryType = tar::EntryType::Regular;

#[test]
fn shards_give_images_with_the_class_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let entries = [
        ("d/0.jpg", b"first".as_slice(), FILE),
        ("d/0.cls", b"dog\n", FILE),
        ("d/0.txt", b"a caption", FILE),
        ("1.json", b"{\"label\": \"cat\"}", FILE),
        ("1.png", b"second image", FILE),
    ];
    fs::write(folder.path().join("train-0000.tar"), shard(&entries)).unwrap();
    fs::write(folder.path().join("val-0000.tar"), shard(&entries[..2])).unwrap();
    let listing = Listing::find(folder.path()).unwrap();
    assert_eq!(listing.class_names, ["cat", "dog"]);
    let read: Vec<(Vec<u8>, u16)> = listing.train.iter().map(|entry| (entry.read().unwrap(), entry.label)).collect();
    assert_eq!(read, [(b"first".to_vec(), 1), (b"second image".to_vec(), 0)]);
    assert_eq!(listing.test.len(), 1);
    assert!(listing.train[0].path().ends_with("train-0000.tar/d/0.jpg"));
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_shards_are_read_like_others_and_one_after_the_other() {
    let [plain, packed] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for shard_idx in 0..3_u8 {
        let names: Vec<String> = (0..5).flat_map(|i| [format!("{i}.jpg"), format!("{i}.cls")]).collect();
        let contents: Vec<Vec<u8>> = (0..5).flat_map(|i| [vec![shard_idx, i], vec![b'a' + i % 2]]).collect();
        let entries: Vec<_> = names.iter().zip(&contents).map(|(n, c)| (n.as_str(), c.as_slice(), FILE)).collect();
        let bytes = shard(&entries);
        fs::write(plain.path().join(format!("{shard_idx}.tar")), &bytes).unwrap();
        let end = if shard_idx == 1 { "tgz" } else { "tar.gz" };
        fs::write(packed.path().join(format!("{shard_idx}.{end}")), gzipped(&bytes)).unwrap();
    }
    let [plain, packed] = [plain, packed].map(|folder| (Listing::find(folder.path()).unwrap(), folder));
    let read = |entries: &[Entry]| -> Vec<(Vec<u8>, u16)> {
        chunks(entries, 4).flatten().map(|entry| (entry.read().unwrap(), entry.label)).collect()
    };
    assert_eq!(read(&plain.0.train), read(&packed.0.train));
    assert_eq!(read(&plain.0.test), read(&packed.0.test));
    assert_eq!(chunks(&plain.0.train, 100).count(), 1);
    let sizes: Vec<usize> = chunks(&packed.0.train, 100).map(<[Entry]>::len).collect();
    assert!(sizes.len() == 3 && one_shard_if_packed(&packed.0.train).len() == sizes[0], "{sizes:?}");
}

#[test]
fn damaged_and_endless_compressed_shards_are_bad_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar.gz");
    let whole = gzipped(&shard(&[("ok.jpg", &[7; 2000], FILE)]));
    let mut changed = whole.clone();
    let last = changed.len() - 6;
    changed[last] ^= 1;
    for bytes in [&whole[..whole.len() - 9], &changed, &gzipped(&vec![0; 50 << 20]), b"no gzip"] {
        fs::write(&path, bytes).unwrap();
        let error = Listing::find(&path).unwrap_err();
        assert_eq!(error.kind(), DataErrorKind::BadData, "{error}");
    }
    fs::write(&path, whole).unwrap();
    assert_eq!(Listing::find(&path).unwrap().train[0].read().unwrap(), [7; 2000]);
}

#[test]
fn entries_that_lead_out_of_a_shard_and_links_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    for (name, kind) in [
        ("../evil.jpg", FILE),
        ("a/../../evil.jpg", FILE),
        ("/etc/evil.jpg", FILE),
        ("link.jpg", tar::EntryType::Symlink),
        ("hard.jpg", tar::EntryType::Link),
        ("tty.jpg", tar::EntryType::Char),
        ("pipe.jpg", tar::EntryType::Fifo),
    ] {
        fs::write(&path, shard(&[("ok.jpg", b"x", FILE), (name, b"", kind)])).unwrap();
        let error = Listing::find(&path).unwrap_err();
        assert_eq!(error.kind(), DataErrorKind::BadData);
        assert!(error.to_string().contains(&format!("entry `{name}`")), "{error}");
    }
    let whole = shard(&[("ok.jpg", &[7; 2000], FILE)]);
    fs::write(&path, &whole[..900]).unwrap();
    match Listing::find(&path) {
        Ok(listing) => assert!(listing.train[0].read().unwrap().len() < 2000),
        Err(error) => assert_eq!(error.kind(), DataErrorKind::BadData),
    }
}
