//! Late-interaction models: rankings, similarities and vectors of tokens, descriptions, and other
//! routes.

use likewise::MultiVectorEncoder;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cross_encoders::{CrossEncoderFolder, RERANKER};
use super::harness::{SENTENCES, SOURCE, Server, floats};
use crate::common::{Golden, matrix, model, same_bits};

/// A model that expands queries and skips words of documents.
const MULTI_VECTOR: &str = "bert/saved/F32/skip list";

/// Writes the folder of a model of the golden file, and opens it.
fn folder() -> (TempDir, MultiVectorEncoder) {
    let golden = Golden::load("multi-vector");
    let folder = tempfile::tempdir().expect("a folder");
    for (file, bytes) in matrix::files(&golden, matrix::case(&golden, MULTI_VECTOR)) {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, bytes).expect("a file");
    }
    let model = MultiVectorEncoder::open(folder.path()).expect("a model");
    (folder, model)
}

/// A server of `org/colbert`, an embedder and a reranker, in this order if `first` is empty.
fn server(folder: &TempDir, first: &str) -> Server {
    let reranker = CrossEncoderFolder::write(RERANKER);
    let mut models = vec![
        format!("org/colbert={}", folder.path().display()),
        format!("embedder={}", model("tiny-mpnet").display()),
        reranker.argument("reranker"),
    ];
    models.sort_by_key(|argument| !argument.starts_with(&format!("{first}=")));
    let server = Server::start(&models, &[]);
    server.wait_until_ready();
    server
}

/// The indices of a ranking, and its scores under a key.
fn ranking(response: &Value, key: &str) -> Vec<(usize, f32)> {
    let results = response.as_array().unwrap_or_else(|| panic!("{response}"));
    let entry =
        |one: &Value| (one["index"].as_u64().expect("an index") as usize, one[key].as_f64().expect("a score") as f32);
    results.iter().map(entry).collect()
}

fn expected(model: &MultiVectorEncoder, query: &str, texts: &[String]) -> Vec<(usize, f32)> {
    model.rank(query, texts).expect("a ranking").iter().map(|text| (text.index, text.score)).collect()
}

/// The score is MaxSim in every dialect, with and without `raw_scores`.
#[test]
fn rankings_and_similarities_are_those_of_the_library() {
    let (folder, model) = folder();
    let server = server(&folder, "");
    let texts = SENTENCES.map(str::to_owned);
    let expected = expected(&model, SOURCE, &texts);
    assert!(expected.iter().any(|(_, score)| *score > 1.0), "{expected:?}");
    for raw_scores in [true, false] {
        let body = json!({"query": SOURCE, "texts": texts, "raw_scores": raw_scores});
        assert_eq!(ranking(&server.post("/rerank", &body).json(), "score"), expected);
        let inputs = json!({"inputs": {"query": SOURCE, "texts": texts}, "parameters": {"raw_scores": raw_scores}});
        for path in ["/", "/models/colbert", "/models/colbert/pipeline/text-ranking", "/invocations"] {
            assert_eq!(ranking(&server.post(path, &inputs).json(), "score"), expected, "{path}");
        }
        let body = json!({"query": SOURCE, "documents": texts, "model": "colbert", "raw_scores": raw_scores});
        for path in ["/rerank", "/v1/rerank", "/v2/rerank", "/models/colbert"] {
            let response = server.post(path, &body).json();
            assert_eq!(ranking(&response["results"], "relevance_score"), expected, "{path}");
            assert_eq!(response["model"], "org/colbert");
        }
    }
    let scores = model.similarity(SOURCE, &SENTENCES).expect("scores");
    let body = json!({"inputs": {"source_sentence": SOURCE, "sentences": SENTENCES}});
    for path in ["/similarity", "/", "/models/colbert", "/pipeline/sentence-similarity/org/colbert"] {
        let found = floats(&server.post(path, &body).json());
        assert!(same_bits(&found, &scores), "{path}: {found:?}");
    }
    let response = server.post("/rerank", &json!({"query": SOURCE, "texts": SENTENCES, "return_text": true})).json();
    assert_eq!(response[0]["text"], SENTENCES[expected[0].0]);
}

/// Long and short texts, of several requests at once, share batches.
#[test]
fn concurrent_requests_get_the_same_bits() {
    let (folder, model) = folder();
    let server = server(&folder, "");
    let texts: Vec<String> =
        (0..120).map(|i| format!("Sentence {} is about dogs. ", i % 40).repeat(1 + i % 5)).collect();
    std::thread::scope(|scope| {
        for i in 0..8 {
            let (server, model, texts) = (&server, &model, &texts[i * 10..i * 10 + 40]);
            scope.spawn(move || {
                let query = format!("query {i}");
                let response = server.post("/rerank", &json!({"query": query, "texts": texts, "truncate": true}));
                assert_eq!(ranking(&response.json(), "score"), expected(model, &query, texts));
            });
        }
    });
}

