//! A cache that others fill, too: what of it is enough, and what is fetched of it.

use std::path::Path;

use likewise::hub::{self, Progress, Settings};

use crate::download::{Desk, contents};
use crate::repository::{COMMIT, ID, Repository, etag};
use crate::server::Fault;

/// Writes the list of a commit's files that newer versions of huggingface_hub keep.
fn list(desk: &Desk, repository: &Repository) {
    let files: serde_json::Map<_, _> = repository
        .files
        .iter()
        .map(|(name, bytes)| (name.clone(), serde_json::json!({"size": bytes.len(), "blob_id": etag("small", bytes)})))
        .collect();
    let folder = desk.repository().join("trees");
    std::fs::create_dir_all(&folder).expect("a folder");
    let list = serde_json::json!({"format_version": 1, "files": files});
    std::fs::write(folder.join(format!("{COMMIT}.json")), list.to_string()).expect("a list");
}

/// Takes what others would not have fetched, or noted, out of a snapshot.
fn take(desk: &Desk, folder: &Path, name: &str) {
    drop(std::fs::remove_dir_all(desk.repository().join(".no_exist")));
    std::fs::remove_file(folder.join(name)).expect("gone");
}

/// Without modules.json a model is pooled as the reference does by default, without other files it has no prompt or another
/// tokenizer. Whether the repository has them makes all the difference, and is asked once.
#[test]
fn a_snapshot_of_which_others_fetched_a_part() {
    const OPTIONAL: [&str; 3] = ["modules.json", "config_sentence_transformers.json", "tokenizer_config.json"];
    for name in OPTIONAL {
        let mut desk = Desk::new(Repository::of("tiny-bert"));
        let folder = desk.pull().expect("a model");
        // Others may note nothing.
        std::fs::remove_dir_all(desk.repository().join(".no_exist")).expect("gone");
        let link = std::fs::read_link(folder.join(name)).expect("a link");
        std::fs::remove_file(folder.join(name)).expect("gone");
        // Whom nobody answers: the cache it is, and that is told.
        let unsure = |settings: &Settings| {
            let mut told = Vec::new();
            let found = hub::Hub::new(settings.clone()).find_or_pull(ID, "main", &mut |progress: Progress<'_>| {
                if let Progress::UsingIncompleteCache { names, error } = progress {
                    assert!(names.iter().any(|unknown| unknown == name), "{names:?}");
                    told.push(error.is_some());
                }
            });
            assert_eq!(found.expect("a model"), folder);
            told
        };
        let endpoint = std::mem::replace(&mut desk.settings.endpoint, "http://127.0.0.1:1".to_owned());
        assert_eq!(unsure(&desk.settings), [true], "{name}");
        desk.settings.offline = true;
        assert_eq!(unsure(&desk.settings), [false], "{name}");
        desk.settings.offline = false;
        // One who fetches everything may be ended at any file, so no file proves that all are there. A list does.
        std::fs::write(folder.join(".gitattributes"), "").expect("a file");
        assert_eq!(unsure(&desk.settings), [true], "{name}");
        std::fs::remove_file(folder.join(".gitattributes")).expect("gone");
        let listed = Repository::of("tiny-bert");
        list(&desk, &listed.clone().without(name));
        assert_eq!(unsure(&desk.settings), [true; 0], "{name}");
        list(&desk, &listed);
        assert_eq!(unsure(&desk.settings), [true], "{name}: the repository has it");
        std::fs::write(desk.repository().join("trees").join(format!("{COMMIT}.json")), "{}").expect("a list of others");
        assert_eq!(unsure(&desk.settings), [true], "{name}");
        // Once it can be asked, the file comes, and nothing is asked for again.
        desk.settings.endpoint = endpoint;
        assert_eq!(unsure(&desk.settings), [false; 0], "{name}");
        assert_eq!(std::fs::read_link(folder.join(name)).expect("a link"), link);
        desk.hub.log();
        assert_eq!(unsure(&desk.settings), [false; 0], "{name}");
        assert_eq!(desk.hub.log().len(), 0, "{name}");
    }
    let desk = Desk::new(Repository::of("tiny-bert").without("modules.json"));
    let folder = desk.pull().expect("a model");
    assert!(desk.repository().join(".no_exist").join(COMMIT).join("modules.json").is_file());
    desk.hub.log();
    assert_eq!(desk.find_or_pull(ID, "main").expect("a model"), folder);
    assert_eq!(desk.hub.log().len(), 0);
}

