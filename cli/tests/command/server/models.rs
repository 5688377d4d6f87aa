//! Loading models: in the background, from the cache, failing, shared between processes.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::{Response, SENTENCES, SOURCE, Server, example_body, expected_scores};
use crate::common::model;

#[test]
fn model_that_fails_to_load_is_reported_and_others_are_served() {
    let good = format!("good={}", model("tiny-mpnet").display());
    let bad = format!("bad={}", model("full-mpnet").display());
    let server = Server::start(&[good, bad], &[]);
    server.wait_until("both are loaded or not", || !server.get("/v1/models").body.contains("\"loading\""));
    let body = json!({"inputs": "a"});
    assert_eq!(server.post("/models/good", &body).status, 200);
    let response =
        server.send_request("POST", "/models/bad", &[("x-wait-for-model", "true")], body.to_string().as_bytes());
    assert_eq!(response.status, 500, "{response:?}");
    assert!(response.body.contains("tokenizer.json"), "{response:?}");
    // A client without a key learns that the model failed, but not why.
    let health = server.get("/health");
    assert_eq!((health.status, health.body.contains("fixtures")), (503, false), "{health:?}");
    let models = server.get("/v1/models").json();
    assert_eq!((&models["data"][0]["state"], &models["data"][1]["state"]), (&json!("ready"), &json!("failed")));
    assert!(models["data"][1]["error"].as_str().is_some_and(|why| why.contains("tokenizer.json")), "{models}");
}

/// Without `--model` the server uses the built-in model, under its name.
#[cfg(feature = "quickstart")]
#[test]
fn server_without_a_model_argument_serves_quickstart() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
    command.args(["serve", "--port", "0"]).env_remove("LIKEWISE_MODEL");
    let server = Server::of(command);
    server.wait_until_ready();
    let sentences = json!({"inputs": {"source_sentence": SOURCE, "sentences": SENTENCES}});
    let floats = |response: &Response| serde_json::from_str::<Vec<f32>>(&response.body).expect("floats");
    let scores = likewise::Embedder::builder()
        .open_files(&likewise::ModelFiles::quickstart())
        .and_then(|model| model.similarity(SOURCE, &SENTENCES))
        .expect("scores");
    for path in ["/", "/models/quickstart", "/pipeline/sentence-similarity/quickstart"] {
        assert_eq!(floats(&server.post(path, &sentences)), scores.values, "{path}");
    }
    assert_eq!(server.get("/v1/models").json()["data"][0]["id"], "quickstart");
    // The same model under another name.
    let server = Server::start(&["org/small=quickstart".to_owned()], &[]);
    server.wait_until_ready();
    assert_eq!(floats(&server.post("/models/org/small", &sentences)), scores.values);
}

/// Writes a model that takes some seconds to open on any machine: its tokenizer.json repeats one
/// token many times.
fn write_slow_model(folder: &Path) {
    const PROBE: usize = 2_000_000;
    // Below the largest tokenizer.json that the library reads.
    const MOST: usize = 60_000_000;
    const SECONDS: f64 = 4.0;
    std::fs::create_dir_all(folder.join("1_Pooling")).expect("a folder");
    for file in ["config.json", "tokenizer_config.json", "modules.json", "model.safetensors", "1_Pooling/config.json"] {
        std::fs::copy(model("tiny-mpnet").join(file), folder.join(file)).expect("a copy");
    }
    let tokenizer = std::fs::read_to_string(model("tiny-mpnet").join("tokenizer.json")).expect("a tokenizer");
    let (before, after) = tokenizer.split_once("\"vocab\":{").expect("a vocabulary");
    let write = |times: usize| {
        let text = [before, "\"vocab\":{", &"\"<s>\":0,".repeat(times), after].concat();
        std::fs::write(folder.join("tokenizer.json"), text).expect("written");
    };
    write(PROBE);
    let open = || {
        let start = Instant::now();
        likewise::Embedder::open(folder).expect("a model");
        start.elapsed().as_secs_f64()
    };
    // The fastest of three, because other tests run at the same time.
    let fastest = open().min(open()).min(open());
    write(MOST.min((PROBE as f64 * SECONDS / fastest) as usize));
}

