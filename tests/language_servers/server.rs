//! Servers to test against: one of OpenAI's chat interface that does as it is told, and llama.cpp's own.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(super) struct Request {
    pub(super) head: String,
    pub(super) body: Value,
    pub(super) at: Instant,
}

#[derive(Clone, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) header: &'static str,
    pub(super) body: String,
    /// Breaks off half-way.
    pub(super) cut: bool,
    pub(super) late: Duration,
}

impl Reply {
    pub(super) fn new(status: u16, body: impl ToString) -> Self {
        Self { status, body: body.to_string(), ..Self::default() }
    }
}

/// A server and all that it was asked, with what it replied.
pub(super) struct Server {
    pub(super) url: String,
    pub(super) log: Arc<Mutex<Vec<(Request, Reply)>>>,
}

impl Server {
    /// `respond` is given how many requests came before.
    pub(super) fn start(respond: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let (respond, count, kept) = (Arc::new(respond), Arc::new(Mutex::new(0)), log.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (respond, count, log) = (respond.clone(), count.clone(), kept.clone());
                std::thread::spawn(move || {
                    let mut stream = stream.expect("a connection");
                    let Some(request) = read(&stream) else { return };
                    let n = {
                        let mut count = count.lock().expect("a count");
                        *count += 1;
                        *count - 1
                    };
                    let reply = respond(n, &request);
                    log.lock().expect("a log").push((request, reply.clone()));
                    std::thread::sleep(reply.late);
                    let Reply { status, header, body, cut, .. } = reply;
                    let length = body.len();
                    let head =
                        format!("HTTP/1.1 {status} .\r\n{header}Content-Length: {length}\r\nConnection: close\r\n\r\n");
                    let sent = &body.as_bytes()[..if cut { length / 2 } else { length }];
                    // The client may have given up.
                    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
                });
            }
        });
        Self { url, log }
    }

    pub(super) fn count(&self) -> usize {
        self.log.lock().expect("a log").len()
    }

    /// How often each question was asked.
    pub(super) fn asked(&self) -> BTreeMap<String, usize> {
        let mut asked = BTreeMap::new();
        for (request, _) in self.log.lock().expect("a log").iter() {
            *asked.entry(question(request)).or_default() += 1;
        }
        asked
    }

    /// The last text that was whole, for each question.
    pub(super) fn said(&self) -> BTreeMap<String, String> {
        let log = self.log.lock().expect("a log");
        let whole = log.iter().filter(|(_, reply)| reply.status == 200 && !reply.cut && reply.late.is_zero());
        let text = |(request, reply): &(Request, Reply)| {
            let body: Value = serde_json::from_str(&reply.body).ok()?;
            Some((question(request), body["choices"][0]["message"]["content"].as_str()?.to_string()))
        };
        whole.filter_map(text).collect()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let head: Vec<String> = reader.by_ref().lines().map_while(|line| line.ok()).take_while(|l| !l.is_empty()).collect();
    let length = head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(String::from));
    let mut body = vec![0; length?.parse().expect("a length")];
    reader.read_exact(&mut body).ok()?;
    Some(Request { head: head.join("\n"), body: serde_json::from_slice(&body).expect("JSON"), at: Instant::now() })
}

pub(super) fn question(request: &Request) -> String {
    request.body["messages"][0]["content"].as_str().expect("a question").to_string()
}

/// A chat completion; `Yes` is the likelier the smaller the number that the question ends with.
pub(super) fn completion(request: &Request) -> Reply {
    let asked = question(request);
    let number: f64 = asked.split(' ').next_back().and_then(|word| word.parse().ok()).unwrap_or_default();
    let tokens = json!([{"token": " Yes", "logprob": -number}, {"token": "Maybe", "logprob": -99.0}]);
    Reply::new(
        200,
        json!({
            "choices": [{
                "message": {"role": "assistant", "content": format!("answer to {asked}")},
                "logprobs": {"content": [{"top_logprobs": tokens}]},
                "finish_reason": "stop",
            }],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7},
        }),
    )
}

/// Fails in five ways before `pass` may answer.
pub(super) fn failing(
    slow: Duration,
    pass: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> impl Fn(usize, &Request) -> Reply + Send + Sync + 'static {
    move |n, request| match n {
        0 => Reply { header: "Retry-After: 1\r\n", ..Reply::new(429, json!({"error": {"message": "too many"}})) },
        1 => Reply::new(500, "out of memory"),
        2 => Reply { cut: true, ..pass(request) },
        3 => Reply { late: slow, ..pass(request) },
        4 => Reply::new(200, "{\"choices\": [{\"mess"),
        _ => pass(request),
    }
}

/// llama.cpp's server, which ends with its standard input.
pub(super) struct Llama {
    process: Child,
    pub(super) address: String,
}

impl Llama {
    pub(super) fn start() -> Option<Self> {
        let (Some(python), Some(gguf)) = (std::env::var_os("ABLATE_PYTHON"), std::env::var_os("ABLATE_GGUF")) else {
            eprintln!("skipped: ABLATE_PYTHON and ABLATE_GGUF do not name a Python with xllamacpp and a model for it");
            return None;
        };
        let mut command = Command::new(python);
        command.arg("tests/peers/llama_server.py").arg(gguf).arg("0").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.stderr(Stdio::null()).spawn().expect("Python starts");
        let lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let ready =
            lines.map_while(|line| line.ok()).find_map(|line| line.strip_prefix("ready http://").map(String::from));
        Some(Self { process, address: ready.expect("llama.cpp says where it serves") })
    }

    /// Passes a request on; HTTP 1.0 has the body end with the connection.
    pub(super) fn answer(address: &str, request: &Request) -> Reply {
        let mut stream = TcpStream::connect(address).expect("llama.cpp listens");
        let body = request.body.to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).expect("sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("a reply");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a head and a body");
        Reply::new(head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), body)
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
