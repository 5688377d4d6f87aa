//! Requests: the one file that opens connections.
//!
//! Redirects are followed here and not by ureq, so that the token goes to the hub's own scheme, host and port and nowhere
//! else, whatever leads there. ureq is told everything and so does not look into the environment for a proxy.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ureq::http::HeaderMap;
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy, ProxyProtocol};

use super::retry::{Failure, RetryHint};
use super::settings::Settings;
use super::tls_support;
use super::url::Url;
use crate::error::{Error, HubErrorKind, Result};

/// As many redirects in a row as browsers allow, or fewer.
const MAX_REDIRECTS: usize = 10;
/// Bytes of an answer's head.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    /// What the hub itself says of a file. A redirect to another host is part of that, and not followed.
    Head,
    /// The content, or what of it comes after so many bytes.
    Get { from: u64 },
}

/// Whom to ask, and how.
pub(super) struct Client {
    agent: Agent,
    endpoint: Url,
    token: Option<String>,
    encrypted_proxy: bool,
    /// Whether there has been any answer. Before that, a host that is not there is taken to be misspelt.
    reached: AtomicBool,
}

/// The answer to the last request of a chain of redirects.
pub(super) struct HttpResponse {
    pub(super) status: u16,
    /// Of all answers of the chain, the last first.
    heads: Vec<HeaderMap>,
    pub(super) body: Body,
}

impl HttpResponse {
    /// A header, of the last answer that has it.
    pub(super) fn any_header(&self, name: &str) -> Option<&str> {
        self.heads.iter().find_map(|head| header_text(head, name))
    }

    /// A header of the last answer.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.heads.first().and_then(|head| header_text(head, name))
    }
}

fn header_text<'a>(head: &'a HeaderMap, name: &str) -> Option<&'a str> {
    head.get(name).and_then(|value| value.to_str().ok())
}

impl Client {
    /// # Errors
    /// If the endpoint, token, proxy or certificates cannot be used.
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let wrong = |setting, expected, found: &str| Error::HubSetting { setting, expected, found: found.to_owned() };
        let address = settings.endpoint.trim_end_matches('/');
        let endpoint = Url::parse(address).filter(|_| !address.contains(['?', '#']));
        let endpoint = endpoint.ok_or_else(|| {
            // What stands before an @ may be a password.
            let shown = if address.contains('@') { "an address with a user name in it" } else { address };
            wrong("endpoint", "an address as https://huggingface.co", shown)
        })?;
        let token = settings.token.as_ref().map(|token| token.expose().trim().to_owned());
        if token.as_ref().is_some_and(|token| token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(wrong("token", "visible ASCII characters", "others, or none"));
        }
        let proxy = proxy(settings)?;
        let encrypted_proxy = proxy.as_ref().is_some_and(|proxy| proxy.uri().scheme_str() == Some("https"));
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("likewise/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .max_response_header_size(MAX_HEADER_BYTES)
            .proxy(proxy)
            .tls_config(tls_config(settings.authorities.as_deref())?)
            .timeout_resolve(Some(settings.timeout))
            .timeout_connect(Some(settings.timeout))
            .timeout_send_request(Some(settings.timeout))
            .timeout_recv_response(Some(settings.timeout))
            .timeout_per_read(Some(settings.timeout))
            .build();
        Ok(Self { agent: config.new_agent(), endpoint, token, encrypted_proxy, reached: AtomicBool::new(false) })
    }

    /// An address below the endpoint's.
    pub(super) fn url(&self, path: &str) -> Result<Url> {
        let text = format!("{}/{path}", self.endpoint.as_str());
        Url::parse(&text).ok_or_else(|| Error::HubSetting {
            setting: "endpoint",
            expected: "an address to which a path can be added",
            found: text,
        })
    }

