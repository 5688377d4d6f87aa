//! Downloads: which files, where they are stored, and which requests are avoided.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use likewise::hub::{Hub, Progress, Settings};
use likewise::{Embedder, Error, HubErrorKind, Result};
use tempfile::TempDir;

use super::repository::{COMMIT, ID, Repository, etag};
use super::server::{FakeHub, Fault};

/// A fake hub, and an empty cache.
pub(crate) struct TestHub {
    pub(crate) hub: FakeHub,
    pub(crate) cache: TempDir,
    pub(crate) settings: Settings,
}

impl TestHub {
    pub(crate) fn new(repository: Repository) -> Self {
        Self::of(&[(ID, repository)])
    }

    pub(crate) fn of(repositories: &[(&str, Repository)]) -> Self {
        let hub = FakeHub::new(repositories);
        let cache = tempfile::tempdir().expect("a folder");
        let settings = test_settings(cache.path(), &hub.url);
        Self { hub, cache, settings }
    }

    pub(crate) fn pull(&self) -> Result<PathBuf> {
        self.pull_as(ID, "main")
    }

    pub(crate) fn pull_as(&self, id: &str, revision: &str) -> Result<PathBuf> {
        Hub::new(self.settings.clone()).pull(id, revision, &mut |_| {})
    }

    pub(crate) fn find_or_pull(&self, id: &str, revision: &str) -> Result<PathBuf> {
        Hub::new(self.settings.clone()).find_or_pull(id, revision, &mut |_| {})
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.cache.path().join("models--org--tiny")
    }

    /// Asserts that every blob has the hash that is its name, and that no snapshot link is broken.
    pub(crate) fn assert_blobs_are_correct(&self, what: &str) {
        let Ok(blobs) = std::fs::read_dir(self.repository().join("blobs")) else { return };
        for path in blobs.map(|entry| entry.expect("an entry").path()) {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if !name.ends_with(".incomplete") {
                let bytes = std::fs::read(&path).expect("a blob");
                let large = if name.len() == 64 { "x.bin" } else { "x" };
                assert_eq!(etag(large, &bytes), name, "{what}");
            }
        }
        for (name, path) in walk(&self.repository().join("snapshots")) {
            assert!(path.is_file(), "{what}: {name} is a broken link");
        }
    }
}

/// Returns settings with short timeouts and delays.
pub(crate) fn test_settings(cache: &Path, url: &str) -> Settings {
    let mut settings = Settings::new(cache);
    settings.endpoint = url.to_owned();
    settings.timeout = Duration::from_millis(700);
    settings.retry_delay = Duration::from_millis(1);
    settings.max_retry_delay = Duration::from_secs(3);
    settings
}

/// Returns all files below a folder by their relative paths.
pub(crate) fn walk(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            files.extend(walk(&path).into_iter().map(|(inner, path)| (format!("{name}/{inner}"), path)));
        } else {
            files.insert(name, path);
        }
    }
    files
}

pub(crate) fn file_contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    walk(folder).into_iter().map(|(name, path)| (name, std::fs::read(path).expect("a file"))).collect()
}

