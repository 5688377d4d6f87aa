//! Traces of an embedder.

use super::model::Embedder;
use super::source::TokenVectors;
use crate::error::{Error, Result};
use crate::trace::{Layout, Recorder, Trace, TracedTokens};

impl Embedder {
    /// Records every intermediate result of one pass over texts, by one thread. docs/tracing.md
    /// lists them.
    ///
    /// The vectors, under the name `vectors`, have the same bits as those of [`Self::embed`].
    ///
    /// # Errors
    /// If there are no texts, if a text has no tokens at all, or if [`Self::embed`] fails.
    pub fn trace<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Trace> {
        let encoded = self.tokenize_texts(texts, &self.prompt)?;
        if encoded.is_empty() || encoded.iter().any(|text| text.ids.is_empty()) {
            return Err(Error::Empty("tokens to trace"));
        }
        let mut recorder = Recorder::default();
        let mut pooled = vec![0.0; texts.len() * self.head.pooled_width()];
        let (tokens, first_module) = match &self.token_vectors {
            TokenVectors::Encoder(backbone) => {
                let batch = backbone.batch(&encoded);
                backbone.run_observed(&batch, &mut recorder, |tokens| {
                    self.head.pool_texts(&encoded, &batch, tokens, &mut pooled)
                });
                (batch.traced_tokens(), 2)
            }
            TokenVectors::Table(model) => {
                let width = self.head.pooled_width();
                for (text, mean) in encoded.iter().zip(pooled.chunks_exact_mut(width)) {
                    recorder.record_rows("embeddings", Layout::Tokens("D"), width, &model.rows_of(&text.ids));
                    model.mean_of(&text.ids, mean);
                }
                (TracedTokens::of_table(encoded.iter().map(|text| text.ids.as_slice())), 1)
            }
        };
        self.head.trace_post_modules(pooled, self.output_options, first_module, &mut recorder);
        Ok(recorder.finish(tokens))
    }
}
