//! Sparse encoders beside other models: `/embed_sparse`, descriptions, and other routes.

use likewise::{ModelFiles, SparseEncoder, SparseRow};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cross_encoders::{CrossEncoderFolder, RERANKER};
use super::harness::{SENTENCES, SOURCE, Server, floats};
use crate::common::{Golden, matrix, model, same_bits};

const SPLADE: &str = "bert/max/relu/F32/saved/prompts";
/// A model whose queries need no network.
const ROUTER: &str = "distilbert/max/log1p_relu/F16/saved/router";
/// A model of weights of tokens alone.
const TOKEN_WEIGHTS: &str = "bert/max/relu/F32/saved/static";

/// Writes the folder of a model of the golden file.
fn folder(name: &str) -> TempDir {
    let golden = Golden::load("sparse");
    let folder = tempfile::tempdir().expect("a folder");
    for (file, bytes) in matrix::sparse_files(&golden, matrix::case(&golden, name)) {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, bytes).expect("a file");
    }
    folder
}

fn open(folder: &TempDir) -> SparseEncoder {
    SparseEncoder::builder().open_sparse_encoder_files(&ModelFiles::folder(folder.path())).expect("a model")
}

/// A server with sparse encoders, an embedder and a reranker, and the folders of the first three:
/// `org/splade`, `router` and `weights`. The first one is the default.
fn server(first: &str) -> (Server, [TempDir; 3]) {
    let folders = [SPLADE, ROUTER, TOKEN_WEIGHTS].map(folder);
    let reranker = CrossEncoderFolder::write(RERANKER);
    let names = ["org/splade", "router", "weights"];
    let mut models: Vec<String> =
        names.iter().zip(&folders).map(|(name, folder)| format!("{name}={}", folder.path().display())).collect();
    models.push(format!("embedder={}", model("tiny-mpnet").display()));
    models.push(reranker.argument("reranker"));
    models.sort_by_key(|argument| !argument.starts_with(&format!("{first}=")));
    let server = Server::start(&models, &[]);
    server.wait_until_ready();
    (server, folders)
}

/// Checks a vector of a response.
fn assert_vector(found: &Value, expected: SparseRow<'_>) {
    let elements = found.as_array().expect("elements");
    let indices: Vec<&Value> = elements.iter().map(|element| &element["index"]).collect();
    assert_eq!(json!(indices), json!(expected.indices));
    let values = elements.iter().map(|element| element["value"].clone()).collect();
    assert!(same_bits(&floats(&values), expected.values), "{found}");
    assert!(elements.iter().all(|element| element.as_object().is_some_and(|keys| keys.len() == 2)), "{found}");
}

#[test]
fn embed_sparse_returns_the_vectors_of_the_library() {
    let (server, folders) = server("embedder");
    for (name, folder) in ["splade", "router", "weights"].into_iter().zip(&folders) {
        let model = open(folder);
        let expected = model.embed(&SENTENCES).expect("vectors");
        let found = server.post("/embed_sparse", &json!({"inputs": SENTENCES, "model": name})).json();
        assert_eq!(found.as_array().map(Vec::len), Some(3), "{name}");
        found.as_array().into_iter().flatten().zip(expected.rows()).for_each(|(a, b)| assert_vector(a, b));
        // A single text also has a list around its vector.
        let single = server.post("/embed_sparse", &json!({"inputs": SENTENCES[0], "model": name})).json();
        assert_eq!(single, json!([found[0]]), "{name}");
        let queries = model.embed_queries(&[SOURCE]).expect("vectors");
        let documents = model.embed_documents(&[SOURCE]).expect("vectors");
        for (prompt, expected) in [("query", queries), ("document", documents)] {
            let body = json!({"inputs": SOURCE, "model": name, "prompt_name": prompt});
            assert_vector(&server.post("/embed_sparse", &body).json()[0], expected.row(0));
        }
        let response = server.post("/embed_sparse", &json!({"inputs": "a", "model": name, "prompt_name": "no such"}));
        assert_eq!((response.status, response.body.contains("no such")), (422, true), "{response:?}");
    }
}

