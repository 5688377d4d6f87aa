//! The error of the inference layer.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, error_chain};

/// Why a request has no result. The API layer chooses the status code and the wording for clients.
#[derive(Debug)]
pub(in crate::server) enum InferenceError {
    /// No model is served under this name.
    UnknownModel {
        /// The name.
        name: String,
        /// The names of the models that are served.
        served: Vec<String>,
    },
    /// The model is still loading.
    Loading {
        /// The model's name.
        model: String,
        /// How long loading will probably still take.
        remaining: Duration,
    },
    /// The model is of a kind that cannot do what the request needs.
    WrongKind(WrongKind),
    /// The request is valid and exceeds a limit or what the model can do.
    Rejected(String),
    /// A token id of the request is not in the model's vocabulary.
    UnknownTokenId(UnknownTokenId),
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
    Failed(Failure),
}

/// A model that cannot do what a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct WrongKind {
    /// The model's name.
    pub(in crate::server) model: String,
    /// What the model does.
    pub(in crate::server) kind: ServedKind,
    /// What the request needs.
    pub(in crate::server) needed: ServedKind,
}

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum ServedKind {
    /// Computes a vector for each text.
    Embedder,
    /// Scores a text for a query: a cross-encoder with one label.
    Reranker,
    /// Scores labels for a text or a pair: a cross-encoder. One label is enough.
    Classifier,
    /// Computes a sparse vector for each text.
    SparseEncoder,
    /// Computes a vector for each token, and scores texts by them.
    LateInteraction,
}

/// A token id that a model does not have, and where the request has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct UnknownTokenId {
    /// The index of the text.
    pub(in crate::server) text: usize,
    /// The index of the id in the text.
    pub(in crate::server) position: usize,
    pub(in crate::server) id: u32,
    /// The size of the vocabulary.
    pub(in crate::server) vocabulary: usize,
}

/// The description of a failure, in two wordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Failure {
    /// For clients: without paths of the server.
    pub(in crate::server) client: String,
    /// For the log.
    pub(in crate::server) log: String,
}

impl Failure {
    /// Describes an error of the library. Files in `folder` keep their names in it; of all other
    /// paths, only the last component remains.
    pub(in crate::server) fn of_library(error: Error, folder: Option<&Path>) -> Self {
        let log = error_chain(&error);
        Self { client: error_chain(&error.without_paths(folder)), log }
    }

    /// Puts a text before both wordings.
    #[must_use]
    pub(in crate::server) fn with_prefix(self, prefix: &str) -> Self {
        Self { client: format!("{prefix}{}", self.client), log: format!("{prefix}{}", self.log) }
    }
}

/// A text without a path.
impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self { client: text.clone(), log: text }
    }
}

impl From<Error> for InferenceError {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}
