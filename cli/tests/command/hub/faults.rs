//! Failures of the hub: either the files are correct, or the error describes the failure and no
//! incomplete file has its final name.

use std::time::{Duration, Instant};

use likewise::{Error, HubErrorKind};

use super::download::{TestHub, file_contents};
use super::repository::{COMMIT, ID, Repository, etag};
use super::server::Fault;

fn tiny_hub() -> TestHub {
    TestHub::new(Repository::of("tiny-bert"))
}

fn weights() -> Vec<u8> {
    Repository::of("tiny-bert").files["model.safetensors"].clone()
}

/// Returns the path of the weights on the CDN.
fn large() -> String {
    format!("/{}", etag("model.safetensors", &weights()))
}

#[test]
fn transient_fault_is_retried_until_the_model_is_complete() {
    let listing = "/api/models/";
    let head = "/resolve/";
    let large = &large();
    let status = |status| Fault::Status(status, &[]);
    for (method, path, times, fault) in [
        ("GET", listing, 3, status(500)),
        ("GET", listing, 3, status(408)),
        ("GET", listing, 5, Fault::CloseAfter(0)),
        ("GET", listing, 3, Fault::CloseAfter(20)),
        ("GET", listing, 1, Fault::Stall(20)),
        ("HEAD", head, 4, status(503)),
        ("HEAD", head, 2, Fault::CloseAfter(0)),
        ("GET", large, 3, status(502)),
        ("GET", large, 3, status(504)),
        ("GET", large, 1, Fault::Status(429, &[("Retry-After", "0")])),
        ("GET", large, 5, Fault::CloseAfter(0)),
        // Each attempt makes progress, so their number is not limited.
        ("GET", large, 60, Fault::CloseAfter(2000)),
        ("GET", large, 1, Fault::Stall(1000)),
        ("GET", large, 1, Fault::WrongBytes),
        ("GET", large, 1, Fault::WrongLength(7)),
        ("GET", large, 1, Fault::WrongLength(-7)),
        ("GET", large, 1, Fault::Endless),
        ("GET", "config.json", 1, Fault::WrongBytes),
        ("GET", "config.json", 2, Fault::CloseAfter(100)),
    ] {
        let test = tiny_hub();
        test.hub.add_fault(method, path, times, fault.clone());
        let what = format!("{method} {path} {times} {fault:?}");
        let folder = test.pull().unwrap_or_else(|error| panic!("{what}: {}", likewise::error_chain(&error)));
        assert_eq!(file_contents(&folder), Repository::of("tiny-bert").model_files(), "{what}");
        assert_eq!(super::download::walk(&test.repository().join("blobs")).len(), 9, "{what}: no partial file remains");
        test.assert_blobs_are_correct(&what);
    }
}

/// A method, a part of a path, a fault of all these requests, and the check of the error.
type PermanentFault<'a> = (&'static str, &'a str, Fault, fn(&Error) -> bool);

const LISTING: &str = "/api/models/";

fn is_unavailable(error: &Error) -> bool {
    matches!(error, Error::HubStatus { kind: HubErrorKind::Unavailable, .. })
}

fn is_unreachable(error: &Error) -> bool {
    matches!(error, Error::HubUnreachable { attempts: 6, .. })
}

fn is_protocol_error(error: &Error) -> bool {
    matches!(error, Error::HubProtocol { .. })
}

fn is_wrong_size(error: &Error) -> bool {
    matches!(error, Error::HubCorruptDownload { what: "size", .. })
}

fn header(name: &'static str, value: Option<&str>) -> Fault {
    Fault::Header(name, value.map(str::to_owned))
}