/// Whoever else begins to fill a snapshot may end at any file: what a model cannot do without is fetched.
#[test]
fn any_file_that_is_missing_comes() {
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
        let desk = Desk::new(repository.clone());
        let folder = desk.pull().expect("a model");
        // Others may note nothing of what is not there.
        std::fs::remove_dir_all(desk.repository().join(".no_exist")).expect("gone");
        for name in contents(&folder).into_keys().filter(|name| name != "README.md") {
            std::fs::remove_file(folder.join(&name)).expect("gone");
            desk.find_or_pull(ID, "main").expect("a model");
            assert_eq!(contents(&folder), repository.wanted(), "{name}");
            drop(std::fs::remove_dir_all(desk.repository().join(".no_exist")));
        }
    }
}

/// A link whose content is gone says that the commit has this file.
#[test]
fn a_link_to_nothing_is_a_file_that_is_missing() {
    let mut desk = Desk::new(Repository::of("tiny-bert"));
    let folder = desk.pull().expect("a model");
    std::fs::remove_file(folder.join("modules.json").canonicalize().expect("a blob")).expect("gone");
    desk.settings.offline = true;
    let mut told = Vec::new();
    let found = hub::Hub::new(desk.settings.clone()).find_or_pull(ID, "main", &mut |progress: Progress<'_>| {
        if let Progress::UsingIncompleteCache { names, .. } = progress {
            told.extend_from_slice(names);
        }
    });
    assert_eq!((found.expect("a model"), told), (folder.clone(), vec!["modules.json".to_owned()]));
    desk.settings.offline = false;
    desk.find_or_pull(ID, "main").expect("a model");
    assert_eq!(contents(&folder), Repository::of("tiny-bert").wanted());
}

/// Whatever the hub answers: a model that the cache has can be opened, and why it may not be whole is told.
#[test]
fn no_answer_takes_a_model_away() {
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
        let desk = Desk::new(Repository::of("tiny-bert"));
        let folder = desk.pull().expect("a model");
        take(&desk, &folder, "modules.json");
        desk.hub.fault(method, path, usize::MAX, fault.clone());
        let mut told = Vec::new();
        let mut again = 0;
        let found =
            hub::Hub::new(desk.settings.clone()).find_or_pull(
                ID,
                "main",
                &mut |progress: Progress<'_>| match progress {
                    Progress::UsingIncompleteCache { names, error } => told.push((names.to_vec(), error.is_some())),
                    Progress::Retrying { .. } => again += 1,
                    _ => {}
                },
            );
        assert_eq!(found.expect("a model"), folder, "{fault:?}");
        assert_eq!(told.len(), 1, "{fault:?}");
        assert!(told[0].1 && told[0].0.contains(&"modules.json".to_owned()), "{fault:?}: {told:?}");
        assert_eq!(again, 0, "{fault:?}: who can do without does not wait");
    }
}

/// A cache of somebody else's.
#[test]
fn a_cache_that_cannot_be_written_to() {
    let desk = Desk::new(Repository::of("tiny-bert"));
    let folder = desk.pull().expect("a model");
    take(&desk, &folder, "modules.json");
    // Whatever may write everywhere cannot make a folder where a file is.
    std::fs::remove_dir_all(desk.cache.path().join(".locks")).expect("gone");
    std::fs::write(desk.cache.path().join(".locks"), "").expect("a file");
    std::fs::remove_file(
        desk.repository().join("blobs").join(etag("x", &Repository::of("tiny-bert").files["modules.json"])),
    )
    .expect("gone");
    assert_eq!(desk.find_or_pull(ID, "main").expect("a model"), folder);
}

/// What the cache has begun of a commit is completed from that commit, whatever the branch is by now.
#[test]
fn a_model_does_not_change_unasked() {
    for name in ["modules.json", "model.safetensors"] {
        let desk = Desk::new(Repository::of("tiny-bert"));
        let folder = desk.pull().expect("a model");
        take(&desk, &folder, name);
        desk.hub.log();
        assert_eq!(desk.find_or_pull(ID, "main").expect("a model"), folder);
        let log = desk.hub.log();
        assert_eq!(log[0].path, format!("/api/models/org/tiny/revision/{COMMIT}"), "{name}");
        assert_eq!(contents(&folder), Repository::of("tiny-bert").wanted(), "{name}");
        // A hub that no longer has it: of what is enough, that is taken, and what is not enough is fetched anew.
        take(&desk, &folder, name);
        let newer = Repository { commit: "f".repeat(40), ..Repository::of("tiny-bert") };
        desk.hub.put(ID, newer);
        let found = desk.find_or_pull(ID, "main").expect("a model");
        assert_eq!(found == folder, name == "modules.json", "{name}");
    }
}

