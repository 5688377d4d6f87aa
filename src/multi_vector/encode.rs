//! Texts to the vectors of their tokens.

use super::model::MultiVectorEncoder;
use super::results::TokenVectors;
use super::role::{Expansion, Role, RoleSettings};
use crate::backbone::{TokenizedText, TruncationPolicy, prepend_prompt};
use crate::error::{Error, Result};
use crate::tokenizer::TokenUsage;
use crate::vector_math;

/// A tokenized text, and which of its tokens are scored.
pub(super) struct EncodedText {
    pub(super) text: TokenizedText,
    /// Indices into the tokens.
    pub(super) scored: Vec<usize>,
}

impl MultiVectorEncoder {
    /// Computes the vectors of queries, in the order of the texts: of their tokens, and if the
    /// model expands queries also of the tokens that it adds.
    ///
    /// Equals `encode_query` of sentence-transformers.
    ///
    /// # Errors
    /// - If a text cannot be tokenized.
    /// - If a text exceeds the maximum length under
    ///   [`TruncationPolicy::Error`].
    /// - If a vector is not finite.
    pub fn encode_queries<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<TokenVectors> {
        self.encode_queries_with_progress(texts, |_| ())
    }

    /// Computes the vectors of documents, in the order of the texts: of the tokens that the model's
    /// skip list leaves.
    ///
    /// Equals `encode_document` of sentence-transformers.
    ///
    /// # Errors
    /// See [`Self::encode_queries`].
    pub fn encode_documents<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<TokenVectors> {
        self.encode_documents_with_progress(texts, |_| ())
    }

