//! Tokens of an embedder's texts.

use super::model::Embedder;
use crate::backbone::{TokenizedText, prepend_prompt};
use crate::batch::Batch;
use crate::error::Result;
use crate::tokenizer::Tokens;

impl Embedder {
    /// Tokenizes a text as [`Self::embed`] does, with the embedder's prompt before it.
    ///
    /// # Errors
    /// If the text cannot be tokenized.
    pub fn tokenize(&self, text: &str) -> Result<Tokens> {
        self.backbone.tokenizer().tokenize(&prepend_prompt(&self.prompt, text))
    }

    /// Tokenizes texts on all threads.
    pub(super) fn tokenize_texts<T: AsRef<str> + Sync>(&self, texts: &[T], prompt: &str) -> Result<Vec<TokenizedText>> {
        let excluded_tokens = self.prompt_tokens_excluded(prompt)?;
        self.backbone.tokenize_all(texts.len(), |i| {
            let text = texts[i].as_ref();
            let encoded = self.backbone.tokenize_text(i, text, prompt, self.backbone.truncation(), None)?;
            Ok(TokenizedText { excluded_tokens, ..encoded })
        })
    }

    /// Returns the number of leading tokens that pooling excludes: 0, or the tokens of the prompt
    /// with the leading special tokens.
    pub(super) fn prompt_tokens_excluded(&self, prompt: &str) -> Result<usize> {
        if self.head.includes_prompt() || prompt.is_empty() {
            return Ok(0);
        }
        self.backbone.tokenizer().prompt_len(prompt)
    }

    /// Rejects vectors `[S, width]` that are not finite. The error names the weight that causes it,
    /// if one is found.
    pub(super) fn check_finite(&self, vectors: &[f32], text_indices: &[usize], batch: &Batch) -> Result<()> {
        match vectors.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(element) => Err(self.backbone.not_finite(text_indices[element / self.width()], batch)),
        }
    }
}
