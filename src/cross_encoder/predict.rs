//! Scores of pairs, and ranking.

use super::model::CrossEncoder;
use super::results::{PairTokens, Predictions, Ranking};
use crate::backbone::{TokenizedText, prepend_prompt};
use crate::error::{CrossEncoderError, Error, Result};
use crate::modules::OutputOptions;
use crate::tokenizer::TokenizedPair;

/// What the head's numbers become.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    Scores,
    /// The numbers before the activation.
    Logits,
}

impl CrossEncoder {
    /// Scores pairs of texts, in the order of the pairs: one score for each label.
    ///
    /// A pair that is too long is truncated: the longer text loses tokens first. Equals `predict`
    /// of sentence-transformers.
    ///
    /// # Errors
    /// - If a pair cannot be tokenized.
    /// - If a pair exceeds the maximum length under
    ///   [`TruncationPolicy::Error`](crate::TruncationPolicy::Error).
    /// - If a score is not finite.
    pub fn predict<A, B>(&self, pairs: &[(A, B)]) -> Result<Predictions>
    where
        A: AsRef<str> + Sync,
        B: AsRef<str> + Sync,
    {
        self.predict_with_progress(pairs, |_| ())
    }

    /// Scores pairs as [`Self::predict`] does and reports progress.
    ///
    /// `progress` gets the number of pairs that have just been scored. It is called from any
    /// thread.
    ///
    /// # Errors
    /// See [`Self::predict`].
    pub fn predict_with_progress<A, B>(&self, pairs: &[(A, B)], progress: impl Fn(usize) + Sync) -> Result<Predictions>
    where
        A: AsRef<str> + Sync,
        B: AsRef<str> + Sync,
    {
        let pairs: Vec<[&str; 2]> = pairs.iter().map(|(a, b)| [a.as_ref(), b.as_ref()]).collect();
        self.run(&pairs, Output::Scores, &progress)
    }

    /// Returns the numbers of pairs before the activation, one for each label.
    ///
    /// # Errors
    /// See [`Self::predict`].
    pub fn logits<A, B>(&self, pairs: &[(A, B)]) -> Result<Predictions>
    where
        A: AsRef<str> + Sync,
        B: AsRef<str> + Sync,
    {
        let pairs: Vec<[&str; 2]> = pairs.iter().map(|(a, b)| [a.as_ref(), b.as_ref()]).collect();
        self.run(&pairs, Output::Logits, &|_| ())
    }

    /// Ranks texts by their score with a query, best first. Texts of equal score keep their order.
    ///
    /// # Errors
    /// If the model has several labels, or [`Self::predict`] fails.
    pub fn rank<T: AsRef<str>>(&self, query: &str, texts: &[T]) -> Result<Ranking> {
        self.rank_with_progress(query, texts, |_| ())
    }

    /// Ranks texts as [`Self::rank`] does and reports progress.
    ///
    /// `progress` gets the number of texts that have just been scored. It is called from any
    /// thread.
    ///
    /// # Errors
    /// See [`Self::rank`].
    pub fn rank_with_progress<T: AsRef<str>>(
        &self,
        query: &str,
        texts: &[T],
        progress: impl Fn(usize) + Sync,
    ) -> Result<Ranking> {
        if self.labels.len() != 1 {
            return Err(error(CrossEncoderError::SeveralLabels { labels: self.labels.len() }));
        }
        let pairs: Vec<[&str; 2]> = texts.iter().map(|text| [query, text.as_ref()]).collect();
        let Predictions { scores, usage, .. } = self.run(&pairs, Output::Scores, &progress)?;
        Ok(Ranking::of_scores(scores, usage))
    }

    /// Tokenizes a pair as [`Self::predict`] does, with the prompt before the first text.
    ///
    /// # Errors
    /// If the pair cannot be tokenized.
    pub fn tokenize(&self, first: &str, second: &str) -> Result<PairTokens> {
        let TokenizedPair { ids, mut types, usage } =
            self.backbone.tokenizer().encode_pair([&prepend_prompt(&self.prompt, first), second])?;
        types.resize(ids.len(), 0);
        Ok(PairTokens { ids, types, usage })
    }

    fn run(&self, pairs: &[[&str; 2]], output: Output, progress: &(impl Fn(usize) + Sync)) -> Result<Predictions> {
        let truncation = self.backbone.truncation();
        let encoded = self
            .backbone
            .tokenize_all(pairs.len(), |i| self.backbone.tokenize_pair(i, &self.prompt, pairs[i], truncation))?;
        let (texts, usage): (Vec<TokenizedText>, Vec<_>) = encoded.into_iter().unzip();
        let batches = self.backbone.run_batches(&texts, |indices, use_team| {
            let batch: Vec<&TokenizedText> = indices.iter().map(|&i| &texts[i]).collect();
            let scores = self.score_batch(&batch, |s| indices[s], output, use_team)?;
            progress(indices.len());
            Ok(scores)
        })?;
        let labels = self.labels.len();
        let mut scores = vec![0.0; pairs.len() * labels];
        for (indices, batch) in batches {
            for (row, i) in batch.chunks_exact(labels).zip(indices) {
                scores[i * labels..][..labels].copy_from_slice(row);
            }
        }
        let token_counts = texts.iter().map(|text| text.ids.len()).collect();
        Ok(Predictions { scores, labels, usage, token_counts })
    }

    /// Computes the scores `[S, labels]` of the S pairs of one batch. `pair_index` returns the
    /// index of a pair in the call, for errors.
    pub(super) fn score_batch(
        &self,
        texts: &[&TokenizedText],
        pair_index: impl Fn(usize) -> usize,
        output: Output,
        use_team: bool,
    ) -> Result<Vec<f32>> {
        let batch = self.backbone.batch(texts.iter().copied());
        let mut pooled = Vec::with_capacity(texts.len() * self.pooling.pooled_width());
        let collect = |_: usize, vector: &[f32]| pooled.extend_from_slice(vector);
        self.pooling.run(&self.backbone, texts, &batch, use_team, collect);
        let mut scores = match &self.classifier {
            Some(classifier) => classifier.apply(&pooled),
            None => self.pooling.apply_post_modules(pooled, OutputOptions::default()),
        };
        let labels = self.labels.len();
        if output == Output::Scores {
            self.activation.apply(self.level(), &mut scores, labels);
        }
        match scores.iter().position(|score| !score.is_finite()) {
            None => Ok(scores),
            Some(element) => Err(match self.backbone.not_finite(0, &batch) {
                Error::NotFinite { .. } => error(CrossEncoderError::NotFinite { pair: pair_index(element / labels) }),
                of_weight => of_weight,
            }),
        }
    }
}

fn error(error: CrossEncoderError) -> Error {
    Error::CrossEncoder(Box::new(error))
}
