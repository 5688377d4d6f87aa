//! Traces of a cross-encoder.

use super::model::CrossEncoder;
use crate::backbone::TokenizedText;
use crate::error::{Error, Result};
use crate::modules::OutputOptions;
use crate::trace::{Layout, Recorder, Trace};

impl CrossEncoder {
    /// Records every intermediate result of one pass over pairs of texts, by one thread. The head's
    /// numbers have the name `logits`, and the scores `scores`.
    ///
    /// The scores have the same bits as those of [`Self::predict`].
    ///
    /// # Errors
    /// If there are no pairs, or if [`Self::predict`] fails.
    pub fn trace<A: AsRef<str>, B: AsRef<str>>(&self, pairs: &[(A, B)]) -> Result<Trace> {
        if pairs.is_empty() {
            return Err(Error::Empty("pairs to trace"));
        }
        let truncation = self.backbone.truncation();
        let tokenize = |(i, (first, second)): (usize, &(A, B))| {
            let pair = [first.as_ref(), second.as_ref()];
            Ok(self.backbone.tokenize_pair(i, &self.prompt, pair, truncation)?.0)
        };
        let texts = pairs.iter().enumerate().map(tokenize).collect::<Result<Vec<TokenizedText>>>()?;
        let mut recorder = Recorder::default();
        let mut pooled = vec![0.0; texts.len() * self.pooling.pooled_width()];
        let batch = self.backbone.batch(&texts);
        self.backbone
            .run_observed(&batch, &mut recorder, |tokens| self.pooling.pool_texts(&texts, &batch, tokens, &mut pooled));
        let labels = self.labels.len();
        let mut scores = match &self.classifier {
            Some(classifier) => {
                recorder.record_rows("pooled", Layout::Texts("W"), self.pooling.pooled_width(), &pooled);
                classifier.trace(&pooled, &mut recorder)
            }
            None => self.pooling.trace_post_modules(pooled, OutputOptions::default(), 2, &mut recorder),
        };
        recorder.record_rows("logits", Layout::Texts("labels"), labels, &scores);
        self.activation.apply(self.level(), &mut scores, labels);
        recorder.record_rows("scores", Layout::Texts("labels"), labels, &scores);
        Ok(recorder.finish(batch.traced_tokens()))
    }
}
