//! Caches that other programs also write: which snapshots are complete, and which files are
//! downloaded.

use std::path::Path;

use likewise::hub::{Hub, Progress, Settings};

use super::download::{TestHub, file_contents};
use super::repository::{COMMIT, ID, Repository, etag};
use super::server::Fault;

/// Writes the list of a commit's files, as newer versions of huggingface_hub do.
fn write_tree(test: &TestHub, repository: &Repository) {
    let files: serde_json::Map<_, _> = repository
        .files
        .iter()
        .map(|(name, bytes)| (name.clone(), serde_json::json!({"size": bytes.len(), "blob_id": etag("small", bytes)})))
        .collect();
    let folder = test.repository().join("trees");
    std::fs::create_dir_all(&folder).expect("a folder");
    let tree = serde_json::json!({"format_version": 1, "files": files});
    std::fs::write(folder.join(format!("{COMMIT}.json")), tree.to_string()).expect("a list");
}

/// Removes a file from a snapshot, and all notes about missing files.
fn remove(test: &TestHub, folder: &Path, name: &str) {
    drop(std::fs::remove_dir_all(test.repository().join(".no_exist")));
    std::fs::remove_file(folder.join(name)).expect("removed");
}

/// Without modules.json sentence-transformers uses default pooling. Without other files the model
/// has no prompts or another tokenizer. So one request must find out whether the commit contains
/// them.
#[test]
fn optional_file_that_the_cache_lacks_is_requested_once() {
    const OPTIONAL: [&str; 3] = ["modules.json", "config_sentence_transformers.json", "tokenizer_config.json"];
    for name in OPTIONAL {
        let mut test = TestHub::new(Repository::of("tiny-bert"));
        let folder = test.pull().expect("a model");
        // Other programs may not write these notes.
        std::fs::remove_dir_all(test.repository().join(".no_exist")).expect("removed");
        let link = std::fs::read_link(folder.join(name)).expect("a link");
        std::fs::remove_file(folder.join(name)).expect("removed");
        // Without a response the cache is used, and an event reports it.
        let incomplete_events = |settings: &Settings| {
            let mut events = Vec::new();
            let found = Hub::new(settings.clone()).find_or_pull(ID, "main", &mut |progress: Progress<'_>| {
                if let Progress::UsingIncompleteCache { names, error } = progress {
                    assert!(names.iter().any(|unknown| unknown == name), "{names:?}");
                    events.push(error.is_some());
                }
            });
            assert_eq!(found.expect("a model"), folder);
            events
        };
        let endpoint = std::mem::replace(&mut test.settings.endpoint, "http://127.0.0.1:1".to_owned());
        assert_eq!(incomplete_events(&test.settings), [true], "{name}");
        test.settings.offline = true;
        assert_eq!(incomplete_events(&test.settings), [false], "{name}");
        test.settings.offline = false;
        // A full download may end at any file, so no file proves that all exist. Only a list does.
        std::fs::write(folder.join(".gitattributes"), "").expect("a file");
        assert_eq!(incomplete_events(&test.settings), [true], "{name}");
        std::fs::remove_file(folder.join(".gitattributes")).expect("removed");
        let listed = Repository::of("tiny-bert");
        write_tree(&test, &listed.clone().without(name));
        assert_eq!(incomplete_events(&test.settings), [true; 0], "{name}");
        write_tree(&test, &listed);
        assert_eq!(incomplete_events(&test.settings), [true], "{name}: the repository has it");
        std::fs::write(test.repository().join("trees").join(format!("{COMMIT}.json")), "{}").expect("a list of others");
        assert_eq!(incomplete_events(&test.settings), [true], "{name}");
        // Once the hub responds, the file is downloaded, and no request follows.
        test.settings.endpoint = endpoint;
        assert_eq!(incomplete_events(&test.settings), [false; 0], "{name}");
        assert_eq!(std::fs::read_link(folder.join(name)).expect("a link"), link);
        test.hub.take_log();
        assert_eq!(incomplete_events(&test.settings), [false; 0], "{name}");
        assert_eq!(test.hub.take_log().len(), 0, "{name}");
    }
    let test = TestHub::new(Repository::of("tiny-bert").without("modules.json"));
    let folder = test.pull().expect("a model");
    assert!(test.repository().join(".no_exist").join(COMMIT).join("modules.json").is_file());
    test.hub.take_log();
    assert_eq!(test.find_or_pull(ID, "main").expect("a model"), folder);
    assert_eq!(test.hub.take_log().len(), 0);
}

