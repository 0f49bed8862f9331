//! Pictures that a data set links.

use crate::program::Program;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A picture, as far as its structure says.
const JPEG: &[u8] = b"\xff\xd8\xff\xc0\0\x0b\x08\0\x01\0\x01\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0\x12\xff\xd9";

/// Answers `/<anything>.jpg` with a picture, `/page` with a page, `/busy` with 503 for the first time and all else with 404.
/// Gives its address; `asked` has the paths.
fn server(asked: &'static Mutex<Vec<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let busy = AtomicUsize::new(1);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut lines =
                BufReader::new(stream.try_clone().expect("a connection")).lines().map_while(|line| line.ok());
            let Some(path) = lines.next().and_then(|line| line.split(' ').nth(1).map(String::from)) else { continue };
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let (status, body) = match path.as_str() {
                "/busy.jpg" if busy.swap(0, Ordering::Relaxed) == 1 => ("503 Service Unavailable", &b""[..]),
                path if path.ends_with(".jpg") => ("200 OK", JPEG),
                "/page" => ("200 OK", &b"<html>"[..]),
                _ => ("404 Not Found", &b""[..]),
            };
            asked.lock().expect("the paths").push(path);
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), body].concat()).expect("an answer");
        }
    });
    format!("http://{address}")
}

#[test]
fn linked_pictures_of_the_items_that_are_kept_are_fetched() {
    static ASKED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let (program, server) = (Program::new(), server(&ASKED));
    std::fs::create_dir_all(program.path("cache/amazon-2023")).expect("a folder");
    // Six users of four items; p9 is met once and falls to the k-core.
    let review = |n: usize| (format!("U{}", n / 4), format!("p{}", n % 4), n);
    let reviews = (0..24).map(review).chain([("U0".into(), "p9".into(), 99)]);
    let line = |(user, item, time)| {
        format!("{{\"user_id\": \"{user}\", \"parent_asin\": \"{item}\", \"timestamp\": {time}000}}\n")
    };
    program.file("cache/amazon-2023/Toys.jsonl", &reviews.map(line).collect::<String>());
    let product = |(id, images): (&str, String)| {
        format!("{{\"parent_asin\": \"{id}\", \"title\": \"{id}\", \"images\": [{images}]}}\n")
    };
    let large =
        |path: &str| format!("{{\"thumb\": \"{server}/small.jpg\", \"large\": \"{server}/{path}\", \"hi_res\": null}}");
    let products = [
        ("p0", large("zero.jpg")),
        ("p1", large("gone")),
        ("p2", large("page")),
        ("p3", String::new()),
        ("p9", large("nine.jpg")),
    ];
    program.file("cache/amazon-2023/meta_Toys.jsonl", &products.clone().map(product).concat());
    let spec = "name = \"toys\"\n[dataset]\nuse = \"amazon_reviews\"\ncategory = \"Toys\"\n[protocol]\nk_core = 3\n[recommender]\nuse = \"popularity\"\n";
    let spec = program.file("toys.toml", spec);
    let said = program.ok(&["pictures", &spec]).out;
    assert!(
        said.contains("1 of 4 pictures fetched, 0 were there\n1 items have no link\n2 links lead to no picture"),
        "{said}"
    );
    assert!(said.contains("/gone (p1): HTTP status 404"), "the first of them: {said}");
    assert_eq!(std::fs::read(program.path("cache/amazon-2023/images/p0.jpg")).expect("a picture"), JPEG);
    let said = program.ok(&["data", &spec]).out;
    assert!(said.contains("without picture  4 of 5"), "{said}");
    let mut asked = std::mem::take(&mut *ASKED.lock().expect("the paths"));
    asked.sort();
    assert_eq!(asked, ["/gone", "/page", "/zero.jpg"]);

    // A host that cannot answer now is a failure, and stops no other link; the same command goes on.
    let later = products.map(|(id, images)| match id {
        "p1" => (id, large("busy.jpg")),
        "p3" => (id, large("three.jpg")),
        _ => (id, images),
    });
    program.file("cache/amazon-2023/meta_Toys.jsonl", &later.map(product).concat());
    let ran = program.run(&["pictures", &spec]);
    let words = ["1 pictures could not be fetched", "HTTP status 503", "the same command later"];
    assert!(ran.code == 1 && words.iter().all(|word| ran.err.contains(word)), "{}", ran.err);
    assert!(ran.out.contains("1 of 4 pictures fetched, 1 were there\n1 links lead to no picture"), "{}", ran.out);
    let said = program.ok(&["pictures", &spec]).out;
    assert!(said.contains("1 of 4 pictures fetched, 2 were there\n1 links lead to no picture"), "{said}");
    assert!(
        !ASKED.lock().expect("the paths").contains(&"/zero.jpg".to_owned()),
        "what is there is not asked for again"
    );
}

#[test]
fn a_data_set_without_links_says_so() {
    let program = Program::new();
    let spec = program.file("small.toml", crate::program::SMALL);
    let ran = program.run(&["pictures", &spec]);
    assert!(
        ran.code == 1 && ran.err.contains("the dataset `world` links no pictures") && ran.err.contains("fix:"),
        "{}",
        ran.err
    );
}
