//! Passes of a batch through the encoder, and the pooling of their token vectors.

use likewise_kernels::view::MatRef;

use super::head::PoolingHead;
use crate::backbone::{Backbone, TokenizedText};
use crate::batch::Batch;

impl PoolingHead {
    /// Runs one pass by a team of all threads or by this thread, and gives the pooled vector `[W]`
    /// of each text to `collect`.
    pub(crate) fn run(
        &self,
        backbone: &Backbone,
        texts: &[&TokenizedText],
        batch: &Batch,
        use_team: bool,
        mut collect: impl FnMut(usize, &[f32]),
    ) {
        let selected = self.single_tokens(texts, batch);
        let mut pooled = vec![0.0; self.pooled_width()];
        backbone.run(batch, selected.as_deref(), use_team, |tokens| {
            for (s, text) in texts.iter().enumerate() {
                if selected.is_some() {
                    collect(s, tokens.row(s));
                } else {
                    self.pool(tokens.rows_in(batch.token_range(s)), text.excluded_tokens, &mut pooled);
                    collect(s, &pooled);
                }
            }
        });
    }

    /// Pools the vectors of all tokens `[T, D]` of a batch to one vector a text, `pooled` `[S, W]`.
    pub(crate) fn pool_texts<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a TokenizedText>,
        batch: &Batch,
        tokens: MatRef<'_>,
        pooled: &mut [f32],
    ) {
        let outs = pooled.chunks_exact_mut(self.pooled_width());
        for ((s, text), out) in texts.into_iter().enumerate().zip(outs) {
            self.pool(tokens.rows_in(batch.token_range(s)), text.excluded_tokens, out);
        }
    }

    /// Returns the row of the only token of each text that pooling reads `[S]`. None if pooling
    /// reads several tokens of a text, or none.
    fn single_tokens(&self, texts: &[&TokenizedText], batch: &Batch) -> Option<Vec<usize>> {
        let row = |(s, text): (usize, &&TokenizedText)| {
            let tokens = batch.token_range(s);
            Some(tokens.start + self.single_token(tokens.len(), text.excluded_tokens)?)
        };
        texts.iter().enumerate().map(row).collect()
    }
}