/// Nor does what a disk has damaged become a part of a newer commit.
#[test]
fn damaged_contents_are_not_taken_over() {
    let desk = Desk::new(Repository::of("tiny-bert"));
    let folder = desk.pull().expect("a model");
    let blob = folder.join("model.safetensors").canonicalize().expect("a blob");
    let mut bytes = std::fs::read(&blob).expect("a blob");
    bytes.iter_mut().rev().take(40).for_each(|byte| *byte ^= 1);
    std::fs::write(&blob, bytes).expect("damage");
    let mut newer = Repository::of("tiny-bert").with("README.md", "# newer");
    newer.commit = "f".repeat(40);
    desk.hub.put(ID, newer.clone());
    assert_eq!(contents(&desk.pull().expect("a model")), newer.wanted());
    desk.nothing_false("damage");
}

/// Where there are no links, files are copies. Their names do not say what they should be, but the hub does.
#[test]
fn copies_are_compared_too() {
    let desk = Desk::new(Repository::of("tiny-bert"));
    let folder = desk.pull().expect("a model");
    for name in ["config.json", "tokenizer.json"] {
        let bytes = std::fs::read(folder.join(name)).expect("a file");
        std::fs::remove_file(folder.join(name)).expect("gone");
        std::fs::write(folder.join(name), if name == "config.json" { b"{}".to_vec() } else { bytes }).expect("a copy");
    }
    desk.hub.log();
    desk.pull().expect("a model");
    assert_eq!(contents(&folder), Repository::of("tiny-bert").wanted());
    assert!(folder.join("tokenizer.json").symlink_metadata().expect("a file").is_file(), "it was right");
    assert!(desk.hub.log().iter().all(|request| request.method != "GET" || request.path.starts_with("/api/models/")));
}

/// Blobs that are kept on another disk, all of them or one.
#[test]
fn blobs_may_be_links() {
    use std::os::unix::fs::symlink;
    let elsewhere = tempfile::tempdir().expect("a folder");
    let open =
        |folder: &Path| likewise::Embedder::open(folder).unwrap_or_else(|e| panic!("{}", likewise::error_chain(&e)));
    let desk = Desk::new(Repository::of("tiny-bert"));
    let folder = desk.pull().expect("a model");
    let blob = folder.join("1_Pooling/config.json").canonicalize().expect("a blob");
    std::fs::copy(&blob, elsewhere.path().join("one")).expect("a copy");
    std::fs::remove_file(&blob).expect("gone");
    symlink(elsewhere.path().join("one"), &blob).expect("a link");
    open(&folder);
    // And in the store that all repositories of newer versions share, by a relative link.
    let blob = folder.join("config.json").canonicalize().expect("a blob");
    let store = desk.cache.path().join("blobs/ab");
    std::fs::create_dir_all(&store).expect("a folder");
    std::fs::rename(&blob, store.join("content")).expect("moved");
    symlink("../../blobs/ab/content", &blob).expect("a link");
    open(&folder);
    desk.hub.log();
    desk.pull().expect("a model");
    assert_eq!(desk.hub.log().len(), 1, "nothing is fetched again");
    let blobs = desk.repository().join("blobs");
    std::fs::create_dir(elsewhere.path().join("all")).expect("a folder");
    for entry in std::fs::read_dir(&blobs).expect("blobs") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, elsewhere.path().join("all").join(path.file_name().expect("a name"))).expect("a copy");
    }
    std::fs::remove_dir_all(&blobs).expect("gone");
    symlink(elsewhere.path().join("all"), &blobs).expect("a link");
    open(&folder);
    // And still no way out for what a file of the model names.
    std::fs::remove_file(folder.join("1_Pooling/config.json")).expect("gone");
    symlink(elsewhere.path().join("one"), folder.join("1_Pooling/config.json")).expect("a link");
    let Err(error) = likewise::Embedder::open(&folder) else { panic!("a way out") };
    assert!(error.to_string().contains("a link to"), "{error}");
}
