//! Load: many clients, too many clients, and expensive requests.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use likewise::Embedder;
use serde_json::json;

use super::harness::{Connection, Server, read_response, request};
use crate::common::{model, same_bits};

/// The texts of many requests share batches. Each vector must have the bits of the text alone.
#[test]
fn concurrent_clients_get_the_bits_of_the_library() {
    for tokens in ["192", "1", "5000"] {
        check_concurrent_clients(&Server::with_tiny_mpnet(&["--max-batch-tokens", tokens]));
    }
}

fn check_concurrent_clients(server: &Server) {
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    std::thread::scope(|scope| {
        for client in 0..16 {
            let library = &library;
            scope.spawn(move || {
                for turn in 0..8 {
                    let count = 1 + (client * 7 + turn * 3) % 40;
                    let texts: Vec<String> =
                        (0..count).map(|i| format!("client {client} turn {turn} text {i}")).collect();
                    let response = server.post("/", &json!({"inputs": texts})).json();
                    let expected = library.embed(&texts).expect("vectors");
                    let rows = response.as_array().expect("rows");
                    assert_eq!(rows.len(), count);
                    for (row, expected) in rows.iter().zip(expected.rows()) {
                        let row = row.as_array().expect("a row").iter().map(|x| x.as_f64().expect("a number") as f32);
                        assert!(same_bits(&row.collect::<Vec<_>>(), expected), "client {client}, turn {turn}");
                    }
                }
            });
        }
    });
}

/// Requests beyond the queue's limit are rejected, and all others are answered.
#[test]
fn full_queue_rejects_large_requests_with_429() {
    let server = Server::with_tiny_mpnet(&["--max-queued-tokens", "12000"]);
    let body = json!({"inputs": vec!["some words that take a few tokens each"; 400]});
    // A request with more tokens than the queue may hold can never be served.
    let never = server.post("/", &json!({"inputs": vec!["some words that take a few tokens each"; 1000]}));
    assert_eq!((never.status, never.body.contains("the limit is 12000")), (422, true), "{never:?}");
    let mut rejected = false;
    // Two clients meet in the queue only by chance, so they try several times.
    for _ in 0..20 {
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..12).map(|_| scope.spawn(|| server.post("/", &body).status)).collect();
            clients.into_iter().map(|client| client.join().expect("a client")).collect()
        });
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
        assert!(statuses.contains(&200), "{statuses:?}");
        rejected |= statuses.contains(&429);
        if rejected {
            break;
        }
    }
    assert!(rejected, "no request was rejected");
    assert_eq!(server.post("/", &body).status, 200);
}

/// A short request is admitted even if the queue is full.
#[test]
fn small_request_beside_a_full_queue_is_admitted() {
    let server = Server::with_tiny_mpnet(&[]);
    let large = json!({"inputs": vec!["a sentence of some words ".repeat(6); 1500]}).to_string();
    std::thread::scope(|scope| {
        let server = &server;
        let large = &large;
        let slow: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(move || server.send_request("POST", "/", &[("x-use-cache", "0")], large.as_bytes()).status)
            })
            .collect();
        server.wait_until("something waits", || server.metric("te_queue_size{model=\"org/tiny\"}") > 0.0);
        for i in 0..10 {
            assert_eq!(server.post("/", &json!({"inputs": format!("small {i}")})).status, 200);
        }
        // Large requests that do not fit into the queue are rejected.
        for client in slow {
            assert!([200, 429].contains(&client.join().expect("a client")));
        }
    });
}

/// The texts of a disconnected client are not computed, and their tokens no longer count.
#[test]
fn texts_of_a_disconnected_client_leave_the_queue() {
    let server = Server::with_tiny_mpnet(&["--payload-limit", "20000000", "--max-queued-tokens", "10000000"]);
    let count = 10_000;
    let body = json!({"inputs": vec!["a sentence of some words ".repeat(12); count]}).to_string();
    let mut stream = TcpStream::connect(&server.address).expect("a connection");
    stream.write_all(&request("POST", "/", &[], body.as_bytes())).expect("sent");
    let waiting = || server.metric("te_queue_size{model=\"org/tiny\"}");
    while waiting() == 0.0 {
        assert_eq!(server.metric("te_embed_count"), 0.0, "the request completed before the client could disconnect");
    }
    drop(stream);
    server.wait_until("nothing waits", || waiting() == 0.0);
    let computed = server.metric("te_batch_next_size_sum");
    assert!(computed < count as f64, "{computed} texts of the disconnected client were computed");
    assert_eq!(server.metric("likewise_queued_tokens{model=\"org/tiny\"}"), 0.0);
    assert_eq!(server.post("/", &json!({"inputs": "a"})).status, 200);
}

#[test]
fn request_beyond_the_timeout_gets_503() {
    let server = Server::with_tiny_mpnet(&["--request-timeout", "0.02"]);
    let long = json!({"inputs": vec!["a sentence of some words ".repeat(6); 5000]});
    let response = server.post("/", &long);
    assert_eq!((response.status, response.body.contains("no response within 0.02 s")), (503, true), "{response:?}");
    assert!(response.header("retry-after").is_some(), "{response:?}");
    // Its texts leave the queue.
    server.wait_until("nothing waits", || server.metric("te_queue_size{model=\"org/tiny\"}") == 0.0);
    let short = json!({"inputs": "a"});
    assert!((0..100).any(|_| server.post("/", &short).status == 200), "it does not recover");
}

