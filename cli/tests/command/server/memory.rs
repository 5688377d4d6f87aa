//! Memory: texts that are hard to tokenize, and large requests of every route.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::Server;
use crate::common::model;

/// What `deploy/README.md` allows the memory to grow by, for good, after any burst.
const MAX_GROWTH_KB: u64 = 50 * 1024;

/// The bytes of a text.
const TEXT_BYTES: usize = 400_000;

/// Returns a part until it fills [`TEXT_BYTES`].
fn repeated(part: &str) -> String {
    part.repeat(TEXT_BYTES / part.len())
}

/// Texts without spaces, by name.
fn texts_without_spaces() -> Vec<(&'static str, String)> {
    let numbers: Vec<String> = (0..TEXT_BYTES / 6).map(|i| (i * 7919 % 100_000).to_string()).collect();
    let ideographs = (0..TEXT_BYTES / 3).filter_map(|i| char::from_u32(0x4e00 + (i * 7919 % 0x5000) as u32));
    vec![
        ("dots", repeated(".")),
        ("numbers with commas", numbers.join(",")),
        ("minified JSON", repeated("{\"id\":17,\"values\":[0.25,-1e9,null]},")),
        ("base64", repeated("aGVsbG8gd29ybGQ+L3dvcmxkLg")),
        ("Chinese", ideographs.collect()),
        ("Chinese lines", repeated("今天天气很好，我们去公园散步。\n")),
        ("an endless word", repeated("x")),
        ("emoji", repeated("😀🎉")),
        ("line breaks", repeated("\n")),
        ("tabs", repeated("\t")),
        ("no-break spaces", repeated("\u{a0}")),
        ("Thai", repeated("สวัสดีครับยินดีต้อนรับ")),
        ("Japanese", repeated("これはとてもながいぶんしょうです")),
        ("Korean", repeated("안녕하세요반갑습니다")),
        ("combining marks", format!("e{}", repeated("\u{301}"))),
        ("zero-width spaces", repeated("\u{200b}")),
        // JSON writes each as six bytes, and the body must stay below its limit.
        ("control characters", "\u{1}".repeat(TEXT_BYTES / 2)),
        ("long normalized forms", repeated("\u{fdfa}")),
    ]
}

/// Sends a body from two clients at once. Returns the statuses.
fn post_from_two_clients(server: &Server, path: &str, body: &Value) -> Vec<u16> {
    let body = body.to_string();
    std::thread::scope(|scope| {
        let send = || server.send_request("POST", path, &[("x-use-cache", "0")], body.as_bytes()).status;
        let clients = [scope.spawn(send), scope.spawn(send)];
        clients.into_iter().map(|client| client.join().expect("a client")).collect()
    })
}

