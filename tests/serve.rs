//! `likewise serve`, asked as its clients ask.

#![cfg(all(unix, feature = "cli", feature = "serve"))]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{model, same_bits};
use likewise::Embedder;
use serde_json::{Value, json};

/// A server of its own, on a free port.
struct Server {
    process: Child,
    address: String,
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Server {
    fn start(models: &[String], options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
        command.args(["serve", "--port", "0", "--threads", "2"]).args(options);
        for model in models {
            command.args(["--model", model]);
        }
        let mut process = command.stderr(Stdio::piped()).spawn().expect("likewise");
        let mut line = String::new();
        BufReader::new(process.stderr.take().expect("stderr")).read_line(&mut line).expect("a line");
        let address = line.strip_prefix("listening at http://").and_then(|rest| rest.split_whitespace().next());
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { process, address }
    }

    fn with_tiny_mpnet(options: &[&str]) -> Self {
        Self::start(&[format!("org/tiny={}", model("tiny-mpnet").display())], options)
    }

    /// Sends bytes as they are and reads all that comes back.
    fn send(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream.write_all(request).expect("sent");
        read_answer(&mut stream)
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send(&request(method, path, headers, body))
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[], body.to_string().as_bytes())
    }

    fn terminate(&self) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill").success());
    }

    /// How the process ends, which it must within a minute.
    fn exit_code(&mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.process.try_wait().expect("a status") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server did not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A server that refuses a body may close before all of it is sent; what it answered has come.
    drop(stream.read_to_end(&mut bytes));
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

impl Answer {
    fn json(&self) -> Value {
        assert!(self.head.contains("content-type: application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(str::trim)
    }
}

const SOURCE: &str = "That is a happy person";
const SENTENCES: [&str; 3] = ["That is a happy dog", "That is a very happy person", "Today is a sunny day"];

/// What `likewise similarity --json` prints for the example.
fn expected() -> String {
    let arguments = ["similarity", "--json", "--model"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
    let output =
        command.args(arguments).arg(model("tiny-mpnet")).arg(SOURCE).args(SENTENCES).output().expect("likewise");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

#[test]
fn every_spelling_of_the_question() {
    let server = Server::with_tiny_mpnet(&[]);
    let expected = expected();
    let (s, l) = (SOURCE, json!(SENTENCES));
    for body in [
        json!({"inputs": {"source_sentence": s, "sentences": l}}),
        json!({"inputs": {"sourceSentence": s, "sentences": l}}),
        json!({"source_sentence": s, "sentences": l}),
        json!({"inputs": null, "parameters": {}, "source_sentence": s, "sentences": l}),
        json!({"inputs": {"source_sentence": s, "sentences": l}, "parameters": {}}),
        json!({"inputs": {"sentences": l}, "parameters": {"source_sentence": s}}),
        json!({"inputs": {"sentences": l}, "parameters": {"sourceSentence": s}}),
        json!({"inputs": {"source_sentence": s, "sentences": l}, "options": {"use_cache": false, "wait_for_model": true}}),
        json!({"inputs": {"source_sentence": s, "sentences": l}, "parameters": {"truncate": true}, "model": "whatever"}),
        json!({"inputs": {"source_sentence": s, "sentences": l, "more": [1, {}]}, "parameters": null, "options": null}),
    ] {
        let answer = server.post("/", &body);
        assert_eq!((answer.status, answer.body.as_str()), (200, expected.as_str()), "{body}");
    }
    // curl without a content type, escapes as Python's requests writes them, and the keys in another order.
    let body = r#"{"inputs":{"sentences":["That is a happy dog","That is a very h\u0061ppy person","Today is a sunny day"],"source_sentence":"That is a happy person"}}"#;
    for kind in ["application/x-www-form-urlencoded", "text/plain;charset=UTF-8", "application/json"] {
        let answer = server.ask("POST", "/", &[("content-type", kind)], body.as_bytes());
        assert_eq!((answer.status, answer.body.as_str()), (200, expected.as_str()), "{kind}");
    }
}

#[test]
fn every_path_to_a_model() {
    let tiny = |name: &str| format!("{name}={}", model("tiny-mpnet").display());
    let bert = model("tiny-bert").display().to_string();
    let server = Server::start(&[tiny("org/tiny"), bert], &[]);
    let body = json!({"inputs": {"source_sentence": SOURCE, "sentences": SENTENCES}});
    for prefix in ["", "/hf-inference"] {
        for path in [
            "/models/org/tiny",
            "/models/tiny",
            "/models/org/tiny/pipeline/sentence-similarity",
            "/models/tiny/pipeline/sentence-similarity",
            "/pipeline/sentence-similarity/org/tiny",
            "/pipeline/sentence-similarity/tiny",
        ] {
            let answer = server.post(&format!("{prefix}{path}"), &body);
            assert_eq!((answer.status, answer.body), (200, expected()), "{prefix}{path}");
        }
        // The other model gives other scores, under the folder's name and under one with an organisation.
        for path in ["/models/tiny-bert", "/models/sentence-transformers/tiny-bert"] {
            let answer = server.post(&format!("{prefix}{path}"), &body);
            assert_eq!(answer.status, 200, "{prefix}{path}: {answer:?}");
            assert_ne!(answer.body, expected(), "{prefix}{path}");
        }
        for path in ["/models/other", "/models/other/tiny", "/pipeline/sentence-similarity/other"] {
            assert_eq!(server.post(&format!("{prefix}{path}"), &body).status, 404, "{prefix}{path}");
        }
    }
}

#[test]
fn vectors() {
    let server = Server::with_tiny_mpnet(&[]);
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    let numbers = |value: &Value| -> Vec<f32> {
        value.as_array().expect("an array").iter().map(|x| x.as_f64().expect("a number") as f32).collect()
    };
    let vectors = library.embed(&SENTENCES).expect("vectors");
    let many = server.post("/pipeline/feature-extraction/org/tiny", &json!({"inputs": SENTENCES}));
    for (i, row) in many.json().as_array().expect("rows").iter().enumerate() {
        assert!(same_bits(&numbers(row), vectors.row(i)), "vector {i}");
    }
    // One string gives one vector, a list of one a list of one.
    let one = server.post("/", &json!({"inputs": SENTENCES[0]}));
    assert!(same_bits(&numbers(&one.json()), vectors.row(0)));
    let list = server.post("/", &json!({"inputs": [SENTENCES[0]]}));
    assert!(same_bits(&numbers(&list.json()[0]), vectors.row(0)));
    assert_eq!(list.json().as_array().map(Vec::len), Some(1));
    // Without the model's Normalize a vector is longer or shorter than 1, and normalized it is the same again.
    let raw = numbers(&server.post("/", &json!({"inputs": SENTENCES[0], "normalize": false})).json());
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((length - 1.0).abs() > 1e-3, "{length}");
    for (raw, unit) in raw.iter().zip(vectors.row(0)) {
        approx::assert_abs_diff_eq!(raw / length, *unit, epsilon = 1e-6);
    }
}

#[test]
fn what_is_refused() {
    let server = Server::with_tiny_mpnet(&["--payload-limit", "100000", "--max-texts", "50"]);
    let long = "word ".repeat(1000);
    let many: Vec<&str> = vec!["a"; 60];
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let similar = "/pipeline/sentence-similarity/org/tiny";
    let large = "x".repeat(200_000);
    for (method, path, body, status, part) in [
        ("POST", "/", "", 400, "not JSON"),
        ("POST", "/", "{", 400, "not JSON"),
        ("POST", "/", "[]", 400, "expected a JSON object, found an array"),
        ("POST", "/", "null", 400, "found null"),
        ("POST", "/", "\"text\"", 400, "found a string"),
        ("POST", "/", "1e999", 400, "not JSON"),
        ("POST", "/", "{}", 400, "`inputs`: expected a string or an array of strings, found nothing"),
        ("POST", "/", r#"{"inputs": 1}"#, 400, "`inputs`: expected a string or an array of strings, found a number"),
        ("POST", "/", r#"{"inputs": []}"#, 400, "at least one"),
        ("POST", "/", r#"{"inputs": [1]}"#, 400, "`inputs[0]`: expected a string, found a number"),
        ("POST", "/", r#"{"inputs": ["a", null]}"#, 400, "`inputs[1]`: expected a string, found null"),
        (
            "POST",
            "/",
            r#"{"inputs": {"sentences": ["a"]}}"#,
            400,
            "`inputs.source_sentence`: expected a string, found nothing",
        ),
        (
            "POST",
            "/",
            r#"{"inputs": {"source_sentence": "a"}}"#,
            400,
            "`inputs.sentences`: expected an array of strings",
        ),
        ("POST", "/", r#"{"inputs": {"source_sentence": 1, "sentences": ["a"]}}"#, 400, "found a number"),
        ("POST", "/", r#"{"inputs": {"source_sentence": "a", "sentences": "b"}}"#, 400, "found a string"),
        ("POST", "/", r#"{"inputs": {"source_sentence": "a", "sentences": []}}"#, 400, "at least one"),
        ("POST", "/", r#"{"inputs": {"source_sentence": "a", "sentences": [true]}}"#, 400, "sentences[0]"),
        ("POST", "/", r#"{"inputs": "a", "normalize": "yes"}"#, 400, "`normalize`: expected true or false"),
        ("POST", "/", r#"{"inputs": "a", "prompt_name": 3}"#, 400, "`prompt_name`"),
        ("POST", "/", r#"{"inputs": "a", "prompt_name": "nope"}"#, 422, "nope"),
        ("POST", "/", deep.as_str(), 400, "not JSON"),
        ("POST", similar, r#"{"inputs": "a"}"#, 400, "inputs.source_sentence"),
        ("POST", "/pipeline/translation/org/tiny", r#"{"inputs": "a"}"#, 404, "translation"),
        ("POST", "/models/..%2f..%2fetc", r#"{"inputs": "a"}"#, 404, "does not exist"),
        ("POST", "/models/org/tiny/pipeline/", r#"{"inputs": "a"}"#, 404, "not served"),
        ("POST", "/", &json!({"inputs": long, "truncate": false}).to_string(), 422, "tokens"),
        ("POST", "/", &json!({"inputs": many}).to_string(), 422, "at most 50"),
        ("POST", "/", large.as_str(), 413, "100000 bytes"),
        ("GET", "/models/org/tiny", "", 405, "does not answer GET"),
        ("DELETE", "/", "", 405, "does not answer DELETE"),
        ("POST", "/health", "", 405, "does not answer POST"),
        ("GET", "/nowhere", "", 404, "nothing is served at /nowhere"),
        ("POST", "/models", "{}", 404, "nothing is served"),
    ] {
        let answer = server.ask(method, path, &[], body.as_bytes());
        let shown = &body[..body.len().min(60)];
        assert_eq!(answer.status, status, "{method} {path} {shown}: {answer:?}");
        let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains(part), "{method} {path} {shown}: {error}");
        assert!(answer.header("content-length").is_some() && answer.header("x-request-id").is_some(), "{answer:?}");
    }
    let bytes = server.ask("POST", "/", &[], b"{\"inputs\": \"\xff\"}");
    assert_eq!((bytes.status, bytes.body.contains("not UTF-8")), (400, true), "{bytes:?}");
    let header = server.ask("POST", "/", &[("x-wait-for-model", "maybe")], br#"{"inputs": "a"}"#);
    assert_eq!((header.status, header.body.contains("x-wait-for-model")), (400, true), "{header:?}");
    // After all that it still answers.
    assert_eq!(server.ask("GET", "/health", &[], b"").status, 200);
    assert_eq!(server.post("/", &json!({"inputs": "a"})).status, 200);
}

#[test]
fn what_an_answer_tells() {
    let server = Server::with_tiny_mpnet(&[]);
    let texts = json!({"inputs": ["a dog", "word ".repeat(500)]});
    let answer = server.ask("POST", "/", &[("X-Request-Id", "mine-7")], texts.to_string().as_bytes());
    assert_eq!(answer.header("x-request-id"), Some("mine-7"), "{answer:?}");
    assert_eq!(answer.header("x-truncated-texts"), Some("1"), "{answer:?}");
    assert_eq!(answer.header("x-compute-characters"), Some("2505"), "{answer:?}");
    assert_eq!(answer.header("x-compute-type"), Some("cpu"));
    assert!(answer.header("x-compute-time").and_then(|time| time.parse::<f64>().ok()).is_some_and(|time| time >= 0.0));
    let other = server.post("/", &texts);
    assert_ne!(other.header("x-request-id"), server.post("/", &texts).header("x-request-id"));
}

/// The texts of many requests share passes. Each must get its own answer, with the bits that it has alone.
#[test]
fn many_clients_at_once() {
    let server = Server::with_tiny_mpnet(&[]);
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    std::thread::scope(|scope| {
        for client in 0..16 {
            let (server, library) = (&server, &library);
            scope.spawn(move || {
                for turn in 0..8 {
                    let count = 1 + (client * 7 + turn * 3) % 40;
                    let texts: Vec<String> =
                        (0..count).map(|i| format!("client {client} turn {turn} text {i}")).collect();
                    let answer = server.post("/", &json!({"inputs": texts})).json();
                    let expected = library.embed(&texts).expect("vectors");
                    let rows = answer.as_array().expect("rows");
                    assert_eq!(rows.len(), count);
                    for (row, expected) in rows.iter().zip(expected.rows()) {
                        let row = row.as_array().expect("a row").iter().map(|x| x.as_f64().expect("a number") as f32);
                        assert!(same_bits(&row.collect::<Vec<_>>(), expected), "client {client}, turn {turn}");
                    }
                }
            });
        }
    });
}

/// What waits beyond the limit is refused, and everything else is answered.
#[test]
fn a_queue_that_is_full() {
    let server = Server::with_tiny_mpnet(&["--max-waiting-tokens", "500"]);
    let body = json!({"inputs": vec!["some words that take a few tokens each"; 400]});
    let mut refused = false;
    // Whether two clients meet in the queue is a matter of luck, so they try more than once.
    for _ in 0..20 {
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..12).map(|_| scope.spawn(|| server.post("/", &body).status)).collect();
            clients.into_iter().map(|client| client.join().expect("a client")).collect()
        });
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
        assert!(statuses.contains(&200), "{statuses:?}");
        refused |= statuses.contains(&429);
        if refused {
            break;
        }
    }
    assert!(refused, "nobody was refused");
    assert_eq!(server.post("/", &body).status, 200);
}

#[test]
fn a_model_that_cannot_be_loaded() {
    let good = format!("good={}", model("tiny-mpnet").display());
    let bad = format!("bad={}", model("full-mpnet").display());
    let server = Server::start(&[good, bad], &[]);
    let body = json!({"inputs": "a"});
    assert_eq!(server.post("/models/good", &body).status, 200);
    let answer = server.ask("POST", "/models/bad", &[("x-wait-for-model", "true")], body.to_string().as_bytes());
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains("tokenizer.json"), "{answer:?}");
}

/// Told to end, the server finishes what it has begun and takes nothing new.
#[test]
fn an_orderly_end() {
    let mut server = Server::with_tiny_mpnet(&[]);
    let body = json!({"inputs": vec!["a sentence of some words, to be embedded again and again"; 5000]});
    let mut stream = TcpStream::connect(&server.address).expect("a connection");
    stream.write_all(&request("POST", "/", &[], body.to_string().as_bytes())).expect("sent");
    std::thread::sleep(Duration::from_millis(100));
    server.terminate();
    let answer = read_answer(&mut stream);
    assert_eq!((answer.status, answer.json().as_array().map(Vec::len)), (200, Some(5000)));
    assert_eq!(server.exit_code(), Some(0));
    assert!(TcpStream::connect(&server.address).is_err(), "nobody listens any more");
}

/// What the command says of long texts holds where a request says nothing.
#[test]
fn long_texts() {
    let server = Server::with_tiny_mpnet(&["--on-long", "error"]);
    let long = "word ".repeat(500);
    assert_eq!(server.post("/", &json!({"inputs": long})).status, 422);
    assert_eq!(server.post("/", &json!({"inputs": long, "truncate": true})).status, 200);
}

#[test]
fn what_cannot_be_served() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
        let output = command.arg("serve").args(arguments).env_remove("LIKEWISE_MODEL").output().expect("likewise");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, message) = run(&[]);
    assert_eq!((code, message.contains("no model")), (Some(2), true), "{message}");
    let (code, message) = run(&["--model", "x=/no/such/folder"]);
    assert_eq!((code, message.contains("/no/such/folder")), (Some(1), true), "{message}");
    let server = Server::with_tiny_mpnet(&[]);
    let port = server.address.rsplit(':').next().expect("a port");
    let tiny = model("tiny-mpnet").display().to_string();
    let (code, message) = run(&["--model", &tiny, "--port", port]);
    assert_eq!((code, message.contains(&server.address)), (Some(1), true), "{message}");
}
