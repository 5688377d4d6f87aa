//! Conversion of texts to token ids.

use std::borrow::Cow;

use super::model::{Embedder, TruncationPolicy};
use crate::error::{Error, Result};
use crate::tokenizer::{TokenUsage, Tokens, TruncationSide};

/// The texts of one task of the thread pool. One text takes only some ten microseconds, too little
/// for a task.
const TEXTS_PER_TASK: usize = 64;

/// The token ids of a text, valid for this model.
pub(super) struct TokenizedIds {
    pub(super) ids: Vec<u32>,
    pub(super) usage: TokenUsage,
    /// The number of leading tokens that pooling excludes: those of the prompt.
    pub(super) excluded_tokens: usize,
}

impl Embedder {
    /// Tokenizes a text as [`Self::embed`] does, with the embedder's prompt before it.
    ///
    /// # Errors
    /// If the text cannot be tokenized.
    pub fn tokenize(&self, text: &str) -> Result<Tokens> {
        self.tokenizer.tokenize(&prepend_prompt(&self.prompt, text))
    }

    /// Tokenizes texts on all threads.
    pub(super) fn tokenize_texts<T: AsRef<str> + Sync>(&self, texts: &[T], prompt: &str) -> Result<Vec<TokenizedIds>> {
        let excluded_tokens = self.prompt_tokens_excluded(prompt)?;
        let encode = |i: usize| {
            let encoded = self.tokenize_text(i, texts[i].as_ref(), prompt, self.truncation, None)?;
            Ok(TokenizedIds { excluded_tokens, ..encoded })
        };
        let tasks = self.thread_pool.map(texts.len().div_ceil(TEXTS_PER_TASK), |task| {
            let first = task * TEXTS_PER_TASK;
            (first..texts.len().min(first + TEXTS_PER_TASK)).map(encode).collect::<Result<Vec<_>>>()
        });
        let mut encoded = Vec::with_capacity(texts.len());
        for task in tasks {
            encoded.extend(task?);
        }
        Ok(encoded)
    }

    /// Tokenizes one text. `text_index` is its index in the call, for errors.
    pub(super) fn tokenize_text(
        &self,
        text_index: usize,
        text: &str,
        prompt: &str,
        truncation: TruncationPolicy,
        side: Option<TruncationSide>,
    ) -> Result<TokenizedIds> {
        let (ids, usage) = self.tokenizer.encode(&prepend_prompt(prompt, text), side)?;
        self.validate_ids(text_index, ids, usage, truncation)
    }

    /// Returns the number of leading tokens that pooling excludes: 0, or the tokens of the prompt
    /// with the leading special tokens.
    pub(super) fn prompt_tokens_excluded(&self, prompt: &str) -> Result<usize> {
        if self.head.includes_prompt() || prompt.is_empty() { Ok(0) } else { self.tokenizer.prompt_len(prompt) }
    }

    /// Rejects a text that is too long, and ids that are not in the embedding table.
    pub(super) fn validate_ids(
        &self,
        text_index: usize,
        ids: Vec<u32>,
        usage: TokenUsage,
        truncation: TruncationPolicy,
    ) -> Result<TokenizedIds> {
        if truncation == TruncationPolicy::Error && usage.truncated() {
            return Err(Error::TooLong { text: text_index, tokens: usage.total, limit: self.tokenizer.max_tokens() });
        }
        let vocabulary = self.encoder.spec().embeddings.tokens.rows;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(Error::TokenId { file: self.tokenizer.label().to_owned(), id, vocabulary });
        }
        Ok(TokenizedIds { ids, usage, excluded_tokens: 0 })
    }
}

/// Returns the text with the prompt before it.
pub(super) fn prepend_prompt<'t>(prompt: &str, text: &'t str) -> Cow<'t, str> {
    if prompt.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(format!("{prompt}{text}")) }
}