#[test]
fn pull_stores_the_model_files_in_the_cache_layout_of_huggingface_hub() {
    for model in crate::common::TINY {
        let repository = Repository::of(model);
        let test = TestHub::new(repository.clone());
        let folder = test.pull().expect("a model");
        assert_eq!(folder, test.repository().join("snapshots").join(COMMIT));
        assert_eq!(file_contents(&folder), repository.model_files(), "{model}");
        for (name, path) in walk(&folder) {
            let up = "../".repeat(name.split('/').count() + 1);
            let target = std::fs::read_link(path).expect("a link");
            assert_eq!(target.to_string_lossy(), format!("{up}blobs/{}", etag(&name, &repository.files[&name])));
        }
        assert_eq!(std::fs::read_to_string(test.repository().join("refs/main")).expect("a branch"), COMMIT);
        assert_eq!(walk(&test.repository().join("blobs")).len(), repository.model_files().len());
        let vector = Embedder::open(&folder).expect("a model").embed(&["a"]).expect("a vector");
        let expected = Embedder::open(crate::common::model(model)).expect("it").embed(&["a"]).expect("a vector");
        assert!(crate::common::same_bits(vector.row(0), expected.row(0)), "{model}");
        test.assert_blobs_are_correct(model);
        let log = test.hub.take_log();
        let agent = concat!("likewise/", env!("CARGO_PKG_VERSION"));
        assert!(log.iter().all(|r| r.headers["user-agent"] == agent && r.headers["accept-encoding"] == "identity"));
        for name in ["pytorch_model", "onnx", "train", "gitattributes"] {
            assert!(!log.iter().any(|request| request.path.contains(name)), "{name}");
        }
    }
}

#[test]
fn cached_model_needs_no_second_download() {
    let test = TestHub::new(Repository::of("tiny-bert"));
    let folder = test.pull().expect("a model");
    test.hub.take_log();
    assert_eq!(test.pull().expect("a model"), folder);
    let log = test.hub.take_log();
    assert!(log.len() == 1 && log[0].path == "/api/models/org/tiny/revision/main", "{log:?}");
    for revision in ["main", COMMIT] {
        assert_eq!(test.find_or_pull(ID, revision).expect("a model"), folder);
    }
    assert_eq!(test.hub.take_log().len(), 0, "a cached model needs no request");
    // A tag of the same commit, and a ref with slashes.
    for revision in ["v1.0", "refs/pr/1"] {
        assert_eq!(test.find_or_pull(ID, revision).expect("a model"), folder);
        assert_eq!(test.hub.take_log().len(), 1);
        assert_eq!(std::fs::read_to_string(test.repository().join("refs").join(revision)).expect("a ref"), COMMIT);
    }
    // A commit hash as revision writes no ref.
    let other = TestHub::new(Repository::of("tiny-bert"));
    other.pull_as(ID, COMMIT).expect("a model");
    assert!(!other.repository().join("refs").exists());
}

#[test]
fn pull_of_a_newer_commit_reuses_unchanged_blobs() {
    let test = TestHub::new(Repository::of("tiny-bert"));
    let first = test.pull().expect("a model");
    let mut newer = Repository::of("tiny-bert").with("README.md", "# newer");
    newer.commit = "f".repeat(40);
    test.hub.add_repository(ID, newer.clone());
    test.hub.take_log();
    assert_eq!(test.find_or_pull(ID, "main").expect("a model"), first, "the cached commit is used");
    assert_eq!(test.hub.take_log().len(), 0);
    let second = test.pull().expect("a model");
    assert_eq!(file_contents(&second), newer.model_files());
    assert_eq!(file_contents(&first), Repository::of("tiny-bert").model_files(), "the older snapshot remains");
    let file_contents: Vec<_> = test
        .hub
        .take_log()
        .into_iter()
        .filter(|r| r.method == "GET" && r.status == 200 && r.path.contains("cache"))
        .collect();
    assert!(file_contents.len() == 1 && file_contents[0].path.ends_with("README.md"), "{file_contents:?}");
    assert_eq!(test.find_or_pull(ID, "main").expect("a model"), second);
}

