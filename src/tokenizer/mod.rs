//! Converts texts to token ids.
//!
//! The `tokenizers` crate, which transformers also uses, tokenizes texts as the model's
//! tokenizer.json defines. This module decides how long a text may be. A tokenizer.json often
//! contains a truncation and a padding from its last use, and sentence-transformers overrides both.

mod around_text;
mod as_written;
mod ascii_words;
mod build;
mod caught_panics;
mod charsmap;
mod chunking;
mod class;
mod error;
mod late_interaction;
mod load;
mod max_length;
mod normalizer_expansion;
mod pair;
mod roles;
mod sentence_bert_config;
mod sentencepiece;
mod sentinels;
#[cfg(feature = "serve")]
mod spans;
mod special_tokens;
#[cfg(test)]
mod tests;
mod text_lengths;
mod tokenizer_config;
mod tokenizer_json;
mod tokens;
mod truncation;
mod vocabulary;

pub use caught_panics::is_caught_panic;
pub(crate) use max_length::{EncoderLimits, UNLIMITED_TOKENS};
pub(crate) use text_lengths::{QueryExpansion, Setting, TextLengths, length};
#[cfg(feature = "serve")]
pub(crate) use tokens::TokenSpan;
pub(crate) use tokens::{PairPart, TokenizedPair};
pub use tokens::{TokenUsage, Tokens};
pub(crate) use truncation::TruncationSide;

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use tokenizers::{Encoding, ModelWrapper, Tokenizer as Inner};

use crate::error::{Error, Result};
use crate::files::ModelFiles;
use crate::model_folder::{Manifest, TransformerTask};
use ascii_words::AsciiWords;
use chunking::TextChunker;
use error::{CrateError, catch_tokenizer_panic};
use load::load_tokenizer;
use roles::TokensByRole;
use truncation::truncate;

/// The tokenizer of a model.
pub(crate) struct Tokenizer {
    inner: Inner,
    /// The vocabulary's file, for messages.
    label: String,
    /// The maximum number of tokens of a text, with special tokens.
    max_tokens: usize,
    /// The number of special tokens around a text.
    special_tokens: usize,
    /// The ids of the special tokens in the sense of transformers (`all_special_ids`).
    special_ids: HashSet<u32>,
    truncation_side: TruncationSide,
    /// Whether the model reads the types of the tokens of a pair.
    passes_token_types: bool,
    roles: TokensByRole,
    /// The lengths that the settings of the encoder's module define.
    text_lengths: TextLengths,
    /// Splits long texts.
    chunker: TextChunker,
    /// Tokenizes ASCII. None for encoders, which take far longer than their tokenizer.
    ascii_words: Option<AsciiWords>,
    /// Held while a long text without a boundary is tokenized, which takes much memory.
    whole_text: Mutex<()>,
}

impl Tokenizer {
    /// Reads a tokenizer. Also returns the files that it was read from.
    ///
    /// `requested_max_tokens` overrides the model's maximum length. `task` is what the
    /// encoder's module computes, or None without modules.json.
    ///
    /// # Errors
    /// If the files have no valid tokenizer, or `requested_max_tokens` is not between the number of
    /// special tokens + 1 and the encoder's maximum.
    pub(crate) fn load(
        files: &ModelFiles,
        limits: &EncoderLimits,
        requested_max_tokens: Option<usize>,
        task: Option<TransformerTask>,
    ) -> Result<(Self, Manifest)> {
        let mut manifest = Manifest::default();
        let loaded = load_tokenizer(files, limits, requested_max_tokens, task, &mut manifest)?;
        let chunker = TextChunker::for_tokenizer(&loaded.inner);
        let special_ids = loaded.special.iter().filter_map(|token| loaded.inner.token_to_id(token)).collect();
        let tokenizer = Self {
            inner: loaded.inner,
            label: loaded.label,
            max_tokens: loaded.max_tokens,
            special_tokens: loaded.special_tokens,
            special_ids,
            truncation_side: loaded.truncation_side,
            passes_token_types: loaded.passes_token_types,
            roles: loaded.roles,
            text_lengths: loaded.text_lengths,
            chunker,
            ascii_words: None,
            whole_text: Mutex::new(()),
        };
        Ok((tokenizer, manifest))
    }

