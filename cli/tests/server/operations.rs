//! JsonObject, models, headers, the cache, the log and the metrics.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::model;
use crate::server::{Answer, SENTENCES, SOURCE, Server, expected, question};

#[test]
fn a_model_that_cannot_be_loaded() {
    let good = format!("good={}", model("tiny-mpnet").display());
    let bad = format!("bad={}", model("full-mpnet").display());
    let server = Server::start(&[good, bad], &[]);
    server.wait_until("both are loaded or not", || !server.get("/v1/models").body.contains("\"loading\""));
    let body = json!({"inputs": "a"});
    assert_eq!(server.post("/models/good", &body).status, 200);
    let answer = server.ask("POST", "/models/bad", &[("x-wait-for-model", "true")], body.to_string().as_bytes());
    assert_eq!(answer.status, 500, "{answer:?}");
    assert!(answer.body.contains("tokenizer.json"), "{answer:?}");
    // Whoever has no key learns that something is wrong and not what.
    let health = server.get("/health");
    assert_eq!((health.status, health.body.contains("fixtures")), (503, false), "{health:?}");
    let models = server.get("/v1/models").json();
    assert_eq!((&models["data"][0]["state"], &models["data"][1]["state"]), (&json!("ready"), &json!("failed")));
    assert!(models["data"][1]["error"].as_str().is_some_and(|why| why.contains("tokenizer.json")), "{models}");
}

/// Where no model is named the small one that is part of the program is served, under its name, and the log says so.
#[cfg(feature = "quickstart")]
#[test]
fn no_model_is_named() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
    command.args(["serve", "--port", "0"]).env_remove("LIKEWISE_MODEL");
    let server = Server::of(command);
    server.wait_until_ready();
    let sentences = json!({"inputs": {"source_sentence": SOURCE, "sentences": SENTENCES}});
    let numbers = |answer: &Answer| serde_json::from_str::<Vec<f32>>(&answer.body).expect("numbers");
    let scores = likewise::Embedder::builder()
        .open_files(&likewise::ModelFiles::quickstart())
        .and_then(|model| model.similarity(SOURCE, &SENTENCES))
        .expect("scores");
    for path in ["/", "/models/quickstart", "/pipeline/sentence-similarity/quickstart"] {
        assert_eq!(numbers(&server.post(path, &sentences)), scores.values, "{path}");
    }
    assert_eq!(server.get("/v1/models").json()["data"][0]["id"], "quickstart");
    // The same under another name.
    let server = Server::start(&["org/small=quickstart".to_owned()], &[]);
    server.wait_until_ready();
    assert_eq!(numbers(&server.post("/models/org/small", &sentences)), scores.values);
}