#[test]
fn bare_name_is_also_searched_under_sentence_transformers() {
    let test = TestHub::of(&[("sentence-transformers/tiny", Repository::of("tiny-bert"))]);
    let folder = test.find_or_pull("tiny", "main").expect("a model");
    assert!(folder.starts_with(test.cache.path().join("models--sentence-transformers--tiny")), "{folder:?}");
    let paths: Vec<String> = test.hub.take_log().into_iter().map(|request| request.path).take(2).collect();
    assert_eq!(paths, ["/api/models/tiny/revision/main", "/api/models/sentence-transformers/tiny/revision/main"]);
    let error = test.find_or_pull("nothing", "main").expect_err("no model");
    let Error::ModelNotFound { searched, .. } = &error else { panic!("{error:?}") };
    for expected in ["nothing", "models--nothing/refs/main", "models/sentence-transformers/nothing/revision/main"] {
        assert!(searched.iter().any(|path| path.ends_with(expected)), "{expected}: {error}");
    }
    test.hub.take_log();
    for id in ["../x", "a/b/c", "./folder", "/abs", "a b/c", "", "a--b/c", "http://x/y"] {
        assert!(matches!(test.find_or_pull(id, "main"), Err(Error::ModelNotFound { .. })), "{id}");
    }
    for revision in ["", "../x", "a?b", "a b"] {
        assert!(matches!(test.pull_as("tiny", revision), Err(Error::ModelNotFound { .. })), "{revision}");
    }
    assert_eq!(test.hub.take_log().len(), 0, "an invalid name causes no request");
}

#[test]
fn sharded_weights_are_downloaded_as_the_index_lists_them() {
    let weights = crate::common::files("tiny-bert")["model.safetensors"].clone();
    let index =
        |shard: &str| serde_json::json!({"metadata": {}, "weight_map": {"a": shard, "b": "model-2.safetensors"}});
    let sharded = Repository::of("tiny-bert")
        .without("model.safetensors")
        .with("model.safetensors.index.json", index("model-1.safetensors").to_string())
        .with("model-1.safetensors", weights)
        .with("model-2.safetensors", "two")
        .with("model-3.safetensors", "three");
    let test = TestHub::new(sharded.clone());
    let folder = test.pull().expect("a model");
    assert_eq!(file_contents(&folder), sharded.clone().without("model-3.safetensors").model_files());
    // A snapshot that lacks a shard is incomplete.
    std::fs::remove_file(folder.join("model-2.safetensors")).expect("removed");
    test.hub.take_log();
    test.find_or_pull(ID, "main").expect("a model");
    assert!(
        folder.join("model-2.safetensors").is_file()
            && test.hub.take_log().iter().all(|r| r.method != "GET" || !r.is_cdn)
    );
    for shard in ["../../evil.safetensors", "/evil.safetensors", "a\\b.safetensors"] {
        let test = TestHub::new(sharded.clone().with("model.safetensors.index.json", index(shard).to_string()));
        assert!(matches!(test.pull(), Err(Error::Config { .. })), "{shard}");
        test.assert_blobs_are_correct(shard);
    }
    let test = TestHub::new(sharded.without("model-2.safetensors"));
    assert!(matches!(test.pull(), Err(Error::HubStatus { kind: HubErrorKind::FileNotFound, .. })));
    assert!(!test.repository().join("refs").exists(), "an incomplete model has no ref");
}

#[test]
fn repository_without_readable_weights_is_an_error_before_any_download() {
    let test = TestHub::new(Repository::of("tiny-bert").without("model.safetensors").without("pytorch_model.bin"));
    let error = test.pull().expect_err("no weights");
    assert!(
        matches!(error, Error::UnsupportedWeights { .. }) && error.to_string().contains("onnx/model.onnx"),
        "{error}"
    );
    let fetched = file_contents(&test.repository().join("snapshots").join(COMMIT)).into_keys().collect::<Vec<_>>();
    assert_eq!(fetched, ["modules.json"], "only the file that specifies the folder of the weights is downloaded");
}