/// Another program's download may end at any file.
#[test]
fn required_file_that_the_cache_lacks_is_downloaded() {
    let modules = serde_json::json!([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
        {"idx": 3, "name": "3", "path": "3_Norm", "type": "sentence_transformers.models.LayerNorm"},
    ]);
    let with_modules = Repository::of("tiny-bert")
        .with("modules.json", modules.to_string())
        .with("2_Dense/config.json", "{}")
        .with("2_Dense/model.safetensors", "weights of the one")
        .with("3_Norm/config.json", "{}")
        .with("3_Norm/model.safetensors", "weights of the other");
    let of_pairs =
        Repository::of("tiny-bert").without("tokenizer.json").with("vocab.json", "{}").with("merges.txt", "");
    let of_pieces = Repository::of("tiny-xlm-roberta").with("sentencepiece.bpe.model", "pieces");
    for repository in [with_modules, of_pairs, of_pieces] {
        let test = TestHub::new(repository.clone());
        let folder = test.pull().expect("a model");
        // Other programs may not write these notes.
        std::fs::remove_dir_all(test.repository().join(".no_exist")).expect("removed");
        for name in file_contents(&folder).into_keys().filter(|name| name != "README.md") {
            std::fs::remove_file(folder.join(&name)).expect("removed");
            test.find_or_pull(ID, "main").expect("a model");
            assert_eq!(file_contents(&folder), repository.model_files(), "{name}");
            drop(std::fs::remove_dir_all(test.repository().join(".no_exist")));
        }
    }
}

/// A link to a removed blob shows that the commit contains the file.
#[test]
fn broken_link_is_a_missing_file() {
    let mut test = TestHub::new(Repository::of("tiny-bert"));
    let folder = test.pull().expect("a model");
    std::fs::remove_file(folder.join("modules.json").canonicalize().expect("a blob")).expect("removed");
    test.settings.offline = true;
    let mut events = Vec::new();
    let found = Hub::new(test.settings.clone()).find_or_pull(ID, "main", &mut |progress: Progress<'_>| {
        if let Progress::UsingIncompleteCache { names, .. } = progress {
            events.extend_from_slice(names);
        }
    });
    assert_eq!((found.expect("a model"), events), (folder.clone(), vec!["modules.json".to_owned()]));
    test.settings.offline = false;
    test.find_or_pull(ID, "main").expect("a model");
    assert_eq!(file_contents(&folder), Repository::of("tiny-bert").model_files());
}

/// If optional files are missing and the hub fails, an event reports it.
#[test]
fn cached_model_opens_whatever_the_hub_responds() {
    let listing = "/api/models/";
    let html = Fault::Body("<html>Sign in to this network</html>".to_owned());
    for (method, path, fault) in [
        ("GET", listing, Fault::Status(401, &[])),
        ("GET", listing, Fault::Status(404, &[("X-Error-Code", "RevisionNotFound")])),
        ("GET", listing, Fault::Status(403, &[("X-Error-Code", "GatedRepo")])),
        ("GET", listing, Fault::Status(418, &[])),
        ("GET", listing, Fault::Status(503, &[])),
        ("GET", listing, Fault::Status(302, &[("Location", "ftp://x/y")])),
        ("GET", listing, Fault::Stall(10)),
        ("GET", listing, html),
        ("HEAD", "modules.json", Fault::Status(403, &[])),
    ] {
        let test = TestHub::new(Repository::of("tiny-bert"));
        let folder = test.pull().expect("a model");
        remove(&test, &folder, "modules.json");
        test.hub.add_fault(method, path, usize::MAX, fault.clone());
        let mut events = Vec::new();
        let mut retries = 0;
        let found =
            Hub::new(test.settings.clone()).find_or_pull(ID, "main", &mut |progress: Progress<'_>| match progress {
                Progress::UsingIncompleteCache { names, error } => events.push((names.to_vec(), error.is_some())),
                Progress::Retrying { .. } => retries += 1,
                _ => {}
            });
        assert_eq!(found.expect("a model"), folder, "{fault:?}");
        assert_eq!(events.len(), 1, "{fault:?}");
        assert!(events[0].1 && events[0].0.contains(&"modules.json".to_owned()), "{fault:?}: {events:?}");
        assert_eq!(retries, 0, "{fault:?}: an optional request is not retried");
    }
}

