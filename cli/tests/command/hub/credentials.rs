//! Certificates, tokens, proxies and invalid settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use likewise::hub::{CryptoProvider, Hub, Secret, Settings, TokenSource};
use likewise::{Error, HubErrorKind};
use rustls::crypto::{GetRandomFailed, SecureRandom};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::download::{TestHub, file_contents, test_settings};
use super::repository::{ID, Repository};
use super::server::{FakeHub, Fault, Request};

const TOKEN: &str = "hf_a-token-of-this-test";

fn private(gated: bool) -> Repository {
    Repository { token: Some(TOKEN.to_owned()), gated, ..Repository::of("tiny-bert") }
}

#[test]
fn token_is_sent_to_the_hub_only() {
    let mut test = TestHub::new(private(false));
    test.settings.token = TokenSource::Value(Secret::new(format!("{TOKEN}\n")));
    let folder = test.pull().expect("a model");
    assert_eq!(file_contents(&folder), private(false).model_files());
    let log = test.hub.take_log();
    let (to_cdn, to_hub): (Vec<_>, Vec<_>) = log.iter().partition(|request| request.is_cdn);
    assert_eq!(to_cdn.len(), 1, "the CDN serves the weights");
    assert!(to_hub.len() > 20 && to_hub.iter().all(|r| r.headers["authorization"] == format!("Bearer {TOKEN}")));
    assert!(to_cdn.iter().all(|r| !format!("{:?}", r.headers).contains(TOKEN)), "{to_cdn:?}");
}

/// One hub redirects all requests of a kind to another: the list, a file's metadata, its content.
#[test]
fn token_is_not_sent_after_a_redirect_to_another_hub() {
    // Each kind of request, and a path that exists on the other hub.
    for (method, path, answered) in [
        ("GET", "/api/models/", "/api/models/org/tiny/revision/main"),
        ("HEAD", "/resolve/", "/org/tiny/resolve/main/README.md"),
        ("GET", "/resolve/", "/org/tiny/resolve/main/README.md"),
    ] {
        let other = FakeHub::new(&[(ID, Repository::of("tiny-bert"))]);
        let mut test = TestHub::new(private(false));
        test.settings.token = TokenSource::Value(Secret::new(TOKEN));
        let target: &'static str = Box::leak(format!("{}{answered}", other.url).into_boxed_str());
        let location: &'static [(&str, &str)] = Box::leak(Box::new([("Location", target)]));
        test.hub.add_fault(method, path, usize::MAX, Fault::Status(307, location));
        drop(test.pull());
        let redirected = |request: &Request| request.method == method && request.path.contains(path);
        assert!(test.hub.take_log().iter().any(redirected), "{method} {path}");
        let log = other.take_log();
        // The client does not follow a metadata redirect to another host.
        assert_eq!(log.is_empty(), method == "HEAD", "{method} {path}: {log:?}");
        assert!(
            log.iter().all(|request| !format!("{:?}", request.headers).contains(TOKEN)),
            "{method} {path}: {log:?}"
        );
    }
}

#[test]
fn redirect_loop_is_an_error() {
    let test = TestHub::new(Repository::of("tiny-bert"));
    test.hub.add_fault("", "/", usize::MAX, Fault::Status(302, &[("Location", "/api/models/org/tiny/revision/main")]));
    let error = test.pull().expect_err("a loop");
    assert!(matches!(error, Error::HubProtocol { .. }) && error.to_string().contains("redirects"), "{error}");
    assert!(test.hub.take_log().len() < 20);
}

