//! The end of a server, with and without clients.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use likewise::Embedder;
use serde_json::json;

use crate::common::model;
use crate::server::{Connection, Server, read_answer, request};

/// Told to end, the server finishes what it has begun and takes nothing new.
#[test]
fn an_orderly_end() {
    let mut server = Server::with_tiny_mpnet(&[]);
    let body = json!({"inputs": vec!["a sentence of some words, to be embedded again and again"; 5000]});
    let mut stream = TcpStream::connect(&server.address).expect("a connection");
    stream.write_all(&request("POST", "/", &[], body.to_string().as_bytes())).expect("sent");
    while server.metric("likewise_requests_in_flight") == 0.0 {
        assert_eq!(server.metric("te_embed_count"), 0.0, "it was answered before it could be told to end");
    }
    server.terminate();
    let answer = read_answer(&mut stream);
    assert_eq!((answer.status, answer.json().as_array().map(Vec::len)), (200, Some(5000)));
    assert_eq!(server.exit_code(), Some(0));
    assert!(TcpStream::connect(&server.address).is_err(), "nobody listens any more");
}

/// No request that was accepted is lost when the server is told to end while many come in, on connections of their own and
/// on such that are kept.
#[test]
fn the_end_under_load() {
    let mut server = Server::with_tiny_mpnet(&["--response-cache-bytes", "0"]);
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    let expected = library.embed(&["some words for a vector"]).expect("vectors");
    let expected = serde_json::to_string(expected.row(0)).expect("JSON");
    let body = json!({"inputs": "some words for a vector"}).to_string();
    let answered: usize = std::thread::scope(|scope| {
        let (server, body, expected) = (&server, &body, &expected);
        // Each ends when its connection is refused: then the server has ended.
        let once = move || {
            let mut answered = 0;
            while let Ok(mut stream) = TcpStream::connect(&server.address) {
                if stream.write_all(&request("POST", "/", &[], body.as_bytes())).is_err() {
                    continue;
                }
                let mut bytes = Vec::new();
                let read = std::io::Read::read_to_end(&mut stream, &mut bytes);
                let text = String::from_utf8(bytes).expect("UTF-8");
                // A connection that the server has never taken is reset. One that it has taken is answered in full.
                if text.is_empty() && read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset) {
                    continue;
                }
                assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with(expected.as_str()), "lost: {text:?}");
                answered += 1;
            }
            answered
        };
        let kept = move || {
            let mut answered = 0;
            while let Ok(stream) = TcpStream::connect(&server.address) {
                let mut connection = Connection::over(stream);
                for turn in 0.. {
                    match connection.post("/", body) {
                        Some((status, answer)) => assert_eq!((status, answer.as_str()), (200, expected.as_str())),
                        // Never taken, like above.
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
        };
        let mut clients: Vec<_> = (0..16).map(|_| scope.spawn(once)).collect();
        clients.extend((0..16).map(|_| scope.spawn(kept)));
        std::thread::sleep(Duration::from_millis(700));
        server.terminate();
        clients.into_iter().map(|client| client.join().expect("a client")).sum()
    });
    assert_eq!(server.exit_code(), Some(0));
    // The server's own count, when its log has arrived.
    let logged =
        || server.log().lines().filter(|line| line.contains("path=\"/\"") && line.contains("status=200")).count();
    server.wait_until("it has ended", || server.log().contains("ended"));
    println!("{answered} answered before the end, {} logged", logged());
    assert!(answered > 100, "{answered}");
    assert_eq!(logged(), answered, "the server answered requests that no client saw answered");
}

/// Keep-alive connections on which nothing happens do not hold up the end.
#[test]
fn idle_connections_do_not_hold_up_the_end() {
    for signal in ["-TERM", "-INT"] {
        let mut server = Server::with_tiny_mpnet(&["--shutdown-timeout", "30"]);
        let mut connection = Connection::to(&server);
        assert_eq!(connection.post("/", "{\"inputs\": \"a\"}").expect("an answer").0, 200);
        let start = std::time::Instant::now();
        server.signal(signal);
        assert_eq!(server.exit_code(), Some(0), "{signal}");
        assert!(start.elapsed() < Duration::from_secs(5), "{signal}: {:?}", start.elapsed());
    }
}

/// Told twice, it ends at once.
#[test]
fn told_twice() {
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

/// Tokenizing cannot be stopped half-way, but it is not waited for.
#[test]
fn the_grace_time_and_tokenizing() {
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

/// What takes longer than the grace time is given up.
#[test]
fn the_grace_time() {
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
