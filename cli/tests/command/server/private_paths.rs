//! Paths of the server's machine, which clients must not learn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::harness::{Response, Server};
use crate::common::model;

/// A part of every path that the models of these tests have.
const SECRET: &str = "private-folder";

/// Makes a copy of a small model, and changes it.
fn broken(parent: &Path, name: &str, change: impl FnOnce(&Path)) -> (String, PathBuf) {
    let folder = parent.join(SECRET).join(name);
    fs::create_dir_all(folder.join("1_Pooling")).expect("a folder");
    let source = model("tiny-mpnet");
    for file in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "modules.json",
        "model.safetensors",
        "1_Pooling/config.json",
    ] {
        fs::copy(source.join(file), folder.join(file)).expect("a copy");
    }
    change(&folder);
    (name.to_owned(), folder)
}

/// Models that fail to load, each for another reason, with a part of the error.
fn broken_models(parent: &Path) -> Vec<(String, PathBuf, &'static str)> {
    let write = |file: &'static str, text: &'static str| {
        move |folder: &Path| fs::write(folder.join(file), text).expect("written")
    };
    let modules = r#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
        {"idx":1,"name":"1","path":"/etc/private-folder","type":"sentence_transformers.models.Pooling"}]"#;
    let outside = |folder: &Path| {
        fs::remove_file(folder.join("1_Pooling/config.json")).expect("removed");
        let target = folder.parent().expect("a parent").join("outside.json");
        fs::write(&target, "{}").expect("written");
        std::os::unix::fs::symlink(target, folder.join("1_Pooling/config.json")).expect("a link");
    };
    let directory = |folder: &Path| {
        fs::remove_file(folder.join("tokenizer.json")).expect("removed");
        fs::create_dir(folder.join("tokenizer.json")).expect("a folder");
    };
    let missing = |folder: &Path| fs::remove_file(folder.join("tokenizer.json")).expect("removed");
    let no_weights = |folder: &Path| fs::remove_file(folder.join("model.safetensors")).expect("removed");
    let with = |name: &str, change: &dyn Fn(&Path), part| {
        let (name, folder) = broken(parent, name, change);
        (name, folder, part)
    };
    vec![
        with("syntax", &write("config.json", "{"), "config.json: not valid JSON"),
        with("type", &write("config.json", "{\"model_type\": 3}"), "config.json"),
        with("pooling", &write("1_Pooling/config.json", "[]"), "1_Pooling/config.json"),
        with("weights", &write("model.safetensors", "x"), "model.safetensors"),
        with("modules", &write("modules.json", modules), "a path that leaves it"),
        with("tokenizer", &write("tokenizer.json", "{}"), "tokenizer.json"),
        with("link", &outside, "a link to a place outside"),
        with("directory", &directory, "tokenizer.json"),
        with("missing", &missing, "tokenizer.json"),
        with("no-weights", &no_weights, "model.safetensors"),
    ]
}

/// Checks that no header and no part of the body has the path.
fn check(what: &str, response: &Response, folder: &Path) {
    let folder = folder.display().to_string();
    let parent = folder.split(SECRET).next().unwrap_or(&folder);
    for part in [folder.as_str(), parent, "/etc/"] {
        assert!(!response.body.contains(part), "{what}: {part} in {}", response.body);
        assert!(!response.head.contains(&part.to_ascii_lowercase()), "{what}: {part} in {}", response.head);
    }
}

