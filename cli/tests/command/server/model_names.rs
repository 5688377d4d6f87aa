//! Names of models that applications have built in, and OpenAI's routes for a model.

use std::process::Command;

use serde_json::json;

use super::harness::{Server, example_body, expected_scores};
use crate::common::model;

fn tiny(name: &str) -> String {
    format!("{name}={}", model("tiny-mpnet").display())
}

#[test]
fn openai_client_retrieves_a_model_by_its_id() {
    let server = Server::start(&[tiny("org/tiny"), tiny("minilm")], &["--alias", "text-embedding-3-small=minilm"]);
    server.wait_until_ready();
    let list = server.get("/v1/models").json();
    let ids: Vec<_> = list["data"].as_array().expect("a list").iter().map(|model| model["id"].clone()).collect();
    assert_eq!(ids, [json!("org/tiny"), json!("minilm"), json!("text-embedding-3-small")]);
    for (i, path) in ["org/tiny", "minilm", "text-embedding-3-small"].into_iter().enumerate() {
        assert_eq!(server.get(&format!("/v1/models/{path}")).json(), list["data"][i], "{path}");
    }
    for path in ["org%2Ftiny", "tiny", "org%2ftiny/", "/org//tiny"] {
        assert_eq!(server.get(&format!("/v1/models/{path}")).json(), list["data"][0], "{path}");
    }
    let unknown = server.get("/v1/models/gpt-4");
    let error = unknown.json()["error"].clone();
    assert_eq!((unknown.status, &error["code"], &error["type"]), (404, &json!("model_not_found"), &json!("not_found")));
    assert!(error["message"].as_str().is_some_and(|text| text.contains("org/tiny, minilm")), "{error}");
    assert_eq!(server.send_request("DELETE", "/v1/models/minilm", &[], b"").status, 405);
    let closed = Server::with_tiny_mpnet(&["--api-key", "k"]);
    assert_eq!(closed.get("/v1/models/org/tiny").status, 401);
}

/// The error tells the operator what to do.
#[test]
fn unknown_model_name_gets_404_with_the_served_names_and_the_options() {
    let server = Server::start(&[tiny("org/tiny"), tiny("b")], &[]);
    server.wait_until_ready();
    for (method, path, body) in [
        ("POST", "/v1/embeddings", json!({"input": "a", "model": "text-embedding-3-small"})),
        ("POST", "/embed", json!({"inputs": "a", "model": "text-embedding-3-small"})),
        ("POST", "/models/text-embedding-3-small", json!({"inputs": "a"})),
        ("GET", "/v1/models/text-embedding-3-small", json!({})),
        ("GET", "/api/models/text-embedding-3-small", json!({})),
        ("GET", "/models/text-embedding-3-small/info", json!({})),
    ] {
        let response = server.send_request(method, path, &[], body.to_string().as_bytes());
        assert_eq!(response.status, 404, "{path}: {response:?}");
        for part in ["text-embedding-3-small does not exist", "org/tiny, b", "--alias", "--any-model-name"] {
            assert!(response.body.contains(part), "{path} {part}: {response:?}");
        }
    }
}

#[test]
fn alias_reaches_its_model_on_every_route() {
    let bert = format!("bert={}", model("tiny-bert").display());
    let options = ["--alias", "text-embedding-3-small=org/tiny", "--alias", "text-embedding-ada-002=org/tiny"];
    let server = Server::start(&[bert, tiny("org/tiny")], &options);
    server.wait_until_ready();
    for alias in ["text-embedding-3-small", "text-embedding-ada-002"] {
        for path in [format!("/models/{alias}"), format!("/pipeline/sentence-similarity/{alias}")] {
            assert_eq!(server.post(&path, &example_body()).body, expected_scores(), "{path}");
        }
        let response = server.post("/v1/embeddings", &json!({"input": "a", "model": alias})).json();
        assert_eq!(response, server.post("/v1/embeddings", &json!({"input": "a", "model": "org/tiny"})).json());
        assert_eq!(server.get(&format!("/models/{alias}/info")).json()["model_id"], "org/tiny");
    }
    assert_eq!(server.post("/v1/embeddings", &json!({"input": "a", "model": "text-embedding-3-large"})).status, 404);
}

#[test]
fn any_model_name_reaches_the_first_model() {
    let bert = format!("bert={}", model("tiny-bert").display());
    let server = Server::start(&[tiny("org/tiny"), bert], &["--any-model-name"]);
    server.wait_until_ready();
    for path in ["/models/text-embedding-3-small", "/models/a/b", "/models/tiny"] {
        assert_eq!(server.post(path, &example_body()).body, expected_scores(), "{path}");
    }
    // The names of models still mean these.
    assert_ne!(server.post("/models/bert", &example_body()).body, expected_scores());
    let response = server.post("/v1/embeddings", &json!({"input": "a", "model": "gpt-4"})).json();
    assert_eq!(response["model"], "org/tiny");
    assert_eq!(server.get("/v1/models/gpt-4").json()["id"], "org/tiny");
    // An empty name is an error even so.
    assert_eq!(server.post("/v1/embeddings", &json!({"input": "a", "model": ""})).status, 400);
}

#[test]
fn invalid_alias_exits_with_2_and_names_the_option() {
    for alias in ["x", "=m", "x=", "x=other", "m=m", ""] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
        command.args(["serve", "--port", "0", "--model", &tiny("m"), "--alias", alias]);
        let output = command.output().expect("likewise");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), stderr.contains("--alias")), (Some(2), true), "{alias:?}: {stderr}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
    command.args(["serve", "--port", "0", "--model", &tiny("m"), "--alias", "a=m", "--alias", "a=m"]);
    assert_eq!(command.output().expect("likewise").status.code(), Some(2));
}

#[test]
fn server_listens_at_a_host_name_and_at_a_bracketed_address() {
    for host in ["localhost", "127.0.0.1", "[::1]", "::1"] {
        if host.contains("::") && std::net::TcpListener::bind("[::1]:0").is_err() {
            continue;
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
        command.args(["serve", "--port", "0", "--host", host, "--model", &tiny("m")]);
        let server = Server::of(command);
        server.wait_until_ready();
        let prefix = if host.contains("::") { "[::1]:" } else { "127.0.0.1:" };
        assert!(server.address.starts_with(prefix), "{host}: {}", server.address);
        assert!(!server.log().contains("no --api-key"), "{host} is a loopback address");
    }
    let run = |host: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
        let output = command.args(["serve", "--port", "0", "--host", host, "--model", &tiny("m")]).output();
        let output = output.expect("likewise");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, message) = run("no-such-host.invalid");
    assert_eq!((code, message.contains("--host no-such-host.invalid")), (Some(1), true), "{message}");
    for host in ["", "localhost:80", "[::1]:80", "http://localhost", "[localhost]"] {
        let (code, message) = run(host);
        assert_eq!((code, message.contains("--host")), (Some(2), true), "{host}: {message}");
    }
}
