//! `/explain`: the explanation of the library, and what is refused.

use likewise::{AttentionLayers, Embedder};
use serde_json::{Value, json};

use super::cross_encoders::{CrossEncoderFolder, RERANKER};
use super::harness::{SENTENCES, SOURCE, Server};
use crate::common::model;

#[test]
fn explanation_is_that_of_the_library() {
    let server = Server::with_tiny_mpnet(&[]);
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    for (layer, layers) in [(Value::Null, AttentionLayers::None), (json!(1), AttentionLayers::One(1))] {
        let expected = library.explain_with_attention(SOURCE, SENTENCES[1], layers).expect("an explanation");
        let mut expected: Value = serde_json::from_str(&expected.to_json()).expect("JSON");
        let found = server.post("/explain", &json!({"inputs": [SOURCE, SENTENCES[1]], "layer": layer}));
        assert_eq!(found.status, 200, "{found:?}");
        let found = found.json();
        expected["model"] = found["model"].clone();
        assert_eq!(found, expected);
    }
    let in_parameters = json!({"inputs": [SOURCE, "x"], "parameters": {"layer": 0}, "model": "org/tiny"});
    let found = server.post("/explain", &in_parameters).json();
    assert_eq!(found["texts"][0]["attention"][0]["layer"], 0);
}

#[test]
fn what_cannot_be_explained_is_refused() {
    let reranker = CrossEncoderFolder::write(RERANKER);
    let models = [format!("org/tiny={}", model("tiny-mpnet").display()), reranker.argument("reranker")];
    let server = Server::start(&models, &["--max-response-floats", "2000"]);
    server.wait_until_ready();
    let long = "happy ".repeat(600);
    for (body, status, part) in [
        (json!({"inputs": "one"}), 422, "expected two texts, found 1"),
        (json!({"inputs": ["a", "b", "c"]}), 422, "expected two texts, found 3"),
        (json!({"inputs": ["a", 1]}), 400, "inputs"),
        (json!({"text": "a"}), 400, "inputs"),
        (json!({"inputs": ["a", "b"], "layer": 9}), 422, "expected 0 to 1, found 9"),
        (json!({"inputs": ["a", "b"], "layer": -1}), 400, "layer"),
        (json!({"inputs": ["a", "b"], "model": "reranker"}), 422, "cross-encoder"),
        (json!({"inputs": ["a", "b"], "model": "none"}), 404, "none"),
        (json!({"inputs": [long, long]}), 422, ""),
        (json!({"inputs": [SENTENCES.join(" ").repeat(4), SENTENCES.join(" ").repeat(4)], "layer": 0}), 422, "floats"),
    ] {
        let response = server.post("/explain", &body);
        assert!(response.status == status && response.body.contains(part), "{body}: {response:?}");
    }
    assert_eq!(server.get("/explain").status, 405);
}
