//! Traces of a multi-vector encoder.

use super::encode::EncodedText;
use super::model::MultiVectorEncoder;
use super::role::Role;
use crate::backbone::TokenizedText;
use crate::error::{Error, Result};
use crate::trace::{Layout, Recorder, Trace};

impl MultiVectorEncoder {
    /// Records every intermediate result of one pass over queries, by one thread. `vectors` has the
    /// vectors of all tokens, and `scored` 1 for those that are scored and 0 for the others.
    ///
    /// The vectors have the same bits as those of [`Self::encode_queries`].
    ///
    /// # Errors
    /// If there are no queries, if a query has no tokens at all, or if [`Self::encode_queries`]
    /// fails.
    pub fn trace_queries<T: AsRef<str>>(&self, texts: &[T]) -> Result<Trace> {
        self.trace(texts, Role::Query)
    }

    /// Records every intermediate result of one pass over documents, as [`Self::trace_queries`]
    /// does.
    ///
    /// # Errors
    /// See [`Self::trace_queries`].
    pub fn trace_documents<T: AsRef<str>>(&self, texts: &[T]) -> Result<Trace> {
        self.trace(texts, Role::Document)
    }

    fn trace<T: AsRef<str>>(&self, texts: &[T], role: Role) -> Result<Trace> {
        let encode = |(i, text): (usize, &T)| self.tokenize(i, text.as_ref(), role);
        let encoded = texts.iter().enumerate().map(encode).collect::<Result<Vec<EncodedText>>>()?;
        let (texts, scored): (Vec<TokenizedText>, Vec<Vec<usize>>) =
            encoded.into_iter().map(|text| (text.text, text.scored)).unzip();
        if texts.is_empty() || texts.iter().any(|text| text.ids.is_empty()) {
            return Err(Error::Empty("tokens to trace"));
        }
        let batch = self.backbone.batch(&texts);
        let mut recorder = Recorder::default();
        let mut rows = Vec::new();
        self.backbone.run_observed(&batch, &mut recorder, |tokens| {
            (0..tokens.rows()).for_each(|t| rows.extend_from_slice(tokens.row(t)));
        });
        let vectors = self.head.trace(rows, &mut recorder);
        let vectors = self.keep_and_normalize(vectors);
        recorder.record_rows("vectors", Layout::Tokens("E"), self.width, &vectors);
        for (text, scored) in texts.iter().zip(&scored) {
            let mut is_scored = vec![0.0; text.ids.len()];
            scored.iter().for_each(|&token| is_scored[token] = 1.0);
            recorder.record_rows("scored", Layout::Tokens("1"), 1, &is_scored);
        }
        Ok(recorder.finish(batch.traced_tokens()))
    }
}
