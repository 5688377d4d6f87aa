//! Passes of a batch through the encoder, and the pooling of their token vectors.

use likewise_kernels::view::MatRef;

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

    /// Runs one pass by a team of all threads or by this thread, and gives the pooled vector `[W]`
    /// of each text to `collect`.
    pub(super) fn run_pooled(
        &self,
        texts: &[&TokenizedText],
        batch: &Batch,
        use_team: bool,
        mut collect: impl FnMut(usize, &[f32]),
    ) {
        let selected = self.single_tokens(texts, batch);
        let mut pooled = vec![0.0; self.head.pooled_width()];
        self.backbone.run(batch, selected.as_deref(), use_team, |tokens| {
            for (s, text) in texts.iter().enumerate() {
                if selected.is_some() {
                    collect(s, tokens.row(s));
                } else {
                    self.head.pool(tokens.rows_in(batch.token_range(s)), text.excluded_tokens, &mut pooled);
                    collect(s, &pooled);
                }
            }
        });
    }

    /// Pools the vectors of all tokens `[T, D]` of a batch to one vector a text, `pooled` `[S, W]`.
    pub(super) fn pool_texts<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a TokenizedText>,
        batch: &Batch,
        tokens: MatRef<'_>,
        pooled: &mut [f32],
    ) {
        let outs = pooled.chunks_exact_mut(self.head.pooled_width());
        for ((s, text), out) in texts.into_iter().enumerate().zip(outs) {
            self.head.pool(tokens.rows_in(batch.token_range(s)), text.excluded_tokens, out);
        }
    }

    /// Returns the row of the only token of each text that pooling reads `[S]`. None if pooling
    /// reads several tokens of a text, or none.
    fn single_tokens(&self, texts: &[&TokenizedText], batch: &Batch) -> Option<Vec<usize>> {
        let row = |(s, text): (usize, &&TokenizedText)| {
            let tokens = batch.token_range(s);
            Some(tokens.start + self.head.single_token(tokens.len(), text.excluded_tokens)?)
        };
        texts.iter().enumerate().map(row).collect()
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
