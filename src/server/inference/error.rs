//! The error of the inference layer.

use std::time::Duration;

use crate::error::Error;

/// Why a request has no result. The API layer chooses the status code and the wording for clients.
#[derive(Debug)]
pub(in crate::server) enum InferenceError {
    /// No model is served under this name.
    UnknownModel(String),
    /// The model is still loading.
    Loading {
        /// The model's name.
        model: String,
        /// How long loading will probably still take.
        remaining: Duration,
    },
    /// The request is valid and exceeds a limit or what the model can do.
    Rejected(String),
    /// Too many requests or tokens are waiting.
    Overloaded,
    /// The server accepts no more work.
    ShuttingDown,
    /// The client has disconnected, so this error is never sent.
    ClientDisconnected,
    /// The library rejects a text, a prompt or a token id, or its result is not usable.
    Library(Error),
    /// A computation panicked. The panic is in the log.
    Panicked,
    /// The server failed for another reason, for instance because the model could not be loaded.
    Failed(String),
}

impl From<Error> for InferenceError {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}
