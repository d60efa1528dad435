//! Against a server that answers as the hub does. The hub itself was never asked.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::*;
use crate::DataErrorKind;
use crate::fetch::stand_in::{Reply, Request, StandIn};
use crate::formats::parquet::tests::written;
use crate::import::tests::png;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_secret";

/// A set of two training shards and a validation shard, and a file that is none of them.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let shard = |greys: &[u8]| {
        let images: Vec<Vec<u8>> = greys.iter().map(|&grey| png(32, grey)).collect();
        written(&images, &greys.iter().map(|grey| i64::from(grey % 2)).collect::<Vec<_>>())
    };
    vec![
        ("README.md", b"a card".to_vec()),
        ("data/train-00000-of-00002.parquet", shard(&[1, 2, 3])),
        ("data/train-00001-of-00002.parquet", shard(&[4, 5])),
        ("data/validation-00000-of-00001.parquet", shard(&[6])),
        ("data/test-00000-of-00001.parquet", b"not fetched".to_vec()),
    ]
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hub's answer to a request, with `files` in every repository.
fn answer(request: &Request, files: &[(&'static str, Vec<u8>)]) -> Reply {
    let path = request.path.split('?').next().unwrap();
    if let Some((_, name)) = path.split_once(&format!("/resolve/{COMMIT}/")) {
        let Some((_, bytes)) = files.iter().find(|(file, _)| *file == name) else { return Reply::new(404, b"") };
        return Reply::new(200, bytes)
            .header("ETag", format!("\"{}\"", sha256(bytes)))
            .header("X-Repo-Commit", COMMIT)
            .header("X-Linked-Size", bytes.len());
    }
    if path.contains("/tree/") {
        let entries = files
            .iter()
            .map(|(path, bytes)| serde_json::json!({ "type": "file", "oid": "00", "size": bytes.len(), "path": path }));
        let entries: serde_json::Value = entries.collect();
        return Reply::new(200, entries.to_string().as_bytes()).header("Content-Type", "application/json");
    }
    if path.starts_with("/api/datasets/") {
        let info = serde_json::json!({ "id": "x/y", "sha": COMMIT }).to_string();
        return Reply::new(200, info.as_bytes()).header("Content-Type", "application/json");
    }
    Reply::new(404, b"")
}

fn client(endpoint: &str, cache: &Path, token: Option<&str>) -> HFClientSync {
    let builder = hf_hub::HFClientBuilder::new().endpoint(endpoint).cache_dir(cache);
    let builder = builder.retry_max_attempts(2).retry_base_delay(Duration::from_millis(1));
    // A token of the environment must not reach a test.
    builder.token(token.unwrap_or("")).build_sync().unwrap()
}

fn imagenet() -> &'static HubSet {
    HubSet::find(SetName::Imagenet32).unwrap()
}

fn greys(folder: &Path, is_train: bool) -> Vec<u8> {
    let mut greys = Vec::new();
    let tables = Tables::find(folder).unwrap().unwrap();
    let read = tables.read(is_train, |images| {
        greys.extend(
            images.into_iter().map(|image| crate::decode::decode(&image.file.unwrap(), &image.path).unwrap().pixels[0]),
        );
        Ok(())
    });
    read.unwrap();
    greys
}

#[test]
fn a_set_is_downloaded_once_and_then_used_without_the_network() {
    let server = StandIn::serve(|request, _| answer(request, &files()));
    let cache = tempfile::tempdir().unwrap();
    let (sender, events) = std::sync::mpsc::channel();
    let online = client(&server.url(""), cache.path(), None);
    let folder = imagenet().folder(&online, move |event| sender.send(event).unwrap()).unwrap();
    assert_eq!((greys(&folder, true), greys(&folder, false)), (vec![1, 2, 3, 4, 5], vec![6]));
    assert!(!folder.join("data/test-00000-of-00001.parquet").exists(), "ImageNet's test split has no labels");
    let last = events.iter().last().unwrap();
    let n: u64 = files()[1..4].iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert_eq!(last, FetchEvent::Progress { n_done: n, n_total: Some(n) });

    let n_asked = server.requests().len();
    let offline = client("http://127.0.0.1:1", cache.path(), None);
    assert_eq!(imagenet().folder(&offline, |_| ()).unwrap(), folder);
    assert_eq!(server.requests().len(), n_asked);
    let error = imagenet().fetch(&offline, |_| ()).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::Io);
    assert!(error.to_string().contains("benjamin-paine/imagenet-1k-32x32"), "{error}");
}

