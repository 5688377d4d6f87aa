//! The trace of a pass.

use std::collections::HashMap;

use super::tensor::TracedTensor;
use super::tokens::TracedTokens;

/// Every intermediate result of a pass over a batch of T tokens, for comparison with another
/// implementation.
#[derive(Debug)]
pub struct Trace {
    pub(super) tokens: TracedTokens,
    pub(super) tensors: Vec<TracedTensor>,
    /// The index of each site's tensor.
    pub(super) index: HashMap<String, usize>,
}

impl Trace {
    /// Returns the token ids of all texts, one text after another `[T]`.
    pub fn ids(&self) -> &[u32] {
        &self.tokens.ids
    }

    /// Returns the row of the position table of each token `[T]`.
    pub fn positions(&self) -> &[usize] {
        &self.tokens.positions
    }

    /// Returns the type of each token `[T]`.
    pub fn token_types(&self) -> &[usize] {
        &self.tokens.types
    }

    /// Returns the number of tokens of each text; their sum is T.
    pub fn token_counts(&self) -> &[usize] {
        &self.tokens.counts
    }

    /// Returns all results, in the order of the computation.
    pub fn tensors(&self) -> &[TracedTensor] {
        &self.tensors
    }

    /// Returns the result of a site, such as `layer.0.query`.
    pub fn get(&self, site: &str) -> Option<&TracedTensor> {
        self.index.get(site).map(|&i| &self.tensors[i])
    }
}
