//! API keys and cross-origin requests.

use std::process::Command;

use crate::common::model;
use crate::harness::{Server, example_body, expected_scores};

/// Routes that involve a model require a key; pages and health checks do not.
#[test]
fn requests_without_a_valid_key_get_401() {
    let server = Server::with_tiny_mpnet(&["--api-key", "first-key", "--api-key", "second-key"]);
    let body = example_body().to_string();
    let post = |path: &str, key: &str| server.send_request("POST", path, &[("authorization", key)], body.as_bytes());
    for key in ["Bearer first-key", "Bearer second-key", "bearer first-key", "Bearer: second-key"] {
        let answer = post("/", key);
        assert_eq!((answer.status, answer.body), (200, expected_scores()), "{key}");
    }
    for key in ["", "Bearer", "Bearer first", "Bearer first-key2", "Basic first-key", "first-key"] {
        for path in ["/", "/models/org/tiny", "/hf-inference/models/tiny", "/embed", "/v1/embeddings", "/tokenize"] {
            let answer = post(path, key);
            assert_eq!(answer.status, 401, "{path} {key:?}: {answer:?}");
            assert!(answer.body.contains("a valid API key is required"), "{answer:?}");
            assert_eq!(answer.header("www-authenticate"), Some("bearer"));
            assert!(answer.header("content-length").is_some() && answer.header("x-request-id").is_some());
        }
    }
    for path in ["/info", "/metrics", "/v1/models", "/api/tasks", "/api/models/org/tiny", "/status/tiny"] {
        assert_eq!(server.get(path).status, 401, "{path}");
        assert_eq!(
            server.send_request("GET", path, &[("authorization", "Bearer first-key")], b"").status,
            200,
            "{path}"
        );
    }
    for path in ["/", "/health", "/ping", "/docs", "/openapi.json", "/page.js"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert!(!server.log().contains("-key"), "a key in the log: {}", server.log());
    // Keys from the environment, where other users of the machine cannot read them.
    let run = |keys: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
        command.args(["serve", "--port", "0", "--model"]).arg(model("tiny-mpnet")).env("LIKEWISE_API_KEY", keys);
        command
    };
    let server = Server::of(run("old, new"));
    server.wait_until_ready();
    for (key, status) in [("Bearer old", 200), ("Bearer new", 200), ("Bearer old,new", 401), ("", 401)] {
        let answer = server.send_request("POST", "/", &[("authorization", key)], body.as_bytes());
        assert_eq!(answer.status, status, "{key:?}: {answer:?}");
    }
    // An empty key may have been lost on the way. The server must not start without the key.
    for keys in ["", "old,", " "] {
        let output = run(keys).output().expect("likewise");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.contains("an API key is empty")), (Some(2), true), "{keys:?}: {said}");
    }
}

/// Pages of other origins may call the API if the arguments allow it.
#[test]
fn cross_origin_requests_need_an_allowed_origin() {
    let preflight = |server: &Server, origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        server.send_request("OPTIONS", "/models/org/tiny", &headers, b"")
    };
    let ask = |server: &Server, origin: &str| {
        server.send_request("POST", "/", &[("origin", origin)], example_body().to_string().as_bytes())
    };
    let closed = Server::with_tiny_mpnet(&[]);
    assert_eq!(preflight(&closed, "https://a.example").header("access-control-allow-origin"), None);
    assert_eq!(ask(&closed, "https://a.example").header("access-control-allow-origin"), None);

    // A preflight request cannot have a key, so it requires none.
    let some = Server::with_tiny_mpnet(&["--cors-allow-origin", "https://a.example", "--api-key", "k"]);
    let answer = preflight(&some, "https://a.example");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("authorization,content-type"));
    assert_eq!(preflight(&some, "https://b.example").header("access-control-allow-origin"), None);
    let answer = ask(&some, "https://a.example");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, Some("https://a.example")));

    let any = Server::with_tiny_mpnet(&["--cors-allow-origin", "*"]);
    let answer = ask(&any, "https://b.example");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
    assert!(answer.header("access-control-expose-headers").is_some_and(|told| told.contains("x-request-id")));
}
