//! What a hub is asked with, and what it tells on the way. Nothing here reads the environment: the command does.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;

/// Where the hub and its cache are, and how patient to be with it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of the cache; see [`cache_folder`](super::cache_folder).
    pub cache: PathBuf,
    /// The hub's address, `https://host` or `http://host`, with a port and a path if need be.
    pub endpoint: String,
    /// Sent to the endpoint and to no other host, scheme or port.
    pub token: Option<Secret>,
    /// Whether to make no request at all.
    pub offline: bool,
    /// Authorities in PEM that are trusted in place of Mozilla's: what `SSL_CERT_FILE` means to OpenSSL and Python.
    pub authorities: Option<PathBuf>,
    /// A proxy for all requests: `http://[user:password@]host:port`.
    pub proxy: Option<Secret>,
    /// Hosts that are asked without the proxy: `host`, `*.domain`, `.domain`, or `*`.
    pub no_proxy: Vec<String>,
    /// How long to wait for a connection, for the head of an answer, and for the next bytes of its body.
    pub timeout: Duration,
    /// The pause before something that failed is tried again. It doubles up to eight times this.
    pub retry_delay: Duration,
    /// The longest pause that a hub may ask for (`Retry-After`).
    pub max_retry_delay: Duration,
}

impl Settings {
    /// The public hub, without a token.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            cache: cache.into(),
            endpoint: "https://huggingface.co".to_owned(),
            token: None,
            offline: false,
            authorities: None,
            proxy: None,
            no_proxy: Vec::new(),
            timeout: Duration::from_secs(10),
            retry_delay: Duration::from_secs(1),
            max_retry_delay: Duration::from_secs(300),
        }
    }
}

/// A text that is not printed.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text from being printed.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What happens while a model is fetched.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A file is being fetched.
    Downloading {
        /// Its name in the repository.
        name: &'a str,
        /// Its size in bytes.
        size: u64,
        /// Bytes that are there: those of an earlier attempt, then more and more; fewer if it begins anew.
        received: u64,
    },
    /// A file is whole and in its place.
    Finished {
        /// Its name in the repository.
        name: &'a str,
    },
    /// Another process fetches this file, and is waited for.
    WaitingForLock {
        /// Its name in the repository.
        name: &'a str,
    },
    /// The model is opened as the cache has it, because these files cannot be fetched, or whether the commit has them cannot be
    /// asked.
    UsingIncompleteCache {
        /// Files that would bear on the result.
        names: &'a [String],
        /// Why it cannot be asked; None: offline.
        error: Option<&'a Error>,
    },
    /// Something failed and will be tried again.
    Retrying {
        /// What failed.
        error: &'a Error,
        /// In how long.
        delay: Duration,
    },
}

/// Who is told.
pub(super) type ProgressCallback<'a> = &'a mut dyn FnMut(Progress<'_>);