/// Ids are those of the model, with special tokens if it has an encoder.
#[test]
fn token_ids_give_the_vectors_of_their_text() {
    let (server, _folders) = server("embedder");
    for (name, special) in [("splade", true), ("weights", false)] {
        let body = json!({"inputs": SENTENCES, "model": name, "add_special_tokens": special});
        let tokens = server.post("/tokenize", &body).json();
        let ids = |text: &Value| -> Vec<Value> {
            text.as_array().expect("tokens").iter().map(|token| token["id"].clone()).collect()
        };
        let ids: Vec<Vec<Value>> = tokens.as_array().expect("texts").iter().map(ids).collect();
        let vectors = |inputs: Value| server.post("/embed_sparse", &json!({"inputs": inputs, "model": name})).json();
        let expected = vectors(json!(SENTENCES));
        assert_eq!(vectors(json!(ids)), expected, "{name}");
        assert_eq!(vectors(json!(ids[1])), json!([expected[1]]), "{name}");
        assert_eq!(vectors(json!([SENTENCES[0], ids[1]])), json!([expected[0], expected[1]]), "{name}");
        let response = server.post("/embed_sparse", &json!({"inputs": [[1, 999_999]], "model": name}));
        assert_eq!((response.status, response.body.contains("`inputs[0][1]`")), (422, true), "{response:?}");
        let response = server.post("/embed_sparse", &json!({"inputs": ids, "model": name, "prompt_name": "query"}));
        assert_eq!((response.status, response.body.contains("`prompt_name`")), (422, true), "{response:?}");
    }
    let response = server.post("/embed_sparse", &json!({"inputs": [3, 4], "model": "embedder"}));
    assert_eq!(response.status, 424, "{response:?}");
}

/// Long and short texts, of several requests at once, share batches.
#[test]
fn concurrent_requests_get_the_same_vectors() {
    let (server, folders) = server("org/splade");
    let model = open(&folders[0]);
    let texts: Vec<String> = (0..40).map(|i| ["happy person ", "dog "][i % 2].repeat(1 + i % 7)).collect();
    let expected = model.embed(&texts).expect("vectors");
    std::thread::scope(|scope| {
        for chunk in (0..4).map(|i| 10 * i..10 * i + 10) {
            let (server, texts, expected) = (&server, &texts, &expected);
            scope.spawn(move || {
                let found = server.post("/embed_sparse", &json!({"inputs": texts[chunk.clone()]})).json();
                for (i, vector) in chunk.zip(found.as_array().expect("vectors")) {
                    assert_vector(vector, expected.row(i));
                }
            });
        }
    });
}

#[test]
fn truncation_follows_the_request() {
    let (server, folders) = server("org/splade");
    let max_length = open(&folders[0]).info().max_length;
    let long = "happy dog ".repeat(max_length);
    let response = server.post("/embed_sparse", &json!({"inputs": [long, "a"], "truncate": true}));
    assert_eq!((response.status, response.header("x-truncated-texts")), (200, Some("1")), "{response:?}");
    let response = server.post("/embed_sparse", &json!({"inputs": [long], "truncate": false}));
    assert_eq!((response.status, response.body.contains("too long")), (422, true), "{response:?}");
    let ends = format!("{} person", "dog ".repeat(max_length));
    let of_side =
        |side: &str| server.post("/embed_sparse", &json!({"inputs": ends, "truncation_direction": side})).json();
    assert_ne!(of_side("Left"), of_side("Right"));
}

