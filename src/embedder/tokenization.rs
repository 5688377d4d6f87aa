//! Tokens of an embedder's texts.

use super::model::Embedder;
use super::source::TokenVectors;
use crate::backbone::{TokenizedText, TruncationPolicy, prepend_prompt};
use crate::error::Result;
use crate::tokenizer::{Tokens, TruncationSide};

impl Embedder {
    /// Tokenizes a text as [`Self::embed`] does, with the embedder's prompt before it.
    ///
    /// # Errors
    /// If the text cannot be tokenized.
    pub fn tokenize(&self, text: &str) -> Result<Tokens> {
        let text = prepend_prompt(&self.prompt, text);
        match &self.token_vectors {
            TokenVectors::Encoder(backbone) => backbone.tokenizer().tokenize(&text),
            TokenVectors::Table(model) => model.tokens(&text),
        }
    }

    /// Tokenizes texts on all threads.
    pub(super) fn tokenize_texts<T: AsRef<str> + Sync>(&self, texts: &[T], prompt: &str) -> Result<Vec<TokenizedText>> {
        let excluded_tokens = self.prompt_tokens_excluded(prompt)?;
        let runtime = self.runtime();
        runtime.tokenize_all(texts.len(), |i| {
            let encoded = self.tokenize_text(i, texts[i].as_ref(), prompt, runtime.truncation(), None)?;
            Ok(TokenizedText { excluded_tokens, ..encoded })
        })
    }

    /// Tokenizes one text. `text_index` is its index in the call, for errors.
    pub(super) fn tokenize_text(
        &self,
        text_index: usize,
        text: &str,
        prompt: &str,
        truncation: TruncationPolicy,
        side: Option<TruncationSide>,
    ) -> Result<TokenizedText> {
        match &self.token_vectors {
            TokenVectors::Encoder(backbone) => backbone.tokenize_text(text_index, text, prompt, truncation, side),
            TokenVectors::Table(model) => model.tokenize_text(text_index, text, prompt, truncation, side),
        }
    }

    /// Returns the number of leading tokens that pooling excludes: 0, or the tokens of the prompt
    /// with the leading special tokens.
    pub(super) fn prompt_tokens_excluded(&self, prompt: &str) -> Result<usize> {
        if self.head.includes_prompt() || prompt.is_empty() {
            return Ok(0);
        }
        self.runtime().tokenizer().prompt_len(prompt)
    }
}