#[test]
fn a_gated_set_needs_the_token_and_says_so() {
    let server = StandIn::serve(|request, _| {
        match request.headers.get("authorization").map(String::as_str) {
            Some(token) if token == format!("Bearer {TOKEN}") => answer(request, &files()),
            // What it is is told to everybody; its files are not.
            _ if request.path.starts_with("/api/") => answer(request, &files()),
            Some(token) if token.len() > "Bearer ".len() => Reply::new(403, b"{\"error\": \"not on the list\"}"),
            _ => Reply::new(401, b"{\"error\": \"gated\"}"),
        }
    });
    for token in [None, Some("hf_of_somebody_else")] {
        let cache = tempfile::tempdir().unwrap();
        let error = imagenet().fetch(&client(&server.url(""), cache.path(), token), |_| ()).unwrap_err();
        assert_eq!(error.kind(), DataErrorKind::MissingInput, "{error}");
        let message = error.to_string();
        assert!(message.contains("HF_TOKEN") && message.contains("accept its terms"), "{message}");
        assert!(!message.contains("hf_of_somebody_else"), "{message}");
    }
    let cache = tempfile::tempdir().unwrap();
    imagenet().fetch(&client(&server.url(""), cache.path(), Some(TOKEN)), |_| ()).unwrap();
}

#[test]
fn a_part_of_a_set_in_the_cache_is_completed() {
    let cache = tempfile::tempdir().unwrap();
    let part = StandIn::serve(|request, _| {
        let is_second = request.path.contains("train-00001");
        if is_second { Reply::new(500, b"") } else { answer(request, &files()) }
    });
    let error = imagenet().fetch(&client(&part.url(""), cache.path(), None), |_| ()).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::Io, "{error}");
    let server = StandIn::serve(|request, _| answer(request, &files()));
    let folder = imagenet().folder(&client(&server.url(""), cache.path(), None), |_| ()).unwrap();
    assert_eq!(greys(&folder, true), [1, 2, 3, 4, 5]);
}

#[test]
fn a_damaged_file_is_found_by_its_hash_and_fetched_again() {
    let cache = tempfile::tempdir().unwrap();
    let damaged = StandIn::serve(|request, _| {
        let mut reply = answer(request, &files());
        if request.method == "GET" && request.path.contains("validation") && request.path.contains("resolve") {
            reply = reply.with_body(|body| body[100] ^= 1);
        }
        reply
    });
    let error = imagenet().fetch(&client(&damaged.url(""), cache.path(), None), |_| ()).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::BadData, "{error}");
    let server = StandIn::serve(|request, _| answer(request, &files()));
    let folder = imagenet().folder(&client(&server.url(""), cache.path(), None), |_| ()).unwrap();
    assert_eq!(greys(&folder, false), [6]);
}

#[test]
fn a_repository_of_something_else_is_refused() {
    let server = StandIn::serve(|request, _| answer(request, &files()[..1]));
    let cache = tempfile::tempdir().unwrap();
    let error = imagenet().fetch(&client(&server.url(""), cache.path(), None), |_| ()).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::Io);
    let nothing = StandIn::serve(|_, _| Reply::new(404, b""));
    let error = imagenet().fetch(&client(&nothing.url(""), cache.path(), None), |_| ()).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::MissingInput, "{error}");
    assert!(HubSet::find(SetName::Shapes32).is_err());
}