#[test]
fn descriptions_of_sparse_encoders_name_their_kind() {
    let (server, folders) = server("org/splade");
    let info = server.get("/info").json();
    assert_eq!(info["model_type"], json!({"embedding": {"pooling": "splade"}}), "{info}");
    let models = server.get("/v1/models").json();
    let models = models["data"].as_array().expect("models");
    let kinds: Vec<&Value> = models.iter().map(|model| &model["kind"]).collect();
    assert_eq!(kinds, ["sparse-encoder", "sparse-encoder", "sparse-encoder", "embedder", "cross-encoder"]);
    assert_eq!(models[0]["dimensions"], json!(open(&folders[0]).dimension()));
    assert_eq!((&models[2]["architecture"], &models[2]["layers"]), (&json!("SparseStaticEmbedding"), &json!(0)));
    assert_eq!(server.get("/api/models/org/splade").json()["pipeline_tag"], Value::Null);
    assert_eq!(server.get("/api/tasks").json()["feature-extraction"]["widgetModels"], json!(["embedder"]));
    let tokens = server.post("/tokenize", &json!({"inputs": "happy person"})).json();
    let ids: Vec<&Value> = tokens[0].as_array().expect("tokens").iter().map(|token| &token["id"]).collect();
    // The model has a default prompt.
    assert_eq!(server.post("/decode", &json!({"ids": ids})).json(), json!(["passage happy person"]));
}

/// Each message names the route that the model has.
#[test]
fn sparse_encoder_or_another_model_on_the_wrong_route_is_an_error_with_the_route() {
    let (server, _folders) = server("embedder");
    let text = |model: &str| json!({"inputs": "a", "model": model});
    let no_sparse = "Model is not an embedding model with SPLADE pooling";
    let sentences = json!({"inputs": {"source_sentence": "a", "sentences": ["b"]}, "model": "router"});
    for (path, body, status, parts) in [
        ("/embed_sparse", text("embedder"), 424, [no_sparse, "use /similarity or /embed"]),
        ("/embed_sparse", text("reranker"), 424, [no_sparse, "use /rerank"]),
        ("/embed", text("splade"), 424, ["Model is not an embedding model", "use /embed_sparse"]),
        ("/embed_all", text("weights"), 424, ["Model is not an embedding model", "use /embed_sparse"]),
        ("/predict", text("router"), 424, ["Model is not a classifier model", "use /embed_sparse"]),
        ("/similarity", sentences.clone(), 424, ["Model is not an embedding model", "use /embed_sparse"]),
        (
            "/rerank",
            json!({"query": "a", "texts": ["b"], "model": "splade"}),
            424,
            ["model is not a re-ranker model", "use /embed_sparse"],
        ),
        (
            "/v1/embeddings",
            json!({"input": "a", "model": "splade"}),
            422,
            ["org/splade: expected an embedding model", "use /embed_sparse"],
        ),
        ("/models/router", sentences, 422, ["router: expected an embedding model", "use /embed_sparse"]),
    ] {
        let response = server.post(path, &body);
        assert_eq!(response.status, status, "{path} {body}: {response:?}");
        assert!(parts.iter().all(|part| response.body.contains(part)), "{path} {body}: {response:?}");
    }
    let response = server.post("/models/router", &json!({"inputs": "a"}));
    assert_eq!((response.status, response.body.contains("use /embed_sparse")), (422, true), "{response:?}");
}

/// Clients of text-embeddings-inference never send a name.
#[test]
fn request_without_a_name_uses_the_first_sparse_encoder() {
    let body = json!({"inputs": "a happy dog"});
    for first in ["embedder", "router"] {
        let (server, _folders) = server(first);
        let named = if first == "router" { "router" } else { "splade" };
        let expected = server.post("/embed_sparse", &json!({"inputs": "a happy dog", "model": named})).body;
        let response = server.post("/embed_sparse", &body);
        assert_eq!((response.status, &response.body), (200, &expected), "{first}");
        // The kind of the default model decides what the root does.
        for path in ["/", "/invocations"] {
            let response = server.post(path, &body);
            assert_eq!((response.status, response.body == expected), (200, first == "router"), "{first} {path}");
        }
    }
}
