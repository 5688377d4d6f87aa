//! Conversion of texts to token ids.

use std::borrow::Cow;
#[cfg(feature = "serve")]
use std::collections::BTreeMap;

use super::model::{Backbone, TruncationPolicy};
use crate::error::{CrossEncoderError, Error, Result};
use crate::tokenizer::{PairPart, TokenUsage, TokenizedPair, TruncationSide};

/// The texts of one task of the thread pool. One text takes only some ten microseconds, too little
/// for a task.
const TEXTS_PER_TASK: usize = 64;

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

impl Backbone {
    /// Tokenizes inputs on all threads: `tokenize(i)` for each i below `count`.
    pub(crate) fn tokenize_all<T: Send>(
        &self,
        count: usize,
        tokenize: impl Fn(usize) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let tasks = self.thread_pool.map(count.div_ceil(TEXTS_PER_TASK), |task| {
            let first = task * TEXTS_PER_TASK;
            (first..count.min(first + TEXTS_PER_TASK)).map(&tokenize).collect::<Result<Vec<_>>>()
        });
        let mut encoded = Vec::with_capacity(count);
        for task in tasks {
            encoded.extend(task?);
        }
        Ok(encoded)
    }

    /// Tokenizes one text. `text_index` is its index in the call, for errors.
    pub(crate) fn tokenize_text(
        &self,
        text_index: usize,
        text: &str,
        prompt: &str,
        truncation: TruncationPolicy,
        side: Option<TruncationSide>,
    ) -> Result<TokenizedText> {
        let (ids, usage) = self.tokenizer.encode(&prepend_prompt(prompt, text), side)?;
        self.validate_ids(text_index, ids, usage, truncation)
    }

    /// Tokenizes a pair of texts, with a prompt before the first. `pair_index` is its index in the
    /// call, for errors. Also returns the tokens of both texts, without special tokens.
    pub(crate) fn tokenize_pair(
        &self,
        pair_index: usize,
        prompt: &str,
        [first, second]: [&str; 2],
        truncation: TruncationPolicy,
    ) -> Result<(TokenizedText, [TokenUsage; 2])> {
        let first = self.tokenizer.encode_part(&prepend_prompt(prompt, first), None)?;
        let second = self.tokenizer.encode_part(second, None)?;
        self.join_pair(pair_index, [first, second], truncation, None)
    }

    /// Joins the tokens of two texts to a pair, as [`Self::tokenize_pair`] does.
    pub(crate) fn join_pair(
        &self,
        pair_index: usize,
        parts: [PairPart; 2],
        truncation: TruncationPolicy,
        side: Option<TruncationSide>,
    ) -> Result<(TokenizedText, [TokenUsage; 2])> {
        let TokenizedPair { ids, types, usage } = self.tokenizer.join_pair(parts, side)?;
        if truncation == TruncationPolicy::Error && usage.iter().any(TokenUsage::truncated) {
            return Err(Error::CrossEncoder(Box::new(CrossEncoderError::PairTooLong {
                pair: pair_index,
                tokens: usage.map(|usage| usage.total),
                special: self.tokenizer.special_tokens_of_pair(),
                cut: usage.map(|usage| usage.truncated()),
                limit: self.tokenizer.max_tokens(),
            })));
        }
        let used = TokenUsage { total: ids.len(), used: ids.len() };
        let text = self.validate_ids(pair_index, ids, used, truncation)?;
        Ok((TokenizedText { types, ..text }, usage))
    }

    /// Returns the text of the prompt of this name, or without a name the model's own.
    #[cfg(feature = "serve")]
    pub(crate) fn resolve_prompt<'p>(
        &self,
        name: Option<&str>,
        own: &'p str,
        prompts: &'p BTreeMap<String, String>,
    ) -> Result<&'p str> {
        let Some(name) = name else { return Ok(own) };
        prompts.get(name).map(String::as_str).ok_or_else(|| Error::Prompt {
            name: name.to_owned(),
            origin: self.name().to_owned(),
            known: prompts.keys().cloned().collect(),
        })
    }

    /// Rejects a text that is too long, and ids that are not in the embedding table.
    pub(crate) fn validate_ids(
        &self,
        text_index: usize,
        ids: Vec<u32>,
        usage: TokenUsage,
        truncation: TruncationPolicy,
    ) -> Result<TokenizedText> {
        if truncation == TruncationPolicy::Error && usage.truncated() {
            return Err(Error::TooLong { text: text_index, tokens: usage.total, limit: self.tokenizer.max_tokens() });
        }
        let vocabulary = self.encoder.spec().embeddings.tokens.rows;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(Error::TokenId { file: self.tokenizer.label().to_owned(), id, vocabulary });
        }
        Ok(TokenizedText { ids, types: Vec::new(), usage, excluded_tokens: 0, unattended_tokens: 0 })
    }
}

/// Returns the text with the prompt before it.
pub(crate) fn prepend_prompt<'t>(prompt: &str, text: &'t str) -> Cow<'t, str> {
    if prompt.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(format!("{prompt}{text}")) }
}
