//! What is fetched, where it is put, and what is not asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use likewise::hub::{self, Progress, Settings};
use likewise::{Embedder, Error, HubErrorKind, Result};
use tempfile::TempDir;

use crate::repository::{COMMIT, ID, Repository, etag};
use crate::server::{Fault, Hub};

/// A cache of a test's own, and the hub it is filled from.
pub(crate) struct Desk {
    pub(crate) hub: Hub,
    pub(crate) cache: TempDir,
    pub(crate) settings: Settings,
}

impl Desk {
    pub(crate) fn new(repository: Repository) -> Self {
        Self::of(&[(ID, repository)])
    }

    pub(crate) fn of(repositories: &[(&str, Repository)]) -> Self {
        let (hub, cache) = (Hub::new(repositories), tempfile::tempdir().expect("a folder"));
        let settings = quick(cache.path(), &hub.url);
        Self { hub, cache, settings }
    }

    pub(crate) fn pull(&self) -> Result<PathBuf> {
        self.pull_as(ID, "main")
    }

    pub(crate) fn pull_as(&self, id: &str, revision: &str) -> Result<PathBuf> {
        hub::Hub::new(self.settings.clone()).pull(id, revision, &mut |_| {})
    }

    pub(crate) fn find_or_pull(&self, id: &str, revision: &str) -> Result<PathBuf> {
        hub::Hub::new(self.settings.clone()).find_or_pull(id, revision, &mut |_| {})
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.cache.path().join("models--org--tiny")
    }

    /// That what has the name of a content is that content, whatever else went wrong.
    pub(crate) fn nothing_false(&self, what: &str) {
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
            assert!(path.is_file(), "{what}: {name} leads nowhere");
        }
    }
}

/// Settings for a hub that is near and fails on purpose.
pub(crate) fn quick(cache: &Path, url: &str) -> Settings {
    Settings {
        endpoint: url.to_owned(),
        timeout: Duration::from_millis(700),
        retry_delay: Duration::from_millis(1),
        max_retry_delay: Duration::from_secs(3),
        ..Settings::new(cache)
    }
}

/// All files below a folder, by their names in it.
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

pub(crate) fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    walk(folder).into_iter().map(|(name, path)| (name, std::fs::read(path).expect("a file"))).collect()
}

#[test]
fn what_a_model_needs_in_the_layout_of_huggingface_hub() {
    for model in crate::common::TINY {
        let repository = Repository::of(model);
        let desk = Desk::new(repository.clone());
        let folder = desk.pull().expect("a model");
        assert_eq!(folder, desk.repository().join("snapshots").join(COMMIT));
        assert_eq!(contents(&folder), repository.wanted(), "{model}");
        for (name, path) in walk(&folder) {
            let up = "../".repeat(name.split('/').count() + 1);
            let target = std::fs::read_link(path).expect("a link");
            assert_eq!(target.to_string_lossy(), format!("{up}blobs/{}", etag(&name, &repository.files[&name])));
        }
        assert_eq!(std::fs::read_to_string(desk.repository().join("refs/main")).expect("a branch"), COMMIT);
        assert_eq!(walk(&desk.repository().join("blobs")).len(), repository.wanted().len());
        let vector = Embedder::open(&folder).expect("a model").embed(&["a"]).expect("a vector");
        let expected = Embedder::open(crate::common::model(model)).expect("it").embed(&["a"]).expect("a vector");
        assert!(crate::common::same_bits(vector.row(0), expected.row(0)), "{model}");
        desk.nothing_false(model);
        let log = desk.hub.log();
        let agent = concat!("likewise/", env!("CARGO_PKG_VERSION"));
        assert!(log.iter().all(|r| r.headers["user-agent"] == agent && r.headers["accept-encoding"] == "identity"));
        for name in ["pytorch_model", "onnx", "train", "gitattributes"] {
            assert!(!log.iter().any(|request| request.path.contains(name)), "{name}");
        }
    }
}

