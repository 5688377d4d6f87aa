//! Small cross-encoders of the golden files, as folders to serve, and what their files say of them.

use likewise::{CrossEncoder, ModelFiles};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::Server;
use crate::common::{Golden, matrix, model};

/// A reranker whose files name the activation Sigmoid.
pub(crate) const RERANKER: &str = "bert/1 labels/F32/saved";
/// The same reranker with the activation Identity, so that its own scores are not between 0 and 1.
pub(crate) const RAW_RERANKER: &str = "bert/1 labels/F32/saved/own, Identity";
/// A classifier with three named labels.
pub(crate) const CLASSIFIER: &str = "bert/3 labels/F32/saved/names of labels";

/// The folder of a model of the golden file, and the results of sentence-transformers for it.
pub(crate) struct CrossEncoderFolder {
    folder: TempDir,
    pub(crate) pairs: Vec<[String; 2]>,
    /// The numbers of the head `[pairs, labels]`.
    pub(crate) logits: Vec<f64>,
}

impl CrossEncoderFolder {
    pub(crate) fn write(name: &str) -> Self {
        let golden = Golden::load("cross-encoders");
        let cases = golden.json["cases"].as_array().expect("cases");
        let case = cases.iter().find(|case| case["name"] == name).unwrap_or_else(|| panic!("no model {name}"));
        let folder = tempfile::tempdir().expect("a folder");
        for (file, bytes) in matrix::files(&golden, case) {
            std::fs::write(folder.path().join(file), bytes).expect("a file");
        }
        let pairs = serde_json::from_value(golden.json["pairs"].clone()).expect("pairs");
        Self { folder, pairs, logits: golden.tensor(&format!("{name}.logits")) }
    }

    /// The argument of `--model` that serves the model under a name.
    pub(crate) fn argument(&self, name: &str) -> String {
        format!("{name}={}", self.folder.path().display())
    }

    pub(crate) fn open(&self) -> CrossEncoder {
        CrossEncoder::builder().open_cross_encoder_files(&ModelFiles::folder(self.folder.path())).expect("a model")
    }
}

pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A server with a model of each kind: `org/reranker`, `raw`, `classifier` and `embedder`. The
/// first one is the default.
pub(crate) fn server_of_all_kinds(first: &str, options: &[&str]) -> Server {
    let folders = [("org/reranker", RERANKER), ("raw", RAW_RERANKER), ("classifier", CLASSIFIER)];
    let folders = folders.map(|(name, case)| (name, CrossEncoderFolder::write(case)));
    let mut models: Vec<String> = folders.iter().map(|(name, folder)| folder.argument(name)).collect();
    models.push(format!("embedder={}", model("tiny-mpnet").display()));
    models.sort_by_key(|argument| !argument.starts_with(&format!("{first}=")));
    let server = Server::start(&models, options);
    server.wait_until_ready();
    server
}

