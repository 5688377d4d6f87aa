//! What a response reports about the body of its request, beside the result: parts that had no
//! effect, or were changed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The response header with the keys of the body that had no effect.
pub(in crate::server) const UNUSED_KEYS: HeaderName = HeaderName::from_static("x-unused-keys");

/// The response header with the number of broken surrogates that were replaced.
pub(in crate::server) const REPLACED_SURROGATES: HeaderName = HeaderName::from_static("x-replaced-surrogates");

/// The notes of one request. The middleware shares them with the handler.
#[derive(Debug, Default)]
pub(in crate::server) struct ResponseNotes {
    /// Visible ASCII and spaces.
    unused_keys: OnceLock<String>,
    replaced_surrogates: AtomicUsize,
}

impl ResponseNotes {
    /// Notes the keys that had no effect, as visible ASCII.
    pub(super) fn set_unused_keys(&self, keys: String) {
        // A handler reports them once.
        drop(self.unused_keys.set(keys));
    }

    /// Notes how many surrogates were replaced.
    pub(super) fn set_replaced_surrogates(&self, count: usize) {
        self.replaced_surrogates.store(count, Ordering::Relaxed);
    }

    /// The keys that had no effect, if there are any.
    pub(in crate::server) fn unused_keys(&self) -> Option<&str> {
        self.unused_keys.get().map(String::as_str)
    }

    /// Adds the headers.
    pub(in crate::server) fn write(&self, headers: &mut HeaderMap) {
        if let Some(keys) = self.unused_keys().and_then(|keys| HeaderValue::from_str(keys).ok()) {
            headers.insert(UNUSED_KEYS, keys);
        }
        let replaced = self.replaced_surrogates.load(Ordering::Relaxed);
        if replaced > 0 {
            headers.insert(REPLACED_SURROGATES, replaced.into());
        }
    }
}