#[test]
fn read_only_cache_opens_without_its_optional_files() {
    let test = TestHub::new(Repository::of("tiny-bert"));
    let folder = test.pull().expect("a model");
    remove(&test, &folder, "modules.json");
    // Not even root can create a folder at the path of a file.
    std::fs::remove_dir_all(test.cache.path().join(".locks")).expect("removed");
    std::fs::write(test.cache.path().join(".locks"), "").expect("a file");
    std::fs::remove_file(
        test.repository().join("blobs").join(etag("x", &Repository::of("tiny-bert").files["modules.json"])),
    )
    .expect("removed");
    assert_eq!(test.find_or_pull(ID, "main").expect("a model"), folder);
}

/// The branch may have moved since.
#[test]
fn incomplete_snapshot_is_completed_from_its_own_commit() {
    for name in ["modules.json", "model.safetensors"] {
        let test = TestHub::new(Repository::of("tiny-bert"));
        let folder = test.pull().expect("a model");
        remove(&test, &folder, name);
        test.hub.take_log();
        assert_eq!(test.find_or_pull(ID, "main").expect("a model"), folder);
        let log = test.hub.take_log();
        assert_eq!(log[0].path, format!("/api/models/org/tiny/revision/{COMMIT}"), "{name}");
        assert_eq!(file_contents(&folder), Repository::of("tiny-bert").model_files(), "{name}");
        // The hub no longer has the commit. A model that opens is used; another one is downloaded
        // from the new commit.
        remove(&test, &folder, name);
        let newer = Repository { commit: "f".repeat(40), ..Repository::of("tiny-bert") };
        test.hub.add_repository(ID, newer);
        let found = test.find_or_pull(ID, "main").expect("a model");
        assert_eq!(found == folder, name == "modules.json", "{name}");
    }
}

#[test]
fn damaged_blob_is_not_reused_by_a_newer_commit() {
    let test = TestHub::new(Repository::of("tiny-bert"));
    let folder = test.pull().expect("a model");
    let blob = folder.join("model.safetensors").canonicalize().expect("a blob");
    let mut bytes = std::fs::read(&blob).expect("a blob");
    bytes.iter_mut().rev().take(40).for_each(|byte| *byte ^= 1);
    std::fs::write(&blob, bytes).expect("damage");
    let mut newer = Repository::of("tiny-bert").with("README.md", "# newer");
    newer.commit = "f".repeat(40);
    test.hub.add_repository(ID, newer.clone());
    assert_eq!(file_contents(&test.pull().expect("a model")), newer.model_files());
    test.assert_blobs_are_correct("damage");
}

/// Without symbolic links the cache contains copies, whose names are not hashes.
#[test]
fn damaged_copy_is_replaced_and_a_correct_one_stays() {
    let test = TestHub::new(Repository::of("tiny-bert"));
    let folder = test.pull().expect("a model");
    for name in ["config.json", "tokenizer.json"] {
        let bytes = std::fs::read(folder.join(name)).expect("a file");
        std::fs::remove_file(folder.join(name)).expect("removed");
        std::fs::write(folder.join(name), if name == "config.json" { b"{}".to_vec() } else { bytes }).expect("a copy");
    }
    test.hub.take_log();
    test.pull().expect("a model");
    assert_eq!(file_contents(&folder), Repository::of("tiny-bert").model_files());
    assert!(folder.join("tokenizer.json").symlink_metadata().expect("a file").is_file(), "the copy was correct");
    assert!(
        test.hub.take_log().iter().all(|request| request.method != "GET" || request.path.starts_with("/api/models/"))
    );
}

