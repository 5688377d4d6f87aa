//! The log on stderr.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::{Server, example_body};
use crate::common::model;

/// Each request has a line with its id and times.
#[test]
fn log_has_a_line_per_request_without_texts_or_keys() {
    let server = Server::with_tiny_mpnet(&["--log-format", "json"]);
    let headers = [("x-request-id", "mine-7"), ("authorization", "Bearer not-to-be-logged")];
    server.send_request("POST", "/", &headers, example_body().to_string().as_bytes());
    server.send_request("POST", "/models/other", &[("x-request-id", "mine-8")], example_body().to_string().as_bytes());
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
    let rejected = line("mine-8");
    assert_eq!((&rejected["status"], &rejected["level"]), (&json!(404), &json!("WARN")), "{rejected}");
    assert!(rejected["error"].as_str().is_some_and(|why| why.contains("does not exist")), "{rejected}");
    for secret in ["not-to-be-logged", "happy"] {
        assert!(!server.log().contains(secret), "{secret}");
    }
    let quiet = Server::with_tiny_mpnet(&["--log-level", "off"]);
    quiet.post("/", &json!(1));
    assert_eq!(quiet.log(), "");
}

/// The log and the metrics count a client that disconnects.
#[test]
fn log_reports_clients_that_disconnect() {
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

/// The server drops lines of a log that is not read, and answers all requests.
#[test]
fn log_that_is_not_read_does_not_block_requests() {
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
    let mut connection = super::harness::Connection::over(stream);
    let body = json!({"inputs": "a", "options": {"wait_for_model": true}}).to_string();
    for i in 0..15_000 {
        assert_eq!(connection.post("/", &body).unwrap_or_else(|| panic!("no response to request {i}")).0, 200);
    }
    process.kill().expect("killed");
    process.wait().expect("ended");
    drop(stderr);
}

/// The server continues after the reader of its log has exited.
#[test]
fn log_whose_reader_has_exited_does_not_block_requests() {
    use std::io::{BufRead, BufReader};
    let mut command = Command::new(env!("CARGO_BIN_EXE_likewise"));
    command.args(["serve", "--port", "0", "--model"]).arg(model("tiny-mpnet")).stderr(std::process::Stdio::piped());
    let mut process = command.spawn().expect("likewise");
    let mut line = String::new();
    BufReader::new(process.stderr.take().expect("stderr")).read_line(&mut line).expect("a line");
    let address = line.trim_start_matches("listening at http://").split(' ').next().expect("an address").to_owned();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(&address).expect("a connection");
        let request = super::harness::request(
            "POST",
            "/",
            &[("x-wait-for-model", "true")],
            example_body().to_string().as_bytes(),
        );
        std::io::Write::write_all(&mut stream, &request).expect("sent");
        assert_eq!(super::harness::read_response(&mut stream).status, 200);
    }
    process.kill().expect("killed");
    process.wait().expect("ended");
}
