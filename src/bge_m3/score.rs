//! The scores of a query and a passage.

use likewise_kernels::distance::dot;

use super::model::BgeM3;
use super::results::BgeM3Vectors;
use crate::error::{Error, Result};
use crate::similarity::{MultiVectorSimilarity, Similarity};

/// The scores of a query and a passage by each kind of vectors.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BgeM3Scores {
    /// The product of the dense vectors, which is the cosine of their angle.
    pub dense: f32,
    /// The product of the sparse vectors.
    pub sparse: f32,
    /// The mean over the tokens of the query of the largest product with a token of the passage.
    pub tokens: f32,
}

impl BgeM3Scores {
    /// Returns the weighted mean of the scores: `weights` are those of `dense`, `sparse` and
    /// `tokens`. FlagEmbedding's default is 1 for each, and the card of bge-m3 suggests 0.4, 0.2
    /// and 0.4. A weight of 0 leaves a score out.
    pub fn weighted_mean(self, weights: [f32; 3]) -> f32 {
        let scores = [self.dense, self.sparse, self.tokens];
        let weighted = scores.iter().zip(weights).map(|(&score, weight)| f64::from(score) * f64::from(weight));
        (weighted.sum::<f64>() / weights.iter().map(|&weight| f64::from(weight)).sum::<f64>()) as f32
    }
}

impl BgeM3 {
    /// Scores query i with passage j.
    ///
    /// Equals `compute_score` of FlagEmbedding for the pair alone. (In a batch, its padding can
    /// replace negative products by 0.)
    ///
    /// # Errors
    /// If the vectors differ in width.
    ///
    /// # Panics
    /// If i or j is not less than the number of texts.
    pub fn scores(&self, queries: &BgeM3Vectors, i: usize, passages: &BgeM3Vectors, j: usize) -> Result<BgeM3Scores> {
        let (query, passage) = (queries.dense(i), passages.dense(j));
        if query.len() != passage.len() {
            return Err(Error::WidthMismatch { left: query.len(), right: passage.len() });
        }
        let mean = MultiVectorSimilarity::MeanMaxSim;
        Ok(BgeM3Scores {
            dense: dot(self.level(), query, passage),
            sparse: queries.sparse(i).score(&passages.sparse(j), Similarity::Dot),
            tokens: mean.score(self.level(), queries.tokens().text(i), passages.tokens().text(j))?,
        })
    }
}