#[test]
fn response_of_a_failed_model_has_no_path_and_the_log_has_it() {
    let parent = tempfile::tempdir().expect("a folder");
    let models = broken_models(parent.path());
    let mut arguments = vec![format!("good={}", model("tiny-mpnet").display())];
    arguments.extend(models.iter().map(|(name, folder, _)| format!("{name}={}", folder.display())));
    let server = Server::start(&arguments, &[]);
    server.wait_until("all are loaded or not", || !server.get("/v1/models").body.contains("\"loading\""));
    let list = server.get("/v1/models");
    for (name, folder, part) in &models {
        let state =
            list.json()["data"].as_array().and_then(|data| data.iter().find(|one| one["id"] == **name).cloned());
        let reason = state.map(|state| state["error"].clone()).expect("the model");
        assert!(reason.as_str().is_some_and(|reason| reason.contains(part)), "{name}: {reason}");
        let id = format!("request-of-{name}");
        let headers = [("x-request-id", id.as_str()), ("x-wait-for-model", "true")];
        for (path, key) in [(format!("/models/{name}"), "inputs"), ("/v1/embeddings".to_owned(), "input")] {
            let body = json!({key: "a", "model": name}).to_string();
            let response = server.send_request("POST", &path, &headers, body.as_bytes());
            assert_eq!((response.status, response.body.contains(part)), (500, true), "{path}: {response:?}");
            assert!(response.body.contains(&id), "the body has the id for the log: {response:?}");
            check(&path, &response, folder);
        }
        server.wait_until("the log has the path", || {
            server.log().lines().any(|line| line.contains(&id) && line.contains(&folder.display().to_string()))
        });
        let routes = ["v1/models", "health", "info", "metrics", "openapi.json", "api/tasks", ""].map(str::to_owned);
        let own = ["v1/models/", "api/models/", "status/"].map(|prefix| format!("{prefix}{name}"));
        for path in routes.into_iter().chain(own).chain(["info", "health"].map(|end| format!("models/{name}/{end}"))) {
            let response = server.get(&format!("/{path}"));
            assert!(response.status != 404, "{path}");
            check(&path, &response, folder);
        }
    }
}

#[test]
fn rejected_request_gets_an_error_without_a_path() {
    let parent = tempfile::tempdir().expect("a folder");
    let (name, folder) = broken(parent.path(), "model", |_| {});
    let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
    command.args(["serve", "--port", "0", "--model"]).arg(&folder).current_dir(parent.path());
    let server = Server::of(command);
    server.wait_until_ready();
    let long = "word ".repeat(500);
    let cases: [(&str, Value, u16); 8] = [
        ("/embed", json!({"inputs": [99_999]}), 422),
        ("/embed", json!({"inputs": "a", "prompt_name": "none"}), 422),
        ("/embed", json!({"inputs": long, "truncate": false}), 422),
        ("/embed", json!({"inputs": "a", "dimensions": 10_000}), 422),
        ("/embed", json!({"inputs": "a", "model": "other"}), 404),
        ("/tokenize", json!({"inputs": "a", "prompt_name": "none"}), 422),
        ("/decode", json!({"ids": [99_999]}), 422),
        ("/v1/embeddings", json!({"input": "a", "prompt_name": "none"}), 422),
    ];
    for (path, body, status) in cases {
        let response = server.post(path, &body);
        assert_eq!(response.status, status, "{path}: {response:?}");
        check(path, &response, &folder);
    }
    for path in ["/info", "/v1/models", "/v1/models/model", "/metrics", "/health"] {
        let response = server.get(path);
        assert_eq!(response.status, 200, "{path}");
        check(path, &response, &folder);
    }
    assert_eq!(server.get("/info").json()["model_id"], name);
}

#[test]
fn info_names_pooling_and_dtype_as_text_embeddings_inference_does() {
    let parent = tempfile::tempdir().expect("a folder");
    let pooling = |name: &str, config: &'static str| {
        let (name, folder) = broken(parent.path(), name, |folder| {
            fs::write(folder.join("1_Pooling/config.json"), config).expect("written")
        });
        format!("{name}={}", folder.display())
    };
    let models = [
        pooling("mean", r#"{"pooling_mode": "mean", "include_prompt": false}"#),
        pooling("cls", r#"{"pooling_mode": "cls"}"#),
        pooling("last", r#"{"pooling_mode": "lasttoken"}"#),
        pooling("both", r#"{"pooling_mode": ["cls", "max"]}"#),
        pooling("weighted", r#"{"pooling_mode": "weightedmean"}"#),
    ];
    for (precision, dtype) in [("f32", "float32"), ("bf16", "bfloat16"), ("int8", "int8")] {
        let server = Server::start(&models, &["--precision", precision]);
        server.wait_until_ready();
        for (name, expected) in [
            ("mean", "mean"),
            ("cls", "cls"),
            ("last", "last_token"),
            ("both", "cls+max"),
            ("weighted", "weightedmean"),
        ] {
            let info = server.get(&format!("/models/{name}/info")).json();
            assert_eq!(
                (&info["model_type"]["embedding"]["pooling"], &info["model_dtype"]),
                (&json!(expected), &json!(dtype))
            );
        }
    }
}
