//! Static embeddings in the service.

use likewise::Embedder;
use serde_json::json;

use super::harness::{SENTENCES, SOURCE, Server};
use crate::common::{Golden, static_models};

#[test]
fn routes_answer_for_static_embeddings_as_for_any_embedder() {
    let golden = Golden::json_of("static");
    let folder = tempfile::tempdir().expect("a folder");
    let case = static_models::case(&golden, "Model2Vec, no modules.json, mapping");
    static_models::write(&static_models::files(case), folder.path());
    let server = Server::start(&[format!("table={}", folder.path().display())], &["--precision", "int8"]);
    server.wait_until_ready();
    let library = Embedder::open(folder.path()).expect("a model");
    let expected = library.embed(&SENTENCES).expect("vectors");
    let vectors: Vec<Vec<f32>> =
        serde_json::from_value(server.post("/embed", &json!({"inputs": SENTENCES})).json()).expect("vectors");
    assert_eq!(vectors, expected.rows().map(<[f32]>::to_vec).collect::<Vec<_>>());
    let scores = server.post("/similarity", &json!({"inputs": {"source_sentence": SOURCE, "sentences": SENTENCES}}));
    let scores: Vec<f32> = serde_json::from_value(scores.json()).expect("scores");
    assert_eq!(scores, library.similarity(SOURCE, &SENTENCES).expect("scores").values);
    // A row of the table for each token, unless it is unknown.
    let rows = server.post("/embed_all", &json!({"inputs": [SOURCE]})).json();
    assert_eq!(rows[0].as_array().expect("rows").len(), library.tokenize(SOURCE).expect("tokens").ids.len());
    let long = "happy ".repeat(2_000);
    let rejected = server.post("/embed", &json!({"inputs": long, "truncate": false}));
    assert!(rejected.status == 422 || rejected.status == 413, "{rejected:?}");
    assert_eq!(server.post("/embed", &json!({"inputs": [""]})).json(), json!([vec![0.0; 24]]));
}
