use super::{Hub, Listed, Name};
use crate::fetch::{check, sum};
use framework::error::Result;
use framework::progress::Progress;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What does not belong to a checkpoint is in the listing, too.
fn files() -> BTreeMap<&'static str, Vec<u8>> {
    let weights = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    BTreeMap::from([
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{\"model\": 1}".to_vec()),
        ("model.safetensors", weights),
        ("consolidated.safetensors", b"twice".to_vec()),
        ("README.md", b"read me".to_vec()),
        ("onnx/model.json", b"deep".to_vec()),
        ("../escaped.json", b"out".to_vec()),
    ])
}

/// A hub with one model, `tiny/model`: it breaks off after `at_most` bytes of each answer and keeps each request's
/// first line, its Range and its Authorization.
struct Server {
    hub: Hub,
    asked: Arc<Mutex<Vec<[String; 3]>>>,
}

impl Server {
    fn start(sum: String, at_most: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let lines =
                    BufReader::new(stream.try_clone().expect("a connection")).lines().map_while(|line| line.ok());
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let field = |name: &str| {
                    let found = head
                        .iter()
                        .filter_map(|line| line.split_once(": "))
                        .find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map_or(String::new(), |(_, value)| value.to_string())
                };
                let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_string();
                let start: usize =
                    field("range").trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
                kept.lock().expect("a log").push([path.clone(), field("range"), field("authorization")]);
                let (status, body) = answer(&path, &sum);
                let status = if status == 200 && start > 0 { 206 } else { status };
                let rest = &body[start.min(body.len())..];
                let head =
                    format!("HTTP/1.1 {status} So\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", rest.len());
                let most = if path.starts_with("/api") { usize::MAX } else { at_most };
                let _ =
                    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&rest[..rest.len().min(most)]));
            }
        });
        Self { hub: Hub { endpoint, token: Some("secret".into()) }, asked }
    }

    fn fetch(&self, name: &str, cache: &TempDir) -> Result<PathBuf> {
        self.hub.fetch(name, cache.path(), &Progress::hidden())
    }

    fn asked(&self) -> Vec<[String; 3]> {
        std::mem::take(&mut *self.asked.lock().expect("a log"))
    }
}

fn answer(path: &str, sum: &str) -> (u16, Vec<u8>) {
    if path == "/api/models/tiny/model/revision/main?blobs=true" {
        let sibling = |(name, bytes): (&&str, &Vec<u8>)| match name.ends_with("model.safetensors") {
            true => json!({"rfilename": name, "size": bytes.len(), "lfs": {"sha256": sum, "size": bytes.len()}}),
            false => json!({"rfilename": name, "size": bytes.len(), "blobId": "0"}),
        };
        let siblings: Vec<Value> = files().iter().map(sibling).collect();
        let listing = json!({"sha": COMMIT, "cardData": {"license": "apache-2.0"}, "siblings": siblings});
        return (200, listing.to_string().into_bytes());
    }
    let file = path.strip_prefix(&format!("/tiny/model/resolve/{COMMIT}/")).and_then(|name| files().remove(name));
    file.map_or((404, b"none".to_vec()), |bytes| (200, bytes))
}

fn temporary() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

