//! Models whose weights are not in safetensors: those of PyTorch are read, others are named.

use likewise::{Embedder, Error};

use super::download::TestHub;
use super::repository::{COMMIT, ID, Repository};

const PYTORCH: &str = "pytorch_model.bin";

/// A repository with the weights of PyTorch only.
fn pytorch_repository() -> Repository {
    let path = crate::common::root().join("fixtures/pytorch/tiny-bert.bin");
    Repository::of("tiny-bert").without("model.safetensors").with(PYTORCH, std::fs::read(path).expect("weights"))
}

fn vector(model: impl Into<std::path::PathBuf>) -> Vec<f32> {
    Embedder::open(model).expect("a model").embed(&["a"]).expect("a vector").row(0).to_vec()
}

#[test]
fn pytorch_weights_are_downloaded_if_there_are_no_safetensors() {
    let mut test = TestHub::new(pytorch_repository());
    let folder = test.pull().expect("a model");
    assert!(folder.join(PYTORCH).is_file() && !folder.join("onnx").exists());
    assert!(crate::common::same_bits(&vector(&folder), &vector(crate::common::model("tiny-bert"))));
    test.hub.take_log();
    assert_eq!(test.find_or_pull(ID, "main").expect("a model"), folder);
    assert!(test.hub.take_log().is_empty(), "the model is complete");
    // The blob of a link may be removed.
    let blob = std::fs::canonicalize(folder.join(PYTORCH)).expect("a blob");
    std::fs::remove_file(blob).expect("removed");
    test.find_or_pull(ID, "main").expect("a model");
    assert!(folder.join(PYTORCH).is_file());
    // A newer commit has safetensors.
    test.hub.add_repository(ID, Repository::of("tiny-bert").with(PYTORCH, "another one"));
    test.pull().expect("a model");
    assert!(folder.join("model.safetensors").is_file());
    test.settings.offline = true;
    test.find_or_pull(ID, "main").expect("a model");
    assert!(crate::common::same_bits(&vector(&folder), &vector(crate::common::model("tiny-bert"))));
}

#[test]
fn pytorch_shards_are_downloaded_as_the_index_lists_them() {
    let index = |shard: &str| serde_json::json!({"weight_map": {"a": shard, "b": "pytorch_model-2.bin"}}).to_string();
    let sharded = Repository::of("tiny-bert")
        .without("model.safetensors")
        .without(PYTORCH)
        .with("pytorch_model.bin.index.json", index("pytorch_model-1.bin"))
        .with("pytorch_model-1.bin", "one")
        .with("pytorch_model-2.bin", "two")
        .with("pytorch_model-3.bin", "three");
    let test = TestHub::new(sharded.clone());
    let folder = test.pull().expect("a model");
    for (name, exists) in [("pytorch_model-1.bin", true), ("pytorch_model-2.bin", true), ("pytorch_model-3.bin", false)]
    {
        assert_eq!(folder.join(name).is_file(), exists, "{name}");
    }
    std::fs::remove_file(folder.join("pytorch_model-2.bin")).expect("removed");
    test.find_or_pull(ID, "main").expect("a model");
    assert!(folder.join("pytorch_model-2.bin").is_file(), "a snapshot that lacks a shard is completed");
    for shard in ["../../evil.bin", "/evil.bin", "model.safetensors", "train script.bin"] {
        let test = TestHub::new(sharded.clone().with("pytorch_model.bin.index.json", index(shard)));
        assert!(matches!(test.pull(), Err(Error::Config { .. })), "{shard}");
    }
}

/// Another program may have downloaded other weights only.
#[test]
fn other_weights_in_the_cache_are_named_unless_the_hub_has_safetensors() {
    let other = Repository::of("tiny-bert").without("model.safetensors").without(PYTORCH);
    let mut test = TestHub::new(other);
    let snapshot = test.repository().join("snapshots").join(COMMIT);
    for (name, bytes) in crate::common::files("tiny-bert") {
        let path = snapshot.join(&name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        if name != "model.safetensors" {
            std::fs::write(path, bytes).expect("a file");
        }
    }
    std::fs::create_dir_all(snapshot.join("onnx")).expect("a folder");
    std::fs::write(snapshot.join("onnx/model.onnx"), "x").expect("a file");
    std::fs::create_dir_all(test.repository().join("refs")).expect("a folder");
    std::fs::write(test.repository().join("refs/main"), COMMIT).expect("a branch");
    let names_other = |error: &Error| {
        let found = |found: &[String]| found.contains(&"onnx/model.onnx".to_owned());
        matches!(error, Error::UnsupportedWeights { found: names, .. } if found(names))
    };
    // The hub has no other weights, does not answer, or is not asked.
    let error = test.find_or_pull(ID, "main").expect_err("no weights");
    assert!(names_other(&error) && error.to_string().contains(&test.hub.url), "{error}");
    let endpoint = std::mem::replace(&mut test.settings.endpoint, "http://127.0.0.1:1".to_owned());
    test.settings.retry_delay = std::time::Duration::from_millis(1);
    let error = test.find_or_pull(ID, "main").expect_err("no weights");
    assert!(names_other(&error) && error.to_string().contains(COMMIT), "{error}");
    test.settings.offline = true;
    let error = test.find_or_pull(ID, "main").expect_err("no weights");
    assert!(names_other(&error) && error.to_string().contains(COMMIT), "{error}");
    // The hub has them.
    test.settings.offline = false;
    test.settings.endpoint = endpoint;
    test.hub.add_repository(ID, Repository::of("tiny-bert"));
    assert!(test.find_or_pull(ID, "main").expect("a model").join("model.safetensors").is_file());
}
