//! A tokenized text, as batches need it.

use std::borrow::Cow;

use crate::tokenizer::TokenUsage;

/// The token ids of a text, valid for this model.
pub(crate) struct TokenizedText {
    pub(crate) ids: Vec<u32>,
    /// The type of each token, 0 or 1. Empty if all are 0.
    pub(crate) types: Vec<u32>,
    pub(crate) usage: TokenUsage,
    /// The number of leading tokens that pooling excludes: those of the prompt.
    pub(crate) excluded_tokens: usize,
    /// The number of tokens at the end that no token attends to.
    pub(crate) unattended_tokens: usize,
}

/// Returns the text with the prompt before it.
pub(crate) fn prepend_prompt<'t>(prompt: &str, text: &'t str) -> Cow<'t, str> {
    if prompt.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(format!("{prompt}{text}")) }
}
