//! The hub's address, cache, credentials and timeouts.

use std::fmt;
use std::path::PathBuf;
#[cfg(feature = "hub")]
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "hub")]
use super::tls_support::CryptoProvider;

/// The address of the public hub.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_RETRY_DELAY: Duration = Duration::from_secs(1);
const DEFAULT_MAX_RETRY_DELAY: Duration = Duration::from_secs(5 * 60);

/// The hub's address, cache, credentials and timeouts.
///
/// [`Settings::from_env`] fills them from the environment, as the command does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The cache folder, which huggingface_hub shares.
    pub cache: PathBuf,
    /// The hub's address, `https://host` or `http://host`, optionally with a port and a path.
    pub endpoint: String,
    /// The access token, which is sent to the endpoint and to no other scheme, host or port.
    pub token: TokenSource,
    /// Whether to make no request at all.
    pub offline: bool,
    /// A PEM file of certificate authorities that replace Mozilla's, like `SSL_CERT_FILE` for
    /// OpenSSL and Python.
    pub ca_certificates: Option<PathBuf>,
    /// A proxy for all requests: `http://[user:password@]host:port`.
    pub proxy: Option<Secret>,
    /// Hosts that are reached without the proxy, with their subdomains: `host`, `host:port`,
    /// `10.0.0.0/8`, or `*`.
    pub no_proxy: Vec<String>,
    /// The timeout for a connection, for a response head, and for the next bytes of a body.
    pub timeout: Duration,
    /// The delay before the first retry. It doubles on each retry, up to eight times this value.
    pub retry_delay: Duration,
    /// The longest delay that the hub may request (`Retry-After`).
    pub max_retry_delay: Duration,
    /// Whether the caller should draw progress bars. The library itself never prints.
    pub progress_bars: bool,
    /// The cryptography of TLS connections. `None` means graviola, which needs no C but runs only
    /// on some CPUs. Set another rustls provider for the others.
    #[cfg(feature = "hub")]
    pub tls_provider: Option<Arc<CryptoProvider>>,
}

impl Settings {
    /// Returns settings for the public hub, without a token. Reads no environment variable.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            cache: cache.into(),
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            token: TokenSource::None,
            offline: false,
            ca_certificates: None,
            proxy: None,
            no_proxy: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
            retry_delay: DEFAULT_RETRY_DELAY,
            max_retry_delay: DEFAULT_MAX_RETRY_DELAY,
            progress_bars: true,
            #[cfg(feature = "hub")]
            tls_provider: None,
        }
    }
}

/// The source of the access token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TokenSource {
    /// No token.
    None,
    /// The token itself.
    Value(Secret),
    /// A file that contains the token. It is read before the first request. A missing or empty
    /// file means no token.
    File(PathBuf),
}

/// A text that `Debug` does not print.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text so that it is not printed.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text. Do not print it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
