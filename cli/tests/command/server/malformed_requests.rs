//! Malformed requests and their responses.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::{Response, Server, example_body, read_response, request};

/// A request that is rejected: method, path, body, status, and a part of the error.
type Case = (&'static str, String, Vec<u8>, u16, &'static str);

const SIMILAR: &str = "/pipeline/sentence-similarity/org/tiny";

fn post(path: &str, body: &str, status: u16, part: &'static str) -> Case {
    ("POST", path.to_owned(), body.as_bytes().to_vec(), status, part)
}

fn bytes(body: &[u8], part: &'static str) -> Case {
    ("POST", "/".to_owned(), body.to_vec(), 400, part)
}

fn without_body(method: &'static str, path: &str, status: u16, part: &'static str) -> Case {
    (method, path.to_owned(), Vec::new(), status, part)
}

/// Bodies that are not JSON, or not an object.
fn invalid_json() -> Vec<Case> {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(500), close.repeat(500));
    vec![
        post("/", "", 400, "the body is not JSON"),
        post("/", "{", 400, "the body is not JSON"),
        post("/", "{\"inputs\": \"a\"", 400, "the body is not JSON"),
        post("/", "{'inputs': 'a'}", 400, "the body is not JSON"),
        post("/", "{\"inputs\": \"a\",}", 400, "the body is not JSON"),
        post("/", "{\"inputs\": \"a\"} {}", 400, "the body is not JSON"),
        post("/", "inputs=a&b=c", 400, "the body is not JSON"),
        post("/", "[]", 400, "expected a JSON object, found an array"),
        post("/", "null", 400, "found null"),
        post("/", "true", 400, "found true"),
        post("/", "\"text\"", 400, "found the string \"text\""),
        post("/", "12", 400, "found 12"),
        post("/", "1e999", 400, "the body is not JSON"),
        post("/", "{\"inputs\": NaN}", 400, "the body is not JSON"),
        post("/", "{\"inputs\": Infinity}", 400, "the body is not JSON"),
        post("/", &deep("[", "]"), 400, "the body is not JSON"),
        post("/", &deep("{\"inputs\":", "}"), 400, "the body is not JSON"),
        post("/", &format!("{{\"inputs\": {}}}", deep("[", "]")), 400, "the body is not JSON"),
        bytes(b"{\"inputs\": \"\xff\"}", "the body is not UTF-8"),
        // Only one byte order mark is ignored.
        bytes(b"\xef\xbb\xbf\xef\xbb\xbf{\"inputs\": \"a\"}", "the body is not JSON"),
        bytes(b"\x00\x00\x00", "the body is not JSON"),
        bytes(b"{\"inputs\": \"\xc3\"}", "the body is not UTF-8"),
        post("/", r#"{"inputs": "\ud80"}"#, 400, "the body is not JSON"),
        post("/", r#"{"inputs": \ud800}"#, 400, "the body is not JSON"),
        post("/", "{\"inputs\": \"a\nb\"}", 400, "the body is not JSON"),
    ]
}

/// Wrong inputs of feature extraction and similarity.
fn invalid_inputs() -> Vec<Case> {
    vec![
        post("/", "{}", 400, "`inputs`: expected a string or an array of strings, found nothing"),
        post("/", r#"{"input": "a"}"#, 400, "`inputs`"),
        post("/", r#"{"inputs": null}"#, 400, "found nothing"),
        post("/", r#"{"inputs": 1}"#, 400, "found 1"),
        post("/", r#"{"inputs": true}"#, 400, "found true"),
        post("/", r#"{"inputs": {}}"#, 400, "found an object"),
        post("/", r#"{"inputs": []}"#, 400, "at least one element, found none"),
        post("/", r#"{"inputs": [1]}"#, 400, "`inputs[0]`: expected a string, found 1"),
        post("/", r#"{"inputs": ["a", null]}"#, 400, "`inputs[1]`: expected a string, found null"),
        post("/", r#"{"inputs": [["a"]]}"#, 400, "`inputs[0]`"),
        post("/", r#"{"inputs": [{"a": 1}]}"#, 400, "`inputs[0]`"),
        post(
            "/",
            r#"{"inputs": {"sentences": ["a"]}}"#,
            400,
            "`inputs.source_sentence`: expected a string, found nothing",
        ),
        post("/", r#"{"inputs": {"source_sentence": "a"}}"#, 400, "`inputs.sentences`: expected an array of strings"),
        post("/", r#"{"inputs": {"source_sentence": 1, "sentences": ["a"]}}"#, 400, "found 1"),
        post("/", r#"{"inputs": {"source_sentence": ["a"], "sentences": ["a"]}}"#, 400, "found an array"),
        post("/", r#"{"inputs": {"source_sentence": "a", "sentences": "b"}}"#, 400, "found the string \"b\""),
        post("/", r#"{"inputs": {"source_sentence": "a", "sentences": {}}}"#, 400, "found an object"),
        post("/", r#"{"inputs": {"source_sentence": "a", "sentences": []}}"#, 400, "at least one"),
        post("/", r#"{"inputs": {"source_sentence": "a", "sentences": [true]}}"#, 400, "`inputs.sentences[0]`"),
        post("/", r#"{"inputs": {"source_sentence": "a", "sentences": ["b", 3]}}"#, 400, "`inputs.sentences[1]`"),
        post(SIMILAR, r#"{"inputs": "a"}"#, 400, "inputs.source_sentence"),
        post("/similarity", r#"{"inputs": "a"}"#, 400, "inputs.source_sentence"),
    ]
}

fn invalid_options() -> Vec<Case> {
    vec![
        post("/", r#"{"inputs": "a", "normalize": "yes"}"#, 400, "`normalize`: expected true or false"),
        post("/", r#"{"inputs": "a", "truncate": 1}"#, 400, "`truncate`: expected true or false, found 1"),
        post(
            "/",
            r#"{"inputs": "a", "prompt_name": 3}"#,
            400,
            "`prompt_name`: expected a string that is not empty, found 3",
        ),
        post("/", r#"{"inputs": "a", "prompt_name": "nope"}"#, 422, "nope"),
        post("/", r#"{"inputs": "a", "truncation_direction": "up"}"#, 400, "\"left\" or \"right\""),
        post("/", r#"{"inputs": "a", "dimensions": 0}"#, 400, "at least 1, found 0"),
        post("/", r#"{"inputs": "a", "dimensions": -3}"#, 400, "found -3"),
        post("/", r#"{"inputs": "a", "dimensions": 1.5}"#, 400, "found 1.5"),
        post("/", r#"{"inputs": "a", "dimensions": 99999999999999999999}"#, 400, "`dimensions`"),
        post("/", r#"{"inputs": "a", "dimensions": 100000}"#, 422, "`dimensions`: expected 1 to"),
        post("/", r#"{"inputs": "a", "options": {"use_cache": "no"}}"#, 400, "`use_cache`"),
        post("/", r#"{"inputs": "a", "options": {"wait_for_model": 2}}"#, 400, "`wait_for_model`"),
        post("/", r#"{"inputs": "a", "parameters": 3}"#, 400, "`parameters`: expected an object, found 3"),
        post("/", r#"{"inputs": "a", "options": []}"#, 400, "`options`: expected an object, found an array"),
        post(
            "/similarity",
            r#"{"inputs": {"source_sentence": "a", "sentences": ["b"]}, "parameters": [1]}"#,
            400,
            "`parameters`",
        ),
        post("/", r#"{"inputs": "a", "truncate": true, "parameters": {"truncate": "x"}}"#, 400, "`truncate`"),
        post(&format!("/models/{}", "x".repeat(5000)), r#"{"inputs": "a"}"#, 404, "..."),
    ]
}

fn invalid_token_ids() -> Vec<Case> {
    vec![
        post("/embed", r#"{"inputs": [1, "a"]}"#, 400, "`inputs[1]`: expected a token id"),
        post("/embed", r#"{"inputs": [[]]}"#, 400, "at least one"),
        post("/embed", r#"{"inputs": [-1]}"#, 400, "found -1"),
        post("/embed", r#"{"inputs": [4294967296]}"#, 400, "found 4294967296"),
        post("/embed", r#"{"inputs": [4294967295]}"#, 422, "4294967295"),
        post("/decode", r#"{"ids": "a"}"#, 400, "`ids`"),
        post("/decode", r#"{"ids": [[1], 2]}"#, 400, "`ids[1]`"),
        post("/decode", r#"{"ids": []}"#, 400, "at least one"),
        post("/decode", r#"{"ids": [4294967295]}"#, 422, "`ids[0]`: token id 4294967295: expected an id below"),
        post("/tokenize", r#"{"inputs": [1]}"#, 400, "`inputs[0]`"),
        post("/tokenize", r#"{"inputs": "a", "add_special_tokens": "x"}"#, 400, "`add_special_tokens`"),
        post("/embed", r#"{"inputs": "a", "model": 1}"#, 400, "`model`: expected a string"),
        post("/embed", r#"{"inputs": "a", "model": ""}"#, 400, "`model`: expected a string that is not empty"),
        post("/embed", r#"{"inputs": "a", "model": "other"}"#, 404, "Model other does not exist"),
    ]
}

/// Paths and methods that do not exist.
fn invalid_paths() -> Vec<Case> {
    vec![
        post("/pipeline/translation/org/tiny", r#"{"inputs": "a"}"#, 404, "translation"),
        post("/models/org/tiny/pipeline/", r#"{"inputs": "a"}"#, 404, "no route for"),
        post("/models/org/tiny/pipeline/x/y", r#"{"inputs": "a"}"#, 404, "no route for"),
        post("/models/org/tiny/pipeline/translation", r#"{"inputs": "a"}"#, 404, "task `translation` is not supported"),
        post("/models/..%2f..%2fetc", r#"{"inputs": "a"}"#, 404, "does not exist"),
        post("/models/../../../../etc/passwd", r#"{"inputs": "a"}"#, 404, "no route for"),
        post("/models/org%00/tiny", r#"{"inputs": "a"}"#, 404, "does not exist"),
        post("/models/%ff%fe", r#"{"inputs": "a"}"#, 400, "the path could not be read"),
        post("/models/ORG/TINY", r#"{"inputs": "a"}"#, 404, "does not exist"),
        post("/models/a/b/c/d/tiny", r#"{"inputs": "a"}"#, 404, "no route for"),
        post("/models/", r#"{"inputs": "a"}"#, 404, "no route for"),
        post("/models", "{}", 404, "no route for"),
        post("//", "{}", 400, "`inputs`"),
        without_body("GET", "/models/org/tiny", 405, "does not support GET"),
        without_body("GET", "/embed", 405, "does not support GET"),
        without_body("DELETE", "/", 405, "does not support DELETE"),
        without_body("PUT", "/models/org/tiny", 405, "does not support PUT"),
        without_body("POST", "/health", 405, "does not support POST"),
        without_body("BREW", "/", 405, "does not support BREW"),
        without_body("GET", "/nowhere", 404, "no route for /nowhere"),
        without_body("GET", "/page/../../Cargo.toml", 404, "no route for"),
        without_body("GET", "/api/models/../../etc", 404, "no route for"),
        without_body("GET", "/api/models/..%2fetc", 404, "does not exist"),
    ]
}

fn large_bodies() -> Vec<Case> {
    let embed =
        |body: Value, status, part| -> Case { ("POST", "/".to_owned(), body.to_string().into_bytes(), status, part) };
    let sentences = json!({"inputs": {"source_sentence": "a", "sentences": vec!["b"; 100_000]}});
    vec![
        embed(json!({"inputs": "x".repeat(5_000_000)}), 413, "larger than 2000000 bytes"),
        embed(sentences, 422, "100001 texts; the limit is 10000"),
        embed(json!({"inputs": vec!["a"; 10_001]}), 422, "the limit is 10000"),
        embed(json!({"inputs": "word ".repeat(300_000), "truncate": false}), 422, "tokens"),
        (
            "POST",
            "/embed".to_owned(),
            json!({"inputs": vec![vec![5]; 10_001]}).to_string().into_bytes(),
            422,
            "the limit is 10000",
        ),
    ]
}

fn check(server: &Server, (method, path, body, status, part): &Case) -> Response {
    let response = server.send_request(method, path, &[], body);
    let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
    assert_eq!(response.status, *status, "{method} {path} {shown}: {response:?}");
    let error = response.json()["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains(part), "{method} {path} {shown}: {error}");
    assert!(error.len() < 400 && !error.contains('\n'), "one sentence, not {error}");
    let length = response.body.len().to_string();
    assert_eq!(response.header("content-length"), Some(length.as_str()), "{response:?}");
    assert!(response.header("x-request-id").is_some(), "{response:?}");
    response
}

/// Checks that the server still works after all requests.
fn check_server_still_works(server: &Server) {
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.post("/", &example_body()).status, 200);
    assert_eq!(server.metric("likewise_requests_in_flight"), 0.0);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn malformed_request_gets_the_documented_error() {
    let server = Server::with_tiny_mpnet(&[]);
    let cases: Vec<Case> =
        [invalid_json(), invalid_inputs(), invalid_options(), invalid_token_ids(), invalid_paths(), large_bodies()]
            .concat();
    for case in &cases {
        check(&server, case);
    }
    println!("{} malformed requests, each answered as documented", cases.len());
    assert!(cases.len() >= 60);
    check_server_still_works(&server);
}

/// Unusual requests that are valid.
#[test]
fn unusual_but_valid_request_gets_200() {
    let server = Server::with_tiny_mpnet(&[]);
    for body in [
        json!({"inputs": ""}),
        json!({"inputs": " \t\n"}),
        json!({"inputs": "\u{0}\u{7f}\u{200b}\u{feff}\u{fffd}"}),
        json!({"inputs": "🙂".repeat(2000)}),
        json!({"inputs": "e\u{301}".repeat(500)}),
        json!({"inputs": "x ".repeat(500_000)}),
        json!({"inputs": ["", "", ""]}),
        json!({"inputs": {"source_sentence": "", "sentences": [""]}}),
        json!({"inputs": "a", "parameters": null, "options": {}, "unknown": {"a": [1, 2]}}),
        json!({"inputs": "a", "normalize": null, "dimensions": null, "prompt_name": null}),
    ] {
        let response = server.post("/", &body);
        assert_eq!(response.status, 200, "{}: {response:?}", &body.to_string()[..40.min(body.to_string().len())]);
        assert!(!response.body.contains("null") && !response.body.contains("NaN"), "{response:?}");
    }
    // Of a duplicate key the last value counts, as in most JSON parsers.
    let twice = server.send_request("POST", "/", &[], br#"{"inputs": 1, "inputs": "a"}"#);
    assert_eq!(twice.status, 200, "{twice:?}");
    check_server_still_works(&server);
}

/// Errors in HTTP itself, not in the body.
#[test]
fn invalid_http_gets_400_or_closes_the_connection() {
    let server = Server::with_tiny_mpnet(&["--body-timeout", "5", "--header-timeout", "2"]);
    let body = example_body().to_string();
    let chunks = |parts: &[&str]| {
        let head = "POST / HTTP/1.1\r\nhost: t\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        let parts = parts.iter().map(|part| format!("{:x}\r\n{part}\r\n", part.len()));
        format!("{head}{}0\r\n\r\n", parts.collect::<String>())
    };
    let (first, second) = body.split_at(20);
    assert_eq!(server.send(chunks(&[first, second]).as_bytes()).status, 200);
    let one_by_one: Vec<String> = body.chars().map(String::from).collect();
    assert_eq!(server.send(chunks(&one_by_one.iter().map(String::as_str).collect::<Vec<_>>()).as_bytes()).status, 200);
    // Chunks that exceed the limit together, without an announced length.
    let much = "x".repeat(500_000);
    let response = server.send(chunks(&[much.as_str(); 5]).as_bytes());
    assert_eq!((response.status, response.body.contains("2000000 bytes")), (413, true), "{response:?}");
    // An announced length beyond the limit is rejected at once.
    let lie = b"POST / HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: 999999999999\r\n\r\n{}";
    assert_eq!(server.send(lie).status, 413);
    for (name, value, part) in [
        ("x-wait-for-model", "maybe", "x-wait-for-model"),
        ("x-use-cache", "2", "x-use-cache"),
        ("x-use-cache", "\u{ff}", "x-use-cache"),
    ] {
        let response = server.send_request("POST", "/", &[(name, value)], body.as_bytes());
        assert_eq!((response.status, response.body.contains(part)), (400, true), "{response:?}");
    }
    // Invalid HTTP: the server responds with 400 or closes the connection.
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01"[..],
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"GET http://elsewhere.example/ HTTP/1.1\r\nconnection: close\r\n\r\n",
    ] {
        let mut stream = server.connect();
        drop(stream.write_all(bytes));
        let mut response = Vec::new();
        drop(std::io::Read::read_to_end(&mut stream, &mut response));
        let response = String::from_utf8_lossy(&response);
        let status = response.split(' ').nth(1).unwrap_or("none").to_owned();
        assert!(["none", "400", "408", "200"].contains(&status.as_str()), "{bytes:?}: {response}");
    }
    let header = format!("GET /health HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    assert_eq!(server.send(header.as_bytes()).status, 431);
    check_server_still_works(&server);
}

/// A slow body gets 408. A slow head closes the connection.
#[test]
fn slow_client_gets_408_and_does_not_block_others() {
    let server = Server::with_tiny_mpnet(&["--body-timeout", "0.4", "--header-timeout", "0.4"]);
    let whole = request("POST", "/", &[], example_body().to_string().as_bytes());
    let head = whole.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;

    let mut slow = server.connect();
    slow.write_all(&whole[..head + 10]).expect("sent");
    let start = Instant::now();
    let response = read_response(&mut slow);
    assert_eq!((response.status, response.json()["error_type"].as_str()), (408, Some("timeout")), "{response:?}");
    assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&start.elapsed()));

    // One byte at a time: each arrives in time, but the whole body does not.
    let mut slow = server.connect();
    slow.write_all(&whole[..head]).expect("sent");
    for byte in &whole[head..head + 20] {
        std::thread::sleep(Duration::from_millis(40));
        drop(slow.write_all(std::slice::from_ref(byte)));
    }
    assert_eq!(read_response(&mut slow).status, 408);

    let mut slow = server.connect();
    slow.write_all(&whole[..head - 10]).expect("sent");
    let start = Instant::now();
    let mut rest = Vec::new();
    drop(std::io::Read::read_to_end(&mut slow, &mut rest));
    assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&start.elapsed()), "{:?}", start.elapsed());

    // Many slow clients do not block a fast one.
    let server = Server::with_tiny_mpnet(&["--max-concurrent-requests", "10"]);
    let mut many: Vec<_> = (0..300).map(|_| server.connect()).collect();
    many.iter_mut().for_each(|stream| stream.write_all(&whole[..head + 5]).expect("sent"));
    assert_eq!(server.post("/", &example_body()).status, 200);
    drop(many);
    check_server_still_works(&server);
}