    /// Asks, and follows where it is sent.
    ///
    /// # Errors
    /// If there is no answer, or one that is not a success.
    pub(super) fn request(&self, what: RequestKind, url: &Url) -> std::result::Result<HttpResponse, Failure> {
        let (asked, mut url) = (url, url.clone());
        let mut heads = Vec::new();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(what, &url)?;
            let (parts, body) = response.into_parts();
            let status = parts.status.as_u16();
            heads.insert(0, parts.headers);
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return if (200..300).contains(&status) {
                    Ok(HttpResponse { status, heads, body })
                } else {
                    Err(self.status_error(asked, &url, status, &heads[0]))
                };
            }
            let location = header_text(&heads[0], "location").unwrap_or_default();
            let Some(next) = url.join(location) else {
                // What stands behind a ? may be a signature.
                let place = location.split('?').next().unwrap_or_default();
                let found = format!("a redirect (status {status}) to {:?}", self.printable(place));
                return Err(protocol_error(&url, "an http or https address, encrypted if this one is", found).into());
            };
            if what == RequestKind::Head && !next.same_origin(&url) {
                return Ok(HttpResponse { status, heads, body });
            }
            url = next;
        }
        Err(protocol_error(&url, format!("at most {MAX_REDIRECTS} redirects"), "more").into())
    }

    /// A whole answer of up to `limit` bytes.
    pub(super) fn read(&self, url: &Url, limit: usize) -> std::result::Result<Vec<u8>, Failure> {
        let body = self.request(RequestKind::Get { from: 0 }, url)?.body;
        let mut bytes = Vec::new();
        let mut body = body.into_reader().take(limit as u64 + 1);
        body.read_to_end(&mut bytes).map_err(|source| interrupted(url, source))?;
        if bytes.len() > limit {
            return Err(protocol_error(url, format!("at most {limit} bytes"), "more").into());
        }
        Ok(bytes)
    }

    fn send(&self, what: RequestKind, url: &Url) -> std::result::Result<ureq::http::Response<Body>, Failure> {
        if url.is_https() || self.encrypted_proxy {
            tls_support::check()?;
        }
        let mut request = match what {
            RequestKind::Head => self.agent.head(url.as_str()),
            RequestKind::Get { .. } => self.agent.get(url.as_str()),
        };
        if let Some(token) = self.token.as_ref().filter(|_| url.same_origin(&self.endpoint)) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let RequestKind::Get { from: from @ 1.. } = what {
            request = request.header("range", format!("bytes={from}-"));
        }
        let response = request.call().map_err(|error| self.connection_error(url, error))?;
        self.reached.store(true, Ordering::Relaxed);
        match header_text(response.headers(), "content-encoding") {
            Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => {
                let found = format!("content-encoding {:?}", self.printable(encoding));
                Err(protocol_error(url, "bytes as they are", found).into())
            }
            _ => Ok(response),
        }
    }

    /// There was no answer.
    fn connection_error(&self, url: &Url, error: ureq::Error) -> Failure {
        use std::io::ErrorKind;
        use ureq::{Error as Ureq, Timeout};
        let transient = match &error {
            // Certificates that are not trusted, among others.
            Ureq::Io(error) if error.kind() == ErrorKind::InvalidData => false,
            Ureq::Io(error) if error.kind() == ErrorKind::ConnectionRefused || is_name_resolution_error(error) => {
                self.reached.load(Ordering::Relaxed)
            }
            Ureq::HostNotFound | Ureq::ConnectionFailed | Ureq::Timeout(Timeout::Connect | Timeout::Resolve) => {
                self.reached.load(Ordering::Relaxed)
            }
            Ureq::Io(_) | Ureq::Timeout(_) => true,
            _ => false,
        };
        let source: Box<dyn std::error::Error + Send + Sync> = match error {
            Ureq::Io(error) => Box::new(error),
            other => Box::new(other),
        };
        let error = Error::HubUnreachable { url: url.shown(), attempts: 1, source };
        Failure { error, retry: if transient { RetryHint::Soon } else { RetryHint::Never } }
    }

    /// There was an answer, and it is no. `asked`: what was asked for before any redirects.
    fn status_error(&self, asked: &Url, url: &Url, status: u16, head: &HeaderMap) -> Failure {
        // What others say with these codes is not about the hub's repositories.
        let foreign = !url.same_origin(&self.endpoint);
        let code = header_text(head, "x-error-code").filter(|_| !foreign);
        let message = self.printable(header_text(head, "x-error-message").unwrap_or_default());
        let of_a_file = asked.as_str().contains("/resolve/");
        let kind = match (code, status) {
            (Some("GatedRepo"), _) => HubErrorKind::Gated,
            (Some("RepoNotFound"), _) => HubErrorKind::RepositoryNotFound,
            (Some("RevisionNotFound"), _) => HubErrorKind::RevisionNotFound,
            (Some("EntryNotFound"), _) => HubErrorKind::FileNotFound,
            (_, 401) if message.starts_with("Invalid credentials") => HubErrorKind::InvalidToken,
            (_, 401 | 404) if of_a_file && foreign => HubErrorKind::UnexpectedStatus,
            // To those without a token the hub says this of what is private and of what is not there.
            (_, 401) => HubErrorKind::RepositoryNotFound,
            (_, 403) => HubErrorKind::Forbidden,
            (_, 404) if of_a_file => HubErrorKind::FileNotFound,
            (_, 404) => HubErrorKind::RepositoryNotFound,
            (_, 408 | 429 | 500 | 502 | 503 | 504) => HubErrorKind::Unavailable,
            _ => HubErrorKind::UnexpectedStatus,
        };
        let retry = match (kind, requested_delay(status, head)) {
            (HubErrorKind::Unavailable, Some(pause)) => RetryHint::After(pause),
            (HubErrorKind::Unavailable, None) => RetryHint::Soon,
            _ => RetryHint::Never,
        };
        Failure { error: Error::HubStatus { url: url.shown(), kind, status, message }, retry }
    }

    /// What a server said, for messages: on one line, not for ever, and without the token if it repeats that.
    pub(super) fn printable(&self, text: &str) -> String {
        const MAX_CHARS: usize = 200;
        let text = match &self.token {
            Some(token) => text.replace(token, "…"),
            None => text.to_owned(),
        };
        text.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect()
    }
}