#[test]
fn repository_without_a_required_file_is_an_error_before_any_large_download() {
    let dense = |name: &str| {
        let modules = serde_json::json!([
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
        ]);
        Repository::of("tiny-bert")
            .with("modules.json", modules.to_string())
            .with("2_Dense/config.json", "{}")
            .with(name, "x")
    };
    for (repository, lacking) in [
        (Repository::of("tiny-bert").without("config.json"), "config.json"),
        (Repository::of("tiny-bert").without("tokenizer.json"), "tokenizer.json"),
        (Repository::of("tiny-bert").without("1_Pooling/config.json"), "1_Pooling/config.json"),
        (dense("2_Dense/README.md"), "2_Dense/model.safetensors"),
    ] {
        let test = TestHub::new(repository);
        let error = test.pull().expect_err(lacking);
        assert!(matches!(&error, Error::MissingFile { name, .. } if name == lacking), "{error}");
        assert!(error.to_string().contains(&test.hub.url), "{error}");
        assert_eq!(test.hub.take_log().iter().filter(|request| request.is_cdn).count(), 0, "{lacking}");
    }
    let test = TestHub::new(dense("2_Dense/pytorch_model.bin"));
    assert!(test.pull().expect("a model").join("2_Dense/pytorch_model.bin").is_file());
    let both = TestHub::new(dense("2_Dense/pytorch_model.bin").with("2_Dense/model.safetensors", "x"));
    assert!(!both.pull().expect("a model").join("2_Dense/pytorch_model.bin").exists());
}

#[test]
fn file_over_the_size_limit_is_not_downloaded() {
    let test = TestHub::new(Repository::of("tiny-bert"));
    let size = Fault::Header("x-linked-size", Some("300000000".to_owned()));
    test.hub.add_fault("HEAD", "README.md", 9, size.clone());
    test.hub.add_fault("HEAD", "tokenizer.json", 1, size.clone());
    test.hub.add_fault("HEAD", "config.json", 9, size);
    let error = test.pull().expect_err("too large");
    assert!(matches!(error, Error::HubProtocol { .. }), "{error:?}");
    assert!(error.to_string().contains("at most 67108864 bytes"), "{error}");
    assert!(test.hub.take_log().iter().all(|request| request.sent < 100_000));
    test.hub.clear_faults();
    test.hub.add_fault("HEAD", "README.md", 9, Fault::Header("x-linked-size", Some("300000000".to_owned())));
    assert!(!test.pull().expect("a model").join("README.md").exists(), "the model opens without it");
}

/// sentence-transformers before version 1 stored the encoder in a subfolder.
#[test]
fn encoder_in_a_subfolder_is_downloaded_completely() {
    let mut repository = Repository::of("tiny-bert");
    let of_the_model = ["modules.json", "config_sentence_transformers.json", "README.md"];
    let moved = |name: &str| !of_the_model.contains(&name) && !name.contains('/');
    repository.files = std::mem::take(&mut repository.files)
        .into_iter()
        .map(|(name, bytes)| (if moved(&name) { format!("0_Transformer/{name}") } else { name }, bytes))
        .collect();
    let mut modules: serde_json::Value = serde_json::from_slice(&repository.files["modules.json"]).expect("modules");
    modules[0]["path"] = "0_Transformer".into();
    let repository = repository.with("modules.json", modules.to_string());

    let test = TestHub::new(repository.clone());
    let folder = test.find_or_pull(ID, "main").expect("a model");
    let wanted = repository.clone().without("0_Transformer/pytorch_model.bin").without("0_Transformer/.gitattributes");
    assert_eq!(file_contents(&folder), wanted.without("0_Transformer/train script.py").model_files());
    let vector = Embedder::open(&folder).expect("a model").embed(&["a"]).expect("a vector");
    let original = Embedder::open(crate::common::model("tiny-bert")).expect("it").embed(&["a"]).expect("a vector");
    assert!(crate::common::same_bits(vector.row(0), original.row(0)));
    test.hub.take_log();
    test.find_or_pull(ID, "main").expect("a model");
    assert!(test.hub.take_log().is_empty(), "the model is complete");
    std::fs::remove_file(folder.join("0_Transformer/model.safetensors")).expect("removed");
    test.find_or_pull(ID, "main").expect("a model");
    assert!(folder.join("0_Transformer/model.safetensors").is_file());

    let repository = repository.without("0_Transformer/model.safetensors");
    let test = TestHub::new(repository.clone());
    assert!(test.pull().expect("a model").join("0_Transformer/pytorch_model.bin").is_file());
    let test = TestHub::new(repository.without("0_Transformer/pytorch_model.bin"));
    let error = test.pull().expect_err("no weights");
    assert!(
        matches!(error, Error::UnsupportedWeights { .. }) && error.to_string().contains("onnx/model.onnx"),
        "{error}"
    );
}

