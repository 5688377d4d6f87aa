//! The three kinds of vectors.

use crate::modules::SparseVector;
use crate::multi_vector::TokenVectors;
use crate::sparse_encoder::SparseRow;
use crate::tokenizer::TokenUsage;

/// The three kinds of vectors of texts, in the order of the texts.
#[derive(Clone, Debug, PartialEq)]
pub struct BgeM3Vectors {
    /// `[texts, dense_width]`.
    pub(super) dense: Vec<f32>,
    pub(super) dense_width: usize,
    pub(super) sparse: Vec<SparseVector>,
    pub(super) tokens: TokenVectors,
}

impl BgeM3Vectors {
    /// Returns the number of texts.
    pub fn len(&self) -> usize {
        self.sparse.len()
    }

    /// Returns whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.sparse.is_empty()
    }

    /// Returns the dense vector of text i, of length 1.
    ///
    /// # Panics
    /// If i is not less than [`Self::len`].
    pub fn dense(&self, i: usize) -> &[f32] {
        &self.dense[i * self.dense_width..][..self.dense_width]
    }

    /// Returns the sparse vector of text i: the largest weight of each token, without those of the
    /// special tokens `<s>`, `</s>`, `<pad>` and `<unk>`.
    ///
    /// # Panics
    /// If i is not less than [`Self::len`].
    pub fn sparse(&self, i: usize) -> SparseRow<'_> {
        let SparseVector { indices, values } = &self.sparse[i];
        SparseRow { indices, values }
    }

    /// Returns the vectors of the tokens of each text but the first token, of length 1.
    pub fn tokens(&self) -> &TokenVectors {
        &self.tokens
    }

    /// Returns the tokens used of each text.
    pub fn usage(&self) -> &[TokenUsage] {
        self.tokens.usage()
    }
}
