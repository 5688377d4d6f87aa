//! HTTP requests: the one file that opens connections.
//!
//! This file follows redirects itself, so that the token goes only to the hub's own scheme, host
//! and port. ureq receives all settings explicitly, so it reads no environment variable.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ureq::http::HeaderMap;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Proxy};

use super::connection::{proxy, tls_config};
use super::name_resolver::NameResolver;
use super::no_proxy::NoProxy;
use super::retry::{Failure, RetryHint};
use super::settings::{Settings, TokenSource};
use super::tls_support;
use super::url::Url;
use crate::error::{Error, HubErrorKind, Result};

/// The maximum number of consecutive redirects, well below that of browsers.
const MAX_REDIRECTS: usize = 10;
const MAX_RESPONSE_HEAD_BYTES: usize = 64 << 10;
/// The maximum length of a server's text in an error message.
const MAX_MESSAGE_CHARS: usize = 200;

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    /// The hub's metadata of a file. A redirect to another host is the answer and is not followed.
    Head,
    /// The content from an offset in bytes to the end.
    Get { from: u64 },
}

/// A client of one hub.
pub(super) struct Client {
    direct_agent: Agent,
    /// The agent for hosts that [`NoProxy`] does not exclude, if there is a proxy.
    proxy_agent: Option<Agent>,
    no_proxy: NoProxy,
    endpoint: Url,
    token: Option<String>,
    has_encrypted_proxy: bool,
    /// Whether the caller replaced the default provider, which runs only on some CPUs.
    has_own_tls_provider: bool,
    /// Whether any response has arrived. Before that, an unknown host counts as misspelt.
    has_connected: AtomicBool,
}

/// The last response of a chain of redirects.
pub(super) struct HttpResponse {
    pub(super) status: u16,
    /// The headers of all responses of the chain, the last response first.
    headers: Vec<HeaderMap>,
    pub(super) body: Body,
}

impl HttpResponse {
    /// Returns a header of the last response that has it.
    pub(super) fn any_header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|headers| header_text(headers, name))
    }

    /// Returns a header of the last response.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.first().and_then(|headers| header_text(headers, name))
    }
}

