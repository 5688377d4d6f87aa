//! Who is believed, and who is told what.

use std::sync::Arc;
use std::time::Duration;

use likewise::hub::{self, Secret};
use likewise::{Error, HubErrorKind};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::download::{Desk, contents, quick};
use crate::repository::{ID, Repository};
use crate::server::{Fault, Hub, Request};

const TOKEN: &str = "hf_a-token-of-this-test";

fn private(gated: bool) -> Repository {
    Repository { token: Some(TOKEN.to_owned()), gated, ..Repository::of("tiny-bert") }
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let mut desk = Desk::new(private(false));
    desk.settings.token = Some(Secret::new(format!("{TOKEN}\n")));
    let folder = desk.pull().expect("a model");
    assert_eq!(contents(&folder), private(false).wanted());
    let log = desk.hub.log();
    let (elsewhere, here): (Vec<_>, Vec<_>) = log.iter().partition(|request| request.cdn);
    assert_eq!(elsewhere.len(), 1, "the weights are elsewhere");
    assert!(here.len() > 20 && here.iter().all(|r| r.headers["authorization"] == format!("Bearer {TOKEN}")));
    assert!(elsewhere.iter().all(|r| !format!("{:?}", r.headers).contains(TOKEN)), "{elsewhere:?}");
}

/// Another hub, to which this one sends all requests of a kind: for the list, what is said of a file, and its content.
#[test]
fn no_redirect_takes_the_token_along() {
    // Each kind with an address at which the other has an answer.
    for (method, path, answered) in [
        ("GET", "/api/models/", "/api/models/org/tiny/revision/main"),
        ("HEAD", "/resolve/", "/org/tiny/resolve/main/README.md"),
        ("GET", "/resolve/", "/org/tiny/resolve/main/README.md"),
    ] {
        let other = Hub::new(&[(ID, Repository::of("tiny-bert"))]);
        let mut desk = Desk::new(private(false));
        desk.settings.token = Some(Secret::new(TOKEN));
        let target: &'static str = Box::leak(format!("{}{answered}", other.url).into_boxed_str());
        let location: &'static [(&str, &str)] = Box::leak(Box::new([("Location", target)]));
        desk.hub.fault(method, path, usize::MAX, Fault::Status(307, location));
        drop(desk.pull());
        let redirected = |request: &Request| request.method == method && request.path.contains(path);
        assert!(desk.hub.log().iter().any(redirected), "{method} {path}");
        let log = other.log();
        // What is said of a file is the hub's own to say: that redirect is not followed.
        assert_eq!(log.is_empty(), method == "HEAD", "{method} {path}: {log:?}");
        assert!(
            log.iter().all(|request| !format!("{:?}", request.headers).contains(TOKEN)),
            "{method} {path}: {log:?}"
        );
    }
}

#[test]
fn redirects_in_a_circle_end() {
    let desk = Desk::new(Repository::of("tiny-bert"));
    desk.hub.fault("", "/", usize::MAX, Fault::Status(302, &[("Location", "/api/models/org/tiny/revision/main")]));
    let error = desk.pull().expect_err("a circle");
    assert!(matches!(error, Error::HubProtocol { .. }) && error.to_string().contains("redirects"), "{error}");
    assert!(desk.hub.log().len() < 20);
}