#[test]
fn descriptions_of_cross_encoders_name_their_kind_and_labels() {
    let server = server_of_all_kinds("org/reranker", &[]);
    let info = server.get("/info").json();
    assert_eq!(
        info["model_type"],
        json!({"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}),
        "{info}"
    );
    assert_eq!(info["max_input_length"], 40);
    let info = server.get("/models/classifier/info").json();
    assert_eq!(info["model_type"]["classifier"]["id2label"]["1"], "entailment", "{info}");
    assert_eq!(server.get("/models/embedder/info").json()["model_type"], json!({"embedding": {"pooling": "mean"}}));
    let models = server.get("/v1/models").json();
    let field = |key: &str| -> Vec<&Value> {
        models["data"].as_array().expect("models").iter().map(|model| &model[key]).collect()
    };
    assert_eq!(field("kind"), ["cross-encoder", "cross-encoder", "cross-encoder", "embedder"]);
    assert_eq!(field("activation")[..2], [&json!("Sigmoid"), &json!("Identity")]);
    let tag = |model: &str| server.get(&format!("/api/models/{model}")).json()["pipeline_tag"].clone();
    assert_eq!(tag("org/reranker"), "text-ranking");
    assert_eq!(tag("classifier"), "text-classification");
    assert_eq!(tag("embedder"), "sentence-similarity");
    let tasks = server.get("/api/tasks").json();
    assert_eq!(tasks["text-ranking"]["widgetModels"], json!(["org/reranker"]));
    assert_eq!(tasks["sentence-similarity"]["widgetModels"], json!(["embedder"]));
}

/// Each message names the route that the model has.
#[test]
fn model_of_another_kind_is_an_error_that_names_the_route_to_use() {
    let server = server_of_all_kinds("embedder", &[]);
    let ranking = |model: &str| json!({"query": "a", "texts": ["b"], "model": model});
    let documents = |model: &str| json!({"query": "a", "documents": ["b"], "model": model});
    let text = |model: &str| json!({"inputs": "a", "model": model});
    let similarity = json!({"inputs": {"source_sentence": "a", "sentences": ["b"]}, "model": "raw"});
    for (path, body, status, parts) in [
        ("/rerank", ranking("embedder"), 424, ["Backend error: model is not a re-ranker model", "use /similarity"]),
        ("/rerank", ranking("classifier"), 424, ["Backend error: model is not a re-ranker model", "use /predict"]),
        ("/predict", text("embedder"), 424, ["Backend error: Model is not a classifier model", "/embed"]),
        ("/embed", text("raw"), 424, ["Backend error: Model is not an embedding model", "use /rerank"]),
        ("/embed_all", text("classifier"), 424, ["Model is not an embedding model", "use /predict"]),
        ("/similarity", similarity.clone(), 424, ["Model is not an embedding model", "use /rerank"]),
        ("/rerank", documents("embedder"), 422, ["embedder: expected a reranker", "use /similarity"]),
        ("/v2/rerank", documents("classifier"), 422, ["classifier: expected a reranker", "use /predict"]),
        ("/v1/embeddings", json!({"input": "a", "model": "raw"}), 422, ["raw: expected an embedding", "use /rerank"]),
        ("/models/raw", similarity, 422, ["raw: expected an embedding model", "use /rerank"]),
        ("/models/raw/pipeline/feature-extraction", text(""), 422, ["raw: expected an embedding", "use /rerank"]),
        ("/models/embedder/pipeline/text-classification", text(""), 422, ["embedder: expected", "use /similarity"]),
        (
            "/models/embedder",
            json!({"inputs": {"query": "a", "texts": ["b"]}}),
            422,
            ["embedder: expected", "use /similarity"],
        ),
    ] {
        let mut body = body;
        if body["model"] == "" {
            body.as_object_mut().expect("an object").remove("model");
        }
        let response = server.post(path, &body);
        assert_eq!(response.status, status, "{path} {body}: {response:?}");
        assert!(parts.iter().all(|part| response.body.contains(part)), "{path} {body}: {response:?}");
    }
}

/// Clients of text-embeddings-inference never send a name.
#[test]
fn request_without_a_name_uses_the_first_model_of_the_kind_that_it_needs() {
    for first in ["embedder", "raw"] {
        let server = server_of_all_kinds(first, &[]);
        let same = |path: &str, body: Value, name: &str| {
            let mut named = body.clone();
            named["model"] = json!(name);
            let (default, named) = (server.post(path, &body), server.post(path, &named));
            assert_eq!((default.status, &default.body), (200, &named.body), "{path}");
        };
        let reranker = if first == "raw" { "raw" } else { "org/reranker" };
        same("/rerank", json!({"query": "a", "texts": ["b", "c"]}), reranker);
        same("/v2/rerank", json!({"query": "a", "documents": ["b", "c"]}), reranker);
        same("/predict", json!({"inputs": ["a", "b"]}), reranker);
        same("/embed", json!({"inputs": "a"}), "embedder");
        same("/v1/embeddings", json!({"input": "a"}), "embedder");
    }
    // Without one, the error says what the server has.
    let server = Server::with_tiny_mpnet(&[]);
    let response = server.post("/rerank", &json!({"query": "a", "texts": ["b"]}));
    assert_eq!((response.status, response.body.contains("use /similarity")), (424, true), "{response:?}");
}

#[test]
fn tokenize_and_decode_take_cross_encoders() {
    let server = server_of_all_kinds("org/reranker", &[]);
    let tokens = server.post("/tokenize", &json!({"inputs": "happy person"})).json();
    let ids: Vec<&Value> = tokens[0].as_array().expect("tokens").iter().map(|token| &token["id"]).collect();
    let text = server.post("/decode", &json!({"ids": ids})).json();
    assert_eq!(text, json!(["happy person"]));
}