#[test]
fn what_cannot_be_served() {
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
fn what_an_answer_tells() {
    let server = Server::with_tiny_mpnet(&[]);
    let texts = json!({"inputs": ["a dog", "word ".repeat(500)]});
    let answer = server.ask("POST", "/", &[("X-Request-Id", "mine-7")], texts.to_string().as_bytes());
    assert_eq!(answer.header("x-request-id"), Some("mine-7"), "{answer:?}");
    // An id that is no word, or a very long one, is not repeated.
    for id in ["two words", &"x".repeat(200), "\u{e9}"] {
        let other = server.ask("POST", "/", &[("x-request-id", id)], texts.to_string().as_bytes());
        assert!(other.status == 200 && other.header("x-request-id").is_some_and(|told| told != id), "{other:?}");
    }
    assert_eq!(answer.header("x-truncated-texts"), Some("1"), "{answer:?}");
    assert_eq!(answer.header("x-compute-characters"), Some("2505"), "{answer:?}");
    assert_eq!(answer.header("x-compute-type"), Some("cpu"));
    assert!(answer.header("x-compute-time").and_then(|time| time.parse::<f64>().ok()).is_some_and(|time| time >= 0.0));
    let other = server.post("/", &texts);
    assert_ne!(other.header("x-request-id"), server.post("/", &texts).header("x-request-id"));
}

/// With keys, all that asks a model something needs one; what browsers and probes ask does not.
#[test]
fn keys() {
    let server = Server::with_tiny_mpnet(&["--api-key", "first-key", "--api-key", "second-key"]);
    let body = question().to_string();
    let post = |path: &str, key: &str| server.ask("POST", path, &[("authorization", key)], body.as_bytes());
    for key in ["Bearer first-key", "Bearer second-key", "bearer first-key", "Bearer: second-key"] {
        let answer = post("/", key);
        assert_eq!((answer.status, answer.body), (200, expected()), "{key}");
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
        assert_eq!(server.ask("GET", path, &[("authorization", "Bearer first-key")], b"").status, 200, "{path}");
    }
    for path in ["/", "/health", "/ping", "/docs", "/openapi.json", "/page.js"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert!(!server.log().contains("-key"), "a key in the log: {}", server.log());
    // From the environment, where other users of the machine do not see them.
    let run = |keys: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
        command.args(["serve", "--port", "0", "--model"]).arg(model("tiny-mpnet")).env("LIKEWISE_API_KEY", keys);
        command
    };
    let server = Server::of(run("old, new"));
    server.wait_until_ready();
    for (key, status) in [("Bearer old", 200), ("Bearer new", 200), ("Bearer old,new", 401), ("", 401)] {
        let answer = server.ask("POST", "/", &[("authorization", key)], body.as_bytes());
        assert_eq!(answer.status, status, "{key:?}: {answer:?}");
    }
    // An empty key may be one that was lost on the way: no server is better than an open one.
    for keys in ["", "old,", " "] {
        let output = run(keys).output().expect("likewise");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.contains("an API key is empty")), (Some(2), true), "{keys:?}: {said}");
    }
}

/// The same question is answered from the cache unless the client does not want that.
#[test]
fn the_cache() {
    let server = Server::with_tiny_mpnet(&[]);
    let ask = |headers: &[(&str, &str)], body: &Value| {
        let answer = server.ask("POST", "/", headers, body.to_string().as_bytes());
        assert_eq!((answer.status, answer.body.as_str()), (200, expected().as_str()), "{answer:?}");
        answer.header("x-compute-type").map(str::to_owned).expect("told")
    };
    let other = json!({"inputs": question()["inputs"], "options": {"use_cache": false}});
    assert_eq!(ask(&[("x-use-cache", "false")], &question()), "cpu");
    assert_eq!(ask(&[("x-use-cache", "0")], &question()), "cpu");
    assert_eq!(ask(&[], &question()), "cpu");
    assert_eq!(ask(&[], &question()), "cache");
    assert_eq!(ask(&[("x-use-cache", "true")], &question()), "cache");
    assert_eq!(ask(&[("x-use-cache", "false")], &question()), "cpu");
    assert_eq!(ask(&[], &other), "cpu");
    // The header, which newer clients send, has the last word.
    assert_eq!(ask(&[("x-use-cache", "1")], &other), "cache");
    assert_eq!(server.metric("likewise_cache_hits"), 3.0);
    assert_eq!(server.metric("likewise_cache_misses"), 1.0);
    assert!(server.metric("likewise_cache_bytes") > 0.0);
    let none = Server::with_tiny_mpnet(&["--response-cache-bytes", "0"]);
    for _ in 0..2 {
        assert_eq!(none.post("/", &question()).header("x-compute-type"), Some("cpu"));
    }
}

/// Makes a model that takes some seconds to open on any machine: its tokenizer.json says one word over and over.
fn write_slow_model(folder: &Path) {
    const PROBE: usize = 2_000_000;
    // The largest file that is read.
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
    // The fastest of three: other tests run beside this one.
    let fastest = open().min(open()).min(open());
    write(MOST.min((PROBE as f64 * SECONDS / fastest) as usize));
}

