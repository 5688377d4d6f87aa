//! Arguments, response headers, the response cache and the metrics.

use std::process::Command;

use serde_json::{Value, json};

use super::harness::{Server, example_body, expected_scores};
use crate::common::model;

#[test]
fn invalid_arguments_exit_with_2_and_name_the_option() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
        let output = command.arg("serve").args(arguments).env_remove("LIKEWISE_MODEL").output().expect("likewise");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    if cfg!(not(feature = "quickstart")) {
        let (code, message) = run(&[]);
        assert_eq!((code, message.contains("no model")), (Some(2), true), "{message}");
    }
    let tiny = model("tiny-mpnet").display().to_string();
    for (option, value) in [
        ("--max-concurrent-requests", "0"),
        ("--max-client-batch-size", "1.5"),
        ("--max-queued-tokens", "99999999999999999999"),
        ("--response-cache-bytes", "x"),
        ("--request-timeout", "0"),
        ("--shutdown-timeout", "nan"),
        ("--body-timeout", "1e300"),
        ("--cors-allow-origin", "example.org"),
        ("--cors-allow-origin", "https://example.org/"),
        ("--model", &format!("={tiny}")),
        ("--model", &format!("a/b/c={tiny}")),
        ("--model", &tiny),
        ("--log-level", "loud"),
        ("--log-format", "xml"),
        ("--port", "70000"),
        ("--host", "localhost:1"),
    ] {
        let (code, message) = run(&["--model", &tiny, option, value]);
        assert_eq!((code, message.contains(option)), (Some(2), true), "{option} {value}: {message}");
    }
    let (code, message) = run(&["--model", "x=/no/such/folder"]);
    assert_eq!((code, message.contains("/no/such/folder")), (Some(1), true), "{message}");
    let server = Server::with_tiny_mpnet(&[]);
    let port = server.address.rsplit(':').next().expect("a port");
    let (code, message) = run(&["--model", &tiny, "--port", port]);
    assert_eq!((code, message.contains(&server.address)), (Some(1), true), "{message}");
}

#[test]
fn response_headers_report_id_tokens_and_truncation() {
    let server = Server::with_tiny_mpnet(&[]);
    let texts = json!({"inputs": ["a dog", "word ".repeat(500)]});
    let response = server.send_request("POST", "/", &[("X-Request-Id", "mine-7")], texts.to_string().as_bytes());
    assert_eq!(response.header("x-request-id"), Some("mine-7"), "{response:?}");
    // An id with spaces or other characters, or a very long one, is replaced.
    for id in ["two words", &"x".repeat(200), "\u{e9}"] {
        let other = server.send_request("POST", "/", &[("x-request-id", id)], texts.to_string().as_bytes());
        assert!(other.status == 200 && other.header("x-request-id").is_some_and(|found| found != id), "{other:?}");
    }
    assert_eq!(response.header("x-truncated-texts"), Some("1"), "{response:?}");
    assert_eq!(response.header("x-compute-characters"), Some("2505"), "{response:?}");
    assert_eq!(response.header("x-compute-type"), Some("cpu"));
    assert!(
        response.header("x-compute-time").and_then(|time| time.parse::<f64>().ok()).is_some_and(|time| time >= 0.0)
    );
    let other = server.post("/", &texts);
    assert_ne!(other.header("x-request-id"), server.post("/", &texts).header("x-request-id"));
}

/// A repeated request is answered from the cache unless the client opts out.
#[test]
fn repeated_request_is_answered_from_the_cache() {
    let server = Server::with_tiny_mpnet(&[]);
    let send = |headers: &[(&str, &str)], body: &Value| {
        let response = server.send_request("POST", "/", headers, body.to_string().as_bytes());
        assert_eq!((response.status, response.body.as_str()), (200, expected_scores().as_str()), "{response:?}");
        response.header("x-compute-type").map(str::to_owned).expect("a header")
    };
    let other = json!({"inputs": example_body()["inputs"], "options": {"use_cache": false}});
    assert_eq!(send(&[("x-use-cache", "false")], &example_body()), "cpu");
    assert_eq!(send(&[("x-use-cache", "0")], &example_body()), "cpu");
    assert_eq!(send(&[], &example_body()), "cpu");
    assert_eq!(send(&[], &example_body()), "cache");
    assert_eq!(send(&[("x-use-cache", "true")], &example_body()), "cache");
    assert_eq!(send(&[("x-use-cache", "false")], &example_body()), "cpu");
    assert_eq!(send(&[], &other), "cpu");
    // The header, which newer clients send, overrides the option in the body.
    assert_eq!(send(&[("x-use-cache", "1")], &other), "cache");
    assert_eq!(server.metric("likewise_cache_hits"), 3.0);
    assert_eq!(server.metric("likewise_cache_misses"), 1.0);
    assert!(server.metric("likewise_cache_bytes") > 0.0);
    let none = Server::with_tiny_mpnet(&["--response-cache-bytes", "0"]);
    for _ in 0..2 {
        assert_eq!(none.post("/", &example_body()).header("x-compute-type"), Some("cpu"));
    }
}

#[test]
fn metrics_count_requests_by_outcome() {
    let server = Server::with_tiny_mpnet(&[]);
    server.post("/", &example_body());
    server.post("/", &json!({"inputs": "one"}));
    server.post("/", &json!({"inputs": 1}));
    server.post("/models/other", &example_body());
    for (series, value) in [
        ("te_request_count{method=\"batch\"}", 1.0),
        ("te_request_count{method=\"single\"}", 3.0),
        ("te_request_success{method=\"single\"}", 1.0),
        ("te_request_success{method=\"batch\"}", 1.0),
        ("te_request_failure{err=\"validation\"}", 1.0),
        ("te_request_failure{err=\"not_found\"}", 1.0),
        ("te_embed_count", 5.0),
        ("te_request_duration_count", 2.0),
        ("te_request_inference_duration_count", 2.0),
        ("te_request_input_length_count", 5.0),
        ("te_queue_size{model=\"org/tiny\"}", 0.0),
        ("likewise_text_count{model=\"org/tiny\"}", 5.0),
        ("likewise_model_state{model=\"org/tiny\",state=\"ready\"}", 1.0),
        ("likewise_requests_in_flight", 0.0),
        ("likewise_response_count{route=\"/\",status=\"400\"}", 1.0),
    ] {
        assert_eq!(server.metric(series), value, "{series} in {}", server.get("/metrics").body);
    }
    let text = server.get("/metrics").body;
    assert!(text.contains("likewise_model_info{architecture=\"MPNet\","), "{text}");
    assert!(text.contains(",precision=\"f32\",simd=\"") && text.contains(",threads=\"2\"} 1"), "{text}");
}
