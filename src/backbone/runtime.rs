//! What the models of all kinds share: tokenizer, threads and settings.

#[cfg(feature = "serve")]
use std::collections::BTreeMap;

use likewise_kernels::Level;

use super::tokenized_text::TokenizedText;
use crate::error::{Error, Result};
use crate::parallel::Pool;
use crate::tokenizer::{TokenUsage, Tokenizer};

/// The texts of one task of the thread pool. One text takes only some ten microseconds, too little
/// for a task.
pub(crate) const TEXTS_PER_TASK: usize = 64;

/// With fewer tokens per thread, reading the weights takes longer than computing. All threads then
/// share one pass, which reads them once.
const TEAM_BELOW_TOKENS_PER_THREAD: usize = 96;

/// The tokenizer, the threads and the settings of a model.
pub(crate) struct Runtime {
    pub(crate) level: Level,
    pub(crate) thread_pool: Pool,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) truncation: TruncationPolicy,
    pub(crate) name: String,
    /// The number of token ids that the weights have rows for.
    pub(crate) vocabulary: usize,
}

/// What to do with a text that has more tokens than the maximum length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TruncationPolicy {
    /// Truncate the text and report it in [`TokenUsage`].
    #[default]
    Allow,
    /// Fail with [`Error::TooLong`].
    Error,
}

impl Runtime {
    /// Returns the SIMD level of the computation.
    pub(crate) fn level(&self) -> Level {
        self.level
    }

    pub(crate) fn thread_pool(&self) -> &Pool {
        &self.thread_pool
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Returns what happens to texts that are too long.
    pub(crate) fn truncation(&self) -> TruncationPolicy {
        self.truncation
    }

    /// Returns the model's name, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether this many tokens are computed sooner by a team of all threads than by one
    /// thread.
    #[cfg(feature = "serve")]
    pub(crate) fn prefers_team(&self, tokens: usize) -> bool {
        prefers_team(tokens, self.thread_pool.size())
    }

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
        self.check_ids(text_index, &ids, usage, truncation)?;
        Ok(TokenizedText { ids, types: Vec::new(), usage, excluded_tokens: 0, unattended_tokens: 0 })
    }

    /// Checks what [`Self::validate_ids`] does.
    pub(crate) fn check_ids(
        &self,
        text_index: usize,
        ids: &[u32],
        usage: TokenUsage,
        truncation: TruncationPolicy,
    ) -> Result<()> {
        if truncation == TruncationPolicy::Error && usage.truncated() {
            return Err(Error::TooLong { text: text_index, tokens: usage.total, limit: self.tokenizer.max_tokens() });
        }
        match ids.iter().find(|&&id| id as usize >= self.vocabulary) {
            None => Ok(()),
            Some(&id) => {
                Err(Error::TokenId { file: self.tokenizer.label().to_owned(), id, vocabulary: self.vocabulary })
            }
        }
    }
}

/// Returns whether this many tokens are computed sooner by a team of all threads than by one
/// thread.
pub(super) fn prefers_team(tokens: usize, threads: usize) -> bool {
    threads > 1 && tokens < TEAM_BELOW_TOKENS_PER_THREAD * threads
}