    /// Computes the vectors of queries as [`Self::encode_queries`] does and reports progress.
    ///
    /// `progress` gets the number of texts that have just been computed. It is called from any
    /// thread.
    ///
    /// # Errors
    /// See [`Self::encode_queries`].
    pub fn encode_queries_with_progress<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        progress: impl Fn(usize) + Sync,
    ) -> Result<TokenVectors> {
        self.encode(texts, Role::Query, &progress)
    }

    /// Computes the vectors of documents as [`Self::encode_documents`] does and reports progress,
    /// as [`Self::encode_queries_with_progress`] does.
    ///
    /// # Errors
    /// See [`Self::encode_queries`].
    pub fn encode_documents_with_progress<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        progress: impl Fn(usize) + Sync,
    ) -> Result<TokenVectors> {
        self.encode(texts, Role::Document, &progress)
    }

    fn encode<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        role: Role,
        progress: &(impl Fn(usize) + Sync),
    ) -> Result<TokenVectors> {
        let encoded = self.backbone.tokenize_all(texts.len(), |i| self.tokenize(i, texts[i].as_ref(), role))?;
        let (texts, scored): (Vec<TokenizedText>, Vec<Vec<usize>>) =
            encoded.into_iter().map(|text| (text.text, text.scored)).unzip();
        let batches = self.backbone.run_batches(&texts, |indices, use_team| {
            let of_batch: Vec<_> = indices.iter().map(|&i| (&texts[i], scored[i].as_slice())).collect();
            let vectors = self.encode_batch(&of_batch, |s| indices[s], use_team)?;
            progress(indices.len());
            Ok(vectors)
        })?;
        let mut offsets = vec![0];
        let mut ids = Vec::new();
        for (text, scored) in texts.iter().zip(&scored) {
            ids.extend(scored.iter().map(|&token| text.ids[token]));
            offsets.push(ids.len());
        }
        let width = self.width;
        let mut data = vec![0.0; ids.len() * width];
        for (indices, vectors) in batches {
            let mut rest = vectors.as_slice();
            for i in indices {
                let (of_text, after) = rest.split_at(scored[i].len() * width);
                data[offsets[i] * width..][..of_text.len()].copy_from_slice(of_text);
                rest = after;
            }
        }
        let usage = texts.iter().map(|text| text.usage).collect();
        Ok(TokenVectors { data, width, offsets, ids, usage })
    }

    /// Computes the vectors of the scored tokens of one batch, text after text. `text_index` gives
    /// the index of a text of the batch, for errors.
    pub(super) fn encode_batch(
        &self,
        texts: &[(&TokenizedText, &[usize])],
        text_index: impl Fn(usize) -> usize,
        use_team: bool,
    ) -> Result<Vec<f32>> {
        let batch = self.backbone.batch(texts.iter().map(|&(text, _)| text));
        let mut rows = Vec::new();
        self.backbone.run(&batch, None, use_team, |tokens| {
            for (s, (_, scored)) in texts.iter().enumerate() {
                let first = batch.token_range(s).start;
                scored.iter().for_each(|token| rows.extend_from_slice(tokens.row(first + token)));
            }
        });
        let vectors = if rows.is_empty() { rows } else { self.head.apply(rows) };
        let vectors = self.keep_and_normalize(vectors);
        let Some(element) = vectors.iter().position(|x| !x.is_finite()) else { return Ok(vectors) };
        let mut end = 0;
        let of_text = texts.iter().position(|(_, scored)| {
            end += scored.len() * self.width;
            element < end
        });
        Err(self.backbone.not_finite(of_text.map_or(0, text_index), &batch))
    }

    /// Keeps the first elements of vectors, and scales them to length 1, as the settings say.
    pub(super) fn keep_and_normalize(&self, mut vectors: Vec<f32>) -> Vec<f32> {
        if self.width < self.head.width() {
            let whole = vectors.chunks_exact(self.head.width());
            vectors = whole.flat_map(|vector| &vector[..self.width]).copied().collect();
        }
        if self.normalize {
            let level = self.level();
            vectors.chunks_exact_mut(self.width).for_each(|vector| vector_math::normalize(level, vector));
        }
        vectors
    }

    /// Tokenizes one text. `text_index` is its index in the call, for errors.
    pub(super) fn tokenize(&self, text_index: usize, text: &str, role: Role) -> Result<EncodedText> {
        let RoleSettings { prompt, max_tokens, .. } = self.settings(role);
        let (ids, usage) = self.backbone.tokenizer().encode_up_to(*max_tokens, &prepend_prompt(prompt, text), None)?;
        self.with_role(text_index, ids, usage, role, self.backbone.truncation())
    }

    /// Expands the tokens of a text as its role does, and selects those that are scored.
    pub(super) fn with_role(
        &self,
        text_index: usize,
        ids: Vec<u32>,
        usage: TokenUsage,
        role: Role,
        truncation: TruncationPolicy,
    ) -> Result<EncodedText> {
        let RoleSettings { max_tokens, expansion, .. } = self.settings(role);
        if truncation == TruncationPolicy::Error && usage.truncated() {
            return Err(Error::TooLong { text: text_index, tokens: usage.total, limit: *max_tokens });
        }
        let mut text = self.backbone.validate_ids(text_index, ids, usage, TruncationPolicy::Allow)?;
        let own_tokens = text.ids.len();
        if let Some(expansion) = expansion {
            expand(&mut text, *expansion)?;
        }
        // An added token that is not attended to is scored only if the mask says which are.
        let has_scores = |token: usize| {
            token < own_tokens || self.head.mask().is_some() || expansion.is_some_and(|expansion| expansion.attend)
        };
        let is_scored =
            |&token: &usize| has_scores(token) && self.scored.contains(text.ids[token], role == Role::Query);
        let scored = (0..text.ids.len()).filter(is_scored).collect();
        Ok(EncodedText { text, scored })
    }

    pub(super) fn settings(&self, role: Role) -> &RoleSettings {
        match role {
            Role::Query => &self.queries,
            Role::Document => &self.documents,
        }
    }
}

/// Adds tokens to a text that is shorter than the expansion.
fn expand(text: &mut TokenizedText, expansion: Expansion) -> Result<()> {
    let added = expansion.length.saturating_sub(text.ids.len());
    if text.ids.is_empty() && !expansion.attend {
        // Nothing would be left to attend to.
        return Err(Error::Empty("tokens of a query"));
    }
    text.ids.resize(text.ids.len() + added, expansion.id);
    text.unattended_tokens = if expansion.attend { 0 } else { added };
    Ok(())
}
