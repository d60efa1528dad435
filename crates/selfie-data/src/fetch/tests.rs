use super::stand_in::{Reply, StandIn};
use super::*;
use crate::DataErrorKind;

const NAME: &str = "set.tar.gz";

/// Larger than one read, and different everywhere.
fn content() -> Vec<u8> {
    (0..300_000_u32).map(|i| (i ^ (i >> 7)) as u8).collect()
}

fn blake3_of(bytes: &[u8]) -> Checksum {
    format!("blake3:{}", blake3::hash(bytes).to_hex()).parse().unwrap()
}

const IMPATIENT: Patience = Patience {
    n_tries: 3,
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(5),
    silence: Duration::from_millis(300),
};

/// Fetches `set.tar.gz`, which is to have this content, into a folder; returns the reasons of what was tried again too.
fn get(server: &StandIn, folder: &Path, expected: &[u8]) -> (Result<Fetched, DataError>, Vec<String>) {
    let remote = Remote::new(&server.url(&format!("/a/{NAME}?x=1")), Some(blake3_of(expected))).unwrap();
    let mut reasons = Vec::new();
    let fetched = fetch_patiently(&remote, folder, IMPATIENT, |event| {
        if let FetchEvent::Retry { reason, .. } = event {
            reasons.push(reason);
        }
    });
    (fetched, reasons)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_whole_file_arrives_once_and_is_not_fetched_again() {
    let server = StandIn::serve(|request, _| Reply::ranged(request, &content()));
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("new/folder");
    let (first, reasons) = get(&server, &folder, &content());
    let first = first.unwrap();
    assert_eq!((first.n_bytes, first.was_there, reasons.len()), (300_000, false, 0));
    assert_eq!(fs::read(&first.path).unwrap(), content());
    assert_eq!(names(&folder), [NAME]);
    assert!(get(&server, &folder, &content()).0.unwrap().was_there);
    assert_eq!(server.requests().len(), 1);
    assert_eq!(server.requests()[0].headers["accept-encoding"], "identity");
    let error = get(&server, &folder, b"another").0.unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::BadData);
    assert_eq!(fs::read(&first.path).unwrap(), content(), "a file that is there is never overwritten");
}

#[test]
fn an_interrupted_download_goes_on_by_range_in_this_process_and_in_the_next() {
    let server = StandIn::serve(|request, n| match n {
        0 => Reply::ranged(request, &content()).cut_off_after(100_000),
        1 => Reply::ranged(request, &content()).cut_off_after(50_000),
        _ => Reply::ranged(request, &content()),
    });
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(format!("{NAME}.part")), &content()[..1000]).unwrap();
    let (fetched, reasons) = get(&server, folder.path(), &content());
    assert_eq!(fs::read(fetched.unwrap().path).unwrap(), content());
    let ranges: Vec<_> = server.requests().iter().map(super::stand_in::Request::first_byte).collect();
    assert_eq!(ranges, [Some(1000), Some(101_000), Some(151_000)]);
    assert!(reasons.len() == 2 && reasons[0].contains("101000 bytes"), "{reasons:?}");
}

#[test]
fn a_server_without_ranges_begins_again() {
    let server = StandIn::serve(|_, n| Reply::new(200, &content()).cut_off_after(if n == 0 { 9 } else { 300_000 }));
    let folder = tempfile::tempdir().unwrap();
    let (fetched, _) = get(&server, folder.path(), &content());
    assert_eq!(fs::read(fetched.unwrap().path).unwrap(), content());
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_part_that_is_whole_already_is_only_compared() {
    let server = StandIn::serve(|request, _| Reply::ranged(request, &content()));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(format!("{NAME}.part")), content()).unwrap();
    let (fetched, reasons) = get(&server, folder.path(), &content());
    assert_eq!(fs::read(fetched.unwrap().path).unwrap(), content());
    assert_eq!((server.requests().len(), reasons.len()), (1, 0));
}

#[test]
fn the_part_of_another_file_is_thrown_away() {
    for stale in [vec![7; 1000], vec![7; 400_000], vec![7; 300_000]] {
        let server = StandIn::serve(|request, _| Reply::ranged(request, &content()));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("{NAME}.part")), stale).unwrap();
        let (fetched, reasons) = get(&server, folder.path(), &content());
        assert_eq!(fs::read(fetched.unwrap().path).unwrap(), content());
        assert_eq!((server.requests().len(), reasons.len()), (2, 1));
    }
}

#[test]
fn another_content_than_the_checksum_says_is_bad_data_and_leaves_nothing() {
    let server = StandIn::serve(|request, _| Reply::ranged(request, b"<html>not found</html>"));
    let folder = tempfile::tempdir().unwrap();
    let error = get(&server, folder.path(), &content()).0.unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::BadData);
    assert!(error.to_string().contains("expected blake3:"), "{error}");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn what_is_not_there_is_missing_input_at_once() {
    for status in [401, 403, 404, 410] {
        let server = StandIn::serve(move |_, _| Reply::new(status, b"no"));
        let folder = tempfile::tempdir().unwrap();
        let error = get(&server, folder.path(), &content()).0.unwrap_err();
        assert_eq!(error.kind(), DataErrorKind::MissingInput);
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(server.requests().len(), 1);
        assert_eq!(names(folder.path()), [""; 0]);
    }
}

