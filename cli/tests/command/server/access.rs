//! API keys and cross-origin requests.

use std::process::Command;

use super::harness::{Server, example_body, expected_scores};
use crate::common::model;

/// Routes that involve a model require a key; pages and health checks do not.
#[test]
fn requests_without_a_valid_key_get_401() {
    let server = Server::with_tiny_mpnet(&["--api-key", "first-key", "--api-key", "second-key"]);
    let body = example_body().to_string();
    let post = |path: &str, key: &str| server.send_request("POST", path, &[("authorization", key)], body.as_bytes());
    for key in ["Bearer first-key", "Bearer second-key", "bearer first-key", "Bearer: second-key"] {
        let response = post("/", key);
        assert_eq!((response.status, response.body), (200, expected_scores()), "{key}");
    }
    for key in ["", "Bearer", "Bearer first", "Bearer first-key2", "Basic first-key", "first-key"] {
        for path in ["/", "/models/org/tiny", "/hf-inference/models/tiny", "/embed", "/v1/embeddings", "/tokenize"] {
            let response = post(path, key);
            assert_eq!(response.status, 401, "{path} {key:?}: {response:?}");
            assert!(response.body.contains("a valid API key is required"), "{response:?}");
            assert_eq!(response.header("www-authenticate"), Some("bearer"));
            assert!(response.header("content-length").is_some() && response.header("x-request-id").is_some());
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
        let response = server.send_request("POST", "/", &[("authorization", key)], body.as_bytes());
        assert_eq!(response.status, status, "{key:?}: {response:?}");
    }
    // An empty key may have been lost on the way. The server must not start without the key.
    for keys in ["", "old,", " "] {
        let output = run(keys).output().expect("likewise");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            (output.status.code(), stderr.contains("an API key is empty")),
            (Some(2), true),
            "{keys:?}: {stderr}"
        );
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
    let send = |server: &Server, origin: &str| {
        server.send_request("POST", "/", &[("origin", origin)], example_body().to_string().as_bytes())
    };
    let closed = Server::with_tiny_mpnet(&[]);
    assert_eq!(preflight(&closed, "https://a.example").header("access-control-allow-origin"), None);
    assert_eq!(send(&closed, "https://a.example").header("access-control-allow-origin"), None);

    // A preflight request cannot have a key, so it requires none.
    let some = Server::with_tiny_mpnet(&["--cors-allow-origin", "https://a.example", "--api-key", "k"]);
    let response = preflight(&some, "https://a.example");
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(response.header("access-control-allow-headers"), Some("authorization,content-type"));
    assert_eq!(preflight(&some, "https://b.example").header("access-control-allow-origin"), None);
    let response = send(&some, "https://a.example");
    assert_eq!((response.status, response.header("access-control-allow-origin")), (401, Some("https://a.example")));

    let any = Server::with_tiny_mpnet(&["--cors-allow-origin", "*"]);
    let response = send(&any, "https://b.example");
    assert_eq!((response.status, response.header("access-control-allow-origin")), (200, Some("*")));
    assert!(response.header("access-control-expose-headers").is_some_and(|headers| headers.contains("x-request-id")));
}