#[test]
fn nothing_is_asked_for_twice() {
    let desk = Desk::new(Repository::of("tiny-bert"));
    let folder = desk.pull().expect("a model");
    desk.hub.log();
    assert_eq!(desk.pull().expect("a model"), folder);
    let log = desk.hub.log();
    assert!(log.len() == 1 && log[0].path == "/api/models/org/tiny/revision/main", "{log:?}");
    for revision in ["main", COMMIT] {
        assert_eq!(desk.find_or_pull(ID, revision).expect("a model"), folder);
    }
    assert_eq!(desk.hub.log().len(), 0, "a model that is there needs no request");
    // A tag of the same commit, and a branch with a slash.
    for revision in ["v1.0", "refs/pr/1"] {
        assert_eq!(desk.find_or_pull(ID, revision).expect("a model"), folder);
        assert_eq!(desk.hub.log().len(), 1);
        assert_eq!(std::fs::read_to_string(desk.repository().join("refs").join(revision)).expect("a ref"), COMMIT);
    }
    // The commit itself has no name.
    let other = Desk::new(Repository::of("tiny-bert"));
    other.pull_as(ID, COMMIT).expect("a model");
    assert!(!other.repository().join("refs").exists());
}

#[test]
fn a_newer_commit_takes_the_contents_that_are_there() {
    let desk = Desk::new(Repository::of("tiny-bert"));
    let first = desk.pull().expect("a model");
    let mut newer = Repository::of("tiny-bert").with("README.md", "# newer");
    newer.commit = "f".repeat(40);
    desk.hub.put(ID, newer.clone());
    desk.hub.log();
    assert_eq!(desk.find_or_pull(ID, "main").expect("a model"), first, "what is there is taken");
    assert_eq!(desk.hub.log().len(), 0);
    let second = desk.pull().expect("a model");
    assert_eq!(contents(&second), newer.wanted());
    assert_eq!(contents(&first), Repository::of("tiny-bert").wanted(), "the older one is still there");
    let contents: Vec<_> = desk
        .hub
        .log()
        .into_iter()
        .filter(|r| r.method == "GET" && r.status == 200 && r.path.contains("cache"))
        .collect();
    assert!(contents.len() == 1 && contents[0].path.ends_with("README.md"), "{contents:?}");
    assert_eq!(desk.find_or_pull(ID, "main").expect("a model"), second);
}

#[test]
fn bare_names() {
    let desk = Desk::of(&[("sentence-transformers/tiny", Repository::of("tiny-bert"))]);
    let folder = desk.find_or_pull("tiny", "main").expect("a model");
    assert!(folder.starts_with(desk.cache.path().join("models--sentence-transformers--tiny")), "{folder:?}");
    let asked: Vec<String> = desk.hub.log().into_iter().map(|request| request.path).take(2).collect();
    assert_eq!(asked, ["/api/models/tiny/revision/main", "/api/models/sentence-transformers/tiny/revision/main"]);
    let error = desk.find_or_pull("nothing", "main").expect_err("no model");
    let Error::ModelNotFound { searched, .. } = &error else { panic!("{error:?}") };
    for place in ["nothing", "models--nothing/refs/main", "models/sentence-transformers/nothing/revision/main"] {
        assert!(searched.iter().any(|path| path.ends_with(place)), "{place}: {error}");
    }
    desk.hub.log();
    for id in ["../x", "a/b/c", "./folder", "/abs", "a b/c", "", "a--b/c", "http://x/y"] {
        assert!(matches!(desk.find_or_pull(id, "main"), Err(Error::ModelNotFound { .. })), "{id}");
    }
    for revision in ["", "../x", "a?b", "a b"] {
        assert!(matches!(desk.pull_as("tiny", revision), Err(Error::ModelNotFound { .. })), "{revision}");
    }
    assert_eq!(desk.hub.log().len(), 0, "what is no name is not asked for");
}

