//! Errors of making a tokenizer, and panics of the `tokenizers` crate.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::Error;

/// An error of the `tokenizers` crate.
pub(super) type CrateError = Box<dyn std::error::Error + Send + Sync>;

/// The reason why a tokenizer cannot be built.
pub(super) enum TokenizerError {
    /// A setting is not valid. The error names its file.
    Config(Error),
    /// The vocabulary is not valid, and the error does not name its file.
    Crate(CrateError),
}

impl TokenizerError {
    /// Converts to the library's error. `file` is the vocabulary's file.
    pub(super) fn in_file(self, file: &str) -> Error {
        match self {
            Self::Config(error) => error,
            Self::Crate(source) => Error::Tokenizer { file: file.to_owned(), what: "not a valid tokenizer", source },
        }
    }
}

impl From<Error> for TokenizerError {
    fn from(error: Error) -> Self {
        Self::Config(error)
    }
}

impl From<CrateError> for TokenizerError {
    fn from(error: CrateError) -> Self {
        Self::Crate(error)
    }
}

impl From<serde_json::Error> for TokenizerError {
    fn from(error: serde_json::Error) -> Self {
        Self::Crate(error.into())
    }
}

impl From<String> for TokenizerError {
    fn from(message: String) -> Self {
        Self::Crate(message.into())
    }
}

/// Runs code of the `tokenizers` crate and turns a panic into an error.
///
/// The crate may panic on a damaged tokenizer (a normalizer's table, a template without its
/// tokens), when it reads the file or when it encodes a text.
pub(super) fn catch_tokenizer_panic<T, E: From<CrateError>>(run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    // A panic inside the crate leaves at most an incomplete cache entry behind.
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(CrateError::from("a part of the tokenizer is damaged").into()))
}
