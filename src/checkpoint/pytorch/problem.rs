//! Why a weight file of PyTorch is rejected.

use crate::error::{ContentError, Error};

/// What to do about a file that ends too early or contradicts itself.
pub(super) const DAMAGED: &str = "the file is damaged: download or copy it again";

/// What to do about a file that contains more than a state dict.
pub(super) const MAY_RUN_CODE: &str = "a pickle of anything else than tensors may run code when it is loaded, so it \
     is not read: use model.safetensors, or if you trust the file, load the model in sentence-transformers and save it \
     with `save_pretrained`";

/// What to do about weights that are harmless, but are stored in a way that is not supported.
pub(super) const SAVE_AGAIN: &str = "load the model in sentence-transformers and save it with `save_pretrained`, \
     which writes safetensors";

/// The name of archives that contain a program instead of a dict of tensors.
pub(super) const TORCH_SCRIPT: &str = "a program in TorchScript (`code/`, `constants.pkl`)";

/// A rule that a file violates. The name of the file is added later.
#[derive(Debug)]
pub(super) struct Problem {
    /// The part of the file.
    pub(super) place: String,
    pub(super) expected: String,
    pub(super) found: String,
    pub(super) advice: &'static str,
}

/// A result whose error is a [`Problem`].
pub(super) type Result<T> = std::result::Result<T, Problem>;

impl Problem {
    pub(super) fn new(expected: impl Into<String>, found: impl Into<String>, advice: &'static str) -> Self {
        Self { place: String::new(), expected: expected.into(), found: found.into(), advice }
    }

    /// Adds the part of the file, unless it is known.
    pub(super) fn at(mut self, place: impl FnOnce() -> String) -> Self {
        if self.place.is_empty() {
            self.place = place();
        }
        self
    }

    pub(super) fn into_error(self, file: &str) -> Error {
        let Self { place, expected, found, advice } = self;
        let place = Some(place).filter(|place| !place.is_empty());
        Error::Content(Box::new(ContentError { file: file.to_owned(), place, expected, found, advice }))
    }
}

/// Quotes a name from a file: shortened, and without control characters.
pub(super) fn quoted(name: &str) -> String {
    const MAX_CHARS: usize = 80;
    let short: String = name.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    let end = if name.chars().nth(MAX_CHARS).is_some() { "…" } else { "" };
    format!("`{short}{end}`")
}