/// Returns an agent for connections through a proxy, or without one.
fn new_agent(settings: &Settings, proxy: Option<Proxy>) -> Result<Agent> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(concat!("likewise/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .max_response_header_size(MAX_RESPONSE_HEAD_BYTES)
        .proxy(proxy)
        .tls_config(tls_config(settings)?)
        .timeout_resolve(Some(settings.timeout))
        .timeout_connect(Some(settings.timeout))
        .timeout_send_request(Some(settings.timeout))
        .timeout_recv_response(Some(settings.timeout))
        .timeout_per_read(Some(settings.timeout))
        .build();
    Ok(Agent::with_parts(config, DefaultConnector::default(), NameResolver))
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

impl Client {
    /// # Errors
    /// If the endpoint, token, proxy or certificates are invalid or cannot be read.
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let endpoint = endpoint(&settings.endpoint)?;
        let token = token(&settings.token)?;
        let proxy = proxy(settings)?;
        let has_encrypted_proxy = proxy.as_ref().is_some_and(|proxy| proxy.uri().scheme_str() == Some("https"));
        Ok(Self {
            direct_agent: new_agent(settings, None)?,
            proxy_agent: proxy.map(|proxy| new_agent(settings, Some(proxy))).transpose()?,
            no_proxy: NoProxy::parse(settings.no_proxy.iter().map(String::as_str)),
            endpoint,
            token,
            has_encrypted_proxy,
            has_own_tls_provider: settings.tls_provider.is_some(),
            has_connected: AtomicBool::new(false),
        })
    }

    /// Returns the address of a path below the endpoint.
    pub(super) fn url(&self, path: &str) -> Result<Url> {
        let text = format!("{}/{path}", self.endpoint.as_str());
        Url::parse(&text).ok_or_else(|| Error::HubSetting {
            setting: "endpoint",
            expected: "an address to which a path can be appended",
            found: text,
        })
    }

    /// Sends a request and follows redirects.
    ///
    /// # Errors
    /// If there is no response, or its status is not a success.
    pub(super) fn request(&self, kind: RequestKind, url: &Url) -> std::result::Result<HttpResponse, Failure> {
        let mut target = url.clone();
        let mut headers = Vec::new();
        for _ in 0..=MAX_REDIRECTS {
            let (parts, body) = self.send(kind, &target)?.into_parts();
            let status = parts.status.as_u16();
            headers.insert(0, parts.headers);
            if (200..300).contains(&status) {
                return Ok(HttpResponse { status, headers, body });
            }
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Err(self.status_error(url, &target, status, &headers[0]));
            }
            let next = self.redirect_target(&target, status, &headers[0])?;
            if kind == RequestKind::Head && !next.same_origin(&target) {
                return Ok(HttpResponse { status, headers, body });
            }
            target = next;
        }
        Err(protocol_error(&target, format!("at most {MAX_REDIRECTS} redirects"), "more").into())
    }

    /// Reads a whole response body of up to `max_bytes` bytes.
    pub(super) fn read(&self, url: &Url, max_bytes: usize) -> std::result::Result<Vec<u8>, Failure> {
        let body = self.request(RequestKind::Get { from: 0 }, url)?.body;
        let mut bytes = Vec::new();
        let mut body = body.into_reader().take(max_bytes as u64 + 1);
        body.read_to_end(&mut bytes).map_err(|source| interrupted(url, source))?;
        if bytes.len() > max_bytes {
            return Err(protocol_error(url, format!("at most {max_bytes} bytes"), "more").into());
        }
        Ok(bytes)
    }

    fn redirect_target(&self, url: &Url, status: u16, headers: &HeaderMap) -> Result<Url> {
        let location = header_text(headers, "location").unwrap_or_default();
        url.join(location).ok_or_else(|| {
            // The query may contain a signature.
            let without_query = location.split('?').next().unwrap_or_default();
            let found = format!("a redirect (status {status}) to {:?}", self.printable(without_query));
            protocol_error(url, "an http or https address, encrypted if this one is", found)
        })
    }

    fn send(&self, kind: RequestKind, url: &Url) -> std::result::Result<ureq::http::Response<Body>, Failure> {
        let proxy_agent = self.proxy_agent.as_ref().filter(|_| !self.no_proxy.matches(url.host(), url.port()));
        let is_encrypted = url.is_https() || (proxy_agent.is_some() && self.has_encrypted_proxy);
        if is_encrypted && !self.has_own_tls_provider {
            tls_support::check_default_provider()?;
        }
        let agent = proxy_agent.unwrap_or(&self.direct_agent);
        let mut request = match kind {
            RequestKind::Head => agent.head(url.as_str()),
            RequestKind::Get { .. } => agent.get(url.as_str()),
        };
        if let Some(token) = self.token.as_ref().filter(|_| url.same_origin(&self.endpoint)) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let RequestKind::Get { from: from @ 1.. } = kind {
            request = request.header("range", format!("bytes={from}-"));
        }
        let response = request.call().map_err(|error| self.connection_error(url, error))?;
        self.has_connected.store(true, Ordering::Relaxed);
        match header_text(response.headers(), "content-encoding") {
            Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => {
                let found = format!("content-encoding {:?}", self.printable(encoding));
                Err(protocol_error(url, "a body without content encoding", found).into())
            }
            _ => Ok(response),
        }
    }

    /// Returns the failure of a request without a response.
    fn connection_error(&self, url: &Url, error: ureq::Error) -> Failure {
        use std::io::ErrorKind;
        use ureq::{Error as Ureq, Timeout};
        let has_connected = self.has_connected.load(Ordering::Relaxed);
        let is_transient = match &error {
            // For example an untrusted certificate.
            Ureq::Io(error) if error.kind() == ErrorKind::InvalidData => false,
            Ureq::Io(error) if error.kind() == ErrorKind::ConnectionRefused || is_name_resolution_error(error) => {
                has_connected
            }
            Ureq::HostNotFound | Ureq::ConnectionFailed | Ureq::Timeout(Timeout::Connect | Timeout::Resolve) => {
                has_connected
            }
            Ureq::Io(_) | Ureq::Timeout(_) => true,
            _ => false,
        };
        let source: Box<dyn std::error::Error + Send + Sync> = match error {
            Ureq::Io(error) => Box::new(error),
            other => Box::new(other),
        };
        let error = Error::HubUnreachable { url: url.without_query(), attempts: 1, source };
        Failure { error, retry: if is_transient { RetryHint::Soon } else { RetryHint::Never } }
    }

    /// Returns the failure that a status means. `requested` is the address before any redirect.
    fn status_error(&self, requested: &Url, url: &Url, status: u16, headers: &HeaderMap) -> Failure {
        // Another host's status says nothing about the hub's repositories.
        let is_hub = url.same_origin(&self.endpoint);
        let code = header_text(headers, "x-error-code").filter(|_| is_hub);
        let message = self.printable(header_text(headers, "x-error-message").unwrap_or_default());
        let is_file = requested.as_str().contains("/resolve/");
        let kind = match (code, status) {
            (Some("GatedRepo"), _) => HubErrorKind::Gated,
            (Some("RepoNotFound"), _) => HubErrorKind::RepositoryNotFound,
            (Some("RevisionNotFound"), _) => HubErrorKind::RevisionNotFound,
            (Some("EntryNotFound"), _) => HubErrorKind::FileNotFound,
            (_, 401) if message.starts_with("Invalid credentials") => HubErrorKind::InvalidToken,
            (_, 401 | 404) if is_file && !is_hub => HubErrorKind::UnexpectedStatus,
            // Without a token the hub answers 401 for both private and missing repositories.
            (_, 401) => HubErrorKind::RepositoryNotFound,
            (_, 403) => HubErrorKind::Forbidden,
            (_, 404) if is_file => HubErrorKind::FileNotFound,
            (_, 404) => HubErrorKind::RepositoryNotFound,
            (_, 408 | 429 | 500 | 502 | 503 | 504) => HubErrorKind::Unavailable,
            _ => HubErrorKind::UnexpectedStatus,
        };
        let retry = match (kind, requested_delay(status, headers)) {
            (HubErrorKind::Unavailable, Some(delay)) => RetryHint::After(delay),
            (HubErrorKind::Unavailable, None) => RetryHint::Soon,
            _ => RetryHint::Never,
        };
        Failure { error: Error::HubStatus { url: url.without_query(), kind, status, message }, retry }
    }

    /// Prepares a server's text for a message: one line, a limited length, and without the token,
    /// which some servers repeat.
    pub(super) fn printable(&self, text: &str) -> String {
        let text = match &self.token {
            Some(token) => text.replace(token, "…"),
            None => text.to_owned(),
        };
        text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE_CHARS).collect()
    }
}

