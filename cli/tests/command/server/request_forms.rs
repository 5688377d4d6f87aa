//! Forms of a request that clients and proxies use: extra slashes, compressed bodies, broken
//! surrogate pairs.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use serde_json::json;

use super::harness::{Response, Server, example_body, expected_scores};

#[test]
fn path_with_extra_slashes_reaches_its_route() {
    let server = Server::with_tiny_mpnet(&[]);
    let scores = expected_scores();
    for path in [
        "//",
        "///",
        "/similarity/",
        "//similarity",
        "/models/org/tiny/",
        "//models//org//tiny//",
        "/models/org%2Ftiny",
        "/models/org%2ftiny/",
        "/models/org%2Ftiny/pipeline/sentence-similarity/",
        "/hf-inference/",
        "//hf-inference//",
        "/hf-inference//models/org/tiny/pipeline/sentence-similarity",
        "/pipeline/sentence-similarity/org/tiny/",
        "/pipeline/sentence-similarity/org%2Ftiny",
        "/invocations/",
    ] {
        let response = server.post(path, &example_body());
        assert_eq!((response.status, response.body.as_str()), (200, scores.as_str()), "{path}");
    }
    let expected = server.post("/embed", &json!({"inputs": "a"})).body;
    for path in ["//embed", "/embed/", "/embed//", "//embed//?x=//"] {
        assert_eq!(server.post(path, &json!({"inputs": "a"})).body, expected, "{path}");
    }
    for path in ["//v1/embeddings", "/v1//embeddings", "/v1/embeddings/", "//v1//embeddings//", "/embeddings/"] {
        let response = server.post(path, &json!({"input": "a"}));
        assert_eq!((response.status, response.json()["object"].as_str()), (200, Some("list")), "{path}");
        // Errors keep OpenAI's format.
        assert!(server.post(path, &json!({})).json()["error"]["message"].is_string(), "{path}");
    }
    for path in
        ["/health/", "//health", "/info/", "/v1//models/", "/metrics/", "//openapi.json", "//page.css", "/ping/"]
    {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    for path in ["//nowhere/", "/models//", "/embed/x", "/v1/", "/models/org/tiny/pipeline//"] {
        assert_eq!(server.post(path, &example_body()).status, 404, "{path}");
    }
    // The page's links are relative.
    let docs = server.get("/docs/");
    assert_eq!((docs.status, docs.header("location")), (308, Some("../docs")), "{docs:?}");
    // A slash more is no way around a key.
    let server = Server::with_tiny_mpnet(&["--api-key", "k"]);
    for path in ["//embed", "/embed/", "//v1//models/"] {
        assert_eq!(
            server.post(path, &json!({"inputs": "a"})).status.max(401),
            if path == "//v1//models/" { 405 } else { 401 }
        );
    }
    assert_eq!(server.get("//v1//models/").status, 401);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("gzip")
}

fn send(server: &Server, path: &str, encoding: &str, body: &[u8]) -> Response {
    server.send_request("POST", path, &[("content-encoding", encoding)], body)
}

#[test]
fn gzip_body_gets_the_response_of_the_plain_one() {
    let server = Server::with_tiny_mpnet(&[]);
    for (path, body) in [
        ("/", example_body()),
        ("/similarity", example_body()),
        ("/models/org/tiny", json!({"inputs": ["a", "b"]})),
        ("/embed", json!({"inputs": "word ".repeat(50_000)})),
        ("/v1/embeddings", json!({"input": "a"})),
        ("/tokenize", json!({"inputs": "a dog"})),
    ] {
        let expected = server.post(path, &body);
        let packed = gzip(body.to_string().as_bytes());
        for encoding in ["gzip", "GZIP", "x-gzip", "identity, gzip"] {
            let response = send(&server, path, encoding, &packed);
            assert_eq!((response.status, &response.body), (200, &expected.body), "{path} {encoding}");
        }
        let plain = send(&server, path, "identity", body.to_string().as_bytes());
        assert_eq!((plain.status, plain.body), (200, expected.body), "{path}");
    }
    // Chunks without a length, and a body in several members.
    let (first, second) = (gzip(b"{\"inputs\":"), gzip(b" \"a\"}"));
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let head = b"POST /embed HTTP/1.1\r\nhost: t\r\nconnection: close\r\ntransfer-encoding: chunked\r\ncontent-encoding: gzip\r\n\r\n";
    let request = [&head[..], &chunk(&first), &chunk(&second), b"0\r\n\r\n"].concat();
    assert_eq!(server.send(&request).status, 200);
}

#[test]
fn body_in_another_encoding_gets_415_that_names_it() {
    let server = Server::with_tiny_mpnet(&[]);
    let body = example_body().to_string();
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::default());
    deflate.write_all(body.as_bytes()).expect("written");
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(body.as_bytes()).expect("written");
    let twice = gzip(&gzip(body.as_bytes()));
    for (encoding, body) in [
        ("br", body.as_bytes()),
        ("zstd", body.as_bytes()),
        ("deflate", &deflate.finish().expect("deflate")),
        ("deflate", &zlib.finish().expect("zlib")),
        ("gzip, gzip", &twice),
        ("gzip, br", body.as_bytes()),
        ("none", body.as_bytes()),
    ] {
        let response = send(&server, "/", encoding, body);
        assert_eq!(
            (response.status, response.header("accept-encoding")),
            (415, Some("gzip")),
            "{encoding}: {response:?}"
        );
        assert!(response.json()["error"].as_str().is_some_and(|error| error.contains(&format!("`{encoding}`"))));
        let openai = send(&server, "/v1/embeddings", encoding, body);
        assert_eq!((openai.status, openai.json()["error"]["message"].is_string()), (415, true), "{openai:?}");
    }
}

