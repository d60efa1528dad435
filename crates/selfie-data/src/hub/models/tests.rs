//! Against a stand-in on this machine that answers as the hub does, but for Xet, its store of large files: it refuses those.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;
use crate::DataErrorKind;

const FILES: [&str; 3] = ["config.json", "model.safetensors", "README.md"];
const WANTED: (&[&str], &str) = (&FILES, "model.safetensors");

fn net() -> Repository {
    "me/net".parse().unwrap()
}

/// What the stand-in was sent: a line a request, and the files of commits.
#[derive(Default)]
struct Seen {
    requests: Vec<String>,
    authorized: bool,
    commit: Vec<Value>,
    files: BTreeMap<String, Vec<u8>>,
    /// Whether `.safetensors` files are to go into the store.
    has_store: bool,
}

/// Starts a stand-in that has these files; it ends with the test's process.
fn stand_in(files: &[(&str, &[u8])]) -> (String, Arc<Mutex<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
    let seen = Arc::new(Mutex::new(Seen { files, authorized: true, ..Seen::default() }));
    let shared = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, &shared);
        }
    });
    (address, seen)
}

/// Answers one request and closes the connection.
fn answer(stream: TcpStream, seen: &Mutex<Seen>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let (mut n_bytes, mut authorized) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let header = header.trim().to_lowercase();
        if header.is_empty() {
            break;
        }
        n_bytes = header.strip_prefix("content-length: ").map_or(n_bytes, |n| n.parse().unwrap());
        authorized |= header == "authorization: bearer secret";
    }
    let mut body = vec![0; n_bytes];
    reader.read_exact(&mut body).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut seen = seen.lock().unwrap();
    seen.authorized &= authorized;
    seen.requests.push(words[..2].join(" "));
    let (status, content) = respond(&mut seen, words[0], words[1], &body);
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: \"1\"\r\nX-Repo-Commit: abc\r\n", content.len());
    let missing = if status.starts_with("404") { "X-Error-Code: EntryNotFound\r\n" } else { "" };
    let stream = reader.get_mut();
    stream.write_all(format!("{head}{missing}Connection: close\r\n\r\n").as_bytes()).unwrap();
    if words[0] != "HEAD" {
        stream.write_all(&content).unwrap();
    }
}

fn respond(seen: &mut Seen, method: &str, path: &str, body: &[u8]) -> (&'static str, Vec<u8>) {
    let of_json = |value: Value| ("200 OK", value.to_string().into_bytes());
    if let Some(file) = path.strip_prefix("/me/net/resolve/main/") {
        return match seen.files.get(file) {
            Some(bytes) => ("200 OK", bytes.clone()),
            None => ("404 Not Found", Vec::new()),
        };
    }
    match (method, path) {
        ("POST", "/api/repos/create") => of_json(json!({ "url": "http://hub/me/net" })),
        ("POST", "/api/models/me/net/preupload/main") => {
            let asked: Value = serde_json::from_slice(body).unwrap();
            let files = asked["files"].as_array().unwrap().iter();
            let mode = |file: &Value| {
                let is_large = seen.has_store && file["path"].as_str().unwrap().ends_with(".safetensors");
                let mode = if is_large { "lfs" } else { "regular" };
                json!({ "path": file["path"], "uploadMode": mode, "shouldIgnore": false })
            };
            of_json(json!({ "files": files.map(mode).collect::<Vec<_>>() }))
        }
        ("POST", "/me/net.git/info/lfs/objects/batch") => {
            let asked: Value = serde_json::from_slice(body).unwrap();
            of_json(json!({ "transfer": "xet", "objects": asked["objects"] }))
        }
        ("GET", "/api/models/me/net/xet-write-token/main") => {
            ("403 Forbidden", br#"{"error": "no Xet today"}"#.to_vec())
        }
        ("POST", "/api/models/me/net/commit/main") => {
            let text = String::from_utf8(body.to_vec()).unwrap();
            seen.commit = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            of_json(json!({ "commitUrl": "http://hub/me/net/commit/abc", "commitOid": "abc" }))
        }
        _ => ("404 Not Found", Vec::new()),
    }
}

#[test]
fn an_exported_folder_is_sent_in_one_commit_and_nothing_else_of_it() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("model.safetensors", "weights"), ("README.md", "card"), ("secret.txt", "not for others")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let (address, seen) = stand_in(&[]);
    let commit = Hub::at(&address, "secret").unwrap().push(folder.path(), &FILES, &net(), true).unwrap();
    assert_eq!(commit, "http://hub/me/net/commit/abc");
    let seen = seen.lock().unwrap();
    assert!(seen.authorized, "every request carries the token: {:?}", seen.requests);
    assert_eq!(seen.requests.last().unwrap(), "POST /api/models/me/net/commit/main");
    let mut paths: Vec<&str> = seen.commit.iter().filter_map(|line| line["value"]["path"].as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["README.md", "model.safetensors"]);
    let weights = seen.commit.iter().find(|line| line["value"]["path"] == "model.safetensors").unwrap();
    // "weights" in base64.
    assert_eq!(weights["value"]["content"], "d2VpZ2h0cw==");
}

#[test]
fn a_large_file_that_the_hubs_store_refuses_is_named_and_nothing_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.safetensors"), "weights").unwrap();
    let (address, seen) = stand_in(&[]);
    seen.lock().unwrap().has_store = true;
    let error = Hub::at(&address, "secret").unwrap().push(folder.path(), &FILES, &net(), true).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::Io);
    let message = error.to_string();
    assert!(message.contains("me/net: sending the files failed") && message.contains("no Xet today"), "{message}");
    let seen = seen.lock().unwrap();
    let asked = |path: &str| seen.requests.iter().any(|request| request.contains(path));
    assert!(asked("/xet-write-token/") && !asked("/commit/"), "{:?}", seen.requests);
    assert!(seen.authorized, "every request carries the token: {:?}", seen.requests);
}

#[test]
fn a_model_is_fetched_with_the_files_it_has() {
    let (address, seen) = stand_in(&[("model.safetensors", b"weights"), ("config.json", b"{}")]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("net");
    let fetched = Hub::at(&address, "secret").unwrap().pull(&net(), "main", WANTED, &out).unwrap();
    assert_eq!(fetched, ["config.json", "model.safetensors"]);
    assert_eq!(std::fs::read(out.join("model.safetensors")).unwrap(), b"weights");
    assert!(!out.join("README.md").exists());
    assert!(seen.lock().unwrap().requests.iter().all(|request| request.contains("/me/net/resolve/main/")));
}

#[test]
fn a_model_without_weights_and_a_name_without_an_owner_are_refused() {
    let (address, _) = stand_in(&[("config.json", b"{}")]);
    let folder = tempfile::tempdir().unwrap();
    let error = Hub::at(&address, "secret").unwrap().pull(&net(), "main", WANTED, folder.path()).unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::Io);
    assert!(error.to_string().starts_with("hub model me/net: fetching a file failed"), "{error}");
    for name in ["net", "/net", "me/", "me/net/more"] {
        assert!(name.parse::<Repository>().is_err(), "{name}");
    }
}
