//! A hub that breaks: the bytes are right, or the error says what was wrong, and nothing half is left under a whole's name.

use std::time::{Duration, Instant};

use likewise::{Error, HubErrorKind};

use crate::download::{Desk, contents};
use crate::repository::{COMMIT, ID, Repository, etag};
use crate::server::Fault;

fn desk() -> Desk {
    Desk::new(Repository::of("tiny-bert"))
}

fn weights() -> Vec<u8> {
    Repository::of("tiny-bert").files["model.safetensors"].clone()
}

/// A part of the address of the weights, at the host of large files.
fn large() -> String {
    format!("/{}", etag("model.safetensors", &weights()))
}

/// Faults that go away: the model comes, and is right.
#[test]
fn what_passes() {
    let (listing, head, large) = ("/api/models/", "/resolve/", &large());
    let status = |status| Fault::Status(status, &[]);
    for (method, path, times, fault) in [
        ("GET", listing, 3, status(500)),
        ("GET", listing, 3, status(408)),
        ("GET", listing, 5, Fault::CutAfter(0)),
        ("GET", listing, 3, Fault::CutAfter(20)),
        ("GET", listing, 1, Fault::Stall(20)),
        ("HEAD", head, 4, status(503)),
        ("HEAD", head, 2, Fault::CutAfter(0)),
        ("GET", large, 3, status(502)),
        ("GET", large, 3, status(504)),
        ("GET", large, 1, Fault::Status(429, &[("Retry-After", "0")])),
        ("GET", large, 5, Fault::CutAfter(0)),
        // Each gets further, so however many there are, they are not too many.
        ("GET", large, 60, Fault::CutAfter(2000)),
        ("GET", large, 1, Fault::Stall(1000)),
        ("GET", large, 1, Fault::OtherBytes),
        ("GET", large, 1, Fault::Resized(7)),
        ("GET", large, 1, Fault::Resized(-7)),
        ("GET", large, 1, Fault::Endless),
        ("GET", "config.json", 1, Fault::OtherBytes),
        ("GET", "config.json", 2, Fault::CutAfter(100)),
    ] {
        let desk = desk();
        desk.hub.fault(method, path, times, fault.clone());
        let what = format!("{method} {path} {times} {fault:?}");
        let folder = desk.pull().unwrap_or_else(|error| panic!("{what}: {}", likewise::error_chain(&error)));
        assert_eq!(contents(&folder), Repository::of("tiny-bert").wanted(), "{what}");
        assert_eq!(crate::download::walk(&desk.repository().join("blobs")).len(), 9, "{what}: no partial is left");
        desk.nothing_false(&what);
    }
}