#[test]
fn converted_weights_replace_the_original_ones() {
    let converted = Repository::of("tiny-bert").with("likewise.safetensors", "packed");
    let test = TestHub::new(converted.clone());
    let folder = test.pull().expect("a model");
    assert_eq!(file_contents(&folder), converted.without("model.safetensors").model_files());
}

#[test]
fn offline_mode_uses_only_the_cache_and_names_missing_files() {
    let mut test = TestHub::new(Repository::of("tiny-bert"));
    test.settings.offline = true;
    let error = test.pull().expect_err("an empty cache");
    assert!(matches!(error, Error::ModelNotFound { .. }) && error.to_string().contains("offline"), "{error}");
    test.settings.offline = false;
    let folder = test.pull().expect("a model");
    test.hub.take_log();
    test.settings.offline = true;
    assert_eq!(test.pull().expect("a model"), folder);
    assert_eq!(test.find_or_pull(ID, "main").expect("a model"), folder);
    for name in ["config.json", "tokenizer.json", "1_Pooling/config.json", "model.safetensors"] {
        let link = std::fs::read_link(folder.join(name)).expect("a link");
        std::fs::remove_file(folder.join(name)).expect("removed");
        let error = test.find_or_pull(ID, "main").expect_err("an incomplete model");
        assert!(matches!(&error, Error::MissingFile { name: missing, .. } if missing == name), "{error}");
        std::os::unix::fs::symlink(link, folder.join(name)).expect("a link");
    }
    assert_eq!(test.hub.take_log().len(), 0);
}

#[test]
fn damaged_blob_is_downloaded_again() {
    for name in ["model.safetensors", "config.json"] {
        let test = TestHub::new(Repository::of("tiny-bert"));
        let folder = test.pull().expect("a model");
        let whole = file_contents(&folder);
        let blob = folder.join(name).canonicalize().expect("a blob");
        for damage in [&whole[name][..10], &[0; 20], &vec![7; whole[name].len()]] {
            std::fs::write(&blob, damage).expect("damaged");
            test.hub.take_log();
            test.pull().expect("a model");
            assert_eq!(file_contents(&folder), whole, "{name}");
            let log = test.hub.take_log();
            let mut looked = log.iter().filter(|request| request.method == "HEAD").peekable();
            assert!(looked.peek().is_some() && looked.all(|request| request.path.ends_with(name)), "{name}: {log:?}");
        }
    }
}

#[test]
fn progress_reports_every_file_to_its_end() {
    let test = TestHub::new(Repository::of("tiny-bert"));
    let mut done = BTreeSet::new();
    let mut last = BTreeMap::new();
    let hub = Hub::new(test.settings.clone());
    hub.pull(ID, "main", &mut |progress| match progress {
        Progress::Downloading { name, size, received } => drop(last.insert(name.to_owned(), (received, size))),
        Progress::Finished { name } => drop(done.insert(name.to_owned())),
        other => panic!("{other:?}"),
    })
    .expect("a model");
    let wanted = Repository::of("tiny-bert").model_files();
    assert_eq!(done, wanted.keys().cloned().collect());
    let whole = wanted.into_iter().map(|(name, bytes)| (name, (bytes.len() as u64, bytes.len() as u64)));
    assert_eq!(last, whole.collect());
}
