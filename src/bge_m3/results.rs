//! The three kinds of vectors.

use crate::multi_vector::TokenVectors;
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

/// The indices and values of the elements of a vector that are not zero, by ascending index.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SparseVector {
    pub(super) indices: Vec<u32>,
    pub(super) values: Vec<f32>,
}

/// A sparse vector: the elements that are not zero.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct SparseRow<'a> {
    /// Indices, which are ids of vocabulary entries, in ascending order.
    pub indices: &'a [u32],
    /// The value of each index.
    pub values: &'a [f32],
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

impl SparseRow<'_> {
    /// Returns the product of two vectors. The sum is in f64 and by ascending index, so it depends
    /// on nothing else.
    pub(super) fn dot(self, other: SparseRow<'_>) -> f32 {
        let mut j = 0;
        let mut sum = 0.0;
        for (index, &value) in self.indices.iter().zip(self.values) {
            while other.indices.get(j).is_some_and(|other| other < index) {
                j += 1;
            }
            if other.indices.get(j) == Some(index) {
                sum += f64::from(value) * f64::from(other.values[j]);
            }
        }
        sum as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_counts_common_indices() {
        let a = SparseRow { indices: &[1, 4, 7], values: &[1.0, 2.0, 3.0] };
        let b = SparseRow { indices: &[0, 4, 7, 9], values: &[1.0, 5.0, 1.0, 2.0] };
        let empty = SparseRow { indices: &[], values: &[] };
        assert_eq!([a.dot(b), b.dot(a), a.dot(empty), empty.dot(a)], [13.0, 13.0, 0.0, 0.0]);
    }
}