#[test]
fn shards() {
    let weights = crate::common::files("tiny-bert")["model.safetensors"].clone();
    let index =
        |shard: &str| serde_json::json!({"metadata": {}, "weight_map": {"a": shard, "b": "model-2.safetensors"}});
    let sharded = Repository::of("tiny-bert")
        .without("model.safetensors")
        .with("model.safetensors.index.json", index("model-1.safetensors").to_string())
        .with("model-1.safetensors", weights)
        .with("model-2.safetensors", "two")
        .with("model-3.safetensors", "three");
    let desk = Desk::new(sharded.clone());
    let folder = desk.pull().expect("a model");
    assert_eq!(contents(&folder), sharded.clone().without("model-3.safetensors").wanted());
    // A snapshot that lacks a shard is not all there.
    std::fs::remove_file(folder.join("model-2.safetensors")).expect("gone");
    desk.hub.log();
    desk.find_or_pull(ID, "main").expect("a model");
    assert!(folder.join("model-2.safetensors").is_file() && desk.hub.log().iter().all(|r| r.method != "GET" || !r.cdn));
    for shard in ["../../evil.safetensors", "/evil.safetensors", "a\\b.safetensors"] {
        let desk = Desk::new(sharded.clone().with("model.safetensors.index.json", index(shard).to_string()));
        assert!(matches!(desk.pull(), Err(Error::Config { .. })), "{shard}");
        desk.nothing_false(shard);
    }
    let desk = Desk::new(sharded.without("model-2.safetensors"));
    assert!(matches!(desk.pull(), Err(Error::HubStatus { kind: HubErrorKind::FileNotFound, .. })));
    assert!(!desk.repository().join("refs").exists(), "a model that is not all there has no name");
}

#[test]
fn a_repository_without_weights_that_are_read() {
    let desk = Desk::new(Repository::of("tiny-bert").without("model.safetensors"));
    let error = desk.pull().expect_err("no weights");
    assert!(
        matches!(error, Error::HubNoSafetensors { .. }) && error.to_string().contains("pytorch_model.bin"),
        "{error}"
    );
    let fetched = contents(&desk.repository().join("snapshots").join(COMMIT)).into_keys().collect::<Vec<_>>();
    assert_eq!(fetched, ["modules.json"], "which says where weights would be, and nothing else");
}

/// What cannot be opened is not fetched.
#[test]
fn a_repository_that_lacks_what_every_model_has() {
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
        (dense("2_Dense/pytorch_model.bin"), "2_Dense/model.safetensors"),
    ] {
        let desk = Desk::new(repository);
        let error = desk.pull().expect_err(lacking);
        assert!(matches!(&error, Error::MissingFile { name, .. } if name == lacking), "{error}");
        assert!(error.to_string().contains(&desk.hub.url), "{error}");
        assert_eq!(desk.hub.log().iter().filter(|request| request.cdn).count(), 0, "{lacking}");
    }
}

/// What would not be read is not fetched.
#[test]
fn sizes_that_are_announced() {
    let desk = Desk::new(Repository::of("tiny-bert"));
    let size = Fault::Header("x-linked-size", Some("300000000".to_owned()));
    desk.hub.fault("HEAD", "README.md", 9, size.clone());
    desk.hub.fault("HEAD", "tokenizer.json", 1, size.clone());
    desk.hub.fault("HEAD", "config.json", 9, size);
    let error = desk.pull().expect_err("too much");
    assert!(matches!(error, Error::HubProtocol { .. }), "{error:?}");
    assert!(error.to_string().contains("at most 67108864 bytes"), "{error}");
    assert!(desk.hub.log().iter().all(|request| request.sent < 100_000));
    desk.hub.mend();
    desk.hub.fault("HEAD", "README.md", 9, Fault::Header("x-linked-size", Some("300000000".to_owned())));
    assert!(!desk.pull().expect("a model").join("README.md").exists(), "no model needs it");
}

