//! bge-m3: the layers of sparse and token vectors beside the encoder.

use base64::Engine;
use likewise::BgeM3;

use super::download::TestHub;
use super::repository::{ID, Repository};
use crate::common::{Golden, matrix};

/// A repository as that of bge-m3.
fn repository() -> Repository {
    let golden = Golden::load("bge-m3");
    let case = &golden.json["cases"][0];
    let mut repository =
        Repository { files: matrix::files(&golden, case).into_iter().collect(), ..Repository::of("tiny-bert") };
    for (name, content) in case["binary"].as_object().expect("files") {
        let bytes = base64::engine::general_purpose::STANDARD.decode(content.as_str().expect("base 64"));
        repository = repository.with(name, bytes.expect("base 64"));
    }
    repository.with("onnx/model.onnx", "onnx").with("other.pt", "other")
}

#[test]
fn layers_are_downloaded_if_the_repository_lists_them() {
    let test = TestHub::new(repository());
    let folder = test.pull().expect("a model");
    assert!(!folder.join("other.pt").exists() && !folder.join("onnx").exists());
    let vectors = BgeM3::open(&folder).expect("a model").encode(&["a happy dog"]).expect("vectors");
    assert!(!vectors.sparse(0).indices.is_empty());
    // Other programs read the model without them, so the cache is complete without them too.
    let layer = folder.join("sparse_linear.pt");
    std::fs::remove_file(&layer).expect("removed");
    assert_eq!(test.find_or_pull(ID, "main").expect("a model"), folder);
    assert!(!layer.exists());
    test.pull().expect("a model");
    BgeM3::open(&folder).expect("a model");
}