/// While a model is loading, requests fail with 503 after a delay, or wait if they ask to.
#[test]
fn loading_model_answers_503_or_waits_on_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let late = folder.path().join("late");
    write_slow_model(&late);
    let server = Server::start(&[late.display().to_string()], &[]);
    assert_eq!((server.get("/health").status, server.get("/ping").status), (503, 200));
    assert_eq!(server.get("/v1/models").json()["data"][0]["state"], "loading");

    let start = Instant::now();
    let response = server.post("/", &example_body());
    assert_eq!(response.status, 503, "{response:?}");
    assert!(start.elapsed() >= Duration::from_millis(900), "a client that retries at once would spin");
    assert!(response.json()["estimated_time"].as_f64().is_some_and(|seconds| seconds >= 1.0), "{response:?}");
    assert!(response.header("retry-after").and_then(|s| s.parse::<u32>().ok()).is_some_and(|s| s >= 1), "{response:?}");
    assert_eq!(response.json()["error"], "Model late is currently loading");

    assert_eq!(server.get("/v1/models").json()["data"][0]["state"], "loading");
    std::thread::scope(|scope| {
        let send = |headers: &'static [(&str, &str)], body: Value| {
            let server = &server;
            scope.spawn(move || server.send_request("POST", "/models/late", headers, body.to_string().as_bytes()))
        };
        let by_header = send(&[("x-wait-for-model", "true")], example_body());
        let by_option = send(&[], json!({"inputs": example_body()["inputs"], "options": {"wait_for_model": true}}));
        for client in [by_header, by_option] {
            let response: Response = client.join().expect("a client");
            assert_eq!((response.status, response.body), (200, expected_scores()));
        }
    });
    assert_eq!(server.get("/health").status, 200);
}

/// A model in the local Hugging Face cache is served under its id.
#[test]
fn model_in_the_hub_cache_is_served_under_its_id() {
    let home = tempfile::tempdir().expect("a folder");
    let repository = home.path().join("hub/models--org--tiny");
    let snapshot = repository.join("snapshots/0123456789abcdef0123456789abcdef01234567");
    std::fs::create_dir_all(snapshot.parent().expect("a folder")).expect("a folder");
    std::fs::create_dir_all(repository.join("refs")).expect("a folder");
    std::fs::write(repository.join("refs/main"), "0123456789abcdef0123456789abcdef01234567").expect("written");
    std::os::unix::fs::symlink(model("tiny-mpnet"), &snapshot).expect("a link");
    let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
    command.args(["serve", "--port", "0", "--model", "org/tiny"]).env("HF_HOME", home.path());
    let server = Server::of(command);
    server.wait_until_ready();
    let response = server.post("/models/org/tiny", &example_body());
    assert_eq!((response.status, response.body), (200, expected_scores()));
}

/// Two processes that serve the same converted model share its weights in memory.
#[cfg(target_os = "linux")]
#[test]
fn converted_model_in_two_processes_is_in_memory_once() {
    let source = crate::common::in_memory(&crate::common::synthetic_weights::files("full-mpnet", "tiny-mpnet"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("int8");
    let converted = likewise::Embedder::builder().precision(likewise::Precision::Int8).convert(&source, &path);
    let packed = converted.expect("a converted model").packed as u64 / 1024;
    let servers = [0, 1].map(|_| {
        let server = Server::start(&[path.display().to_string()], &[]);
        server.wait_until_ready();
        server.post("/", &json!({ "inputs": ["some text"] }));
        server
    });
    for server in &servers {
        let maps = server.maps_of(&path.join("likewise.safetensors"));
        // On an in-memory file system pages stay dirty.
        let shared = maps["Shared_Clean"] + maps["Shared_Dirty"];
        let [resident, share] = ["Rss", "Pss"].map(|key| maps[key]);
        println!("{packed} kB packed: {resident} resident, {shared} shared, {share} if shared ones count half");
        assert!(resident > packed * 95 / 100, "it has been used");
        assert!(shared == resident && share * 2 <= resident + 1, "and every page of it by both: {maps:?}");
        // The process has no second copy of the weights.
        assert!(server.resident_kb() < packed * 3 / 2, "{} kB in all", server.resident_kb());
    }
}