    /// Returns the maximum number of tokens of a text, with special tokens.
    pub(crate) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Returns the kind of the tokenizer and the number of entries in its vocabulary.
    pub(crate) fn model_and_vocab_size(&self) -> (&ModelWrapper, usize) {
        (self.inner.get_model(), self.inner.get_vocab_size(true))
    }

    /// Returns the vocabulary's file, for messages.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Returns the token ids of a text, truncated to the maximum length. `side` overrides the side.
    pub(crate) fn encode(&self, text: &str, side: Option<TruncationSide>) -> Result<(Vec<u32>, TokenUsage)> {
        self.encode_up_to(self.max_tokens, text, side)
    }

    /// Returns the token ids of a text, truncated to another maximum length. `side` overrides the
    /// side.
    pub(crate) fn encode_up_to(
        &self,
        max_tokens: usize,
        text: &str,
        side: Option<TruncationSide>,
    ) -> Result<(Vec<u32>, TokenUsage)> {
        let side = side.unwrap_or(self.truncation_side);
        let truncate =
            |encoding: &Encoding| truncate(encoding.get_ids(), encoding, max_tokens, self.special_tokens, side);
        if !self.chunker.is_long(text) {
            let encoding = self.run(text, || self.inner.encode_fast(text, true))?;
            let ids = truncate(&encoding);
            let usage = TokenUsage { total: encoding.len(), used: ids.len() };
            return Ok((ids, usage));
        }
        self.encode_long(text, max_tokens, side, truncate)
    }

    /// Returns the token ids of a text without special tokens around it, truncated to the maximum
    /// length. `side` overrides the side from which it is truncated.
    pub(crate) fn encode_without_special_tokens(
        &self,
        text: &str,
        side: Option<TruncationSide>,
    ) -> Result<(Vec<u32>, TokenUsage)> {
        let side = side.unwrap_or(self.truncation_side);
        let (encoding, total) = if self.chunker.is_long(text) {
            self.encode_chunks(text, self.max_tokens, side)?
        } else {
            let encoding = self.run(text, || self.inner.encode_fast(text, false))?;
            let total = encoding.len();
            (encoding, total)
        };
        let ids = encoding.get_ids();
        let used = ids.len().min(self.max_tokens);
        let ids = match side {
            TruncationSide::Right => &ids[..used],
            TruncationSide::Left => &ids[ids.len() - used..],
        };
        Ok((ids.to_vec(), TokenUsage { total, used }))
    }

    /// Returns the token ids of a long text. `truncate` returns those of the kept tokens.
    fn encode_long(
        &self,
        text: &str,
        max_tokens: usize,
        side: TruncationSide,
        truncate: impl Fn(&Encoding) -> Vec<u32>,
    ) -> Result<(Vec<u32>, TokenUsage)> {
        let (encoding, total) = self.encode_chunks(text, max_tokens, side)?;
        let left_out = total - encoding.len();
        let encoding = self.run("", || self.inner.post_process(encoding, None, true))?;
        let ids = truncate(&encoding);
        let usage = TokenUsage { total: encoding.len() + left_out, used: ids.len() };
        Ok((ids, usage))
    }

    /// Tokenizes a text in chunks, and keeps the chunks with the tokens that the model reads.
    /// Returns these, without special tokens, and the number of all tokens.
    fn encode_chunks(&self, text: &str, max_tokens: usize, side: TruncationSide) -> Result<(Encoding, usize)> {
        let mut kept = VecDeque::new();
        let mut kept_tokens = 0;
        let mut total = 0;
        for chunk in self.chunker.chunks(&self.inner, text, false) {
            let encoding = self.run(chunk, || self.inner.encode_fast(chunk, false))?;
            total += encoding.len();
            if side == TruncationSide::Left || kept_tokens < max_tokens {
                kept_tokens += encoding.len();
                kept.push_back(encoding);
            }
            while side == TruncationSide::Left
                && let Some(first) = kept.front()
                && kept_tokens - first.len() >= max_tokens
            {
                kept_tokens -= first.len();
                kept.pop_front();
            }
        }
        Ok((Encoding::merge(kept, false), total))
    }

