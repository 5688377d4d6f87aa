//! The results of a sparse encoder.

use crate::modules::SparseVector;
use crate::similarity::Similarity;
use crate::tokenizer::TokenUsage;

/// Sparse vectors of texts, in the order of the texts.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseEmbeddings {
    dimension: usize,
    /// Vector i has the elements `bounds[i]..bounds[i + 1]`.
    bounds: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f32>,
    usage: Vec<TokenUsage>,
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

/// The vector of a text, and the tokens used.
pub(super) struct Encoded {
    pub(super) vector: SparseVector,
    pub(super) usage: TokenUsage,
}

impl SparseEmbeddings {
    pub(super) fn new(dimension: usize, encoded: Vec<Encoded>) -> Self {
        let mut all = Self { dimension, bounds: vec![0], indices: Vec::new(), values: Vec::new(), usage: Vec::new() };
        for Encoded { vector, usage } in encoded {
            all.indices.extend(vector.indices);
            all.values.extend(vector.values);
            all.bounds.push(all.indices.len());
            all.usage.push(usage);
        }
        all
    }

    /// Returns the number of vectors.
    pub fn len(&self) -> usize {
        self.usage.len()
    }

    /// Returns whether there are no vectors.
    pub fn is_empty(&self) -> bool {
        self.usage.is_empty()
    }

    /// Returns the length of the vectors, zeros included.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Returns the vector of text i.
    ///
    /// # Panics
    /// If i is not less than [`Self::len`].
    pub fn row(&self, i: usize) -> SparseRow<'_> {
        let elements = self.bounds[i]..self.bounds[i + 1];
        SparseRow { indices: &self.indices[elements.clone()], values: &self.values[elements] }
    }

    /// Returns an iterator over the vectors.
    pub fn rows(&self) -> impl Iterator<Item = SparseRow<'_>> {
        (0..self.len()).map(|i| self.row(i))
    }

    /// Returns where each vector starts in [`Self::indices`] and [`Self::values`], and their
    /// length: `indptr` of the format CSR.
    pub fn bounds(&self) -> &[usize] {
        &self.bounds
    }

    /// Returns the indices of all vectors, one vector after another.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Returns the values of all vectors, one vector after another.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Returns the tokens used of each text.
    pub fn usage(&self) -> &[TokenUsage] {
        &self.usage
    }
}

impl SparseRow<'_> {
    /// Scores two vectors. A higher score means more similar. Sums are in f64 and by ascending
    /// index, so the result depends on nothing else.
    pub(crate) fn score(&self, other: &Self, similarity: Similarity) -> f32 {
        let norm = |row: &Self| row.values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(1e-12);
        let score = match similarity {
            Similarity::Dot => self.sum(other, |a, b| a * b),
            Similarity::Cosine => (self.sum(other, |a, b| a * b) / (norm(self) * norm(other))).clamp(-1.0, 1.0),
            Similarity::Euclidean => -self.sum(other, |a, b| (a - b).powi(2)).sqrt(),
            Similarity::Manhattan => -self.sum(other, |a, b| (a - b).abs()),
        };
        score as f32
    }

    /// Returns the sum of a function of the elements of two vectors, over all indices that one of
    /// them has.
    fn sum(&self, other: &Self, term: impl Fn(f64, f64) -> f64) -> f64 {
        let [mut i, mut j] = [0, 0];
        let mut sum = 0.0;
        loop {
            let (a, b) = (self.indices.get(i), other.indices.get(j));
            let index = match (a, b) {
                (None, None) => return sum,
                (Some(&a), Some(&b)) => a.min(b),
                (Some(&index), None) | (None, Some(&index)) => index,
            };
            let [mut x, mut y] = [0.0, 0.0];
            if a == Some(&index) {
                x = f64::from(self.values[i]);
                i += 1;
            }
            if b == Some(&index) {
                y = f64::from(other.values[j]);
                j += 1;
            }
            sum += term(x, y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_count_every_index_once() {
        let a = SparseRow { indices: &[1, 4, 7], values: &[1.0, 2.0, 3.0] };
        let b = SparseRow { indices: &[0, 4, 7, 9], values: &[1.0, 5.0, 1.0, 2.0] };
        assert_eq!(a.score(&b, Similarity::Dot), 13.0);
        assert_eq!(a.score(&b, Similarity::Manhattan), -(1.0 + 1.0 + 3.0 + 2.0 + 2.0));
        assert_eq!(a.score(&b, Similarity::Euclidean), -(1.0_f32 + 1.0 + 9.0 + 4.0 + 4.0).sqrt());
        assert!((a.score(&b, Similarity::Cosine) - 13.0 / (14.0_f32 * 31.0).sqrt()).abs() < 1e-6);
        let empty = SparseRow { indices: &[], values: &[] };
        assert_eq!(a.score(&empty, Similarity::Cosine), 0.0);
        assert_eq!(empty.score(&empty, Similarity::Dot), 0.0);
    }
}