/// A large request does not delay a small one until it is complete.
#[test]
fn small_request_beside_a_large_one_is_answered_first() {
    let server = Server::with_tiny_mpnet(&["--payload-limit", "20000000", "--max-queued-tokens", "10000000"]);
    let large = json!({"inputs": vec!["a sentence of some words ".repeat(12); 10_000]}).to_string();
    std::thread::scope(|scope| {
        let server = &server;
        let slow = scope.spawn(move || server.send_request("POST", "/", &[], large.as_bytes()).status);
        while server.metric("te_queue_size{model=\"org/tiny\"}") == 0.0 {
            assert!(!slow.is_finished());
        }
        for i in 0..5 {
            assert_eq!(server.post("/", &json!({"inputs": format!("small {i}")})).status, 200);
        }
        assert!(!slow.is_finished(), "the small ones waited for the large one");
        assert_eq!(slow.join().expect("a client"), 200);
    });
}

/// 512 clients and a queue that is too small for them: each request is answered or rejected with
/// 429.
#[test]
fn excess_clients_are_answered_or_get_429() {
    let options = ["--max-queued-tokens", "1000", "--max-concurrent-requests", "200", "--log-level", "error"];
    let server = Server::with_tiny_mpnet(&options);
    let mut answered = 0;
    let mut rejected = 0;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let server = &server;
        let client = |client: usize| {
            move || {
                let mut connection = Connection::to(server);
                // Every other request is too large to be always admitted.
                let count = [2, 40][client % 2];
                let text = |turn| json!({"inputs": vec![format!("client {client} turn {turn}"); count]}).to_string();
                let post = |turn| connection.post("/", &text(turn)).expect("a response").0;
                (0..10).map(post).collect::<Vec<u16>>()
            }
        };
        let spawn = |i| std::thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, client(i));
        let clients: Vec<_> = (0..512).map(|i| spawn(i).expect("a thread")).collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    for status in statuses {
        match status {
            200 => answered += 1,
            429 => rejected += 1,
            other => panic!("{other}"),
        }
    }
    println!("512 clients, 10 requests each: {answered} answered, {rejected} rejected");
    assert!(answered > 0 && rejected > 0);
    assert_eq!(server.metric("likewise_requests_in_flight"), 0.0);
    assert_eq!(server.post("/", &json!({"inputs": "a"})).status, 200);
}

/// Many clients with very long texts, some of which disconnect, take no more memory than a few.
#[test]
fn large_texts_of_many_clients_keep_memory_bounded() {
    let server = Server::with_tiny_mpnet(&["--log-level", "error"]);
    // Each of these characters is a token, and no space is between them.
    let body = json!({"inputs": ".".repeat(1_200_000)}).to_string();
    let whole = request("POST", "/tokenize", &[], body.as_bytes());
    let mut most = 0;
    std::thread::scope(|scope| {
        let server = &server;
        let whole = &whole;
        let clients: Vec<_> = (0..12)
            .map(|i| {
                scope.spawn(move || {
                    let mut stream = server.connect();
                    stream.write_all(whole).expect("sent");
                    if i % 3 == 0 {
                        return None;
                    }
                    Some(read_response(&mut stream).status)
                })
            })
            .collect();
        while clients.iter().any(|client| !client.is_finished()) {
            most = most.max(server.resident_kb());
            std::thread::sleep(Duration::from_millis(5));
        }
        for client in clients {
            assert!(client.join().expect("a client").is_none_or(|status| [200, 422].contains(&status)));
        }
    });
    println!("at most {} MB", most / 1000);
    // The response of at most 800,000 tokens takes about 60 MB, and as much while it grows.
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    assert!(most < 150_000 + cores * 150_000, "{most} kB");
    assert_eq!(server.post("/", &json!({"inputs": "a"})).status, 200);
}

/// The server closes the connection of a client that does not read its response.
#[test]
fn client_that_does_not_read_is_disconnected() {
    let server = Server::with_tiny_mpnet(&["--body-timeout", "0.5"]);
    let body = json!({"inputs": vec!["a"; 10_000]}).to_string();
    let mut stream = server.connect();
    stream.write_all(&request("POST", "/", &[], body.as_bytes())).expect("sent");
    let start = std::time::Instant::now();
    while !server.log().contains("status=200") {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", server.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    // The response is larger than the socket buffers, so a late reader receives only a part of it.
    std::thread::sleep(Duration::from_millis(1500));
    let mut bytes = Vec::new();
    drop(std::io::Read::read_to_end(&mut stream, &mut bytes));
    let length: usize = server.post("/", &json!({"inputs": vec!["a"; 10_000]})).body.len();
    assert!(bytes.len() < length, "{} of {length} bytes arrived", bytes.len());
}

/// Memory after 100,000 requests with different texts is about the same as after 20,000.
#[test]
fn memory_after_many_requests_does_not_grow() {
    let server = Server::with_tiny_mpnet(&["--response-cache-bytes", "1000000", "--log-level", "error"]);
    let round = |from: usize, to: usize| {
        std::thread::scope(|scope| {
            for client in 0..8 {
                let server = &server;
                scope.spawn(move || {
                    let mut connection = Connection::to(server);
                    for i in (from..to).skip(client).step_by(8) {
                        let body = json!({"inputs": {"source_sentence": format!("text {i}"), "sentences": ["a dog", "the sun"]}});
                        let path = ["/", "/models/org/tiny", "/similarity"][i % 3];
                        assert_eq!(connection.post(path, &body.to_string()).expect("a response").0, 200);
                    }
                });
            }
        });
    };
    round(0, 10_000);
    let before = server.resident_kb();
    round(10_000, 50_000);
    let after = server.resident_kb();
    println!("{before} kB after 10,000 requests, {after} kB after 50,000");
    // The tolerance of a tenth is for the allocator: a leak of forty bytes per request would exceed
    // it.
    assert!(after < before + before / 10, "{before} kB, then {after} kB");
}
