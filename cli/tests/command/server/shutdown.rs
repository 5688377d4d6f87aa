//! Shutting down, with and without clients.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use likewise::Embedder;
use serde_json::json;

use super::harness::{Connection, Server, read_response, request};
use crate::common::model;

/// After a signal the server finishes requests in flight and accepts no new ones.
#[test]
fn shutdown_finishes_requests_in_flight() {
    let mut server = Server::with_tiny_mpnet(&[]);
    let body = json!({"inputs": vec!["a sentence of some words, to be embedded again and again"; 5000]});
    let mut stream = TcpStream::connect(&server.address).expect("a connection");
    stream.write_all(&request("POST", "/", &[], body.to_string().as_bytes())).expect("sent");
    while server.metric("likewise_requests_in_flight") == 0.0 {
        assert_eq!(server.metric("te_embed_count"), 0.0, "the request completed before the shutdown");
    }
    server.terminate();
    let response = read_response(&mut stream);
    assert_eq!((response.status, response.json().as_array().map(Vec::len)), (200, Some(5000)));
    assert_eq!(server.exit_code(), Some(0));
    assert!(TcpStream::connect(&server.address).is_err(), "the server still listens");
}

/// Sends requests on one connection each until the server has ended, and counts the responses.
fn send_on_new_connections(server: &Server, body: &str, expected: &str) -> usize {
    let mut answered = 0;
    while let Ok(mut stream) = TcpStream::connect(&server.address) {
        if stream.write_all(&request("POST", "/", &[], body.as_bytes())).is_err() {
            continue;
        }
        let mut bytes = Vec::new();
        let read = std::io::Read::read_to_end(&mut stream, &mut bytes);
        let text = String::from_utf8(bytes).expect("UTF-8");
        // A connection that the server has not accepted is reset. Every accepted one gets a
        // complete response.
        if text.is_empty() && read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset) {
            continue;
        }
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with(expected), "lost: {text:?}");
        answered += 1;
    }
    answered
}

/// Sends requests on connections that are reused until the server has ended, and counts the
/// responses.
fn send_on_reused_connections(server: &Server, body: &str, expected: &str) -> usize {
    let mut answered = 0;
    while let Ok(stream) = TcpStream::connect(&server.address) {
        let mut connection = Connection::over(stream);
        for turn in 0.. {
            match connection.post("/", body) {
                Some((status, response)) => assert_eq!((status, response.as_str()), (200, expected)),
                // The server has not accepted the connection.
                None if turn == 0 => break,
                None => panic!("the {turn}th request of a connection was lost"),
            }
            answered += 1;
            if connection.will_close() {
                break;
            }
        }
    }
    answered
}

/// A shutdown under load loses no accepted request, on new connections and on reused ones.
#[test]
fn shutdown_under_load_loses_no_request() {
    let mut server = Server::with_tiny_mpnet(&["--response-cache-bytes", "0"]);
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    let expected = library.embed(&["some words for a vector"]).expect("vectors");
    let expected = serde_json::to_string(expected.row(0)).expect("JSON");
    let body = json!({"inputs": "some words for a vector"}).to_string();
    let answered: usize = std::thread::scope(|scope| {
        let server = &server;
        let body = body.as_str();
        let expected = expected.as_str();
        let mut clients = Vec::new();
        for _ in 0..16 {
            clients.push(scope.spawn(move || send_on_new_connections(server, body, expected)));
            clients.push(scope.spawn(move || send_on_reused_connections(server, body, expected)));
        }
        std::thread::sleep(Duration::from_millis(700));
        server.terminate();
        clients.into_iter().map(|client| client.join().expect("a client")).sum()
    });
    assert_eq!(server.exit_code(), Some(0));
    // The server's own count, once its log is complete.
    let logged =
        || server.log().lines().filter(|line| line.contains("path=\"/\"") && line.contains("status=200")).count();
    server.wait_until("it has ended", || server.log().contains("ended"));
    println!("{answered} answered before the end, {} logged", logged());
    assert!(answered > 100, "{answered}");
    assert_eq!(logged(), answered, "the server answered requests that no client saw answered");
}

/// Idle keep-alive connections do not delay the shutdown.
#[test]
fn shutdown_with_idle_connections_is_fast() {
    for signal in ["-TERM", "-INT"] {
        let mut server = Server::with_tiny_mpnet(&["--shutdown-timeout", "30"]);
        let mut connection = Connection::to(&server);
        assert_eq!(connection.post("/", "{\"inputs\": \"a\"}").expect("a response").0, 200);
        let start = std::time::Instant::now();
        server.signal(signal);
        assert_eq!(server.exit_code(), Some(0), "{signal}");
        assert!(start.elapsed() < Duration::from_secs(5), "{signal}: {:?}", start.elapsed());
    }
}

/// The second signal ends the server at once.
#[test]
fn second_signal_exits_immediately() {
    let mut server = Server::with_tiny_mpnet(&["--shutdown-timeout", "60", "--body-timeout", "60"]);
    let mut stream = server.connect();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\n{").expect("sent");
    std::thread::sleep(Duration::from_millis(200));
    let start = std::time::Instant::now();
    server.terminate();
    server.wait_until("it is ending", || server.log().contains("shutting down"));
    server.signal("-INT");
    assert_eq!(server.exit_code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

/// Tokenization of a text cannot be interrupted, but the server does not wait for it.
#[test]
fn shutdown_timeout_does_not_wait_for_tokenization() {
    let mut server = Server::with_tiny_mpnet(&["--shutdown-timeout", "0.3"]);
    let body = json!({"inputs": "x".repeat(1_900_000)}).to_string();
    let streams: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(&request("POST", "/tokenize", &[], body.as_bytes())).expect("sent");
            stream
        })
        .collect();
    server.wait_until("a request is there", || server.metric("likewise_requests_in_flight") > 0.0);
    let start = std::time::Instant::now();
    server.terminate();
    assert_eq!(server.exit_code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(streams);
}

/// Requests that take longer than the shutdown timeout are aborted.
#[test]
fn shutdown_timeout_aborts_long_requests() {
    let options = ["--shutdown-timeout", "0.3", "--payload-limit", "20000000", "--max-queued-tokens", "10000000"];
    let mut server = Server::with_tiny_mpnet(&options);
    let body = json!({"inputs": vec!["a sentence of some words ".repeat(12); 10_000]}).to_string();
    let mut stream = server.connect();
    stream.write_all(&request("POST", "/", &[], body.as_bytes())).expect("sent");
    server.wait_until("something waits", || server.metric("te_queue_size{model=\"org/tiny\"}") > 0.0);
    let start = std::time::Instant::now();
    server.terminate();
    assert_eq!(server.exit_code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