#[test]
fn private_gated_or_missing_revision_is_an_error_of_its_kind() {
    let mut test = TestHub::new(private(false));
    let error = test.pull().expect_err("private");
    assert!(matches!(error, Error::ModelNotFound { .. }) && error.to_string().contains("token"), "{error}");
    test.settings.token = TokenSource::Value(Secret::new("hf_another-token"));
    let error = test.pull().expect_err("a wrong token");
    let Error::HubStatus { kind: HubErrorKind::InvalidToken, status: 401, message, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(message, "Invalid credentials in Authorization header: …", "a repeated token is not shown");

    let mut test = TestHub::new(private(true));
    let error = test.pull().expect_err("gated");
    assert!(matches!(error, Error::HubStatus { kind: HubErrorKind::Gated, status: 403, .. }), "{error:?}");
    test.settings.token = TokenSource::Value(Secret::new(TOKEN));
    test.pull().expect("a model");

    let test = TestHub::new(Repository::of("tiny-bert"));
    let error = test.pull_as(ID, "nightly").expect_err("no such branch");
    assert!(matches!(error, Error::HubStatus { kind: HubErrorKind::RevisionNotFound, status: 404, .. }), "{error:?}");
    assert!(error.to_string().contains("Invalid rev id: nightly"), "{error}");
}

#[test]
fn secret_is_not_printed_in_debug_output_or_errors() {
    let cache = tempfile::tempdir().expect("a folder");
    let mut settings = test_settings(cache.path(), "http://127.0.0.1:1");
    settings.token = TokenSource::Value(Secret::new(TOKEN));
    settings.proxy = Some(Secret::new("http://user:password@127.0.0.1:1"));
    let hub = Hub::new(settings.clone());
    let error = hub.pull(ID, "main", &mut |_| {}).expect_err("no server");
    for text in [format!("{settings:?}"), format!("{hub:?}"), format!("{error:?}"), likewise::error_chain(&error)] {
        assert!(!text.contains(TOKEN) && !text.contains("password"), "{text}");
    }
    for token in ["", " ", "two words", "a\r\nHost: evil", "é"] {
        settings.token = TokenSource::Value(Secret::new(token));
        let error = Hub::new(settings.clone()).pull(ID, "main", &mut |_| {}).expect_err("no token");
        assert!(matches!(error, Error::HubSetting { setting: "token", .. }), "{token:?}: {error:?}");
        assert!(token.len() < 3 || !error.to_string().contains(token), "{error}");
    }
}

#[test]
fn invalid_setting_is_an_error_that_names_it() {
    let cache = tempfile::tempdir().expect("a folder");
    let setting = |change: &dyn Fn(&mut Settings)| {
        let mut settings = test_settings(cache.path(), "http://127.0.0.1:1");
        change(&mut settings);
        let error = Hub::new(settings).pull(ID, "main", &mut |_| {}).expect_err("an error");
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
    assert_eq!(setting(&|settings| settings.ca_certificates = Some("/no/such.pem".into())), "io");
    for text in [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nAAAA",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
    ] {
        assert_eq!(
            setting(&|settings| settings.ca_certificates = Some(file("a.pem", text))),
            "ca_certificates",
            "{text}"
        );
        // An invalid certificate among valid ones is also an error.
        let good = include_str!("certificates/authority.pem");
        for text in [format!("{good}{text}{good}"), format!("{text}{good}")].iter().filter(|_| text.contains('!')) {
            assert_eq!(
                setting(&|settings| settings.ca_certificates = Some(file("a.pem", text))),
                "ca_certificates",
                "{text}"
            );
        }
    }
}

fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command/hub/certificates").join(name)
}

/// Starts a hub with a certificate for localhost from the tests' own certificate authority.
fn encrypted() -> FakeHub {
    let chain = vec![CertificateDer::from_pem_file(certificate("server.pem")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(certificate("server.key")).expect("a key");
    let provider = Arc::new(rustls_graviola::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a configuration");
    let config = Arc::new(config);
    let wrap = move |stream| {
        let connection = rustls::ServerConnection::new(config.clone()).ok()?;
        Some(Box::new(rustls::StreamOwned::new(connection, stream)) as Box<dyn super::server::Stream>)
    };
    FakeHub::wrapped("https", "localhost", Arc::new(wrap), &[(ID, private(false))])
}

#[test]
fn tls_connection_requires_a_trusted_certificate_for_the_host() {
    let hub = encrypted();
    let cache = tempfile::tempdir().expect("a folder");
    let mut settings = test_settings(cache.path(), &hub.url);
    settings.timeout = Duration::from_secs(5);
    settings.token = TokenSource::Value(Secret::new(TOKEN));
    // Mozilla's certificate authorities did not sign it.
    let error = Hub::new(settings.clone()).pull(ID, "main", &mut |_| {}).expect_err("unknown");
    assert!(matches!(error, Error::HubUnreachable { attempts: 1, .. }), "{error:?}");
    assert!(likewise::error_chain(&error).contains("certificate"), "{}", likewise::error_chain(&error));
    assert_eq!(hub.take_log().len(), 0, "an untrusted server receives no request");
    // The certificate is not valid for another host.
    settings.ca_certificates = Some(certificate("authority.pem"));
    let mut other = settings.clone();
    other.endpoint = hub.url.replace("localhost", "127.0.0.1");
    let error = Hub::new(other).pull(ID, "main", &mut |_| {}).expect_err("another name");
    assert!(matches!(error, Error::HubUnreachable { attempts: 1, .. }), "{error:?}");
    assert_eq!(hub.take_log().len(), 0);

    let folder = Hub::new(settings.clone()).pull(ID, "main", &mut |_| {}).expect("a model");
    assert_eq!(file_contents(&folder), private(false).model_files());
    // A redirect from https to http is an error.
    let plain = FakeHub::new(&[(ID, Repository::of("tiny-bert"))]);
    hub.add_fault("GET", "/resolve/", 1, Fault::Header("location", Some(format!("{}/x", plain.url))));
    std::fs::remove_dir_all(cache.path()).expect("removed");
    let error = Hub::new(settings).pull(ID, "main", &mut |_| {}).expect_err("in the clear");
    assert!(matches!(error, Error::HubProtocol { .. }), "{error:?}");
    assert_eq!(plain.take_log().len(), 0);
}

/// A random number generator that counts its calls, which shows whether its provider is used.
#[derive(Debug)]
struct CountingRandom(AtomicUsize);

impl SecureRandom for CountingRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        self.0.fetch_add(1, Ordering::Relaxed);
        rustls_graviola::default_provider().secure_random.fill(bytes)
    }
}

#[test]
fn tls_provider_of_the_settings_replaces_the_default() {
    let hub = encrypted();
    let cache = tempfile::tempdir().expect("a folder");
    let mut settings = test_settings(cache.path(), &hub.url);
    settings.timeout = Duration::from_secs(5);
    settings.token = TokenSource::Value(Secret::new(TOKEN));
    settings.ca_certificates = Some(certificate("authority.pem"));
    static RANDOM: CountingRandom = CountingRandom(AtomicUsize::new(0));
    let provider = CryptoProvider { secure_random: &RANDOM, ..rustls_graviola::default_provider() };
    settings.tls_provider = Some(Arc::new(provider));
    Hub::new(settings.clone()).pull(ID, "main", &mut |_| {}).expect("a model");
    assert!(RANDOM.0.load(Ordering::Relaxed) > 0);
    let unusable = CryptoProvider { cipher_suites: Vec::new(), ..rustls_graviola::default_provider() };
    settings.tls_provider = Some(Arc::new(unusable));
    let error = Hub::new(settings).pull(ID, "main", &mut |_| {}).expect_err("no cipher suite");
    assert!(matches!(error, Error::HubSetting { setting: "tls_provider", .. }), "{error:?}");
}

#[test]
fn token_is_read_from_a_file_unless_it_is_missing_or_empty() {
    let mut test = TestHub::new(private(false));
    let file = test.cache.path().join("token");
    test.settings.token = TokenSource::File(file.clone());
    test.pull().expect_err("no token file");
    std::fs::write(&file, "\n").expect("a file");
    test.pull().expect_err("an empty token file");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("a file");
    test.pull().expect("a model");
}

#[test]
fn proxy_is_used_unless_no_proxy_names_the_host() {
    let test = TestHub::new(Repository::of("tiny-bert"));
    let mut settings = test.settings.clone();
    settings.proxy = Some(Secret::new(test.hub.url.clone()));
    settings.endpoint = "http://hub.invalid".to_owned();
    // The fake hub does not support CONNECT.
    let error = Hub::new(settings.clone()).pull(ID, "main", &mut |_| {}).expect_err("no proxy");
    assert!(matches!(error, Error::HubUnreachable { .. }), "{error:?}");
    let log = test.hub.take_log();
    assert!(log.iter().all(|request| (&*request.method, &*request.path) == ("CONNECT", "hub.invalid:80")), "{log:?}");
    assert!(!log.is_empty(), "the proxy received a request");
    for host in ["hub.invalid", "invalid", "*", ".invalid"] {
        settings.no_proxy = vec![host.to_owned()];
        let error = Hub::new(settings.clone()).pull(ID, "main", &mut |_| {}).expect_err("no such host");
        assert!(matches!(error, Error::HubUnreachable { .. }), "{host}: {error:?}");
        assert_eq!(test.hub.take_log().len(), 0, "{host}");
    }
}

#[test]
fn no_proxy_with_a_network_or_a_port_avoids_the_proxy() {
    let test = TestHub::new(Repository::of("tiny-bert"));
    let (_, port) = test.hub.url.rsplit_once(':').expect("a port");
    let mut settings = test.settings.clone();
    // No proxy listens there.
    settings.proxy = Some(Secret::new("http://127.0.0.1:9"));
    for (entry, is_direct) in
        [("127.0.0.0/8", true), (&*format!("127.0.0.1:{port}"), true), ("10.0.0.0/8", false), ("127.0.0.1:9", false)]
    {
        settings.cache = test.cache.path().join(entry.replace(['/', ':'], "-"));
        settings.no_proxy = vec![entry.to_owned()];
        let pulled = Hub::new(settings.clone()).pull(ID, "main", &mut |_| {});
        // The large files are at another port.
        assert_eq!(pulled.is_ok(), entry == "127.0.0.0/8", "{entry}");
        assert_eq!(!test.hub.take_log().is_empty(), is_direct, "{entry}");
    }
}