/// Some users keep blobs on another disk, all of them or one.
#[test]
fn blob_that_is_a_link_opens_and_is_not_downloaded_again() {
    use std::os::unix::fs::symlink;
    let elsewhere = tempfile::tempdir().expect("a folder");
    let open =
        |folder: &Path| likewise::Embedder::open(folder).unwrap_or_else(|e| panic!("{}", likewise::error_chain(&e)));
    let test = TestHub::new(Repository::of("tiny-bert"));
    let folder = test.pull().expect("a model");
    let blob = folder.join("1_Pooling/config.json").canonicalize().expect("a blob");
    std::fs::copy(&blob, elsewhere.path().join("one")).expect("a copy");
    std::fs::remove_file(&blob).expect("removed");
    symlink(elsewhere.path().join("one"), &blob).expect("a link");
    open(&folder);
    // Newer versions of huggingface_hub link to a store that all repositories share.
    let blob = folder.join("config.json").canonicalize().expect("a blob");
    let store = test.cache.path().join("blobs/ab");
    std::fs::create_dir_all(&store).expect("a folder");
    std::fs::rename(&blob, store.join("content")).expect("moved");
    symlink("../../blobs/ab/content", &blob).expect("a link");
    open(&folder);
    test.hub.take_log();
    test.pull().expect("a model");
    assert_eq!(test.hub.take_log().len(), 1, "no file is downloaded again");
    let blobs = test.repository().join("blobs");
    std::fs::create_dir(elsewhere.path().join("all")).expect("a folder");
    for entry in std::fs::read_dir(&blobs).expect("blobs") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, elsewhere.path().join("all").join(path.file_name().expect("a name"))).expect("a copy");
    }
    std::fs::remove_dir_all(&blobs).expect("removed");
    symlink(elsewhere.path().join("all"), &blobs).expect("a link");
    open(&folder);
    // A model's file must not lead out of the repository.
    std::fs::remove_file(folder.join("1_Pooling/config.json")).expect("removed");
    symlink(elsewhere.path().join("one"), folder.join("1_Pooling/config.json")).expect("a link");
    let Err(error) = likewise::Embedder::open(&folder) else { panic!("a link out of the repository") };
    assert!(error.to_string().contains("a link to"), "{error}");
}

/// Users that share a cache must be able to read what another user downloaded.
#[cfg(unix)]
#[test]
fn downloaded_files_have_the_permissions_of_ordinary_files() {
    use std::os::unix::fs::PermissionsExt;
    let test = TestHub::new(Repository::of("tiny-bert"));
    test.pull().expect("a model");
    let mode = |path: &Path| std::fs::metadata(path).expect("a file").permissions().mode();
    let ordinary = test.cache.path().join("ordinary");
    std::fs::write(&ordinary, "").expect("a file");
    let found = super::download::walk(test.cache.path());
    assert!(found.len() > 20, "{found:?}");
    for (name, path) in found {
        assert_eq!(mode(&path), mode(&ordinary), "{name}");
    }
}

/// The hub redirects the requests for a repository that was renamed.
#[test]
fn renamed_repository_is_downloaded_by_its_old_name() {
    const OLD: &str = "old/name";
    let repository = Repository::of("tiny-bert");
    let test = TestHub::new(repository.clone());
    let files = repository.files.keys().map(|name| format!("/{OLD}/resolve/{COMMIT}/{name}"));
    for path in files.chain([format!("/api/models/{OLD}/revision/main")]) {
        let target: &'static str = Box::leak(path.replace(OLD, ID).into_boxed_str());
        let location: &'static [(&str, &str)] = Box::leak(Box::new([("Location", target)]));
        test.hub.add_fault("", &path, usize::MAX, Fault::Status(307, location));
    }
    let folder = test.pull_as(OLD, "main").expect("a model");
    assert_eq!(folder, test.cache.path().join("models--old--name/snapshots").join(COMMIT));
    assert_eq!(file_contents(&folder), repository.model_files());
}