fn endpoint(setting: &str) -> Result<Url> {
    let address = setting.trim_end_matches('/');
    Url::parse(address).filter(|_| !address.contains(['?', '#'])).ok_or_else(|| {
        // The text before an @ may contain a password.
        let has_user = address.contains('@');
        Error::HubSetting {
            setting: "endpoint",
            expected: "an address such as https://huggingface.co",
            found: if has_user { "an address with a user name".to_owned() } else { address.to_owned() },
        }
    })
}

fn token(source: &TokenSource) -> Result<Option<String>> {
    let token = match source {
        TokenSource::None => return Ok(None),
        TokenSource::Value(secret) => secret.expose().trim().to_owned(),
        TokenSource::File(path) => match std::fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => return Ok(None),
            Ok(text) => text.trim().to_owned(),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(Error::Io { path: path.clone(), action: "read the token", source });
            }
        },
    };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::HubSetting {
            setting: "token",
            expected: "visible ASCII characters",
            found: "other characters, or none".to_owned(),
        });
    }
    Ok(Some(token))
}

/// Returns the delay that the hub requests: the seconds of `Retry-After`, or for status 429 the
/// rest of a window in which no request is left (`RateLimit: "resolvers";r=0;t=40`).
fn requested_delay(status: u16, headers: &HeaderMap) -> Option<Duration> {
    let retry_after = header_text(headers, "retry-after").and_then(|value| value.trim().parse().ok());
    let window = || {
        let parts: Vec<&str> = header_text(headers, "ratelimit")?.split([';', ',']).map(str::trim).collect();
        let number = |name: &str| parts.iter().find_map(|part| part.strip_prefix(name)?.parse::<u64>().ok());
        // One second more, because the window's last second may not be over.
        number("t=").filter(|_| status == 429 && number("r=") == Some(0))?.checked_add(1)
    };
    retry_after.or_else(window).map(Duration::from_secs)
}

/// Whether a host name has no address. `std::io::ErrorKind` has no kind for it.
fn is_name_resolution_error(error: &std::io::Error) -> bool {
    error.to_string().starts_with("failed to lookup address information")
}

/// Returns the error of a response that violates the protocol.
pub(super) fn protocol_error(url: &Url, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::HubProtocol { url: url.without_query(), expected: expected.into(), found: found.into() }
}

/// Returns the failure of a response body that ended early.
pub(super) fn interrupted(url: &Url, source: std::io::Error) -> Failure {
    let error = Error::HubUnreachable { url: url.without_query(), attempts: 1, source: Box::new(source) };
    Failure { error, retry: RetryHint::Soon }
}
