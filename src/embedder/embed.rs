//! Embedding and scoring of texts.

use super::model::Embedder;
use super::results::{Embeddings, Scores};
use super::source::TokenVectors;
use crate::backbone::{Backbone, TokenizedText};
use crate::error::{Error, Result};

impl Embedder {
    /// Computes the sentence vectors of texts, in the order of the texts.
    ///
    /// All tokens of a text are counted, also those that truncation drops. For 10 MB of English
    /// this takes about 3 s and a few megabytes of memory. A text without a place to split it is
    /// tokenized whole (one word of 10 MB, or Chinese for a SentencePiece tokenizer). This takes 60
    /// to 140 bytes of memory for each byte of the text.
    ///
    /// # Errors
    /// - If a text cannot be tokenized.
    /// - If a text exceeds the maximum length under
    ///   [`TruncationPolicy::Error`](crate::TruncationPolicy::Error).
    /// - If a vector is not finite.
    pub fn embed<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Embeddings> {
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
    ) -> Result<Embeddings> {
        self.embed_with_prompt(texts, &self.prompt, progress)
    }

    /// Computes the vectors of search queries: puts the model's prompt `query` before each text.
    ///
    /// The prompt is empty if the model does not define it. The prompt of the
    /// [`Builder`](crate::Builder) is not used. Equals `encode_query` of sentence-transformers.
    ///
    /// # Errors
    /// See [`Self::embed`].
    pub fn embed_queries<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Embeddings> {
        self.embed_with_prompt(texts, self.prompt_by_name("query"), |_| ())
    }

    /// Computes the vectors of documents to search: puts the model's prompt `document` before each
    /// text.
    ///
    /// The prompt is empty if the model does not define it. The prompt of the
    /// [`Builder`](crate::Builder) is not used. Equals `encode_document` of sentence-transformers.
    ///
    /// # Errors
    /// See [`Self::embed`].
    pub fn embed_documents<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Embeddings> {
        self.embed_with_prompt(texts, self.prompt_by_name("document"), |_| ())
    }

    fn embed_with_prompt<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        prompt: &str,
        progress: impl Fn(usize) + Sync,
    ) -> Result<Embeddings> {
        let backbone = match &self.token_vectors {
            TokenVectors::Encoder(backbone) => backbone,
            TokenVectors::Table(model) => return self.embed_by_table(model, texts, prompt, progress),
        };
        let encoded = self.tokenize_texts(texts, prompt)?;
        let batches = backbone.run_batches(&encoded, |text_indices, use_team| {
            let vectors = self.embed_batch(backbone, &encoded, text_indices, use_team)?;
            progress(text_indices.len());
            Ok(vectors)
        })?;
        let width = self.width();
        let mut data = vec![0.0; texts.len() * width];
        for (text_indices, vectors) in batches {
            for (vector, i) in vectors.chunks_exact(width).zip(text_indices) {
                data[i * width..][..width].copy_from_slice(vector);
            }
        }
        Ok(Embeddings { data, width, usage: encoded.iter().map(|text| text.usage).collect() })
    }

    /// Computes the vectors `[S, width]` of the S texts of one batch, by a team of all threads or
    /// by this thread.
    fn embed_batch(
        &self,
        backbone: &Backbone,
        encoded: &[TokenizedText],
        text_indices: &[usize],
        use_team: bool,
    ) -> Result<Vec<f32>> {
        let texts: Vec<&TokenizedText> = text_indices.iter().map(|&i| &encoded[i]).collect();
        let batch = backbone.batch(texts.iter().copied());
        let mut pooled = Vec::with_capacity(texts.len() * self.head.pooled_width());
        self.head.run(backbone, &texts, &batch, use_team, |_, vector| pooled.extend_from_slice(vector));
        let vectors = self.head.apply_post_modules(pooled, self.output_options);
        match vectors.iter().position(|x| !x.is_finite()) {
            None => Ok(vectors),
            Some(element) => Err(backbone.not_finite(text_indices[element / self.width()], &batch)),
        }
    }

    /// Scores each sentence against the source by the model's similarity function. A higher score
    /// means more similar.
    ///
    /// # Errors
    /// If there are no sentences, if a score is not finite, or if [`Self::embed`] fails. Text 0 of
    /// an error is the source, text 1 the first sentence.
    pub fn similarity<T: AsRef<str>>(&self, source: &str, sentences: &[T]) -> Result<Scores> {
        self.similarity_with_progress(source, sentences, |_| ())
    }

    /// Computes the same scores as [`Self::similarity`] and reports progress as
    /// [`Self::embed_with_progress`] does.
    ///
    /// # Errors
    /// See [`Self::similarity`].
    pub fn similarity_with_progress<T: AsRef<str>>(
        &self,
        source: &str,
        sentences: &[T],
        progress: impl Fn(usize) + Sync,
    ) -> Result<Scores> {
        if sentences.is_empty() {
            return Err(Error::Empty("sentences"));
        }
        let texts: Vec<&str> = std::iter::once(source).chain(sentences.iter().map(AsRef::as_ref)).collect();
        let embeddings = self.embed_with_progress(&texts, progress)?;
        let score = |i| {
            let score = self.score(embeddings.row(0), embeddings.row(i))?;
            if score.is_finite() { Ok(score) } else { Err(Error::NotFinite { text: i }) }
        };
        let values = (1..embeddings.len()).map(score).collect::<Result<_>>()?;
        Ok(Scores { values, source: embeddings.usage[0], sentences: embeddings.usage[1..].to_vec() })
    }
}
