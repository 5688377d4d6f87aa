//! Traces of a sparse encoder.

use super::model::SparseEncoder;
use super::route::{Route, Splade};
use super::router::Task;
use crate::backbone::prepend_prompt;
use crate::error::{Error, Result};
use crate::modules::SparseVector;
use crate::trace::{Layout, Recorder, Trace, TracedTokens};

impl SparseEncoder {
    /// Records every intermediate result of one pass over texts, by one thread. `logits` has a
    /// number for each token and vocabulary entry, and `vectors` the pooled vectors with their
    /// zeros.
    ///
    /// The vectors have the same bits as those of [`Self::embed`].
    ///
    /// # Errors
    /// If there are no texts, if a text has no tokens at all, or if [`Self::embed`] fails.
    pub fn trace<T: AsRef<str>>(&self, texts: &[T]) -> Result<Trace> {
        if texts.is_empty() {
            return Err(Error::Empty("texts to trace"));
        }
        let route = &self.routes[self.require_route_index(Task::Unspecified)?];
        let mut recorder = Recorder::default();
        let (tokens, mut vectors) = match route {
            Route::Splade(splade) => splade.trace(texts, &self.prompt, &mut recorder)?,
            Route::Static(weights) => {
                let mut vectors = Vec::new();
                for (i, text) in texts.iter().enumerate() {
                    let text = prepend_prompt(&self.prompt, text.as_ref());
                    vectors.push(weights.encode(i, &text, weights.runtime.truncation(), None)?.vector);
                }
                // A vector names its tokens.
                (TracedTokens::of_table(vectors.iter().map(|vector| vector.indices.as_slice())), vectors)
            }
        };
        if let Some(count) = self.max_active_dims {
            vectors.iter_mut().for_each(|vector| vector.keep_largest(count));
        }
        let dimension = route.dimension();
        for vector in &vectors {
            recorder.record_rows("vectors", Layout::Texts("V"), dimension, &with_zeros(vector, dimension));
        }
        Ok(recorder.finish(tokens))
    }
}

impl Splade {
    /// Records a pass. Returns the tokens and the vectors.
    fn trace<T: AsRef<str>>(
        &self,
        texts: &[T],
        prompt: &str,
        recorder: &mut Recorder,
    ) -> Result<(TracedTokens, Vec<SparseVector>)> {
        let backbone = &self.backbone;
        let mut tokenized = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            tokenized.push(backbone.tokenize_text(i, text.as_ref(), prompt, backbone.truncation(), None)?);
        }
        if tokenized.iter().any(|text| text.ids.is_empty()) {
            return Err(Error::Empty("tokens to trace"));
        }
        let batch = backbone.batch(&tokenized);
        let mut tokens = Vec::new();
        backbone.run_observed(&batch, recorder, |vectors| {
            (0..vectors.rows()).for_each(|t| tokens.extend_from_slice(vectors.row(t)));
        });
        self.head.trace(&tokens, recorder);
        let vectors = self.head.pool(self.pooling, &tokens, batch.text_bounds(), None);
        Ok((batch.traced_tokens(), vectors))
    }
}

/// Returns all elements of a vector.
fn with_zeros(vector: &SparseVector, dimension: usize) -> Vec<f32> {
    let mut all = vec![0.0; dimension];
    for (&index, &value) in vector.indices.iter().zip(&vector.values) {
        all[index as usize] = value;
    }
    all
}