/// How long to wait, if the hub says so: seconds in `Retry-After`, or, if it has had too many requests, until a window ends, as
/// `"resolvers";r=0;t=40` in `RateLimit` says of one in which no further request is left.
fn requested_delay(status: u16, head: &HeaderMap) -> Option<Duration> {
    let asked = header_text(head, "retry-after").and_then(|value| value.trim().parse().ok());
    let window = || {
        let parts: Vec<&str> = header_text(head, "ratelimit")?.split([';', ',']).map(str::trim).collect();
        let number = |name: &str| parts.iter().find_map(|part| part.strip_prefix(name)?.parse::<u64>().ok());
        // Its last second may not be over.
        number("t=").filter(|_| status == 429 && number("r=") == Some(0))?.checked_add(1)
    };
    asked.or_else(window).map(Duration::from_secs)
}

/// Whether a host's name has no address. The standard library has no kind for that.
fn is_name_resolution_error(error: &std::io::Error) -> bool {
    error.to_string().starts_with("failed to lookup address information")
}

/// An answer that is not what the protocol says.
pub(super) fn protocol_error(url: &Url, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::HubProtocol { url: url.shown(), expected: expected.into(), found: found.into() }
}

/// An answer that ended before it was whole.
pub(super) fn interrupted(url: &Url, source: std::io::Error) -> Failure {
    let error = Error::HubUnreachable { url: url.shown(), attempts: 1, source: Box::new(source) };
    Failure { error, retry: RetryHint::Soon }
}

fn proxy(settings: &Settings) -> Result<Option<Proxy>> {
    let Some(address) = &settings.proxy else { return Ok(None) };
    let wrong = |_| Error::HubSetting {
        setting: "proxy",
        expected: "the address of a proxy, with its scheme (http or https), host and port",
        found: "something else".to_owned(),
    };
    let parsed = Proxy::new(address.expose()).map_err(wrong)?;
    if !matches!(parsed.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) {
        let found = format!("a proxy of kind {}", parsed.protocol());
        return Err(Error::HubSetting { setting: "proxy", expected: "a proxy of kind http or https", found });
    }
    let mut proxy = Proxy::builder(parsed.protocol()).host(parsed.host()).port(parsed.port());
    if let Some(user) = parsed.username() {
        proxy = proxy.username(user);
    }
    if let Some(password) = parsed.password() {
        proxy = proxy.password(password);
    }
    for host in settings.no_proxy.iter().filter(|host| !host.is_empty()) {
        proxy = proxy.no_proxy(host);
        // As other programs read it: a host's name stands for those below it, too.
        if !host.contains('*') && !host.starts_with('.') {
            proxy = proxy.no_proxy(&format!(".{host}"));
        }
    }
    proxy.build().map(Some).map_err(wrong)
}

/// Whose certificates are believed.
fn tls_config(authorities: Option<&Path>) -> Result<TlsConfig> {
    let roots = match authorities {
        None => RootCerts::WebPki,
        Some(path) => {
            let pem = std::fs::read(path).map_err(|source| Error::Io {
                path: path.to_owned(),
                action: "read the certificates of authorities",
                source,
            })?;
            let mut certificates = Vec::new();
            let mut damaged = false;
            for item in ureq::tls::parse_pem(&pem) {
                match item {
                    Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
                    Ok(_) => {}
                    Err(_) => damaged = true,
                }
            }
            if damaged || certificates.is_empty() {
                return Err(Error::HubSetting {
                    setting: "authorities",
                    expected: "certificates in PEM",
                    found: format!("none, or damaged ones, in {}", path.display()),
                });
            }
            RootCerts::new_with_certs(&certificates)
        }
    };
    let config = TlsConfig::builder().root_certs(roots);
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    let config = config.unversioned_rustls_crypto_provider(std::sync::Arc::new(rustls_graviola::default_provider()));
    Ok(config.build())
}
