//! How other programs speak HTTP: Java, proxies, load balancers, benchmarks and monitors. Each test
//! has the form of a public report (docs/reports.md).

use std::io::{Read, Write};
use std::net::Shutdown;

use super::harness::{Response, Server, read_response};
use crate::common::model;

const BODY: &str = r#"{"inputs": "a"}"#;

/// Sends a request whose head is given without its last lines. Returns the response.
fn send(server: &Server, head: &str, body: &str) -> Response {
    server.send(format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes())
}

/// Returns the response to an ordinary request.
fn expected(server: &Server) -> String {
    let response = send(server, "POST /embed HTTP/1.1\r\nhost: test\r\n", BODY);
    assert_eq!(response.status, 200, "{response:?}");
    response.body
}

#[test]
fn request_with_unusual_headers_gets_its_response() {
    let server = Server::with_tiny_mpnet(&[]);
    let expected = expected(&server);
    let cookie = format!("POST /embed HTTP/1.1\r\nhost: test\r\ncookie: {}\r\n", "a".repeat(50_000));
    for (what, head) in [
        ("an address as proxies receive it", "POST http://example.org/embed HTTP/1.1\r\nhost: test\r\n"),
        ("an old version", "POST /embed HTTP/1.0\r\n"),
        ("the cookies of a single sign-on", cookie.as_str()),
        ("another type of content", "POST /embed HTTP/1.1\r\nhost: test\r\ncontent-type: text/plain\r\n"),
        ("a query", "POST /embed?api-version=1 HTTP/1.1\r\nhost: test\r\n"),
    ] {
        let response = send(&server, head, BODY);
        assert_eq!((response.status, &response.body), (200, &expected), "{what}");
    }
}

/// Java's HttpClient offers HTTP/2 with each request. A server that ignores the offer must still
/// read the body.
#[test]
fn offer_of_http2_does_not_lose_the_body() {
    let server = Server::with_tiny_mpnet(&[]);
    let expected = expected(&server);
    let head = "POST /embed HTTP/1.1\r\nhost: test\r\nconnection: Upgrade, HTTP2-Settings, close\r\nupgrade: h2c\r\n\
                http2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n";
    let chunked = format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    let counted = format!("content-length: {}\r\n\r\n{BODY}", BODY.len());
    for end in [chunked, counted] {
        let response = server.send(format!("{head}{end}").as_bytes());
        assert_eq!((response.status, &response.body), (200, &expected), "{end}");
    }
}

/// curl waits for a second before it sends a large body, unless the server answers.
#[test]
fn expectation_of_100_continue_is_answered_before_the_body() {
    let server = Server::with_tiny_mpnet(&[]);
    let expected = expected(&server);
    let mut stream = server.connect();
    let head = format!(
        "POST /embed HTTP/1.1\r\nhost: test\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        BODY.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).expect("an answer before the body");
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(BODY.as_bytes()).expect("sent");
    let response = read_response(&mut stream);
    assert_eq!((response.status, response.body), (200, expected));
}

/// Load balancers and monitors check a server by HEAD.
#[test]
fn head_request_gets_the_status_of_get_without_a_body() {
    let server = Server::with_tiny_mpnet(&[]);
    for path in ["/", "/health", "/ping", "/info", "/v1/models", "/metrics", "/missing"] {
        let get = server.get(path);
        let head = server.send_request("HEAD", path, &[], b"");
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = Server::with_tiny_mpnet(&[]);
    let request = |text: &str, more: &str| {
        let body = format!(r#"{{"inputs": "{text}", "dimensions": 4}}"#);
        format!("POST /embed HTTP/1.1\r\nhost: test\r\n{more}content-length: {}\r\n\r\n{body}", body.len())
    };
    let alone = |text: &str| server.send(request(text, "connection: close\r\n").as_bytes()).body;
    let [first, second] = ["a", "another"].map(alone);
    assert_ne!(first, second);
    let mut stream = server.connect();
    let all = [request("a", ""), request("another", ""), request("a", "connection: close\r\n")].concat();
    stream.write_all(all.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("responses");
    let bodies: Vec<&str> = text.split("\r\n\r\n").skip(1).filter_map(|part| part.split("HTTP/1.1").next()).collect();
    assert_eq!(bodies, [&*first, &*second, &*first], "{text}");
}

/// A client that closes its side of a connection looks like one that has gone, so its texts leave
/// the queue. docs/http.md says so.
#[test]
fn client_that_closes_its_side_early_gets_no_response() {
    let server = Server::with_tiny_mpnet(&[]);
    let body = format!(r#"{{"inputs": ["{}"]}}"#, ["a b c d e f g"; 200].join(r#"", ""#));
    let mut stream = server.connect();
    let head = format!("POST /embed HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all([head, body].concat().as_bytes()).expect("sent");
    stream.shutdown(Shutdown::Write).expect("half closed");
    let mut bytes = Vec::new();
    // The server may also reset the connection.
    drop(stream.read_to_end(&mut bytes));
    assert_eq!(bytes.len(), 0);
    assert_eq!(server.get("/health").status, 200);
}

/// Prometheus rejects all metrics of a page if one label is not escaped.
#[test]
fn model_name_with_quotes_is_escaped_in_metrics() {
    let server = Server::start(&[format!("a\"b\\c={}", model("tiny-bert").display())], &[]);
    server.wait_until_ready();
    let text = server.get("/metrics").body;
    assert!(text.contains(r#"{architecture="BERT",kind="embedder",model="a\"b\\c","#), "{text}");
    assert_eq!(server.metric(r#"likewise_model_state{model="a\"b\\c",state="ready"}"#), 1.0, "{text}");
}

/// Editors on Windows write a byte order mark before the JSON that a client sends.
#[test]
fn byte_order_mark_before_a_body_is_ignored() {
    let server = Server::with_tiny_mpnet(&[]);
    let expected = expected(&server);
    let head = "POST /embed HTTP/1.1\r\nhost: test\r\n";
    let response = send(&server, head, &format!("\u{feff}{BODY}"));
    assert_eq!((response.status, response.body), (200, expected));
    let twice = send(&server, head, &format!("\u{feff}\u{feff}{BODY}"));
    assert_eq!(twice.status, 400, "{twice:?}");
}
