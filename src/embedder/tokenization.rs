//! Texts to ids.

use std::borrow::Cow;

use super::{Embedder, TruncationPolicy};
use crate::error::{Error, Result};
use crate::tokenizer::{TokenUsage, TruncationSide};

/// A text's ids, ready to be put in a batch.
pub(super) struct EncodedIds {
    pub(super) ids: Vec<u32>,
    pub(super) usage: TokenUsage,
    /// How many of them are the prompt's and do not count in pooling.
    pub(super) excluded_tokens: usize,
}

impl Embedder {
    /// Ids of all texts, by all threads.
    pub(super) fn encode_texts<T: AsRef<str> + Sync>(&self, texts: &[T], prompt: &str) -> Result<Vec<EncodedIds>> {
        // A task of several texts, because one takes some ten microseconds.
        const TASK: usize = 64;
        let excluded = self.prompt_tokens_excluded(prompt)?;
        let one = |i: usize| {
            let encoded = self.encode_text(i, texts[i].as_ref(), prompt, self.truncation, None)?;
            Ok(EncodedIds { excluded_tokens: excluded, ..encoded })
        };
        let tasks = self.thread_pool.map(texts.len().div_ceil(TASK), |task| {
            (task * TASK..texts.len().min((task + 1) * TASK)).map(one).collect::<Result<Vec<_>>>()
        });
        let mut encoded = Vec::with_capacity(texts.len());
        for task in tasks {
            encoded.extend(task?);
        }
        Ok(encoded)
    }

    pub(super) fn encode_text(
        &self,
        text_index: usize,
        text: &str,
        prompt: &str,
        truncation: TruncationPolicy,
        side: Option<TruncationSide>,
    ) -> Result<EncodedIds> {
        let (ids, usage) = self.tokenizer.ids(&prepend_prompt(prompt, text), side)?;
        self.validate_ids(text_index, ids, usage, truncation)
    }

    /// The tokens of a prompt, if they do not count in pooling: those that it has alone, without a special one at the end.
    pub(super) fn prompt_tokens_excluded(&self, prompt: &str) -> Result<usize> {
        match self.head.includes_prompt() || prompt.is_empty() {
            true => Ok(0),
            false => self.tokenizer.length_before_end(prompt),
        }
    }

    /// Refuses ids that the model cannot or may not read.
    pub(super) fn validate_ids(
        &self,
        text_index: usize,
        ids: Vec<u32>,
        usage: TokenUsage,
        truncation: TruncationPolicy,
    ) -> Result<EncodedIds> {
        if truncation == TruncationPolicy::Error && usage.truncated() {
            return Err(Error::TooLong { text: text_index, tokens: usage.total, limit: self.tokenizer.limit() });
        }
        let vocabulary = self.encoder.blueprint().vocabulary;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(Error::TokenId { file: self.tokenizer.label().to_owned(), id, vocabulary });
        }
        Ok(EncodedIds { ids, usage, excluded_tokens: 0 })
    }
}

/// A text with its prompt before it.
pub(super) fn prepend_prompt<'t>(prompt: &str, text: &'t str) -> Cow<'t, str> {
    if prompt.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(format!("{prompt}{text}")) }
}