/// Asserts that a fault causes the expected error and leaves no incomplete file under its final
/// name, and that the next pull without the fault succeeds.
fn check_permanent_fault((method, path, fault, is_expected): PermanentFault<'_>) {
    let test = tiny_hub();
    test.hub.add_fault(method, path, usize::MAX, fault.clone());
    let what = format!("{method} {path} {fault:?}");
    let error = test.pull().expect_err(&what);
    assert!(is_expected(&error), "{what}: {}", likewise::error_chain(&error));
    println!("{what}\n    {}", likewise::error_chain(&error));
    test.assert_blobs_are_correct(&what);
    assert!(!test.repository().join("refs").exists(), "{what}: a ref exists");
    assert!(!test.repository().join("snapshots").join(COMMIT).join("model.safetensors").exists(), "{what}");
    let left = super::download::walk(test.cache.path());
    let outside = left.keys().find(|name| !name.starts_with("models--org--tiny/") && !name.starts_with(".locks/"));
    assert_eq!(outside, None, "{what}");
    let damaged = matches!(error, Error::HubCorruptDownload { .. });
    assert!(!damaged || !left.keys().any(|name| name.ends_with(".incomplete")), "{what}: corrupt bytes remain");
    // The next pull without the fault succeeds.
    test.hub.clear_faults();
    let folder = test.pull().unwrap_or_else(|error| panic!("{what}: {}", likewise::error_chain(&error)));
    assert_eq!(file_contents(&folder), Repository::of("tiny-bert").model_files(), "{what}");
    test.assert_blobs_are_correct(&what);
}

#[test]
fn permanent_fault_of_the_listing_is_an_error_of_its_kind() {
    let listed = |sha: &str| {
        let siblings = serde_json::json!([{"rfilename": "a"}, {"rfilename": "model.safetensors"}]);
        Fault::Body(serde_json::json!({"sha": sha, "siblings": siblings}).to_string())
    };
    let cases: Vec<PermanentFault<'_>> = vec![
        ("GET", LISTING, Fault::Status(503, &[]), is_unavailable),
        ("GET", LISTING, Fault::Status(429, &[("Retry-After", "3600")]), is_unavailable),
        ("GET", LISTING, Fault::Status(418, &[]), |e| {
            matches!(e, Error::HubStatus { kind: HubErrorKind::UnexpectedStatus, status: 418, .. })
        }),
        ("GET", LISTING, Fault::Status(403, &[]), |e| {
            matches!(e, Error::HubStatus { kind: HubErrorKind::Forbidden, .. })
        }),
        ("GET", LISTING, Fault::CloseAfter(0), is_unreachable),
        ("GET", LISTING, Fault::CloseAfter(10), is_unreachable),
        ("GET", LISTING, Fault::Stall(10), is_unreachable),
        ("GET", LISTING, Fault::Endless, is_protocol_error),
        ("GET", LISTING, Fault::EndlessHeaders, |e| matches!(e, Error::HubUnreachable { attempts: 1, .. })),
        ("GET", LISTING, Fault::Body("<html>".to_owned()), |e| matches!(e, Error::Json { .. })),
        ("GET", LISTING, Fault::Body("{\"sha\": 1}".to_owned()), |e| matches!(e, Error::Json { .. })),
        ("GET", LISTING, listed("../../../../../../../../../../../../../x"), is_protocol_error),
        ("GET", LISTING, listed("main"), is_protocol_error),
        ("GET", LISTING, header("content-encoding", Some("gzip")), is_protocol_error),
    ];
    cases.into_iter().for_each(check_permanent_fault);
}

#[test]
fn permanent_fault_of_the_metadata_is_an_error_of_its_kind() {
    let cases: Vec<PermanentFault<'_>> = vec![
        ("HEAD", "/resolve/", Fault::Status(500, &[]), is_unavailable),
        ("HEAD", "/resolve/", Fault::Status(404, &[("X-Error-Code", "EntryNotFound")]), |e| {
            matches!(e, Error::HubStatus { kind: HubErrorKind::FileNotFound, .. })
        }),
        ("HEAD", "/model.safetensors", header("x-repo-commit", None), is_protocol_error),
        ("HEAD", "/model.safetensors", header("x-repo-commit", Some(&"f".repeat(40))), is_protocol_error),
        ("HEAD", "/model.safetensors", header("x-linked-etag", None), is_protocol_error),
        ("HEAD", "/model.safetensors", header("x-linked-etag", Some("\"../../evil\"")), is_protocol_error),
        ("HEAD", "/model.safetensors", header("x-linked-size", None), is_protocol_error),
        ("HEAD", "/model.safetensors", header("x-linked-size", Some("-1")), is_protocol_error),
        // The file is shorter than announced, and longer.
        ("HEAD", "/model.safetensors", header("x-linked-size", Some("18446744073709551615")), is_wrong_size),
        ("HEAD", "/model.safetensors", header("x-linked-size", Some("100")), is_wrong_size),
        ("HEAD", "/model.safetensors", Fault::Status(401, &[]), |e| {
            matches!(e, Error::HubStatus { kind: HubErrorKind::RepositoryNotFound, status: 401, .. })
        }),
    ];
    cases.into_iter().for_each(check_permanent_fault);
}

