//! Sparse vectors and scores of texts.

use super::model::SparseEncoder;
use super::results::{Encoded, SparseEmbeddings};
use super::router::Task;
use crate::embedder::Scores;
use crate::error::{Error, Result};

impl SparseEncoder {
    /// Computes the sparse vectors of texts, in the order of the texts. Equals `encode` of
    /// sentence-transformers.
    ///
    /// # Errors
    /// - If the model encodes queries and documents only.
    /// - If a text cannot be tokenized.
    /// - If a text exceeds the maximum length under
    ///   [`TruncationPolicy::Error`](crate::TruncationPolicy::Error).
    /// - If a value is not finite.
    pub fn embed<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<SparseEmbeddings> {
        self.embed_with_progress(texts, |_| ())
    }

    /// Computes the same vectors as [`Self::embed`] and reports progress.
    ///
    /// `progress` gets the number of texts that have just been finished. It is called from any
    /// thread.
    ///
    /// # Errors
    /// See [`Self::embed`].
    pub fn embed_with_progress<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        progress: impl Fn(usize) + Sync,
    ) -> Result<SparseEmbeddings> {
        self.embed_as(Task::Unspecified, texts, &self.prompt, &progress)
    }

    /// Computes the vectors of search queries: with the model's prompt `query`, and by the modules
    /// for queries. Equals `encode_query` of sentence-transformers.
    ///
    /// # Errors
    /// See [`Self::embed`].
    pub fn embed_queries<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<SparseEmbeddings> {
        self.embed_as(Task::Query, texts, self.prompt_by_name("query"), &|_| ())
    }

    /// Computes the vectors of documents to search: with the model's prompt `document`, and by the
    /// modules for documents. Equals `encode_document` of sentence-transformers.
    ///
    /// # Errors
    /// See [`Self::embed`].
    pub fn embed_documents<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<SparseEmbeddings> {
        self.embed_as(Task::Document, texts, self.prompt_by_name("document"), &|_| ())
    }

    /// Scores each sentence, as a document, against the source, as a query, by the model's
    /// similarity function. A higher score means more similar.
    ///
    /// # Errors
    /// If there are no sentences, or [`Self::embed`] fails.
    pub fn similarity<T: AsRef<str> + Sync>(&self, source: &str, sentences: &[T]) -> Result<Scores> {
        self.similarity_with_progress(source, sentences, |_| ())
    }

    /// Computes the same scores as [`Self::similarity`] and reports progress as
    /// [`Self::embed_with_progress`] does.
    ///
    /// # Errors
    /// See [`Self::similarity`].
    pub fn similarity_with_progress<T: AsRef<str> + Sync>(
        &self,
        source: &str,
        sentences: &[T],
        progress: impl Fn(usize) + Sync,
    ) -> Result<Scores> {
        if sentences.is_empty() {
            return Err(Error::Empty("sentences"));
        }
        let query = self.embed_queries(&[source])?;
        let documents = self.embed_as(Task::Document, sentences, self.prompt_by_name("document"), &progress)?;
        let values = documents.rows().map(|document| self.score(query.row(0), document)).collect();
        Ok(Scores { values, source: query.usage()[0], sentences: documents.usage().to_vec() })
    }

    fn embed_as<T: AsRef<str> + Sync>(
        &self,
        task: Task,
        texts: &[T],
        prompt: &str,
        progress: &(impl Fn(usize) + Sync),
    ) -> Result<SparseEmbeddings> {
        let route = &self.routes[self.require_route_index(task)?];
        let mut encoded = route.encode(texts, prompt, progress)?;
        if let Some(count) = self.max_active_dims {
            encoded.iter_mut().for_each(|Encoded { vector, .. }| vector.keep_largest(count));
        }
        Ok(SparseEmbeddings::new(route.dimension(), encoded))
    }

    /// Returns the index of the route of a task.
    pub(super) fn require_route_index(&self, task: Task) -> Result<usize> {
        match (self.route(task), &self.route_names) {
            (Some(route), _) => Ok(route),
            (None, Some(names)) => Err(names.no_route(task)),
            // Without a router one route is for all tasks.
            (None, None) => Ok(0),
        }
    }

    /// Returns the text of the prompt of this name, or "" if the model defines none.
    pub(super) fn prompt_by_name(&self, name: &str) -> &str {
        self.prompts.get(name).map_or("", String::as_str)
    }
}