/// Faults that stay, and what is said of each.
#[test]
fn what_stays() {
    type Kind = fn(&Error) -> bool;
    let refused: Kind = |e| matches!(e, Error::HubStatus { kind: HubErrorKind::Unavailable, .. });
    let unreachable: Kind = |e| matches!(e, Error::HubUnreachable { attempts: 6, .. });
    let answer: Kind = |e| matches!(e, Error::HubProtocol { .. });
    let size: Kind = |e| matches!(e, Error::HubCorruptDownload { what: "size", .. });
    let (listing, head, large) = ("/api/models/", "/resolve/", &large());
    let header = |name, value: Option<&str>| Fault::Header(name, value.map(str::to_owned));
    let listed = |sha: &str, name: &str| {
        Fault::Body(
            serde_json::json!({"sha": sha, "siblings": [{"rfilename": name}, {"rfilename": "model.safetensors"}]})
                .to_string(),
        )
    };
    let cases: Vec<(&'static str, &str, Fault, Kind)> = vec![
        ("GET", listing, Fault::Status(503, &[]), refused),
        ("GET", listing, Fault::Status(429, &[("Retry-After", "3600")]), refused),
        ("GET", listing, Fault::Status(418, &[]), |e| {
            matches!(e, Error::HubStatus { kind: HubErrorKind::UnexpectedStatus, status: 418, .. })
        }),
        ("GET", listing, Fault::Status(403, &[]), |e| {
            matches!(e, Error::HubStatus { kind: HubErrorKind::Forbidden, .. })
        }),
        ("GET", listing, Fault::CutAfter(0), unreachable),
        ("GET", listing, Fault::CutAfter(10), unreachable),
        ("GET", listing, Fault::Stall(10), unreachable),
        ("GET", listing, Fault::Endless, answer),
        ("GET", listing, Fault::EndlessHead, |e| matches!(e, Error::HubUnreachable { attempts: 1, .. })),
        ("GET", listing, Fault::Body("<html>".to_owned()), |e| matches!(e, Error::Json { .. })),
        ("GET", listing, Fault::Body("{\"sha\": 1}".to_owned()), |e| matches!(e, Error::Json { .. })),
        ("GET", listing, listed("../../../../../../../../../../../../../x", "a"), answer),
        ("GET", listing, listed("main", "a"), answer),
        ("GET", listing, header("content-encoding", Some("gzip")), answer),
        ("HEAD", head, Fault::Status(500, &[]), refused),
        ("HEAD", head, Fault::Status(404, &[("X-Error-Code", "EntryNotFound")]), |e| {
            matches!(e, Error::HubStatus { kind: HubErrorKind::FileNotFound, .. })
        }),
        ("HEAD", "/model.safetensors", header("x-repo-commit", None), answer),
        ("HEAD", "/model.safetensors", header("x-repo-commit", Some(&"f".repeat(40))), answer),
        ("HEAD", "/model.safetensors", header("x-linked-etag", None), answer),
        ("HEAD", "/model.safetensors", header("x-linked-etag", Some("\"../../evil\"")), answer),
        ("HEAD", "/model.safetensors", header("x-linked-size", None), answer),
        ("HEAD", "/model.safetensors", header("x-linked-size", Some("-1")), answer),
        // More than was announced, and less.
        ("HEAD", "/model.safetensors", header("x-linked-size", Some("18446744073709551615")), size),
        ("HEAD", "/model.safetensors", header("x-linked-size", Some("100")), size),
        ("HEAD", "/model.safetensors", Fault::Status(401, &[]), |e| {
            matches!(e, Error::HubStatus { kind: HubErrorKind::RepositoryNotFound, status: 401, .. })
        }),
        // Of another host than the hub, which does not know the hub's repositories.
        ("GET", large, Fault::Status(404, &[]), |e| {
            matches!(e, Error::HubStatus { kind: HubErrorKind::UnexpectedStatus, status: 404, .. })
        }),
        ("GET", large, Fault::Status(401, &[]), |e| {
            matches!(e, Error::HubStatus { kind: HubErrorKind::UnexpectedStatus, status: 401, .. })
        }),
        ("GET", large, Fault::CutAfter(0), unreachable),
        ("GET", large, Fault::Status(503, &[]), refused),
        ("GET", large, Fault::Status(403, &[]), |e| {
            matches!(e, Error::HubStatus { kind: HubErrorKind::Forbidden, .. })
        }),
        ("GET", large, Fault::OtherBytes, |e| matches!(e, Error::HubCorruptDownload { what: "sha256", .. })),
        ("GET", "tokenizer.json", Fault::OtherBytes, |e| {
            matches!(e, Error::HubCorruptDownload { what: "git sha1", .. })
        }),
        ("GET", large, Fault::Resized(1), size),
        ("GET", large, Fault::Resized(-1), size),
        ("GET", large, Fault::Endless, size),
        ("GET", "/model.safetensors", header("location", Some("/org/tiny/resolve/main/model.safetensors")), answer),
        ("GET", "/model.safetensors", header("location", None), answer),
        ("GET", "/model.safetensors", header("location", Some("file:///etc/passwd")), answer),
    ];
    for (method, path, fault, kind) in cases {
        let desk = desk();
        desk.hub.fault(method, path, usize::MAX, fault.clone());
        let what = format!("{method} {path} {fault:?}");
        let error = desk.pull().expect_err(&what);
        assert!(kind(&error), "{what}: {}", likewise::error_chain(&error));
        println!("{what}\n    {}", likewise::error_chain(&error));
        desk.nothing_false(&what);
        assert!(!desk.repository().join("refs").exists(), "{what}: it has a name");
        assert!(!desk.repository().join("snapshots").join(COMMIT).join("model.safetensors").exists(), "{what}");
        let left = crate::download::walk(desk.cache.path());
        let outside = left.keys().find(|name| !name.starts_with("models--org--tiny/") && !name.starts_with(".locks/"));
        assert_eq!(outside, None, "{what}");
        let damaged = matches!(error, Error::HubCorruptDownload { .. });
        assert!(!damaged || !left.keys().any(|name| name.ends_with(".incomplete")), "{what}: what is wrong is kept");
        // And once it works again, all is well.
        desk.hub.mend();
        let folder = desk.pull().unwrap_or_else(|error| panic!("{what}: {}", likewise::error_chain(&error)));
        assert_eq!(contents(&folder), Repository::of("tiny-bert").wanted(), "{what}");
        desk.nothing_false(&what);
    }
}

