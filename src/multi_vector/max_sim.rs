//! MaxSim: the score of a query and a document, from the vectors of their tokens.
//!
//! The tokens of a document are multiplied with those of the query, `[n, D] · [D, queries]`, and
//! the maximum over the rows is taken of each column. The bits of a product depend on its two
//! vectors alone, a maximum on no order, and the maxima are added in the order of the query's
//! tokens. So a score depends on the query and the document only.

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, PackedMatrix, gemm};
use likewise_kernels::reduce::max_over_rows;
use likewise_kernels::view::{MatMut, MatRef};

use super::results::TokenRows;
use crate::error::{Error, Result};
use crate::similarity::MultiVectorSimilarity;

/// The tokens of a document that are multiplied at a time. Their products with a query of 32 tokens
/// stay in the first-level cache.
const BLOCK_ROWS: usize = 120;

/// The score of a document without scored tokens, as in sentence-transformers.
const SCORE_WITHOUT_TOKENS: f32 = -1e9;

/// A query that is ready to be multiplied with documents.
pub(super) struct PackedQuery {
    level: Level,
    tokens: PackedMatrix,
    count: usize,
    width: usize,
    similarity: MultiVectorSimilarity,
}

/// Memory that is reused from document to document.
#[derive(Default)]
pub(super) struct Scratch {
    products: Vec<f32>,
    largest_of_block: Vec<f32>,
    largest: Vec<f32>,
}

impl MultiVectorSimilarity {
    /// Scores the tokens of a query with those of a document.
    ///
    /// A document without tokens scores −10⁹ (divided by the number of the query's tokens in the
    /// mean). A query without tokens scores 0 with any other document. A score is NaN if a product
    /// is not finite.
    ///
    /// # Errors
    /// If the vectors differ in width.
    pub fn score(self, level: Level, query: TokenRows<'_>, document: TokenRows<'_>) -> Result<f32> {
        PackedQuery::new(level, self, query).score(document, &mut Scratch::default())
    }
}

impl PackedQuery {
    pub(super) fn new(level: Level, similarity: MultiVectorSimilarity, query: TokenRows<'_>) -> Self {
        let (count, width) = (query.len(), query.width());
        let tokens = PackedMatrix::pack(level, MatRef::new(query.as_slice(), count, width));
        Self { level, tokens, count, width, similarity }
    }

    /// Scores a document.
    ///
    /// # Errors
    /// If its vectors have another width.
    pub(super) fn score(&self, document: TokenRows<'_>, scratch: &mut Scratch) -> Result<f32> {
        if document.width() != self.width {
            return Err(Error::WidthMismatch { left: self.width, right: document.width() });
        }
        let sum = if document.is_empty() {
            SCORE_WITHOUT_TOKENS
        } else {
            self.largest_products(document, scratch);
            scratch.largest.iter().map(|&x| f64::from(x)).sum::<f64>() as f32
        };
        Ok(match self.similarity {
            MultiVectorSimilarity::MaxSim => sum,
            MultiVectorSimilarity::MeanMaxSim => sum / self.count.max(1) as f32,
        })
    }

    /// Computes for each token of the query its largest product with a token of the document.
    fn largest_products(&self, document: TokenRows<'_>, scratch: &mut Scratch) {
        let Scratch { products, largest_of_block, largest } = scratch;
        largest.clear();
        largest.resize(self.count, f32::NEG_INFINITY);
        if self.count == 0 {
            return;
        }
        largest_of_block.resize(self.count, 0.0);
        let rows = document.len();
        let document = MatRef::new(document.as_slice(), rows, self.width);
        for first in (0..rows).step_by(BLOCK_ROWS) {
            let block = document.rows_in(first..rows.min(first + BLOCK_ROWS));
            products.resize(block.rows() * self.count, 0.0);
            let out = MatMut::new(products, block.rows(), self.count);
            gemm(self.level, block, self.tokens.panels(), None, Epilogue::Store, out);
            max_over_rows(self.level, MatRef::new(products, block.rows(), self.count), largest_of_block);
            for (largest, &x) in largest.iter_mut().zip(largest_of_block.iter()) {
                if x > *largest || x.is_nan() {
                    *largest = x;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(data: &[f32], width: usize) -> TokenRows<'_> {
        TokenRows::new(data, width).expect("whole rows")
    }

    /// Returns pseudo-random numbers from −1 to 1.
    fn numbers(seed: u64, count: usize) -> Vec<f32> {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn score_is_the_sum_of_the_largest_products() {
        const WIDTH: usize = 48;
        for (queries, documents) in [(1, 1), (3, 5), (32, 119), (33, 120), (32, 121), (7, 500)] {
            let (query, document) = (numbers(1, queries * WIDTH), numbers(2, documents * WIDTH));
            let product =
                |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let largest = |a: &[f32]| document.chunks(WIDTH).map(|b| product(a, b)).fold(f64::MIN, f64::max);
            let expected: f64 = query.chunks(WIDTH).map(largest).sum();
            for level in Level::available() {
                let [sum, mean] = MultiVectorSimilarity::ALL.map(|function| {
                    function.score(level, rows(&query, WIDTH), rows(&document, WIDTH)).expect("a score")
                });
                assert!(
                    (f64::from(sum) - expected).abs() < 1e-6 * expected.abs().max(1.0),
                    "{level}: {sum}, {expected}"
                );
                assert_eq!(mean, sum / queries as f32);
            }
        }
    }

    #[test]
    fn texts_without_tokens_have_constant_scores() {
        let some = [0.5, 0.5];
        let score = |query: &[f32], document: &[f32]| {
            MultiVectorSimilarity::ALL
                .map(|function| function.score(Level::best(), rows(query, 2), rows(document, 2)).expect("a score"))
        };
        assert_eq!(score(&[0.5; 8], &[]), [-1e9, -2.5e8]);
        assert_eq!(score(&[], &some), [0.0, 0.0]);
        assert_eq!(score(&[], &[]), [-1e9, -1e9]);
        let mismatch = MultiVectorSimilarity::MaxSim.score(Level::best(), rows(&some, 2), rows(&some, 1));
        assert!(matches!(mismatch, Err(Error::WidthMismatch { left: 2, right: 1 })));
    }

    #[test]
    fn products_that_are_not_finite_are_not_hidden() {
        let document = [1.0, 0.0, f32::MAX, f32::MAX, 0.5, 0.5];
        let score = MultiVectorSimilarity::MaxSim.score(Level::best(), rows(&[-2.0, -2.0], 2), rows(&document, 2));
        assert!(score.expect("a score").is_nan());
    }
}