#[test]
fn what_is_private_or_gated() {
    let mut desk = Desk::new(private(false));
    let error = desk.pull().expect_err("private");
    assert!(matches!(error, Error::ModelNotFound { .. }) && error.to_string().contains("token"), "{error}");
    desk.settings.token = Some(Secret::new("hf_another-token"));
    let error = desk.pull().expect_err("another's");
    let Error::HubStatus { kind: HubErrorKind::InvalidToken, status: 401, message, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(message, "Invalid credentials in Authorization header: …", "a token that comes back is not shown");

    let mut desk = Desk::new(private(true));
    let error = desk.pull().expect_err("gated");
    assert!(matches!(error, Error::HubStatus { kind: HubErrorKind::Gated, status: 403, .. }), "{error:?}");
    desk.settings.token = Some(Secret::new(TOKEN));
    desk.pull().expect("a model");

    let desk = Desk::new(Repository::of("tiny-bert"));
    let error = desk.pull_as(ID, "nightly").expect_err("no such branch");
    assert!(matches!(error, Error::HubStatus { kind: HubErrorKind::RevisionNotFound, status: 404, .. }), "{error:?}");
    assert!(error.to_string().contains("Invalid rev id: nightly"), "{error}");
}

#[test]
fn secrets_are_not_printed() {
    let cache = tempfile::tempdir().expect("a folder");
    let mut settings = quick(cache.path(), "http://127.0.0.1:1");
    settings.token = Some(Secret::new(TOKEN));
    settings.proxy = Some(Secret::new("http://user:password@127.0.0.1:1"));
    let hub = hub::Hub::new(settings.clone());
    let error = hub.pull(ID, "main", &mut |_| {}).expect_err("nobody there");
    for text in [format!("{settings:?}"), format!("{hub:?}"), format!("{error:?}"), likewise::error_chain(&error)] {
        assert!(!text.contains(TOKEN) && !text.contains("password"), "{text}");
    }
    for token in ["", " ", "two words", "a\r\nHost: evil", "é"] {
        settings.token = Some(Secret::new(token));
        let error = hub::Hub::new(settings.clone()).pull(ID, "main", &mut |_| {}).expect_err("no token");
        assert!(matches!(error, Error::HubSetting { setting: "token", .. }), "{token:?}: {error:?}");
        assert!(token.len() < 3 || !error.to_string().contains(token), "{error}");
    }
}

#[test]
fn settings_that_make_no_sense() {
    let cache = tempfile::tempdir().expect("a folder");
    let setting = |change: &dyn Fn(&mut hub::Settings)| {
        let mut settings = quick(cache.path(), "http://127.0.0.1:1");
        change(&mut settings);
        let error = hub::Hub::new(settings).pull(ID, "main", &mut |_| {}).expect_err("an error");
        assert!(!error.to_string().contains("password"), "{error}");
        match error {
            Error::HubSetting { setting, .. } => setting,
            Error::Io { .. } => "io",
            other => panic!("{other:?}"),
        }
    };
    for endpoint in
        ["", "huggingface.co", "ftp://x", "https://user:password@x", "https://x?y", "https:///x", "https://a b"]
    {
        assert_eq!(setting(&|settings| settings.endpoint = endpoint.to_owned()), "endpoint", "{endpoint}");
    }
    for proxy in ["", "gopher://x", "::", "socks5://localhost:1080", "socks5h://x", "socks4://user:password@x"] {
        assert_eq!(setting(&|settings| settings.proxy = Some(Secret::new(proxy))), "proxy", "{proxy}");
    }
    let file = |name: &str, text: &str| {
        let path = cache.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    assert_eq!(setting(&|settings| settings.authorities = Some("/no/such.pem".into())), "io");
    for text in [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nAAAA",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
    ] {
        assert_eq!(setting(&|settings| settings.authorities = Some(file("a.pem", text))), "authorities", "{text}");
        // Of several none is dropped silently.
        let good = include_str!("certificates/authority.pem");
        for text in [format!("{good}{text}{good}"), format!("{text}{good}")].iter().filter(|_| text.contains('!')) {
            assert_eq!(setting(&|settings| settings.authorities = Some(file("a.pem", text))), "authorities", "{text}");
        }
    }
}

/// A hub on this machine that proves that it is localhost, to those who believe the tests' authority.
fn encrypted() -> Hub {
    let file = |name| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hub/certificates").join(name);
    let certificate = CertificateDer::from_pem_file(file("server.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("a key");
    let provider = Arc::new(rustls_graviola::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a configuration");
    let config = Arc::new(config);
    let wrap = move |stream| {
        let connection = rustls::ServerConnection::new(config.clone()).ok()?;
        Some(Box::new(rustls::StreamOwned::new(connection, stream)) as Box<dyn crate::server::Stream>)
    };
    Hub::wrapped("https", "localhost", Arc::new(wrap), &[(ID, private(false))])
}

#[test]
fn encrypted_connections() {
    let hub = encrypted();
    let cache = tempfile::tempdir().expect("a folder");
    let mut settings = quick(cache.path(), &hub.url);
    settings.timeout = Duration::from_secs(5);
    settings.token = Some(Secret::new(TOKEN));
    // Mozilla's authorities do not know it.
    let error = hub::Hub::new(settings.clone()).pull(ID, "main", &mut |_| {}).expect_err("unknown");
    assert!(matches!(error, Error::HubUnreachable { attempts: 1, .. }), "{error:?}");
    assert!(likewise::error_chain(&error).contains("certificate"), "{}", likewise::error_chain(&error));
    assert_eq!(hub.log().len(), 0, "whoever is not believed is asked nothing");
    // It does not prove that it is another host.
    let file = |name| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hub/certificates").join(name);
    settings.authorities = Some(file("authority.pem"));
    let mut other = settings.clone();
    other.endpoint = hub.url.replace("localhost", "127.0.0.1");
    let error = hub::Hub::new(other).pull(ID, "main", &mut |_| {}).expect_err("another name");
    assert!(matches!(error, Error::HubUnreachable { attempts: 1, .. }), "{error:?}");
    assert_eq!(hub.log().len(), 0);

    let folder = hub::Hub::new(settings.clone()).pull(ID, "main", &mut |_| {}).expect("a model");
    assert_eq!(contents(&folder), private(false).wanted());
    // From here to there is no way without encryption.
    let plain = Hub::new(&[(ID, Repository::of("tiny-bert"))]);
    hub.fault("GET", "/resolve/", 1, Fault::Header("location", Some(format!("{}/x", plain.url))));
    std::fs::remove_dir_all(cache.path()).expect("gone");
    let error = hub::Hub::new(settings).pull(ID, "main", &mut |_| {}).expect_err("in the clear");
    assert!(matches!(error, Error::HubProtocol { .. }), "{error:?}");
    assert_eq!(plain.log().len(), 0);
}

/// Asked for another host, a proxy is asked instead; for one that is named, it is not.
#[test]
fn proxies() {
    let desk = Desk::new(Repository::of("tiny-bert"));
    let mut settings = desk.settings.clone();
    settings.proxy = Some(Secret::new(desk.hub.url.clone()));
    settings.endpoint = "http://hub.invalid".to_owned();
    // It is asked to connect, which this one cannot.
    let error = hub::Hub::new(settings.clone()).pull(ID, "main", &mut |_| {}).expect_err("no proxy");
    assert!(matches!(error, Error::HubUnreachable { .. }), "{error:?}");
    let log = desk.hub.log();
    assert!(log.iter().all(|request| (&*request.method, &*request.path) == ("CONNECT", "hub.invalid:80")), "{log:?}");
    assert!(!log.is_empty(), "the proxy was asked");
    for host in ["hub.invalid", "invalid", "*", ".invalid"] {
        settings.no_proxy = vec![host.to_owned()];
        let error = hub::Hub::new(settings.clone()).pull(ID, "main", &mut |_| {}).expect_err("no such host");
        assert!(matches!(error, Error::HubUnreachable { .. }), "{host}: {error:?}");
        assert_eq!(desk.hub.log().len(), 0, "{host}");
    }
}