#[test]
fn embed_all_returns_the_vectors_that_are_scored() {
    let (folder, model) = folder();
    let server = server(&folder, "");
    let documents = model.encode_documents(&SENTENCES).expect("vectors");
    let queries = model.encode_queries(&SENTENCES).expect("vectors");
    for (prompt, expected) in [(Value::Null, &documents), (json!("document"), &documents), (json!("query"), &queries)] {
        let body = json!({"inputs": SENTENCES, "prompt_name": prompt, "model": "colbert"});
        let response = server.post("/embed_all", &body).json();
        for (found, rows) in response.as_array().expect("texts").iter().zip(expected.iter()) {
            let found: Vec<f32> = found.as_array().expect("tokens").iter().flat_map(floats).collect();
            assert!(same_bits(&found, rows.as_slice()), "{prompt}");
        }
    }
    // The ids are those of a document, with its marker.
    let tokens = server.post("/tokenize", &json!({"inputs": SENTENCES[0]})).json();
    let ids: Vec<&Value> = tokens[0].as_array().expect("tokens").iter().map(|token| &token["id"]).collect();
    let [of_ids, of_text] = [json!([ids]), json!(SENTENCES[0])]
        .map(|inputs| server.post("/embed_all", &json!({"inputs": inputs, "model": "colbert"})).body);
    assert_eq!(of_ids, of_text);
    let response = server.post("/embed_all", &json!({"inputs": [[1, 999_999]], "model": "colbert"}));
    assert_eq!((response.status, response.body.contains("`inputs[0][1]`")), (422, true), "{response:?}");
}

#[test]
fn texts_that_are_too_long_are_cut_or_named() {
    let (folder, _) = folder();
    let server = server(&folder, "");
    let long = "happy dog ".repeat(300);
    let body = json!({"query": SOURCE, "texts": ["a", long], "truncate": true});
    let response = server.post("/rerank", &body);
    assert_eq!((response.status, response.header("x-truncated-texts")), (200, Some("1")), "{response:?}");
    for (query, texts, part) in [(SOURCE, ["a", &long], "text 1: too long"), (&long, ["a", "b"], "the query: too long")]
    {
        let response = server.post("/rerank", &json!({"query": query, "texts": texts, "truncate": false}));
        assert_eq!((response.status, response.body.contains(part)), (422, true), "{response:?}");
    }
    let body = json!({"query": "a", "texts": ["b"], "prompt_name": "no such"});
    let response = server.post("/rerank", &body);
    assert_eq!((response.status, response.body.contains("no such")), (422, true), "{response:?}");
}

#[test]
fn descriptions_name_the_kind() {
    let (folder, model) = folder();
    let server = server(&folder, "");
    let info = server.get("/info").json();
    assert_eq!(info["model_type"], json!({"embedding": {"pooling": "none"}}), "{info}");
    let models = server.get("/v1/models").json();
    let first = &models["data"][0];
    assert_eq!((&first["kind"], &first["dimensions"]), (&json!("multi-vector"), &json!(model.width())));
    assert_eq!((&first["similarity"], &first["expanded_query_length"]), (&json!("maxsim"), &json!(16)));
    assert_eq!(
        server.get("/api/models/org/colbert").json()["tags"],
        json!(["sentence-transformers", "sentence-similarity", "text-ranking"])
    );
    assert_eq!(server.get("/api/tasks").json()["text-ranking"]["widgetModels"], json!(["org/colbert"]));
    let metrics = server.get("/metrics").body;
    for kind in ["multi-vector", "embedder", "cross-encoder"] {
        assert!(metrics.contains(&format!("kind=\"{kind}\"")), "{metrics}");
    }
}

/// Each message names the routes that the model has.
#[test]
fn other_routes_refuse_the_model_with_the_routes_to_use() {
    let (folder, _) = folder();
    let server = server(&folder, "");
    let body = |key: &str| json!({key: "a", "model": "colbert"});
    const USE: &str = "found a late-interaction model; use /rerank, /similarity or /embed_all";
    for (path, body, status) in [
        ("/embed", body("inputs"), 424),
        ("/embed_sparse", body("inputs"), 424),
        ("/predict", body("inputs"), 424),
        ("/v1/embeddings", body("input"), 422),
        ("/models/colbert", json!({"inputs": "a"}), 422),
        ("/models/colbert/pipeline/text-classification", json!({"inputs": "a"}), 422),
    ] {
        let response = server.post(path, &body);
        assert_eq!((response.status, response.body.contains(USE)), (status, true), "{path}: {response:?}");
    }
}

/// Clients of text-embeddings-inference never send a name.
#[test]
fn request_without_a_name_uses_the_first_model_that_can_answer() {
    let (folder, model) = folder();
    let body = json!({"query": SOURCE, "texts": SENTENCES});
    let texts = SENTENCES.map(str::to_owned);
    for (first, is_late) in [("", true), ("embedder", true), ("reranker", false)] {
        let found = ranking(&server(&folder, first).post("/rerank", &body).json(), "score");
        assert_eq!(found == expected(&model, SOURCE, &texts), is_late, "{first}");
    }
}