#[test]
fn what_fails_for_now_is_tried_again_and_what_always_fails_is_given_up_with_its_part_kept() {
    let server = StandIn::serve(|request, n| match n {
        0 => Reply::new(503, b"").header("Retry-After", "1000"),
        1 => Reply::new(429, b""),
        _ => Reply::ranged(request, &content()),
    });
    let folder = tempfile::tempdir().unwrap();
    let (fetched, reasons) = get(&server, folder.path(), &content());
    fetched.unwrap();
    assert!(reasons[0].contains("503") && reasons[1].contains("429"), "{reasons:?}");

    let never = StandIn::serve(|request, _| {
        let first = request.first_byte().unwrap_or(0);
        Reply::ranged(request, &content()).cut_off_after(if first == 0 { 500 } else { 0 })
    });
    let folder = tempfile::tempdir().unwrap();
    let error = get(&never, folder.path(), &content()).0.unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::Io);
    assert!(error.to_string().contains("goes on from there"), "{error}");
    assert_eq!(never.requests().len(), 1 + 3);
    assert_eq!(fs::read(folder.path().join(format!("{NAME}.part"))).unwrap(), content()[..500]);
}

#[test]
fn a_redirect_is_followed_with_the_range() {
    let server = StandIn::serve(|request, _| match request.path.as_str() {
        "/elsewhere" => Reply::ranged(request, &content()),
        _ => Reply::new(302, b"").header("Location", "/elsewhere"),
    });
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(format!("{NAME}.part")), &content()[..1234]).unwrap();
    let fetched = get(&server, folder.path(), &content()).0.unwrap();
    assert!(fetched.path.ends_with(NAME));
    assert_eq!(server.requests()[1].first_byte(), Some(1234));
    let circle = StandIn::serve(|_, _| Reply::new(302, b"").header("Location", "/again"));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(get(&circle, folder.path(), &content()).0.unwrap_err().kind(), DataErrorKind::Io);
}

#[test]
fn a_body_of_unknown_length_is_read_to_its_end() {
    let server = StandIn::serve(|_, _| Reply::new(200, &content()).header("Content-Length", "").header("X", ""));
    // An empty length is no number: the client may refuse it, but must not take a part for the whole.
    let folder = tempfile::tempdir().unwrap();
    match get(&server, folder.path(), &content()).0 {
        Ok(fetched) => assert_eq!(fs::read(fetched.path).unwrap(), content()),
        Err(error) => assert_eq!(error.kind(), DataErrorKind::Io),
    }
    let chunked = StandIn::serve(|_, _| {
        let mut body = format!("{:x}\r\n", content().len()).into_bytes();
        body.extend(content());
        body.extend(b"\r\n0\r\n\r\n");
        Reply::new(200, &body).header("Transfer-Encoding", "chunked")
    });
    let fetched = get(&chunked, folder.path(), &content()).0.unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), content());
}

#[test]
fn a_silent_or_absent_server_is_an_io_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/{NAME}", listener.local_addr().unwrap());
    let remote = Remote::new(&url, Some(blake3_of(b""))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = fetch_patiently(&remote, folder.path(), IMPATIENT, |_| ()).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::Io);
    drop(listener);
    let error = fetch_patiently(&remote, folder.path(), IMPATIENT, |_| ()).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::Io);
}

#[test]
fn one_file_is_downloaded_by_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join(format!("{NAME}.part"));
    let held = Part::open(&part).unwrap();
    let error = Part::open(&part).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    drop(held);
    Part::open(&part).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let server = StandIn::serve(|request, _| Reply::ranged(request, &content()));
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = get(&server, &file.path().join("below"), &content()).0.unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::CannotCreate);
}

#[test]
fn published_archives_are_known_by_name_wherever_they_are_mirrored() {
    let remote = Remote::published(SetName::Cifar10).unwrap();
    assert_eq!(remote.url(), "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz");
    let mirrored = Remote::new("http://mirror/x/cifar-100-python.tar.gz", None).unwrap();
    assert_eq!(mirrored.checksum.to_string(), "md5:eb9058c3a382ffc7106e4002c42a8d85");
    assert!(Remote::published(SetName::Imagenet224).is_err());
    for url in ["ftp://a/b.tar", "a.tar", "http://a", "http://a/", "http://a/..", "http://a/b/.x", "http://a/\\b", ""] {
        assert!(Remote::new(url, Some(blake3_of(b""))).is_err(), "{url}");
    }
    assert!(Remote::new("http://a/b.tar", None).unwrap_err().to_string().contains("--checksum"));
}

#[test]
fn checksums_are_those_of_the_usual_programs() {
    // printf 'abc' | md5sum; sha256sum; b3sum
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), b"abc").unwrap();
    for text in [
        "md5:900150983cd24fb0d6963f7d28e17f72",
        "SHA256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
        "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
    ] {
        let checksum: Checksum = text.parse().unwrap();
        checksum.require(file.path()).unwrap();
        assert_eq!(checksum.to_string(), text.to_lowercase());
    }
    for text in ["", "md5", "md5:abc", "md5:z00150983cd24fb0d6963f7d28e17f72", "sha1:900150983cd24fb0d6963f7d28e17f72"]
    {
        assert_eq!(text.parse::<Checksum>().unwrap_err().kind(), DataErrorKind::Configuration, "{text}");
    }
}