/// As sentence-transformers wrote models before version 1: nothing but modules.json and the like is at the top.
#[test]
fn an_encoder_in_a_folder_of_its_own() {
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

    let desk = Desk::new(repository.clone());
    let folder = desk.find_or_pull(ID, "main").expect("a model");
    let wanted = repository.clone().without("0_Transformer/pytorch_model.bin").without("0_Transformer/.gitattributes");
    assert_eq!(contents(&folder), wanted.without("0_Transformer/train script.py").wanted());
    let vector = Embedder::open(&folder).expect("a model").embed(&["a"]).expect("a vector");
    let original = Embedder::open(crate::common::model("tiny-bert")).expect("it").embed(&["a"]).expect("a vector");
    assert!(crate::common::same_bits(vector.row(0), original.row(0)));
    desk.hub.log();
    desk.find_or_pull(ID, "main").expect("a model");
    assert!(desk.hub.log().is_empty(), "all of it is there");
    std::fs::remove_file(folder.join("0_Transformer/model.safetensors")).expect("gone");
    desk.find_or_pull(ID, "main").expect("a model");
    assert!(folder.join("0_Transformer/model.safetensors").is_file());

    let desk = Desk::new(repository.without("0_Transformer/model.safetensors"));
    let error = desk.pull().expect_err("no weights");
    assert!(
        matches!(error, Error::HubNoSafetensors { .. }) && error.to_string().contains("pytorch_model.bin"),
        "{error}"
    );
}

#[test]
fn a_converted_model() {
    let converted = Repository::of("tiny-bert").with("likewise.safetensors", "packed");
    let desk = Desk::new(converted.clone());
    let folder = desk.pull().expect("a model");
    assert_eq!(contents(&folder), converted.without("model.safetensors").wanted());
}

#[test]
fn offline() {
    let mut desk = Desk::new(Repository::of("tiny-bert"));
    desk.settings.offline = true;
    let error = desk.pull().expect_err("nothing there");
    assert!(matches!(error, Error::ModelNotFound { .. }) && error.to_string().contains("offline"), "{error}");
    desk.settings.offline = false;
    let folder = desk.pull().expect("a model");
    desk.hub.log();
    desk.settings.offline = true;
    assert_eq!(desk.pull().expect("a model"), folder);
    assert_eq!(desk.find_or_pull(ID, "main").expect("a model"), folder);
    for name in ["config.json", "tokenizer.json", "1_Pooling/config.json", "model.safetensors"] {
        let link = std::fs::read_link(folder.join(name)).expect("a link");
        std::fs::remove_file(folder.join(name)).expect("gone");
        let error = desk.find_or_pull(ID, "main").expect_err("not all there");
        assert!(matches!(&error, Error::MissingFile { name: missing, .. } if missing == name), "{error}");
        std::os::unix::fs::symlink(link, folder.join(name)).expect("a link");
    }
    assert_eq!(desk.hub.log().len(), 0);
}

/// A disk may lose a part of a file. Whoever asks for the model anew gets all of it.
#[test]
fn a_damaged_content_is_fetched_again() {
    for name in ["model.safetensors", "config.json"] {
        let desk = Desk::new(Repository::of("tiny-bert"));
        let folder = desk.pull().expect("a model");
        let whole = contents(&folder);
        let blob = folder.join(name).canonicalize().expect("a blob");
        for damage in [&whole[name][..10], &[0; 20], &vec![7; whole[name].len()]] {
            std::fs::write(&blob, damage).expect("damaged");
            desk.hub.log();
            desk.pull().expect("a model");
            assert_eq!(contents(&folder), whole, "{name}");
            let log = desk.hub.log();
            let mut looked = log.iter().filter(|request| request.method == "HEAD").peekable();
            assert!(looked.peek().is_some() && looked.all(|request| request.path.ends_with(name)), "{name}: {log:?}");
        }
    }
}

#[test]
fn progress_is_told() {
    let desk = Desk::new(Repository::of("tiny-bert"));
    let (mut done, mut last) = (BTreeSet::new(), BTreeMap::new());
    let hub = hub::Hub::new(desk.settings.clone());
    hub.pull(ID, "main", &mut |told| match told {
        Progress::Downloading { name, size, received } => drop(last.insert(name.to_owned(), (received, size))),
        Progress::Finished { name } => drop(done.insert(name.to_owned())),
        other => panic!("{other:?}"),
    })
    .expect("a model");
    let wanted = Repository::of("tiny-bert").wanted();
    assert_eq!(done, wanted.keys().cloned().collect());
    let whole = wanted.into_iter().map(|(name, bytes)| (name, (bytes.len() as u64, bytes.len() as u64)));
    assert_eq!(last, whole.collect());
}
