//! Use of the library by a dependent crate: traits of the public types, access to results, and
//! models of the hub.

use std::fmt::Debug;

use crate::common::{files, in_memory, model};
use likewise::{
    Builder, Checkpoint, Embedder, Embeddings, Error, ModelFiles, ModelInfo, Ranges, Scores, SparseEmbeddings,
    SparseEncoder, Tensor, Trace, Vectors,
};

const TEXTS: [&str; 3] = ["a dog", "a happy person", "the sun"];

fn tiny() -> Embedder {
    Embedder::open(model("tiny-bert")).expect("a model")
}

#[test]
fn public_types_are_send_sync_and_debug() {
    fn check<T: Send + Sync + Debug>() {}
    check::<Builder>();
    check::<Checkpoint>();
    check::<Embedder>();
    check::<Embeddings>();
    check::<Error>();
    check::<ModelFiles>();
    check::<ModelInfo>();
    check::<Ranges>();
    check::<Scores>();
    check::<SparseEmbeddings>();
    check::<SparseEncoder>();
    check::<Tensor>();
    check::<Trace>();
    check::<Vectors>();
}

#[test]
fn embedder_debug_shows_settings_without_weights() {
    let embedder = Embedder::builder().threads(1).max_length(9).open(model("tiny-bert")).expect("a model");
    let text = format!("{embedder:?}");
    for setting in ["name: \"tiny-bert\"", "threads: 1", "max_length: 9", "similarity: Dot"] {
        assert!(text.contains(setting), "{setting} in {text}");
    }
    assert!(text.len() < 1000, "{text}");
}

#[test]
fn checkpoint_debug_shows_files_without_weights() {
    let checkpoint = Checkpoint::open(&in_memory(&files("tiny-bert"))).expect("a checkpoint");
    let text = format!("{checkpoint:?}");
    assert!(text.contains("model.safetensors") && text.len() < 1000, "{text}");
    let tensors = checkpoint.tensors();
    let (name, shape) = tensors.first_key_value().expect("a tensor");
    let text = format!("{:?}", checkpoint.tensor(name, shape).expect("a tensor"));
    assert!(text.contains(name) && text.contains(&format!("{shape:?}")) && text.len() < 1000, "{text}");
}

#[test]
fn embeddings_give_rows_by_index_iteration_and_vec() {
    let embeddings = tiny().embed(&TEXTS).expect("vectors");
    assert_eq!((embeddings.len(), embeddings.width()), (TEXTS.len(), tiny().width()));
    let mut count = 0;
    for (i, vector) in (&embeddings).into_iter().enumerate() {
        assert_eq!(vector, embeddings.row(i));
        count += 1;
    }
    assert_eq!(count, TEXTS.len());
    assert_eq!(embeddings.rows().len(), TEXTS.len());
    let elements = embeddings.as_slice().to_vec();
    assert_eq!(embeddings.into_vec(), elements);
}

#[test]
fn embeddings_of_no_texts_are_empty() {
    let embeddings = tiny().embed::<&str>(&[]).expect("no vectors");
    assert!(embeddings.is_empty() && (&embeddings).into_iter().next().is_none() && embeddings.into_vec().is_empty());
}

#[test]
fn embedder_is_shared_among_threads() {
    let embedder = tiny();
    let expected = embedder.embed(&TEXTS).expect("vectors");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(embedder.embed(&TEXTS).expect("vectors"), expected));
        }
    });
}

mod hub {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// Environment variable that a test sets for the child process that runs its checks.
    const CHILD: &str = "LIKEWISE_TEST_CHILD";
    const ID: &str = "some-one/tiny";
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// Writes a fixture model to a hub cache, with the branch `main` and the tag `v1`.
    fn fill_cache(cache: &Path) {
        let repository = cache.join("models--some-one--tiny");
        let snapshot = repository.join("snapshots").join(COMMIT);
        for (name, bytes) in files("tiny-bert") {
            let path = snapshot.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, bytes).expect("a file");
        }
        std::fs::create_dir_all(repository.join("refs")).expect("a folder");
        for revision in ["main", "v1"] {
            std::fs::write(repository.join("refs").join(revision), COMMIT).expect("a reference");
        }
    }

    /// Runs a test in a child process, offline and with the given cache. A process with several
    /// threads cannot safely change its environment.
    fn run_offline(test: &str, cache: &Path) {
        let output = Command::new(std::env::current_exe().expect("the test binary"))
            .args(["--exact", test, "--nocapture"])
            .envs([("HF_HUB_OFFLINE", "1"), ("HF_ENDPOINT", "http://127.0.0.1:9"), (CHILD, "1")])
            .env("HF_HUB_CACHE", cache)
            .output()
            .expect("a child process");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "the child process runs no test");
    }

    #[test]
    fn cached_hub_model_opens_offline() {
        if std::env::var_os(CHILD).is_none() {
            let cache = tempfile::tempdir().expect("a folder");
            fill_cache(cache.path());
            return run_offline("api::hub::cached_hub_model_opens_offline", cache.path());
        }
        let expected = tiny().embed(&TEXTS).expect("vectors");
        let by_branch = Embedder::from_hub(ID).expect("the branch");
        assert_eq!(by_branch.info().name, ID);
        assert_eq!(by_branch.embed(&TEXTS).expect("vectors"), expected);
        for embedder in [
            Embedder::from_hub("some-one/tiny@v1").expect("the tag in the id"),
            Embedder::builder().threads(1).open_hub(ID, "v1").expect("the tag"),
            Embedder::builder().open_hub(ID, COMMIT).expect("the commit"),
        ] {
            assert_eq!(embedder.embed(&TEXTS).expect("vectors"), expected);
        }
    }

    #[test]
    fn missing_hub_model_offline_is_an_error_without_a_request() {
        if std::env::var_os(CHILD).is_none() {
            let cache = tempfile::tempdir().expect("a folder");
            return run_offline("api::hub::missing_hub_model_offline_is_an_error_without_a_request", cache.path());
        }
        let error = Embedder::from_hub(ID).expect_err("an empty cache");
        assert!(matches!(error, Error::ModelNotFound { .. }) && error.to_string().contains("offline"), "{error}");
        let error = Embedder::from_hub("../folder").expect_err("no hub id");
        assert!(matches!(error, Error::ModelNotFound { .. }), "{error}");
    }
}
