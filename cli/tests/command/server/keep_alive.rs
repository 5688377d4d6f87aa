//! Connections between two requests: how long they stay open, and what announces that.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use super::harness::{Connection, Response, Server, request};
use crate::common::model;

const BODY: &str = "{\"inputs\": \"a\"}";

/// Sends a request without reading until the end of the connection.
fn send_on(stream: &mut TcpStream, request: &[u8]) -> Response {
    stream.write_all(request).expect("sent");
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
            let response = Response { status, head, body: body.to_owned() };
            let length: usize = response.header("content-length").expect("a length").parse().expect("a length");
            if response.body.len() >= length {
                return response;
            }
        }
        let count = stream.read(&mut part).expect("a response");
        assert!(count > 0, "the connection ended without a response: {text:?}");
        bytes.extend_from_slice(&part[..count]);
    }
}

fn keep_alive_request(version: &str, headers: &str) -> Vec<u8> {
    let length = BODY.len();
    format!("POST / HTTP/{version}\r\nhost: test\r\n{headers}content-length: {length}\r\n\r\n{BODY}").into_bytes()
}

/// Waits until the server closes a connection, and returns how long that took.
fn time_until_closed(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    match stream.read(&mut [0; 64]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("expected the end of the connection, found {other:?}"),
    }
    start.elapsed()
}

#[test]
fn response_announces_how_long_the_connection_stays_open() {
    let mut server = Server::with_tiny_mpnet(&[]);
    for (version, headers, expected) in [
        ("1.1", "", Some("timeout=180")),
        ("1.1", "connection: keep-alive\r\n", Some("timeout=180")),
        ("1.1", "connection: close\r\n", None),
        ("1.1", "connection: TE, Close\r\n", None),
        ("1.0", "", None),
        ("1.0", "connection: keep-alive\r\n", Some("timeout=180")),
    ] {
        let response = send_on(&mut server.connect(), &keep_alive_request(version, headers));
        assert_eq!((response.status, response.header("keep-alive")), (200, expected), "{version} {headers:?}");
    }
    // The next response of an open connection announces the shutdown instead.
    let mut stream = server.connect();
    let invalid = b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(send_on(&mut stream, invalid).header("keep-alive"), Some("timeout=180"));
    server.terminate();
    let mut last = Response { status: 0, head: String::new(), body: String::new() };
    // The signal may arrive after the next request.
    while last.header("connection") != Some("close") {
        last = send_on(&mut stream, &keep_alive_request("1.1", ""));
    }
    assert_eq!(last.header("keep-alive"), None, "{last:?}");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn idle_connection_closes_after_the_announced_time() {
    let server = Server::with_tiny_mpnet(&["--idle-timeout", "1", "--header-timeout", "30"]);
    let mut stream = server.connect();
    for _ in 0..2 {
        let response = send_on(&mut stream, &keep_alive_request("1.1", ""));
        assert_eq!(response.header("keep-alive"), Some("timeout=1"), "{response:?}");
        // The time starts again with each response.
        std::thread::sleep(Duration::from_millis(600));
    }
    send_on(&mut stream, &keep_alive_request("1.1", ""));
    let idle = time_until_closed(&mut stream);
    assert!((Duration::from_millis(1000)..Duration::from_secs(5)).contains(&idle), "{idle:?}");
    // So does a connection without any request.
    let idle = time_until_closed(&mut server.connect());
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&idle), "{idle:?}");
}

/// The time for a head does not limit the time before it, and begins with its first byte.
#[test]
fn slow_head_closes_the_connection_but_an_idle_time_does_not() {
    let server = Server::with_tiny_mpnet(&["--header-timeout", "0.5"]);
    let bytes = request("POST", "/", &[], BODY.as_bytes());
    let mut fresh = server.connect();
    let mut reused = server.connect();
    send_on(&mut reused, &keep_alive_request("1.1", ""));
    std::thread::sleep(Duration::from_millis(800));
    for stream in [&mut fresh, &mut reused] {
        assert_eq!(send_on(stream, &keep_alive_request("1.1", "")).status, 200);
        // One byte at a time, each much sooner than the timeout.
        stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let start = Instant::now();
        let mut next = bytes.iter();
        loop {
            drop(next.next().map(|byte| stream.write_all(std::slice::from_ref(byte))));
            match stream.read(&mut [0; 64]) {
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
                _ => break,
            }
            assert!(start.elapsed() < Duration::from_secs(5), "a slow head keeps its connection");
        }
        assert!(start.elapsed() >= Duration::from_millis(450), "{:?}", start.elapsed());
    }
}

/// A request in flight may take longer than either timeout of the connection.
#[test]
fn request_longer_than_the_idle_timeout_is_answered() {
    let server = Server::with_tiny_mpnet(&["--idle-timeout", "0.2", "--header-timeout", "0.2", "--body-timeout", "30"]);
    let bytes = keep_alive_request("1.1", "");
    let (first, second) = bytes.split_at(bytes.len() - 5);
    let mut stream = server.connect();
    stream.write_all(first).expect("sent");
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(send_on(&mut stream, second).status, 200);
}

/// Clients that keep their connections do not lock out others when the process may open no more
/// files.
#[test]
fn new_client_takes_the_place_of_the_longest_idle_connection() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_likewise"), "serve", "--port", "0"]);
    command.args(["--threads", "2", "--model"]).arg(model("tiny-mpnet"));
    let server = Server::of(command);
    server.wait_until_ready();
    let mut connections: Vec<Connection> = Vec::new();
    for i in 0..120 {
        let mut connection = Connection::to(&server);
        assert_eq!(connection.post("/", BODY).map(|(status, _)| status), Some(200), "connection {i}");
        connections.push(connection);
    }
    // The latest connections are still open.
    for connection in connections.iter_mut().rev().take(10) {
        assert_eq!(connection.post("/", BODY).map(|(status, _)| status), Some(200));
    }
}