#[test]
fn a_cut_file_is_resumed_where_it_was_cut() {
    let desk = desk();
    desk.hub.fault("GET", &large(), 10, Fault::CutAfter(10_000));
    desk.pull().expect("a model");
    let log: Vec<_> = desk.hub.log().into_iter().filter(|request| request.cdn).collect();
    assert_eq!(log.len(), 11);
    assert_eq!(log.iter().map(|request| request.sent).sum::<usize>(), weights().len(), "no byte is sent twice");
    assert_eq!(log[3].headers["range"], "bytes=30000-");
}

#[test]
fn a_host_without_ranges_sends_all_of_it_again() {
    let desk = desk();
    desk.hub.fault("GET", &large(), 1, Fault::CutAfter(10_000));
    desk.hub.fault("GET", &large(), 1, Fault::NoRanges);
    let folder = desk.pull().expect("a model");
    assert_eq!(contents(&folder)["model.safetensors"], weights());
    assert_eq!(desk.hub.sent(&large()), weights().len() + 10_000);
}

#[test]
fn a_part_that_was_not_asked_for_is_refused() {
    for range in
        ["bytes 0-99/137824", "bytes 9999-137823/137824", "bytes 10000-137823/*", "bytes 10000-20000/137824", "all"]
    {
        let desk = desk();
        desk.hub.fault("GET", &large(), 1, Fault::CutAfter(10_000));
        desk.hub.fault("GET", &large(), 9, Fault::Header("content-range", Some(range.to_owned())));
        let error = desk.pull().expect_err(range);
        assert!(matches!(error, Error::HubProtocol { .. }), "{range}: {error}");
        desk.nothing_false(range);
    }
}

/// What another program or an earlier run left under the name of a partial content.
#[test]
fn partial_contents_of_others() {
    for (left, sent) in [
        (weights()[..50_000].to_vec(), weights().len() - 50_000),
        (weights(), 0),
        ([weights(), vec![0]].concat(), weights().len()),
        (vec![7; 50_000], 2 * weights().len() - 50_000),
        (vec![7; weights().len()], weights().len()),
    ] {
        let desk = desk();
        let partial = desk.repository().join("blobs").join(format!("{}.incomplete", &large()[1..]));
        std::fs::create_dir_all(partial.parent().expect("a folder")).expect("folders");
        std::fs::write(&partial, &left).expect("a partial");
        let folder = desk.pull().expect("a model");
        assert_eq!(contents(&folder)["model.safetensors"], weights());
        assert_eq!(desk.hub.sent(&large()), sent, "{} bytes were there", left.len());
        assert!(!partial.exists());
    }
}

/// A content whose end a file system lost.
#[test]
fn a_short_blob_is_fetched_again() {
    let desk = desk();
    let blob = desk.repository().join("blobs").join(&large()[1..]);
    std::fs::create_dir_all(blob.parent().expect("a folder")).expect("folders");
    std::fs::write(&blob, &weights()[..100]).expect("a blob");
    let folder = desk.pull().expect("a model");
    assert_eq!(contents(&folder)["model.safetensors"], weights());
}

