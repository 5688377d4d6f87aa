//! The Hugging Face Inference API.

use serde_json::json;

use super::harness::{SENTENCES, SOURCE, Server, expected_scores, floats};
use crate::common::{model, same_bits};
use likewise::Embedder;

#[test]
fn similarity_body_in_every_spelling_gives_the_same_scores() {
    // Without a cache, so that every response is computed.
    let server = Server::with_tiny_mpnet(&["--response-cache-bytes", "0"]);
    let expected = expected_scores();
    let s = SOURCE;
    let l = json!(SENTENCES);
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
        let response = server.post("/", &body);
        assert_eq!((response.status, response.body.as_str()), (200, expected.as_str()), "{body}");
    }
    // The content types of curl and old clients, escapes as Python's requests writes them, and
    // another order of the keys.
    let body = r#"{"inputs":{"sentences":["That is a happy dog","That is a very h\u0061ppy person","Today is a sunny day"],"source_sentence":"That is a happy person"}}"#;
    for kind in ["application/x-www-form-urlencoded", "text/plain;charset=UTF-8", "application/json"] {
        let response = server.send_request("POST", "/", &[("content-type", kind)], body.as_bytes());
        assert_eq!((response.status, response.body.as_str()), (200, expected.as_str()), "{kind}");
    }
}

#[test]
fn model_paths_in_every_spelling_reach_the_model() {
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
            let response = server.post(&format!("{prefix}{path}"), &body);
            assert_eq!((response.status, response.body), (200, expected_scores()), "{prefix}{path}");
        }
        // The other model gives other scores, under its folder's name and with an organisation
        // prefix.
        for path in ["/models/tiny-bert", "/models/sentence-transformers/tiny-bert"] {
            let response = server.post(&format!("{prefix}{path}"), &body);
            assert_eq!(response.status, 200, "{prefix}{path}: {response:?}");
            assert_ne!(response.body, expected_scores(), "{prefix}{path}");
        }
        for path in ["/models/other", "/models/other/tiny", "/pipeline/sentence-similarity/other"] {
            assert_eq!(server.post(&format!("{prefix}{path}"), &body).status, 404, "{prefix}{path}");
        }
    }
}

/// An exact match wins over one without the organisation; two models that differ only by it are
/// ambiguous.
#[test]
fn model_name_that_is_ambiguous_gets_404() {
    let named = |name: &str, folder: &str| format!("{name}={}", model(folder).display());
    let models =
        [named("org/m", "tiny-mpnet"), named("m", "tiny-bert"), named("a/n", "tiny-bert"), named("b/n", "tiny-bert")];
    let server = Server::start(&models, &[]);
    server.wait_until_ready();
    let send = |path: &str| server.post(path, &json!({"inputs": {"source_sentence": SOURCE, "sentences": SENTENCES}}));
    assert_eq!(send("/models/org/m").body, expected_scores());
    assert_ne!(send("/models/m").body, expected_scores());
    assert_eq!(send("/models/m").status, 200);
    assert_eq!((send("/models/a/n").status, send("/models/b/n").status, send("/models/n").status), (200, 200, 404));
}

#[test]
fn feature_extraction_returns_the_bits_of_the_library() {
    let server = Server::with_tiny_mpnet(&[]);
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    let vectors = library.embed(&SENTENCES).expect("vectors");
    let many = server.post("/pipeline/feature-extraction/org/tiny", &json!({"inputs": SENTENCES}));
    for (i, row) in many.json().as_array().expect("rows").iter().enumerate() {
        assert!(same_bits(&floats(row), vectors.row(i)), "vector {i}");
    }
    // A string gives a vector, and a list of one string gives a list of one vector.
    let one = server.post("/", &json!({"inputs": SENTENCES[0]}));
    assert!(same_bits(&floats(&one.json()), vectors.row(0)));
    let list = server.post("/", &json!({"inputs": [SENTENCES[0]]}));
    assert!(same_bits(&floats(&list.json()[0]), vectors.row(0)));
    assert_eq!(list.json().as_array().map(Vec::len), Some(1));
    // Without the model's Normalize module the length is not 1. Normalizing the vector gives the
    // model's own.
    let raw = floats(&server.post("/", &json!({"inputs": SENTENCES[0], "normalize": false})).json());
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((length - 1.0).abs() > 1e-3, "{length}");
    for (raw, unit) in raw.iter().zip(vectors.row(0)) {
        approx::assert_abs_diff_eq!(raw / length, *unit, epsilon = 1e-6);
    }
}

/// The option `truncate` of a request overrides the argument.
#[test]
fn long_text_without_a_truncate_option_follows_the_argument() {
    let server = Server::with_tiny_mpnet(&["--truncation", "error"]);
    let long = "word ".repeat(500);
    assert_eq!(server.post("/", &json!({"inputs": long})).status, 422);
    assert_eq!(server.post("/", &json!({"inputs": long, "truncate": true})).status, 200);
}