/// Waits until the memory is that of `before` again, but for the tolerance.
fn check_memory_returns(server: &Server, before: u64, what: &str) {
    let start = Instant::now();
    while server.resident_kb() > before + MAX_GROWTH_KB {
        let after = server.resident_kb();
        assert!(start.elapsed() < Duration::from_secs(3), "{what}: {before} kB before, {after} kB after");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn texts_without_spaces_are_answered_or_rejected_in_bounded_memory() {
    let models = ["tiny-mpnet", "tiny-xlm-roberta"];
    let served = models.map(|name| format!("{name}={}", model(name).display()));
    let server = Server::start(&served, &["--log-level", "error"]);
    server.wait_until_ready();
    let tokenizing = tokenizing_kb(models[0]);
    for name in models {
        server.post("/embed", &json!({"model": name, "inputs": "a text"}));
    }
    let before = server.resident_kb();
    for (what, text) in texts_without_spaces() {
        for name in models {
            let statuses = post_from_two_clients(&server, "/embed", &json!({"model": name, "inputs": text}));
            assert!(statuses.iter().all(|status| [200, 422].contains(status)), "{name}, {what}: {statuses:?}");
            check_memory_returns(&server, before, &format!("{name}, {what}"));
        }
    }
    // Two bodies, parsed, and the texts in them.
    let requests = 2 * 8 * TEXT_BYTES as u64 / 1024;
    let peak = server.peak_kb();
    println!("{before} kB before, {peak} kB at most, {tokenizing} kB predicted for tokenizing");
    assert!(peak < before + tokenizing + requests, "{before} kB before, {peak} kB at most, {tokenizing} kB predicted");
}

/// The memory for tokenizing that `likewise info` predicts, in kB.
fn tokenizing_kb(name: &str) -> u64 {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_likewise"));
    let output = command.args(["info", "--json", "--threads", "2", "--model"]).arg(model(name)).output();
    let info: Value = serde_json::from_slice(&output.expect("likewise").stdout).expect("JSON");
    info["tokenizing_bytes"].as_u64().expect("bytes") / 1024
}

#[test]
fn large_requests_of_every_route_return_their_memory() {
    let server = Server::with_tiny_mpnet(&["--log-level", "error"]);
    server.post("/embed", &json!({"inputs": "a text"}));
    let before = server.resident_kb();
    let numbers = texts_without_spaces().swap_remove(1).1;
    let ids: Vec<u32> = (0..300_000).map(|i| i % 50).collect();
    let lists: Vec<&[u32]> = ids.chunks(100).collect();
    let texts: Vec<String> = (0..10_000).map(|i| format!("the text of number {i} ").repeat(2)).collect();
    let requests = [
        ("/tokenize", json!({"inputs": numbers}), 200),
        ("/tokenize", json!({"inputs": texts}), 200),
        ("/tokenize", json!({"inputs": repeated("x")}), 422),
        ("/embed_all", json!({"inputs": [numbers, "a b"]}), 200),
        ("/similarity", json!({"source_sentence": numbers, "sentences": [numbers, repeated(".")]}), 200),
        ("/v1/embeddings", json!({"model": "tiny", "input": [numbers, "a"]}), 200),
        ("/embed", json!({"inputs": texts[..3_000]}), 200),
        ("/embed", json!({"inputs": numbers, "truncation_direction": "left"}), 200),
    ];
    for (path, body, expected) in requests {
        let statuses = post_from_two_clients(&server, path, &body);
        assert_eq!(statuses, [expected; 2], "{path}");
        check_memory_returns(&server, before, path);
    }
    // A body of numbers takes 32 bytes for each, which deploy/README.md counts separately.
    for (body, expected) in [(json!({"ids": ids}), 422), (json!({"ids": lists}), 200)] {
        assert_eq!(post_from_two_clients(&server, "/decode", &body), [expected; 2]);
    }
}

/// A parsed list or object takes up to a hundred times its bytes.
#[test]
fn body_of_small_lists_and_objects_is_rejected_in_bounded_memory() {
    let server = Server::with_tiny_mpnet(&["--log-level", "error"]);
    let before = server.resident_kb();
    for part in ["{\"\":0},", "[0],", "[[[]]],"] {
        let body = format!("{{\"inputs\":[{}1]}}", part.repeat(1_900_000 / part.len()));
        let response = server.send_request("POST", "/embed", &[], body.as_bytes());
        assert_eq!((response.status, response.body.contains("lists and objects")), (422, true), "{response:?}");
        check_memory_returns(&server, before, part);
    }
    // Brackets in texts are not lists.
    let texts = vec!["[\"[{ \\"; 9_000];
    assert_eq!(server.post("/embed", &json!({"inputs": texts.join(" ")})).status, 200);
    println!("{before} kB before, {} kB at most", server.peak_kb());
    assert!(server.peak_kb() < before + MAX_GROWTH_KB);
}

#[test]
fn text_without_a_boundary_is_rejected_beyond_the_limit() {
    let server = Server::with_tiny_mpnet(&["--max-unsplit-characters", "20000"]);
    let post = |text: &str| server.post("/embed", &json!({"inputs": ["a", text]}));
    assert_eq!(post(&"x".repeat(20_000)).status, 200);
    let rejected = post(&"x".repeat(20_001));
    assert_eq!(rejected.status, 422, "{rejected:?}");
    for part in ["text 1", "20001 characters", "--max-unsplit-characters"] {
        assert!(rejected.body.contains(part), "{part}: {rejected:?}");
    }
    // The limit is for the part, not for the text.
    assert_eq!(post(&format!("{} ", "x".repeat(15_000)).repeat(4)).status, 200);
    assert_eq!(post(&".".repeat(200_000)).status, 200);
}