#[test]
fn the_hub_is_given_the_time_that_it_asks_for() {
    for fault in
        [Fault::Status(429, &[("Retry-After", "1")]), Fault::Status(429, &[("RateLimit", "\"resolvers\";r=0;t=1")])]
    {
        let desk = desk();
        desk.hub.fault("GET", "/api/models/", 1, fault.clone());
        let start = Instant::now();
        desk.pull().expect("a model");
        assert!(start.elapsed() >= Duration::from_secs(1), "{fault:?}: {:?}", start.elapsed());
    }
    // Of a window in which more may be asked nothing is to be concluded, nor of one that has nothing to do with the failure.
    for fault in [
        Fault::Status(503, &[("RateLimit", "\"api\";r=0;t=3000")]),
        Fault::Status(429, &[("RateLimit", "\"api\";r=4990;t=3000")]),
    ] {
        let desk = desk();
        desk.hub.fault("GET", "/api/models/", 1, fault);
        desk.pull().expect("a model");
    }
    let desk = desk();
    desk.hub.fault("GET", "/api/models/", 1, Fault::Status(429, &[("Retry-After", "3600")]));
    let error = desk.pull().expect_err("too long");
    assert!(error.to_string().contains("3600 s"), "{error}");
}

/// Files of a repository whose names lead elsewhere, or that no model has, are left where they are.
#[test]
fn names_that_lead_elsewhere_are_left_alone() {
    let evil = [
        "../evil",
        "/etc/evil",
        "a/../../evil",
        "a\\evil",
        "evil\u{0}",
        "data//x",
        "README \u{202e}",
        "../../README.md",
    ];
    let repository = Repository::of("tiny-bert");
    let names = repository.files.keys().map(String::as_str).chain(evil);
    let siblings: Vec<_> = names.map(|name| serde_json::json!({ "rfilename": name })).collect();
    let desk = desk();
    let listing = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string();
    desk.hub.fault("GET", "/api/models/", usize::MAX, Fault::Body(listing));
    let folder = desk.pull().expect("a model");
    assert_eq!(contents(&folder), repository.wanted());
    let found = crate::download::walk(desk.cache.path());
    assert!(!found.keys().any(|name| name.contains("evil") || name.contains('\u{202e}')), "{found:?}");
}

/// What fails of one repository is not looked for in another of a similar name.
#[test]
fn another_repository_is_no_replacement() {
    let desk = Desk::of(&[
        ("tiny", Repository::of("tiny-bert")),
        ("sentence-transformers/tiny", Repository::of("tiny-mpnet")),
    ]);
    desk.hub.fault("GET", &large(), usize::MAX, Fault::Status(404, &[]));
    let error = desk.pull_as("tiny", "main").expect_err("no weights");
    assert!(matches!(error, Error::HubStatus { .. }), "{error:?}");
    assert!(!desk.cache.path().join("models--sentence-transformers--tiny").exists());
}

/// A network that is slow and goes on is no failure, however short the patience is for one that stands still.
#[test]
fn a_slow_body_is_waited_for() {
    let desk = desk();
    desk.hub.fault("GET", &large(), 1, Fault::Slow(10_000, Duration::from_millis(100)));
    desk.pull().expect("a model");
    assert_eq!(desk.hub.log().iter().filter(|request| request.cdn).count(), 1);
}

#[test]
fn nobody_is_there() {
    let mut desk = desk();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    desk.settings.endpoint = format!("http://{free}");
    let start = Instant::now();
    let error = desk.pull_as(ID, "main").expect_err("nobody");
    assert!(matches!(error, Error::HubUnreachable { attempts: 1, .. }), "{error:?}");
    assert!(likewise::error_chain(&error).contains("refused"), "{}", likewise::error_chain(&error));
    assert!(start.elapsed() < Duration::from_secs(5));
    // A name that belongs to nobody (RFC 2606).
    desk.settings.endpoint = "http://hub.invalid".to_owned();
    let error = desk.pull_as(ID, "main").expect_err("nobody");
    assert!(matches!(error, Error::HubUnreachable { attempts: 1, .. }), "{error:?}");
}
