//! Texts to ids.

use std::borrow::Cow;

use super::{Embedder, TruncationPolicy};
use crate::error::{Error, Result};
use crate::tokenizer::{TokenUsage, TruncationSide};

/// A text's ids, ready to be put in a batch.
pub(super) struct Encoded {
    pub(super) ids: Vec<u32>,
    pub(super) usage: TokenUsage,
    /// How many of them are the prompt's and do not count in pooling.
    pub(super) prompt: usize,
}

impl Embedder {
    /// Ids of all texts, by all threads.
    pub(super) fn encode<T: AsRef<str> + Sync>(&self, texts: &[T], prompt: &str) -> Result<Vec<Encoded>> {
        // A task of several texts, because one takes some ten microseconds.
        const TASK: usize = 64;
        let skipped = self.skipped(prompt)?;
        let one = |i: usize| {
            let encoded = self.encode_one(i, texts[i].as_ref(), prompt, self.truncation, None)?;
            Ok(Encoded { prompt: skipped, ..encoded })
        };
        let tasks = self.pool.map(texts.len().div_ceil(TASK), |task| {
            (task * TASK..texts.len().min((task + 1) * TASK)).map(one).collect::<Result<Vec<_>>>()
        });
        let mut encoded = Vec::with_capacity(texts.len());
        for task in tasks {
            encoded.extend(task?);
        }
        Ok(encoded)
    }

    pub(super) fn encode_one(
        &self,
        number: usize,
        text: &str,
        prompt: &str,
        truncation: TruncationPolicy,
        side: Option<TruncationSide>,
    ) -> Result<Encoded> {
        let (ids, usage) = self.tokenizer.ids(&with_prompt(prompt, text), side)?;
        self.checked(number, ids, usage, truncation)
    }

    /// The tokens of a prompt, if they do not count in pooling: those that it has alone, without a special one at the end.
    pub(super) fn skipped(&self, prompt: &str) -> Result<usize> {
        match self.head.includes_prompt() || prompt.is_empty() {
            true => Ok(0),
            false => self.tokenizer.length_before_end(prompt),
        }
    }

    /// Refuses ids that the model cannot or may not read.
    pub(super) fn checked(
        &self,
        number: usize,
        ids: Vec<u32>,
        usage: TokenUsage,
        truncation: TruncationPolicy,
    ) -> Result<Encoded> {
        if truncation == TruncationPolicy::Error && usage.truncated() {
            return Err(Error::TooLong { text: number, tokens: usage.tokens, limit: self.tokenizer.limit() });
        }
        let vocabulary = self.encoder.spec().embeddings.tokens.rows;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(Error::TokenId { file: self.tokenizer.label().to_owned(), id, vocabulary });
        }
        Ok(Encoded { ids, usage, prompt: 0 })
    }
}

/// A text with its prompt before it.
pub(super) fn with_prompt<'t>(prompt: &str, text: &'t str) -> Cow<'t, str> {
    if prompt.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(format!("{prompt}{text}")) }
}
