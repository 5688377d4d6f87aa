//! Token ids as inputs of requests.

use likewise::Embedder;
use serde_json::{Value, json};

use super::harness::{Response, SENTENCES, Server};
use crate::common::model;

fn error(response: &Response) -> String {
    let body = response.json();
    let message = if body["error"].is_string() { &body["error"] } else { &body["error"]["message"] };
    message.as_str().unwrap_or_else(|| panic!("no message: {response:?}")).to_owned()
}

/// OpenAI's clients send ids of OpenAI's tokenizers. Taken for ids of this model, they would give
/// wrong vectors.
#[test]
fn token_ids_on_the_openai_route_are_refused_unless_enabled() {
    let server = Server::with_tiny_mpnet(&[]);
    for (input, name) in [
        (json!([[3, 4, 5]]), "`input[0]`"),
        (json!([[3, 4], [5]]), "`input[0]`"),
        (json!([3, 4, 5]), "`input`"),
        (json!([3.0]), "`input`"),
        (json!(["a text", [3, 4]]), "`input[1]`"),
        (json!([[3, 4], "a text"]), "`input[0]`"),
        (json!([[999_999]]), "`input[0]`"),
    ] {
        for path in ["/v1/embeddings", "/embeddings"] {
            let response = server.post(path, &json!({"input": input, "model": "org/tiny"}));
            assert_eq!(
                (response.status, response.json()["error"]["type"].as_str()),
                (400, Some("validation")),
                "{input}"
            );
            for part in [name, "check_embedding_ctx_length=False", "--openai-token-ids"] {
                assert!(error(&response).contains(part), "{input}: {response:?}");
            }
        }
    }
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    let ids: Vec<Vec<u32>> = SENTENCES.iter().map(|text| library.tokenize(text).expect("tokens").ids).collect();
    // On the routes of text-embeddings-inference, ids are those of the model.
    assert_eq!(server.post("/embed", &json!({"inputs": ids})).status, 200);

    let enabled = Server::with_tiny_mpnet(&["--openai-token-ids"]);
    let data = |input: &Value| enabled.post("/v1/embeddings", &json!({"input": input})).json()["data"].clone();
    assert_eq!(data(&json!(ids)), data(&json!(SENTENCES)));
    assert_eq!(data(&json!(ids[0])), data(&json!([SENTENCES[0]])));
    assert_eq!(data(&json!([SENTENCES[0], ids[1]])), data(&json!(SENTENCES[..2])));
}

#[test]
fn token_id_beyond_the_vocabulary_is_blamed_on_the_request() {
    let server = Server::with_tiny_mpnet(&["--openai-token-ids"]);
    let library = Embedder::open(model("tiny-mpnet")).expect("a model");
    let vocabulary = library.info().architecture.vocabulary_size;
    let long: Vec<usize> = std::iter::repeat_n(5, 2000).chain([vocabulary]).collect();
    for (path, body, place, id) in [
        ("/embed", json!({"inputs": [[0, 2, 99_999]]}), "inputs[0][2]", 99_999),
        ("/embed", json!({"inputs": ["a", [0, vocabulary]]}), "inputs[1][1]", vocabulary),
        ("/embed", json!({"inputs": [99_999]}), "inputs[0]", 99_999),
        ("/embed", json!({"inputs": [2, 4_294_967_295_u32]}), "inputs[1]", 4_294_967_295),
        ("/embed", json!({"inputs": long}), "inputs[2000]", vocabulary),
        ("/embed_all", json!({"inputs": [[2], [vocabulary]]}), "inputs[1][0]", vocabulary),
        ("/decode", json!({"ids": [[2], [3, vocabulary]]}), "ids[1][1]", vocabulary),
        ("/decode", json!({"ids": [3, vocabulary]}), "ids[1]", vocabulary),
        ("/v1/embeddings", json!({"input": [[2, vocabulary]]}), "input[0][1]", vocabulary),
        ("/v1/embeddings", json!({"input": [vocabulary]}), "input[0]", vocabulary),
    ] {
        let response = server.post(path, &body);
        let expected = format!("`{place}`: token id {id}: expected an id below {vocabulary}");
        assert_eq!((response.status, error(&response)), (422, expected), "{path} {place}");
    }
    assert_eq!(server.post("/embed", &json!({"inputs": [vocabulary - 1]})).status, 200);
    assert!(!server.log().contains("tokenizer.json"), "{}", server.log());
}

#[test]
fn prompt_for_token_ids_is_rejected() {
    let server = Server::with_tiny_mpnet(&["--openai-token-ids"]);
    for (path, key) in [("/embed", "inputs"), ("/embed_all", "inputs"), ("/v1/embeddings", "input")] {
        let response = server.post(path, &json!({key: [[2, 3]], "prompt_name": "query"}));
        assert_eq!((response.status, error(&response).contains("`prompt_name`")), (422, true), "{path}: {response:?}");
        assert_eq!(server.post(path, &json!({key: ["a"], "prompt_name": "query"})).status, 200, "{path}");
    }
}