#[test]
fn permanent_fault_of_the_content_is_an_error_of_its_kind() {
    let large = &large();
    let cases: Vec<PermanentFault<'_>> = vec![
        // The CDN's status says nothing about the hub's repositories.
        ("GET", large, Fault::Status(404, &[]), |e| {
            matches!(e, Error::HubStatus { kind: HubErrorKind::UnexpectedStatus, status: 404, .. })
        }),
        ("GET", large, Fault::Status(401, &[]), |e| {
            matches!(e, Error::HubStatus { kind: HubErrorKind::UnexpectedStatus, status: 401, .. })
        }),
        ("GET", large, Fault::CloseAfter(0), is_unreachable),
        ("GET", large, Fault::Status(503, &[]), is_unavailable),
        ("GET", large, Fault::Status(403, &[]), |e| {
            matches!(e, Error::HubStatus { kind: HubErrorKind::Forbidden, .. })
        }),
        ("GET", large, Fault::WrongBytes, |e| matches!(e, Error::HubCorruptDownload { what: "sha256", .. })),
        ("GET", "tokenizer.json", Fault::WrongBytes, |e| {
            matches!(e, Error::HubCorruptDownload { what: "git sha1", .. })
        }),
        ("GET", large, Fault::WrongLength(1), is_wrong_size),
        ("GET", large, Fault::WrongLength(-1), is_wrong_size),
        ("GET", large, Fault::Endless, is_wrong_size),
        (
            "GET",
            "/model.safetensors",
            header("location", Some("/org/tiny/resolve/main/model.safetensors")),
            is_protocol_error,
        ),
        ("GET", "/model.safetensors", header("location", None), is_protocol_error),
        ("GET", "/model.safetensors", header("location", Some("file:///etc/passwd")), is_protocol_error),
    ];
    cases.into_iter().for_each(check_permanent_fault);
}

#[test]
fn interrupted_download_resumes_without_sending_a_byte_twice() {
    let test = tiny_hub();
    test.hub.add_fault("GET", &large(), 10, Fault::CloseAfter(10_000));
    test.pull().expect("a model");
    let log: Vec<_> = test.hub.take_log().into_iter().filter(|request| request.is_cdn).collect();
    assert_eq!(log.len(), 11);
    assert_eq!(log.iter().map(|request| request.sent).sum::<usize>(), weights().len(), "each byte is sent once");
    assert_eq!(log[3].headers["range"], "bytes=30000-");
}

#[test]
fn server_without_range_support_sends_the_file_again() {
    let test = tiny_hub();
    test.hub.add_fault("GET", &large(), 1, Fault::CloseAfter(10_000));
    test.hub.add_fault("GET", &large(), 1, Fault::IgnoreRange);
    let folder = test.pull().expect("a model");
    assert_eq!(file_contents(&folder)["model.safetensors"], weights());
    assert_eq!(test.hub.sent(&large()), weights().len() + 10_000);
}

#[test]
fn response_with_another_range_is_an_error() {
    for range in
        ["bytes 0-99/137824", "bytes 9999-137823/137824", "bytes 10000-137823/*", "bytes 10000-20000/137824", "all"]
    {
        let test = tiny_hub();
        test.hub.add_fault("GET", &large(), 1, Fault::CloseAfter(10_000));
        test.hub.add_fault("GET", &large(), 9, Fault::Header("content-range", Some(range.to_owned())));
        let error = test.pull().expect_err(range);
        assert!(matches!(error, Error::HubProtocol { .. }), "{range}: {error}");
        test.assert_blobs_are_correct(range);
    }
}

#[test]
fn partial_file_of_another_program_is_resumed_or_discarded() {
    for (left, sent) in [
        (weights()[..50_000].to_vec(), weights().len() - 50_000),
        (weights(), 0),
        ([weights(), vec![0]].concat(), weights().len()),
        (vec![7; 50_000], 2 * weights().len() - 50_000),
        (vec![7; weights().len()], weights().len()),
    ] {
        let test = tiny_hub();
        let partial = test.repository().join("blobs").join(format!("{}.incomplete", &large()[1..]));
        std::fs::create_dir_all(partial.parent().expect("a folder")).expect("folders");
        std::fs::write(&partial, &left).expect("a partial");
        let folder = test.pull().expect("a model");
        assert_eq!(file_contents(&folder)["model.safetensors"], weights());
        assert_eq!(test.hub.sent(&large()), sent, "with a partial file of {} bytes", left.len());
        assert!(!partial.exists());
    }
}

