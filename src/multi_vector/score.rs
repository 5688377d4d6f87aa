//! Scores of queries and documents, and ranking.

use super::max_sim::{PackedQuery, Scratch};
use super::model::MultiVectorEncoder;
use super::results::{TokenRows, TokenVectors};
use crate::cross_encoder::Ranking;
use crate::embedder::Scores;
use crate::error::{Error, Result};

/// The documents' tokens of one task of the thread pool. They take some ten microseconds.
const TOKENS_PER_TASK: usize = 4096;

impl MultiVectorEncoder {
    /// Scores a query with a document, by the model's [`Self::similarity_function`].
    ///
    /// # Errors
    /// If the vectors differ in width.
    pub fn maxsim(&self, query: TokenRows<'_>, document: TokenRows<'_>) -> Result<f32> {
        self.similarity.score(self.level(), query, document)
    }

    /// Scores each query with each document. Returns the scores row after row
    /// `[queries · documents]`.
    ///
    /// # Errors
    /// If the vectors differ in width.
    pub fn scores(&self, queries: &TokenVectors, documents: &TokenVectors) -> Result<Vec<f32>> {
        let mut scores = Vec::with_capacity(queries.len() * documents.len());
        for query in queries.iter() {
            scores.extend(self.scores_of(query, documents)?);
        }
        Ok(scores)
    }

    /// Returns the scores of documents for a query, in the order of the documents.
    ///
    /// # Errors
    /// If [`Self::encode_queries`] or [`Self::encode_documents`] fails, or a score is not finite.
    pub fn similarity<T: AsRef<str> + Sync>(&self, query: &str, documents: &[T]) -> Result<Scores> {
        self.similarity_with_progress(query, documents, |_| ())
    }

    /// Scores documents as [`Self::similarity`] does and reports progress.
    ///
    /// `progress` gets the number of documents that have just been computed. It is called from any
    /// thread.
    ///
    /// # Errors
    /// See [`Self::similarity`].
    pub fn similarity_with_progress<T: AsRef<str> + Sync>(
        &self,
        query: &str,
        documents: &[T],
        progress: impl Fn(usize) + Sync,
    ) -> Result<Scores> {
        let query = self.encode_queries(&[query])?;
        let documents = self.encode_documents_with_progress(documents, progress)?;
        let values = self.scores_of(query.text(0), &documents)?;
        if let Some(text) = values.iter().position(|score| !score.is_finite()) {
            return Err(Error::NotFinite { text });
        }
        Ok(Scores { values, source: query.usage()[0], sentences: documents.usage().to_vec() })
    }

    /// Ranks documents by their score with a query, best first. Documents of equal score keep their
    /// order.
    ///
    /// # Errors
    /// See [`Self::similarity`].
    pub fn rank<T: AsRef<str> + Sync>(&self, query: &str, documents: &[T]) -> Result<Ranking> {
        self.rank_with_progress(query, documents, |_| ())
    }

    /// Ranks documents as [`Self::rank`] does and reports progress, as
    /// [`Self::similarity_with_progress`] does.
    ///
    /// # Errors
    /// See [`Self::similarity`].
    pub fn rank_with_progress<T: AsRef<str> + Sync>(
        &self,
        query: &str,
        documents: &[T],
        progress: impl Fn(usize) + Sync,
    ) -> Result<Ranking> {
        let Scores { values, source, sentences } = self.similarity_with_progress(query, documents, progress)?;
        Ok(Ranking::of_scores(values, sentences.into_iter().map(|document| [source, document]).collect()))
    }

    /// Scores a query with each document, by all threads.
    fn scores_of(&self, query: TokenRows<'_>, documents: &TokenVectors) -> Result<Vec<f32>> {
        let query = PackedQuery::new(self.level(), self.similarity, query);
        let tasks = tasks(documents.offsets());
        let parts = self.backbone.thread_pool().map(tasks.len(), |task| {
            let mut scratch = Scratch::default();
            tasks[task].clone().map(|i| query.score(documents.text(i), &mut scratch)).collect::<Result<Vec<_>>>()
        });
        let mut scores = Vec::with_capacity(documents.len());
        for part in parts {
            scores.extend(part?);
        }
        Ok(scores)
    }
}

/// Divides documents into ranges of about equally many tokens.
fn tasks(offsets: &[usize]) -> Vec<std::ops::Range<usize>> {
    let mut tasks = Vec::new();
    let mut first = 0;
    for i in 0..offsets.len() - 1 {
        if offsets[i + 1] - offsets[first] >= TOKENS_PER_TASK {
            tasks.push(first..i + 1);
            first = i + 1;
        }
    }
    if first < offsets.len() - 1 {
        tasks.push(first..offsets.len() - 1);
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_have_each_document_once() {
        for offsets in [&[0][..], &[0, 0, 0], &[0, 9000], &[0, 3000, 5000, 5000, 5100], &[0, 4096, 8192]] {
            let all: Vec<usize> = tasks(offsets).into_iter().flatten().collect();
            assert_eq!(all, (0..offsets.len() - 1).collect::<Vec<_>>(), "{offsets:?}");
        }
    }
}