/// The SHA-256 of the weights.
fn right() -> String {
    let folder = temporary();
    fs::write(folder.path().join("it"), &files()["model.safetensors"]).expect("written");
    sum(&folder.path().join("it")).expect("a sum")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_checkpoint_is_downloaded_at_its_commit_and_not_again() {
    let (server, cache) = (Server::start(right(), usize::MAX), temporary());
    let folder = server.fetch("tiny/model", &cache).expect("fetched");
    assert_eq!(folder, cache.path().join("tiny/model"));
    assert_eq!(names(&folder), ["config.json", "model.safetensors", "revision.json", "tokenizer.json"]);
    assert_eq!(names(&cache.path().join("tiny")), ["model"]);
    check(&folder.join("model.safetensors"), "model.safetensors", &right()).expect("the right weights");
    let pinned = fs::read_to_string(folder.join("revision.json")).expect("it");
    let json: Value = pinned.parse().expect("JSON");
    assert_eq!((&json["revision"], &json["licence"]), (&COMMIT.into(), &"apache-2.0".into()));
    assert_eq!(json["files"]["model.safetensors"], right());
    let asked = server.asked();
    assert!(asked.len() == 4 && asked.iter().all(|[_, _, token]| token == "Bearer secret"), "{asked:?}");
    assert!(!pinned.contains("secret"));
    // Neither by name nor by commit is the hub asked again; by a branch it is, once.
    server.fetch("tiny/model", &cache).expect("there");
    server.fetch(&format!("tiny/model@{COMMIT}"), &cache).expect("there");
    assert!(server.asked().is_empty());
    server.fetch("tiny/model@main", &cache).expect("there");
    assert_eq!(server.asked().len(), 1);
    // A damaged copy is replaced.
    fs::write(folder.join("model.safetensors"), "damaged").expect("written");
    server.fetch("tiny/model", &cache).expect("fetched");
    check(&folder.join("model.safetensors"), "model.safetensors", &right()).expect("the right weights");
}

#[test]
fn a_cut_connection_resumes_in_one_try_and_in_the_next() {
    let (server, cache) = (Server::start(right(), 200_000), temporary());
    let staging = cache.path().join("tiny").join(format!(".model-{COMMIT}"));
    fs::create_dir_all(&staging).expect("a folder");
    // Left behind by a process that was killed.
    fs::write(staging.join("model.safetensors.part"), &files()["model.safetensors"][..1000]).expect("written");
    let folder = server.fetch("tiny/model", &cache).expect("fetched");
    check(&folder.join("model.safetensors"), "model.safetensors", &right()).expect("the right weights");
    let asked = server.asked();
    let ranges: Vec<&str> = asked
        .iter()
        .filter(|[path, ..]| path.ends_with("/model.safetensors"))
        .map(|[_, range, _]| range.as_str())
        .collect();
    assert!(ranges.len() == 2 && ranges[0] == "bytes=1000-" && ranges[1].len() > ranges[0].len(), "{ranges:?}");
}

#[test]
fn a_wrong_checksum_is_refused() {
    let (server, cache) = (Server::start("0".repeat(64), usize::MAX), temporary());
    let message = server.fetch("tiny/model", &cache).expect_err("wrong").to_string();
    assert!(message.contains("wrong checksum of model.safetensors") && message.contains(&right()), "{message}");
    assert!(message.contains("fix:") && !message.contains("secret"), "{message}");
    assert_eq!(names(&cache.path().join("tiny")), [format!(".model-{COMMIT}")], "no model is there");
}

#[test]
fn what_is_missing_is_said() {
    let (server, cache) = (Server::start(right(), usize::MAX), temporary());
    let message = server.fetch("tiny/other", &cache).expect_err("missing").to_string();
    assert!(message.contains("no `tiny/other` at `main` (HTTP status 404)"), "{message}");
    assert!(message.contains("HF_TOKEN") && !message.contains("secret"), "{message}");
    let nowhere = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let hub = Hub { endpoint: format!("http://{nowhere}"), token: None };
    let message = hub.fetch("tiny/model", cache.path(), &Progress::hidden()).expect_err("nowhere").to_string();
    assert!(message.contains("the model hub could not be reached") && message.contains("HF_ENDPOINT"), "{message}");
    fs::create_dir_all(cache.path().join("tiny/model")).expect("a folder");
    let message = server.fetch("tiny/model", &cache).expect_err("not ours").to_string();
    assert!(message.contains("was not fetched"), "{message}");
}

#[test]
fn names_are_owner_name_and_revision() {
    let name = |owner, name, revision| Name { owner, name, revision };
    assert_eq!(Name::parse("Qwen/Qwen3-0.6B").expect("a name"), name("Qwen", "Qwen3-0.6B", None));
    assert_eq!(Name::parse("a/b@refs/pr/1").expect("a name"), name("a", "b", Some("refs/pr/1")));
    for wrong in ["a", "a/", "/b", "a/b/c", "../b", "a/..", "a/b@", "a/b@../..", "a b/c", "./a"] {
        assert!(Name::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_weights_of_an_adapter_are_fetched_too() {
    let wanted = |name: &str| Listed { name: name.into(), bytes: None, sha256: None }.is_wanted();
    assert!(wanted("adapter_model.safetensors") && wanted("adapter_config.json"));
    assert!(!wanted("optimizer.safetensors"));
}
