//! The Hugging Face Inference API.

use serde_json::json;

use crate::common::{model, same_bits};
use crate::server::{SENTENCES, SOURCE, Server, expected, numbers};
use likewise::Embedder;

#[test]
fn every_spelling_of_the_question() {
    // Without a cache, so that each is computed.
    let server = Server::with_tiny_mpnet(&["--response-cache-bytes", "0"]);
    let expected = expected();
    let (s, l) = (SOURCE, json!(SENTENCES));
    for body in [
        json!({"inputs": {"source_sentence": s, "sentences": l}}),
        json!({"inputs": {"sourceSentence": s, "sentences": l}}),
        json!({"source_sentence": s, "sentences": l}),
        json!({"inputs": null, "parameters": {}, "source_sentence": s, "sentences": l}),
        json!({"inputs": {"source_sentence": s, "sentences": l}, "parameters": {}}),
        json!({"inputs": {"sentences": l}, "parameters": {"source_sentence": s}}),
        json!({"inputs": {"sentences": l}, "parameters": {"sourceSentence": s}}),
        json!({"inputs": {"source_sentence": s, "sentences": l}, "options": {"use_cache": false, "wait_for_model": true}}),
        json!({"inputs": {"source_sentence": s, "sentences": l}, "parameters": {"truncate": true}, "model": "whatever"}),
        json!({"inputs": {"source_sentence": s, "sentences": l, "more": [1, {}]}, "parameters": null, "options": null}),
    ] {
        let answer = server.post("/", &body);
        assert_eq!((answer.status, answer.body.as_str()), (200, expected.as_str()), "{body}");
    }
    // curl without a content type, escapes as Python's requests writes them, and the keys in another order.
    let body = r#"{"inputs":{"sentences":["That is a happy dog","That is a very h\u0061ppy person","Today is a sunny day"],"source_sentence":"That is a happy person"}}"#;
    for kind in ["application/x-www-form-urlencoded", "text/plain;charset=UTF-8", "application/json"] {
        let answer = server.ask("POST", "/", &[("content-type", kind)], body.as_bytes());
        assert_eq!((answer.status, answer.body.as_str()), (200, expected.as_str()), "{kind}");
    }
}

#[test]
fn every_path_to_a_model() {
    let tiny = |name: &str| format!("{name}={}", model("tiny-mpnet").display());
    let bert = model("tiny-bert").display().to_string();
    let server = Server::start(&[tiny("org/tiny"), bert], &[]);
    server.wait_until_ready();
    let body = json!({"inputs": {"source_sentence": SOURCE, "sentences": SENTENCES}});
    for prefix in ["", "/hf-inference"] {
        for path in [
            "/models/org/tiny",
            "/models/tiny",
            "/models/org/tiny/pipeline/sentence-similarity",
            "/models/tiny/pipeline/sentence-similarity",
            "/models/org/tiny/",
            "/pipeline/sentence-similarity/org/tiny",
            "/pipeline/sentence-similarity/tiny",
        ] {
            let answer = server.post(&format!("{prefix}{path}"), &body);
            assert_eq!((answer.status, answer.body), (200, expected()), "{prefix}{path}");
        }
        // The other model gives other scores, under the folder's name and under one with an organisation.
        for path in ["/models/tiny-bert", "/models/sentence-transformers/tiny-bert"] {
            let answer = server.post(&format!("{prefix}{path}"), &body);
            assert_eq!(answer.status, 200, "{prefix}{path}: {answer:?}");
            assert_ne!(answer.body, expected(), "{prefix}{path}");
        }
        for path in ["/models/other", "/models/other/tiny", "/pipeline/sentence-similarity/other"] {
            assert_eq!(server.post(&format!("{prefix}{path}"), &body).status, 404, "{prefix}{path}");
        }
    }
}

/// The very name counts before one that differs by an organisation, and of two that differ neither is guessed.
#[test]
fn names_that_are_alike() {
    let named = |name: &str, folder: &str| format!("{name}={}", model(folder).display());
    let models =
        [named("org/m", "tiny-mpnet"), named("m", "tiny-bert"), named("a/n", "tiny-bert"), named("b/n", "tiny-bert")];
    let server = Server::start(&models, &[]);
    server.wait_until_ready();
    let ask = |path: &str| server.post(path, &json!({"inputs": {"source_sentence": SOURCE, "sentences": SENTENCES}}));
    assert_eq!(ask("/models/org/m").body, expected());
    assert_ne!(ask("/models/m").body, expected());
    assert_eq!(ask("/models/m").status, 200);
    assert_eq!((ask("/models/a/n").status, ask("/models/b/n").status, ask("/models/n").status), (200, 200, 404));
}

#[test]
fn vectors() {
    let server = Server::with_tiny_mpnet(&[]);
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    let vectors = library.embed(&SENTENCES).expect("vectors");
    let many = server.post("/pipeline/feature-extraction/org/tiny", &json!({"inputs": SENTENCES}));
    for (i, row) in many.json().as_array().expect("rows").iter().enumerate() {
        assert!(same_bits(&numbers(row), vectors.row(i)), "vector {i}");
    }
    // One string gives one vector, a list of one a list of one.
    let one = server.post("/", &json!({"inputs": SENTENCES[0]}));
    assert!(same_bits(&numbers(&one.json()), vectors.row(0)));
    let list = server.post("/", &json!({"inputs": [SENTENCES[0]]}));
    assert!(same_bits(&numbers(&list.json()[0]), vectors.row(0)));
    assert_eq!(list.json().as_array().map(Vec::len), Some(1));
    // Without the model's Normalize a vector is longer or shorter than 1, and normalized it is the same again.
    let raw = numbers(&server.post("/", &json!({"inputs": SENTENCES[0], "normalize": false})).json());
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((length - 1.0).abs() > 1e-3, "{length}");
    for (raw, unit) in raw.iter().zip(vectors.row(0)) {
        approx::assert_abs_diff_eq!(raw / length, *unit, epsilon = 1e-6);
    }
}

/// What the command says of long texts holds where a request says nothing.
#[test]
fn long_texts() {
    let server = Server::with_tiny_mpnet(&["--truncation", "error"]);
    let long = "word ".repeat(500);
    assert_eq!(server.post("/", &json!({"inputs": long})).status, 422);
    assert_eq!(server.post("/", &json!({"inputs": long, "truncate": true})).status, 200);
}
