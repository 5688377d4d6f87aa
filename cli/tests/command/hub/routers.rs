//! Sparse encoders whose Router names further folders, each with its own tokenizer and weights.

use likewise::{Error, SparseEncoder};

use super::download::TestHub;
use super::repository::{ID, Repository};
use crate::common::{Golden, matrix, same_bits};

/// A repository with a Router.
fn router_repository() -> Repository {
    let golden = Golden::load("sparse");
    let case = matrix::case(&golden, "bert/max/relu/F32/saved/router");
    let files = matrix::sparse_files(&golden, case).into_iter().collect();
    let repository = Repository { files, ..Repository::of("tiny-bert") };
    repository.with("document_0_Transformer/onnx/model.onnx", "onnx").with("other/model.safetensors", "other")
}

#[test]
fn routes_of_a_router_are_downloaded_with_their_tokenizers_and_weights() {
    let mut test = TestHub::new(router_repository());
    let folder = test.pull().expect("a model");
    assert!(!folder.join("document_0_Transformer/onnx").exists() && !folder.join("other").exists());
    let model = SparseEncoder::open(&folder).expect("a model");
    let queries = model.embed_queries(&["a happy dog"]).expect("a vector");
    let documents = model.embed_documents(&["a happy dog"]).expect("a vector");
    assert!(queries.row(0).indices.len() < documents.row(0).indices.len());
    test.hub.take_log();
    assert_eq!(test.find_or_pull(ID, "main").expect("a model"), folder);
    assert!(test.hub.take_log().is_empty(), "the model is complete");
    // Each file that is missing is downloaded again.
    for name in [
        "router_config.json",
        "query_0_SparseStaticEmbedding/model.safetensors",
        "query_0_SparseStaticEmbedding/tokenizer.json",
        "document_0_Transformer/model.safetensors",
        "document_1_SpladePooling/config.json",
    ] {
        let path = folder.join(name);
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(test.find_or_pull(ID, "main").expect("a model"), folder, "{name}");
        assert!(path.is_file(), "{name}");
    }
    test.settings.offline = true;
    let opened = SparseEncoder::open(test.find_or_pull(ID, "main").expect("a model")).expect("a model");
    let again = opened.embed_queries(&["a happy dog"]).expect("a vector");
    assert!(same_bits(again.values(), queries.values()));
}

#[test]
fn router_without_a_file_or_with_foreign_folders_is_an_error() {
    for name in ["router_config.json", "query_0_SparseStaticEmbedding/tokenizer.json"] {
        let error = TestHub::new(router_repository().without(name)).pull().expect_err(name);
        assert!(matches!(error, Error::MissingFile { .. }) && error.to_string().contains(name), "{error}");
    }
    let weights = "query_0_SparseStaticEmbedding/model.safetensors";
    let error = TestHub::new(router_repository().without(weights)).pull().expect_err("no weights");
    assert!(matches!(error, Error::UnsupportedWeights { .. }), "{error}");
    for path in ["../evil", "/evil", "a/../../evil"] {
        let json = serde_json::json!({"types": {path: "sentence_transformers.models.Transformer"}, "structure": {}});
        let test = TestHub::new(router_repository().with("router_config.json", json.to_string()));
        assert!(matches!(test.pull(), Err(Error::Config { .. })), "{path}");
    }
}