#[test]
fn body_under_a_false_gzip_header_gets_400() {
    let server = Server::with_tiny_mpnet(&[]);
    let body = example_body().to_string();
    let packed = gzip(body.as_bytes());
    let garbage = [packed.as_slice(), body.as_bytes()].concat();
    for wrong in [body.as_bytes(), b"", &packed[..packed.len() / 2], &packed[..packed.len() - 1], &garbage] {
        let response = send(&server, "/", "gzip", wrong);
        assert_eq!((response.status, response.body.contains("is not gzip")), (400, true), "{response:?}");
    }
    // The other way round: gzip without the header.
    assert_eq!(server.send_request("POST", "/", &[], &packed).status, 400);
    let invalid = send(&server, "/", "gzip", &gzip(b"{\"inputs\": \"\xff\"}"));
    assert_eq!((invalid.status, invalid.body.contains("not UTF-8")), (400, true), "{invalid:?}");
}

/// The limit applies to the bytes that a body unpacks to, and only so many are unpacked.
#[cfg(target_os = "linux")]
#[test]
fn gzip_body_that_unpacks_to_too_much_gets_413_and_takes_little_memory() {
    let server = Server::with_tiny_mpnet(&[]);
    let plain = [b"{\"inputs\": \"".as_slice(), &vec![b'x'; 64 << 20], b"\"}"].concat();
    let bomb = gzip(&plain);
    assert!(bomb.len() < 1 << 20);
    send(&server, "/", "gzip", &bomb);
    let before = server.resident_kb();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let response = send(&server, "/", "gzip", &bomb);
                assert_eq!((response.status, response.body.contains("2000000 bytes")), (413, true), "{response:?}");
            });
        }
    });
    let grown = server.resident_kb().saturating_sub(before);
    assert!(grown < 60 << 10, "{grown} kB for 8 bodies of at most 2 MB each");
    // At the limit exactly, and one byte beyond.
    let sized =
        |size: usize| gzip(format!("{{\"inputs\": \"{}\"}}", "a ".repeat(size)[..size - 14].to_owned()).as_bytes());
    let small = Server::with_tiny_mpnet(&["--payload-limit", "5000"]);
    assert_eq!(send(&small, "/", "gzip", &sized(5000)).status, 200);
    assert_eq!(send(&small, "/", "gzip", &sized(5001)).status, 413);
}

/// As in Python's json and in tiktoken, half of a surrogate pair is U+FFFD.
#[test]
fn broken_surrogate_is_read_as_replacement_character_and_reported() {
    let server = Server::with_tiny_mpnet(&[]);
    let post = |path: &str, body: &str| server.send_request("POST", path, &[], body.as_bytes());
    for (text, read, count) in [
        (r"a \ud83d", "a \u{fffd}", 1),
        (r"\ud83d dog", "\u{fffd} dog", 1),
        (r"\uDE42", "\u{fffd}", 1),
        (r"\ude42\ud83d", "\u{fffd}\u{fffd}", 2),
        (r"\ud83d\ud83d\ude42", "\u{fffd}\u{1f642}", 1),
        (r"\ud83d\n\ude42", "\u{fffd}\n\u{fffd}", 2),
        (r"\ud83d\\ude42", "\u{fffd}\\ude42", 1),
    ] {
        let response = post("/tokenize", &format!("{{\"inputs\": \"{text}\"}}"));
        assert_eq!(
            (response.status, response.header("x-replaced-surrogates")),
            (200, Some(count.to_string().as_str()))
        );
        assert_eq!(response.body, server.post("/tokenize", &json!({"inputs": read})).body, "{text}");
    }
    let whole = post("/embed", r#"{"inputs": "\ud83d\ude42 \\ud83d"}"#);
    assert_eq!((whole.status, whole.header("x-replaced-surrogates")), (200, None));
    assert_eq!(whole.body, server.post("/embed", &json!({"inputs": "\u{1f642} \\ud83d"})).body);
    for (path, key) in [("/", "inputs"), ("/v1/embeddings", "input")] {
        let response = post(path, &format!("{{\"{key}\": [\"\\ud83d\", \"b\"]}}"));
        assert_eq!((response.status, response.header("x-replaced-surrogates")), (200, Some("1")), "{path}");
    }
    for wrong in
        [r#"{"inputs": "\ud83"}"#, r#"{"inputs": "\ud83d"#, r#"{"inputs": \ud83d}"#, "{\"inputs\": \"\\ud83d\n\"}"]
    {
        assert_eq!(post("/", wrong).status, 400, "{wrong}");
    }
}
