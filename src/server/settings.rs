//! What a server accepts, and from whom.

use std::time::Duration;

use axum::http::HeaderValue;

use crate::embedder::TOKENS_PER_BATCH;
use crate::server::api::error::ApiError;

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How much it takes.
    pub limits: Limits,
    /// JsonObject of which a request must have one. None: everybody may ask.
    pub keys: Vec<String>,
    /// Whose pages may ask, in a browser.
    pub origins: Origins,
    /// Bytes of answers that are kept to be given again, with their questions; 0 for none.
    pub cache_bytes: usize,
}

/// How much a server takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Texts of a request, the source among them.
    pub texts: usize,
    /// Numbers of an answer.
    pub numbers: usize,
    /// Tokens that may wait in a model's queue.
    pub waiting_tokens: usize,
    /// Tokens that a thread computes in one pass, but for a text that alone has more.
    pub batch_tokens: usize,
    /// Requests that are answered at a time.
    pub requests: usize,
    /// For a request's head to arrive, and between two requests of a connection.
    pub head_time: Duration,
    /// For a request's body to arrive.
    pub body_time: Duration,
    /// For a request to be answered, the body and the wait for a model included.
    pub request_time: Duration,
}

/// The origins whose pages a browser may let ask.
#[derive(Clone, Debug)]
pub enum Origins {
    /// Only the server's own page.
    None,
    /// Any page.
    Any,
    /// Pages from these origins, each as a browser writes it: `https://example.org`.
    These(Vec<HeaderValue>),
}

impl Default for Settings {
    fn default() -> Self {
        Self { limits: Limits::default(), keys: Vec::new(), origins: Origins::None, cache_bytes: 64 << 20 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 2_000_000,
            texts: 10_000,
            numbers: 8_000_000,
            waiting_tokens: 200_000,
            batch_tokens: TOKENS_PER_BATCH,
            requests: 512,
            head_time: Duration::from_secs(30),
            body_time: Duration::from_secs(30),
            request_time: Duration::from_secs(120),
        }
    }
}

impl Limits {
    pub(in crate::server) fn check_texts(&self, texts: usize) -> Result<(), ApiError> {
        match texts > self.texts {
            true => {
                Err(ApiError::unprocessable(format!("{texts} texts in one request; at most {} are taken", self.texts)))
            }
            false => Ok(()),
        }
    }
}