/// A model that is not open yet: those who do not wait are told so after a moment, the others get their answer.
#[test]
fn a_model_that_is_being_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let late = folder.path().join("late");
    write_slow_model(&late);
    let server = Server::start(&[late.display().to_string()], &[]);
    assert_eq!((server.get("/health").status, server.get("/ping").status), (503, 200));
    assert_eq!(server.get("/v1/models").json()["data"][0]["state"], "loading");

    let start = Instant::now();
    let answer = server.post("/", &question());
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(start.elapsed() >= Duration::from_millis(900), "a client that asks again at once would spin");
    assert!(answer.json()["estimated_time"].as_f64().is_some_and(|seconds| seconds >= 1.0), "{answer:?}");
    assert!(answer.header("retry-after").and_then(|s| s.parse::<u32>().ok()).is_some_and(|s| s >= 1), "{answer:?}");
    assert_eq!(answer.json()["error"], "Model late is currently loading");

    assert_eq!(server.get("/v1/models").json()["data"][0]["state"], "loading");
    std::thread::scope(|scope| {
        let ask = |headers: &'static [(&str, &str)], body: Value| {
            let server = &server;
            scope.spawn(move || server.ask("POST", "/models/late", headers, body.to_string().as_bytes()))
        };
        let by_header = ask(&[("x-wait-for-model", "true")], question());
        let by_option = ask(&[], json!({"inputs": question()["inputs"], "options": {"wait_for_model": true}}));
        for client in [by_header, by_option] {
            let answer: Answer = client.join().expect("a client");
            assert_eq!((answer.status, answer.body), (200, expected()));
        }
    });
    assert_eq!(server.get("/health").status, 200);
}

/// A model of the local Hugging Face cache is served under its id.
#[test]
fn a_model_from_the_cache() {
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
    let answer = server.post("/models/org/tiny", &question());
    assert_eq!((answer.status, answer.body), (200, expected()));
}

/// Pages of other origins may ask if the command says so.
#[test]
fn other_origins() {
    let preflight = |server: &Server, origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        server.ask("OPTIONS", "/models/org/tiny", &headers, b"")
    };
    let ask = |server: &Server, origin: &str| {
        server.ask("POST", "/", &[("origin", origin)], question().to_string().as_bytes())
    };
    let closed = Server::with_tiny_mpnet(&[]);
    assert_eq!(preflight(&closed, "https://a.example").header("access-control-allow-origin"), None);
    assert_eq!(ask(&closed, "https://a.example").header("access-control-allow-origin"), None);

    // A key is not asked for by the preflight, which cannot have it.
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

/// A line for each request, with its id and times and without its texts.
#[test]
fn the_log() {
    let server = Server::with_tiny_mpnet(&["--log-format", "json"]);
    let headers = [("x-request-id", "mine-7"), ("authorization", "Bearer not-to-be-logged")];
    server.ask("POST", "/", &headers, question().to_string().as_bytes());
    server.ask("POST", "/models/other", &[("x-request-id", "mine-8")], question().to_string().as_bytes());
    let line = |id: &str| -> Value {
        let start = Instant::now();
        loop {
            let log = server.log();
            if let Some(line) = log.lines().find(|line| line.contains(id)) {
                return serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            }
            assert!(start.elapsed() < Duration::from_secs(20), "no {id} in {log}");
        }
    };
    let answered = line("mine-7");
    assert_eq!((&answered["status"], &answered["texts"]), (&json!(200), &json!(4)), "{answered}");
    assert_eq!((&answered["model"], &answered["level"]), (&json!("org/tiny"), &json!("INFO")), "{answered}");
    for time in ["tokenize_ms", "queue_ms", "compute_ms", "total_ms"] {
        assert!(answered[time].as_f64().is_some_and(|ms| (0.0..60_000.0).contains(&ms)), "{time}: {answered}");
    }
    assert_eq!((&answered["method"], &answered["path"]), (&json!("POST"), &json!("/")), "{answered}");
    let refused = line("mine-8");
    assert_eq!((&refused["status"], &refused["level"]), (&json!(404), &json!("WARN")), "{refused}");
    assert!(refused["error"].as_str().is_some_and(|why| why.contains("does not exist")), "{refused}");
    for secret in ["not-to-be-logged", "happy"] {
        assert!(!server.log().contains(secret), "{secret}");
    }
    let quiet = Server::with_tiny_mpnet(&["--log-level", "off"]);
    quiet.post("/", &json!(1));
    assert_eq!(quiet.log(), "");
}

