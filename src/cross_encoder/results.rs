//! The results of a cross-encoder.

use crate::tokenizer::TokenUsage;

/// The scores of pairs, in the order of the pairs `[pairs, labels]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    pub(super) scores: Vec<f32>,
    pub(super) labels: usize,
    pub(super) usage: Vec<[TokenUsage; 2]>,
    pub(super) token_counts: Vec<usize>,
}

/// The tokens of a pair that the model reads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PairTokens {
    /// Token ids of both texts with special tokens, truncated to the model's maximum length.
    pub ids: Vec<u32>,
    /// For each token, which of the two texts the model takes it for: 0 or 1.
    pub types: Vec<u32>,
    /// The tokens of each text, without special tokens.
    pub usage: [TokenUsage; 2],
}

/// A text and its score for a query.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RankedText {
    /// The index of the text in the list that was ranked.
    pub index: usize,
    /// The score. A higher score means more relevant.
    pub score: f32,
}

/// The texts of a list, best first. Returned by [`CrossEncoder::rank`](crate::CrossEncoder::rank)
/// and [`MultiVectorEncoder::rank`](crate::MultiVectorEncoder::rank).
///
/// Dereferences to the slice of texts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ranking {
    /// The texts, best first.
    pub texts: Vec<RankedText>,
    /// The tokens used of the query and of each text, in the order of the list that was ranked.
    pub usage: Vec<[TokenUsage; 2]>,
}

impl Ranking {
    /// Sorts texts by their scores, which are finite. Equal ones keep their order.
    pub(crate) fn of_scores(scores: Vec<f32>, usage: Vec<[TokenUsage; 2]>) -> Self {
        let ranked = scores.into_iter().enumerate().map(|(index, score)| RankedText { index, score });
        let mut texts: Vec<RankedText> = ranked.collect();
        // The sort is stable. 0 and −0 are equal.
        texts.sort_by(|a, b| (b.score + 0.0).total_cmp(&(a.score + 0.0)));
        Self { texts, usage }
    }
}

impl std::ops::Deref for Ranking {
    type Target = [RankedText];

    fn deref(&self) -> &[RankedText] {
        &self.texts
    }
}

impl Predictions {
    /// Returns the number of pairs.
    pub fn len(&self) -> usize {
        self.usage.len()
    }

    /// Returns whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.usage.is_empty()
    }

    /// Returns the scores of pair i, one for each label.
    ///
    /// # Panics
    /// If i is not less than [`Self::len`].
    pub fn row(&self, i: usize) -> &[f32] {
        &self.scores[i * self.labels..][..self.labels]
    }

    /// Returns the scores of all pairs, row after row `[pairs · labels]`.
    pub fn as_slice(&self) -> &[f32] {
        &self.scores
    }

    /// Returns the tokens used of both texts of each pair, without special tokens.
    pub fn usage(&self) -> &[[TokenUsage; 2]] {
        &self.usage
    }

    /// Returns the number of tokens that the model has read of each pair, with special tokens.
    pub fn token_counts(&self) -> &[usize] {
        &self.token_counts
    }
}