    /// Returns the token ids of a text with their offsets, truncated to the maximum length.
    pub(crate) fn tokenize(&self, text: &str) -> Result<Tokens> {
        self.tokenize_up_to(self.max_tokens, text)
    }

    /// Returns the token ids of a text with their offsets, truncated to another maximum length.
    pub(crate) fn tokenize_up_to(&self, max_tokens: usize, text: &str) -> Result<Tokens> {
        let side = self.truncation_side;
        let (prefix, tokens_after) = self.truncation_prefix(max_tokens, text, side)?;
        let encoding = self.run(prefix, || self.inner.encode_char_offsets(prefix, true))?;
        let ids = truncate(encoding.get_ids(), &encoding, max_tokens, self.special_tokens, side);
        let offsets = truncate(encoding.get_offsets(), &encoding, max_tokens, self.special_tokens, side);
        let usage = TokenUsage { total: encoding.len() + tokens_after, used: ids.len() };
        Ok(Tokens { ids, offsets, usage })
    }

    /// Returns the number of characters, once normalized, of the longest part of a text that must
    /// be tokenized whole, if it exceeds `limit`.
    #[cfg(feature = "serve")]
    pub(crate) fn longest_run(&self, text: &str, limit: usize) -> Option<usize> {
        if self.chunker.is_long(text) { self.chunker.longest_run(&self.inner, text, limit) } else { None }
    }

    /// Returns the text of token ids.
    #[cfg(feature = "serve")]
    pub(crate) fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        self.run("", || self.inner.decode(ids, skip_special_tokens))
    }

    /// Returns the number of tokens of a prompt, without a special token at its end.
    ///
    /// Special tokens are those with a role and those that the settings list, as in
    /// sentence-transformers (`all_special_ids`). Other tokens around a text do not count as
    /// special here.
    pub(crate) fn prompt_len(&self, prompt: &str) -> Result<usize> {
        let (ids, _) = self.encode(prompt, None)?;
        let ends_with_special = ids.last().is_some_and(|id| self.special_ids.contains(id));
        Ok(if ends_with_special { ids.len() - 1 } else { ids.len() })
    }

    /// Returns the shortest beginning of a long text, in whole chunks, that has at least
    /// `max_tokens`, and the number of tokens after it.
    ///
    /// A text of one chunk, or that is truncated on the left, is returned whole.
    fn truncation_prefix<'t>(
        &self,
        max_tokens: usize,
        text: &'t str,
        side: TruncationSide,
    ) -> Result<(&'t str, usize)> {
        if side == TruncationSide::Left {
            return Ok((text, 0));
        }
        let mut kept = None;
        let mut end = 0;
        let mut tokens = 0;
        let mut tokens_after = 0;
        for chunk in self.chunker.chunks(&self.inner, text, true) {
            if chunk.len() == text.len() {
                return Ok((text, 0));
            }
            end += chunk.len();
            let count = self.run(chunk, || self.inner.encode_fast(chunk, false))?.len();
            if kept.is_some() {
                tokens_after += count;
            } else {
                tokens += count;
                kept = (tokens >= max_tokens).then_some(end);
            }
        }
        Ok((&text[..kept.unwrap_or(text.len())], tokens_after))
    }

    /// Runs code of the `tokenizers` crate on a text. The error names the tokenizer's file.
    ///
    /// A long text that arrives here has no boundary. Such texts are processed one at a time, so
    /// that the number of threads does not multiply their memory.
    fn run<T>(&self, text: &str, run: impl FnOnce() -> std::result::Result<T, CrateError>) -> Result<T> {
        // The lock protects no data, so a poisoned one is usable.
        let _one_at_a_time =
            self.chunker.is_long(text).then(|| self.whole_text.lock().unwrap_or_else(PoisonError::into_inner));
        let failed = |source| Error::Tokenizer { file: self.label.clone(), what: "cannot tokenize a text", source };
        catch_tokenizer_panic(run).map_err(failed)
    }
}