/// A client that leaves stands in the log, too.
#[test]
fn the_log_of_those_who_leave() {
    let server = Server::with_tiny_mpnet(&["--body-timeout", "20"]);
    let mut stream = server.connect();
    let head = b"POST / HTTP/1.1\r\nhost: t\r\nx-request-id: gone-1\r\ncontent-length: 10\r\n\r\n{";
    std::io::Write::write_all(&mut stream, head).expect("sent");
    std::thread::sleep(Duration::from_millis(100));
    drop(stream);
    server.wait_until("it is in the log", || server.log().contains("gone-1"));
    let counted = || {
        server.metric("te_request_failure{err=\"client_disconnected\"}")
            + server.metric("te_request_failure{err=\"validation\"}")
    };
    assert_eq!(counted(), 1.0, "{}", server.get("/metrics").body);
}

/// Nor does a log that is open and not read hold it up: lines are left out, requests are not.
#[test]
fn a_log_that_is_not_read() {
    use std::io::{BufRead, BufReader};
    let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
    command.args(["serve", "--port", "0", "--model"]).arg(model("tiny-mpnet")).stderr(std::process::Stdio::piped());
    let mut process = command.spawn().expect("likewise");
    let mut line = String::new();
    let mut stderr = BufReader::new(process.stderr.take().expect("stderr"));
    while !line.starts_with("listening") {
        line.clear();
        stderr.read_line(&mut line).expect("a line");
    }
    let address = line.trim_start_matches("listening at http://").split(' ').next().expect("an address").to_owned();
    let stream = TcpStream::connect(&address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let mut connection = crate::server::Connection::over(stream);
    let body = json!({"inputs": "a", "options": {"wait_for_model": true}}).to_string();
    for i in 0..15_000 {
        assert_eq!(connection.post("/", &body).unwrap_or_else(|| panic!("no answer to request {i}")).0, 200);
    }
    process.kill().expect("killed");
    process.wait().expect("ended");
    drop(stderr);
}

/// A server whose log nobody reads any more goes on.
#[test]
fn a_log_without_a_reader() {
    use std::io::{BufRead, BufReader};
    let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
    command.args(["serve", "--port", "0", "--model"]).arg(model("tiny-mpnet")).stderr(std::process::Stdio::piped());
    let mut process = command.spawn().expect("likewise");
    let mut line = String::new();
    BufReader::new(process.stderr.take().expect("stderr")).read_line(&mut line).expect("a line");
    let address = line.trim_start_matches("listening at http://").split(' ').next().expect("an address").to_owned();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(&address).expect("a connection");
        let request =
            crate::server::request("POST", "/", &[("x-wait-for-model", "true")], question().to_string().as_bytes());
        std::io::Write::write_all(&mut stream, &request).expect("sent");
        assert_eq!(crate::server::read_answer(&mut stream).status, 200);
    }
    process.kill().expect("killed");
    process.wait().expect("ended");
}

#[test]
fn metrics() {
    let server = Server::with_tiny_mpnet(&[]);
    server.post("/", &question());
    server.post("/", &json!({"inputs": "one"}));
    server.post("/", &json!({"inputs": 1}));
    server.post("/models/other", &question());
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
    assert!(text.contains("precision=\"f32\",threads=\"2\"} 1"), "{text}");
}

/// Two processes that serve the same converted model have its weights in memory once.
#[cfg(target_os = "linux")]
#[test]
fn processes_share_a_converted_model() {
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
        // In a file system in memory, pages stay dirty.
        let shared = maps["Shared_Clean"] + maps["Shared_Dirty"];
        let [resident, share] = ["Rss", "Pss"].map(|key| maps[key]);
        println!("{packed} kB packed: {resident} resident, {shared} shared, {share} if shared ones count half");
        assert!(resident > packed * 95 / 100, "it has been used");
        assert!(shared == resident && share * 2 <= resident + 1, "and every page of it by both: {maps:?}");
        // Nor are they anywhere else in the process.
        assert!(server.resident_kb() < packed * 3 / 2, "{} kB in all", server.resident_kb());
    }
}