#[test]
fn truncated_blob_is_downloaded_again() {
    let test = tiny_hub();
    let blob = test.repository().join("blobs").join(&large()[1..]);
    std::fs::create_dir_all(blob.parent().expect("a folder")).expect("folders");
    std::fs::write(&blob, &weights()[..100]).expect("a blob");
    let folder = test.pull().expect("a model");
    assert_eq!(file_contents(&folder)["model.safetensors"], weights());
}

#[test]
fn retry_waits_as_long_as_the_server_requests() {
    for fault in
        [Fault::Status(429, &[("Retry-After", "1")]), Fault::Status(429, &[("RateLimit", "\"resolvers\";r=0;t=1")])]
    {
        let test = tiny_hub();
        test.hub.add_fault("GET", "/api/models/", 1, fault.clone());
        let start = Instant::now();
        test.pull().expect("a model");
        assert!(start.elapsed() >= Duration::from_secs(1), "{fault:?}: {:?}", start.elapsed());
    }
    // A window with requests left does not explain the failure, nor does one with another status.
    for fault in [
        Fault::Status(503, &[("RateLimit", "\"api\";r=0;t=3000")]),
        Fault::Status(429, &[("RateLimit", "\"api\";r=4990;t=3000")]),
    ] {
        let test = tiny_hub();
        test.hub.add_fault("GET", "/api/models/", 1, fault);
        test.pull().expect("a model");
    }
    let test = tiny_hub();
    test.hub.add_fault("GET", "/api/models/", 1, Fault::Status(429, &[("Retry-After", "3600")]));
    let error = test.pull().expect_err("too long");
    assert!(error.to_string().contains("3600 s"), "{error}");
}

#[test]
fn file_name_that_leaves_the_folder_is_ignored() {
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
    let test = tiny_hub();
    let listing = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string();
    test.hub.add_fault("GET", "/api/models/", usize::MAX, Fault::Body(listing));
    let folder = test.pull().expect("a model");
    assert_eq!(file_contents(&folder), repository.model_files());
    let found = super::download::walk(test.cache.path());
    assert!(!found.keys().any(|name| name.contains("evil") || name.contains('\u{202e}')), "{found:?}");
}

#[test]
fn failed_download_does_not_fall_back_to_another_repository() {
    let test = TestHub::of(&[
        ("tiny", Repository::of("tiny-bert")),
        ("sentence-transformers/tiny", Repository::of("tiny-mpnet")),
    ]);
    test.hub.add_fault("GET", &large(), usize::MAX, Fault::Status(404, &[]));
    let error = test.pull_as("tiny", "main").expect_err("no weights");
    assert!(matches!(error, Error::HubStatus { .. }), "{error:?}");
    assert!(!test.cache.path().join("models--sentence-transformers--tiny").exists());
}

/// The timeout limits the wait for the next bytes, not for the whole body.
#[test]
fn slow_body_does_not_time_out() {
    let test = tiny_hub();
    test.hub.add_fault("GET", &large(), 1, Fault::Slow(10_000, Duration::from_millis(100)));
    test.pull().expect("a model");
    assert_eq!(test.hub.take_log().iter().filter(|request| request.is_cdn).count(), 1);
}

#[test]
fn unreachable_host_is_an_error_after_one_attempt() {
    let mut test = tiny_hub();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    test.settings.endpoint = format!("http://{free}");
    let start = Instant::now();
    let error = test.pull_as(ID, "main").expect_err("no server");
    assert!(matches!(error, Error::HubUnreachable { attempts: 1, .. }), "{error:?}");
    assert!(likewise::error_chain(&error).contains("refused"), "{}", likewise::error_chain(&error));
    assert!(start.elapsed() < Duration::from_secs(5));
    // A name without an address (RFC 2606).
    test.settings.endpoint = "http://hub.invalid".to_owned();
    let error = test.pull_as(ID, "main").expect_err("no server");
    assert!(matches!(error, Error::HubUnreachable { attempts: 1, .. }), "{error:?}");
}
