//! Many clients, too many clients, and clients that take much.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use likewise::Embedder;
use serde_json::json;

use crate::common::{model, same_bits};
use crate::server::{Connection, Server, read_answer, request};

/// The texts of many requests share passes. Each must get its own answer, with the bits that it has alone.
#[test]
fn many_clients_at_once() {
    for tokens in ["192", "1", "5000"] {
        many_clients(&Server::with_tiny_mpnet(&["--max-batch-tokens", tokens]));
    }
}

fn many_clients(server: &Server) {
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    std::thread::scope(|scope| {
        for client in 0..16 {
            let library = &library;
            scope.spawn(move || {
                for turn in 0..8 {
                    let count = 1 + (client * 7 + turn * 3) % 40;
                    let texts: Vec<String> =
                        (0..count).map(|i| format!("client {client} turn {turn} text {i}")).collect();
                    let answer = server.post("/", &json!({"inputs": texts})).json();
                    let expected = library.embed(&texts).expect("vectors");
                    let rows = answer.as_array().expect("rows");
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

/// What waits beyond the limit is refused, and everything else is answered.
#[test]
fn a_queue_that_is_full() {
    let server = Server::with_tiny_mpnet(&["--max-queued-tokens", "12000"]);
    let body = json!({"inputs": vec!["some words that take a few tokens each"; 400]});
    // What is more than may ever wait is refused for good.
    let never = server.post("/", &json!({"inputs": vec!["some words that take a few tokens each"; 1000]}));
    assert_eq!((never.status, never.body.contains("the limit is 12000")), (422, true), "{never:?}");
    let mut refused = false;
    // Whether two clients meet in the queue is a matter of luck, so they try more than once.
    for _ in 0..20 {
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..12).map(|_| scope.spawn(|| server.post("/", &body).status)).collect();
            clients.into_iter().map(|client| client.join().expect("a client")).collect()
        });
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
        assert!(statuses.contains(&200), "{statuses:?}");
        refused |= statuses.contains(&429);
        if refused {
            break;
        }
    }
    assert!(refused, "nobody was refused");
    assert_eq!(server.post("/", &body).status, 200);
}

/// However much waits, a short request is taken.
#[test]
fn large_requests_do_not_shut_out_small_ones() {
    let server = Server::with_tiny_mpnet(&[]);
    let large = json!({"inputs": vec!["a sentence of some words ".repeat(6); 1500]}).to_string();
    std::thread::scope(|scope| {
        let server = &server;
        let large = &large;
        let slow: Vec<_> = (0..3)
            .map(|_| scope.spawn(move || server.ask("POST", "/", &[("x-use-cache", "0")], large.as_bytes()).status))
            .collect();
        server.wait_until("something waits", || server.metric("te_queue_size{model=\"org/tiny\"}") > 0.0);
        for i in 0..10 {
            assert_eq!(server.post("/", &json!({"inputs": format!("small {i}")})).status, 200);
        }
        // Of the large ones those that do not fit are told to come again.
        for client in slow {
            assert!([200, 429].contains(&client.join().expect("a client")));
        }
    });
}

/// What a client that has left wanted is not computed, and its place in the queue is free.
#[test]
fn a_client_that_leaves() {
    let server = Server::with_tiny_mpnet(&["--payload-limit", "20000000", "--max-queued-tokens", "10000000"]);
    let count = 10_000;
    let body = json!({"inputs": vec!["a sentence of some words ".repeat(12); count]}).to_string();
    let mut stream = TcpStream::connect(&server.address).expect("a connection");
    stream.write_all(&request("POST", "/", &[], body.as_bytes())).expect("sent");
    let waiting = || server.metric("te_queue_size{model=\"org/tiny\"}");
    while waiting() == 0.0 {
        assert_eq!(server.metric("te_embed_count"), 0.0, "it was answered before it could leave");
    }
    drop(stream);
    server.wait_until("nothing waits", || waiting() == 0.0);
    let computed = server.metric("te_batch_next_size_sum");
    assert!(computed < count as f64, "{computed} texts were computed for nobody");
    assert_eq!(server.metric("likewise_queued_tokens{model=\"org/tiny\"}"), 0.0);
    assert_eq!(server.post("/", &json!({"inputs": "a"})).status, 200);
}

#[test]
fn an_answer_in_time_or_none() {
    let server = Server::with_tiny_mpnet(&["--request-timeout", "0.02"]);
    let long = json!({"inputs": vec!["a sentence of some words ".repeat(6); 5000]});
    let answer = server.post("/", &long);
    assert_eq!((answer.status, answer.body.contains("no response within 0.02 s")), (503, true), "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    // What waited for it left the queue.
    server.wait_until("nothing waits", || server.metric("te_queue_size{model=\"org/tiny\"}") == 0.0);
    let short = json!({"inputs": "a"});
    assert!((0..100).any(|_| server.post("/", &short).status == 200), "it does not recover");
}

/// One large request does not keep a small one waiting until it is done.
#[test]
fn fair_between_requests() {
    let server = Server::with_tiny_mpnet(&["--payload-limit", "20000000", "--max-queued-tokens", "10000000"]);
    let large = json!({"inputs": vec!["a sentence of some words ".repeat(12); 10_000]}).to_string();
    std::thread::scope(|scope| {
        let server = &server;
        let slow = scope.spawn(move || server.ask("POST", "/", &[], large.as_bytes()).status);
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

/// 512 clients at once and a queue that is too small for them: each is answered or told to come again.
#[test]
fn more_clients_than_can_be_served() {
    let options = ["--max-queued-tokens", "1000", "--max-concurrent-requests", "200", "--log-level", "error"];
    let server = Server::with_tiny_mpnet(&options);
    let (mut answered, mut refused) = (0, 0);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let server = &server;
        let client = |client: usize| {
            move || {
                let mut connection = Connection::to(server);
                // Every other request is one of those that have to find room in the queue.
                let count = [2, 40][client % 2];
                let text = |turn| json!({"inputs": vec![format!("client {client} turn {turn}"); count]}).to_string();
                let post = |turn| connection.post("/", &text(turn)).expect("an answer").0;
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
            429 => refused += 1,
            other => panic!("{other}"),
        }
    }
    println!("512 clients, 10 requests each: {answered} answered, {refused} refused");
    assert!(answered > 0 && refused > 0);
    assert_eq!(server.metric("likewise_requests_in_flight"), 0.0);
    assert_eq!(server.post("/", &json!({"inputs": "a"})).status, 200);
}

/// Many clients with the largest of texts, some of whom leave, take no more memory than a few.
#[test]
fn memory_of_large_texts() {
    let server = Server::with_tiny_mpnet(&["--log-level", "error"]);
    let body = json!({"inputs": "x".repeat(1_900_000)}).to_string();
    let whole = request("POST", "/tokenize", &[], body.as_bytes());
    let mut most = 0;
    std::thread::scope(|scope| {
        let (server, whole) = (&server, &whole);
        let clients: Vec<_> = (0..12)
            .map(|i| {
                scope.spawn(move || {
                    let mut stream = server.connect();
                    stream.write_all(whole).expect("sent");
                    if i % 3 == 0 {
                        return None;
                    }
                    Some(read_answer(&mut stream).status)
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
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    assert!(most < 200_000 + cores * 350_000, "{most} kB");
    assert_eq!(server.post("/", &json!({"inputs": "a"})).status, 200);
}

/// A client that asks and does not read its answer is given up.
#[test]
fn a_client_that_does_not_read() {
    let server = Server::with_tiny_mpnet(&["--body-timeout", "0.5"]);
    let body = json!({"inputs": vec!["a"; 10_000]}).to_string();
    let mut stream = server.connect();
    stream.write_all(&request("POST", "/", &[], body.as_bytes())).expect("sent");
    let start = std::time::Instant::now();
    while !server.log().contains("status=200") {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", server.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    // More than fits into the buffers between is lost, so reading it now ends too early.
    std::thread::sleep(Duration::from_millis(1500));
    let mut bytes = Vec::new();
    drop(std::io::Read::read_to_end(&mut stream, &mut bytes));
    let length: usize = server.post("/", &json!({"inputs": vec!["a"; 10_000]})).body.len();
    assert!(bytes.len() < length, "{} of {length} bytes arrived", bytes.len());
}

/// A hundred thousand requests, each with texts of its own, leave no more memory behind than the first twenty thousand.
#[test]
fn memory_over_many_requests() {
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
                        assert_eq!(connection.post(path, &body.to_string()).expect("an answer").0, 200);
                    }
                });
            }
        });
    };
    round(0, 20_000);
    let before = server.resident_kb();
    round(20_000, 100_000);
    let after = server.resident_kb();
    println!("{before} kB after 20,000 requests, {after} kB after 100,000");
    // A tenth is the allocator's: a leak of ten bytes a request would be more.
    assert!(after < before + before / 10, "{before} kB, then {after} kB");
}
