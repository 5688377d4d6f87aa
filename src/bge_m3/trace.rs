//! Traces of bge-m3.

use super::model::BgeM3;
use crate::error::{Error, Result};
use crate::trace::{Layout, Recorder, Trace};

impl BgeM3 {
    /// Records every intermediate result of one pass over texts, by one thread. After the encoder:
    /// `token_weights` has the number of each token for sparse vectors, before zeros replace the
    /// negative ones, and `token_vectors` the vector of each token before it has length 1.
    ///
    /// # Errors
    /// If there are no texts, if a text has no tokens at all, or if [`Self::encode`] fails.
    pub fn trace<T: AsRef<str>>(&self, texts: &[T]) -> Result<Trace> {
        let truncation = self.backbone.truncation();
        let mut tokenized = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            tokenized.push(self.backbone.tokenize_text(i, text.as_ref(), &self.prompt, truncation, None)?);
        }
        if tokenized.is_empty() || tokenized.iter().any(|text| text.ids.is_empty()) {
            return Err(Error::Empty("tokens to trace"));
        }
        let batch = self.backbone.batch(&tokenized);
        let mut recorder = Recorder::default();
        let mut rows = Vec::new();
        self.backbone.run_observed(&batch, &mut recorder, |tokens| {
            (0..tokens.rows()).for_each(|t| rows.extend_from_slice(tokens.row(t)));
        });
        recorder.record_rows("token_weights", Layout::Tokens("1"), 1, &self.sparse.apply(&rows));
        let width = self.tokens.width();
        recorder.record_rows("token_vectors", Layout::Tokens("E"), width, &self.tokens.apply(&rows));
        Ok(recorder.finish(batch.traced_tokens()))
    }
}
