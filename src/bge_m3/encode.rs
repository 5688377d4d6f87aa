//! Texts to the three kinds of vectors.

use std::collections::BTreeMap;

use super::model::BgeM3;
use super::results::BgeM3Vectors;
use crate::backbone::TokenizedText;
use crate::error::Result;
use crate::modules::SparseVector;
use crate::multi_vector::TokenVectors;
use crate::vector_math;

/// The vectors of one text.
struct Encoded {
    dense: Vec<f32>,
    sparse: SparseVector,
    tokens: Vec<f32>,
}

impl BgeM3 {
    /// Computes the three kinds of vectors of texts, in the order of the texts.
    ///
    /// # Errors
    /// - If a text cannot be tokenized.
    /// - If a text exceeds the maximum length under
    ///   [`TruncationPolicy::Error`](crate::TruncationPolicy::Error).
    /// - If a vector is not finite.
    pub fn encode<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<BgeM3Vectors> {
        self.encode_with_progress(texts, |_| ())
    }

    /// Computes vectors as [`Self::encode`] does and reports progress.
    ///
    /// `progress` gets the number of texts that have just been computed. It is called from any
    /// thread.
    ///
    /// # Errors
    /// See [`Self::encode`].
    pub fn encode_with_progress<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        progress: impl Fn(usize) + Sync,
    ) -> Result<BgeM3Vectors> {
        let truncation = self.backbone.truncation();
        let tokenize = |i: usize| self.backbone.tokenize_text(i, texts[i].as_ref(), &self.prompt, truncation, None);
        let texts = self.backbone.tokenize_all(texts.len(), tokenize)?;
        if texts.iter().any(|text| text.ids.is_empty()) {
            return Err(crate::error::Error::Empty("tokens of a text"));
        }
        let batches = self.backbone.run_batches(&texts, |indices, use_team| {
            let encoded = self.encode_batch(&texts, indices, use_team)?;
            progress(indices.len());
            Ok(encoded)
        })?;
        let mut by_text: Vec<(usize, Encoded)> =
            batches.into_iter().flat_map(|(indices, encoded)| indices.into_iter().zip(encoded)).collect();
        by_text.sort_by_key(|&(i, _)| i);
        let tokens = by_text.iter().map(|(i, encoded)| (&texts[*i].ids[1..], encoded.tokens.as_slice()));
        let usage = texts.iter().map(|text| text.usage).collect();
        let tokens = TokenVectors::of_texts(self.token_width, tokens, usage);
        let dense_width = self.dense_width;
        let mut dense = Vec::with_capacity(by_text.len() * dense_width);
        let mut sparse = Vec::with_capacity(by_text.len());
        for (_, encoded) in by_text {
            dense.extend(encoded.dense);
            sparse.push(encoded.sparse);
        }
        Ok(BgeM3Vectors { dense, dense_width, sparse, tokens })
    }

    /// Computes the vectors of one batch.
    fn encode_batch(&self, texts: &[TokenizedText], indices: &[usize], use_team: bool) -> Result<Vec<Encoded>> {
        let batch = self.backbone.batch(indices.iter().map(|&i| &texts[i]));
        let [width, token_width] = [self.backbone.spec().hidden_size, self.tokens.width()];
        let mut rows = Vec::with_capacity(batch.tokens() * width);
        self.backbone.run(&batch, None, use_team, |tokens| {
            (0..tokens.rows()).for_each(|row| rows.extend_from_slice(tokens.row(row)));
        });
        let weights = self.sparse.apply(&rows);
        let vectors = self.tokens.apply(&rows);
        let normalize = |vector: &mut [f32]| vector_math::normalize(self.level(), vector);
        let mut all = Vec::with_capacity(indices.len());
        for (s, &i) in indices.iter().enumerate() {
            let range = batch.token_range(s);
            let mut dense = rows[range.start * width..][..self.dense_width].to_vec();
            normalize(&mut dense);
            let sparse = self.sparse_vector(&texts[i].ids, &weights[range.clone()]);
            let whole = &vectors[(range.start + 1) * token_width..range.end * token_width];
            let kept = whole.chunks_exact(token_width).flat_map(|vector| &vector[..self.token_width]);
            let mut tokens: Vec<f32> = kept.copied().collect();
            tokens.chunks_exact_mut(self.token_width).for_each(normalize);
            if dense.iter().chain(&weights[range]).chain(&tokens).any(|x| !x.is_finite()) {
                return Err(self.backbone.not_finite(i, &batch));
            }
            all.push(Encoded { dense, sparse, tokens });
        }
        Ok(all)
    }

    /// Returns the largest weight of each token that has a positive one.
    fn sparse_vector(&self, ids: &[u32], weights: &[f32]) -> SparseVector {
        let mut largest: BTreeMap<u32, f32> = BTreeMap::new();
        for (id, &weight) in ids.iter().zip(weights) {
            if weight > 0.0 && !self.unweighted.contains(id) {
                let entry = largest.entry(*id).or_default();
                *entry = entry.max(weight);
            }
        }
        let (indices, values) = largest.into_iter().unzip();
        SparseVector { indices, values }
    }
}
