//! The division of a call's texts into batches.

use super::model::Embedder;
use super::tokenization::TokenizedIds;

/// The number of tokens that a batch of one thread should have.
///
/// Each panel of weights, once in the cache, then serves sixteen tiles, and the activations still
/// stay in the cache. They take 17 KB a token in MiniLM and 34 KB in models of base size. (128 and
/// 256 are within the noise, 512 is 5 % slower for MiniLM.)
pub(crate) const TARGET_TOKENS_PER_BATCH: usize = 192;

/// The number of tokens that a batch must not exceed, except for a single text that is longer. Half
/// as many again as the target, so that two texts of medium length still share a batch.
pub(super) const MAX_TOKENS_PER_BATCH: usize = TARGET_TOKENS_PER_BATCH * 3 / 2;

/// With fewer tokens per thread, reading the weights takes longer than computing. All threads then
/// share one pass, which reads them once.
const TEAM_BELOW_TOKENS_PER_THREAD: usize = 96;

/// The batches of a call.
pub(super) struct BatchPlan {
    /// The indices of the texts of each batch.
    pub(super) batches: Vec<Vec<usize>>,
    /// Whether all threads work together on each batch.
    pub(super) use_team: bool,
}

impl Embedder {
    /// Returns whether this many tokens are computed sooner by a team of all threads than by one
    /// thread.
    pub(crate) fn prefers_team(&self, tokens: usize) -> bool {
        let threads = self.thread_pool.size();
        threads > 1 && tokens < TEAM_BELOW_TOKENS_PER_THREAD * threads
    }

    /// Divides S texts into batches, and decides whether all threads share each batch.
    pub(super) fn plan_batches(&self, encoded: &[TokenizedIds]) -> BatchPlan {
        // A text without any token keeps its vector of zeros, which is also what the mean over no
        // tokens is in sentence-transformers. Such texts exist only if the tokenizer adds no
        // special tokens.
        let mut order: Vec<usize> = (0..encoded.len()).filter(|&i| !encoded[i].ids.is_empty()).collect();
        let tokens: usize = encoded.iter().map(|text| text.ids.len()).sum();
        if self.prefers_team(tokens) && !order.is_empty() {
            return BatchPlan { batches: vec![order], use_team: true };
        }
        // Longest first, so that little work is left when the first thread runs out of batches.
        order.sort_by_key(|&i| std::cmp::Reverse(encoded[i].ids.len()));
        // Each thread gets about the same number of batches, and each batch about the same number
        // of tokens.
        let threads = self.thread_pool.size();
        let batches = tokens.div_ceil(TARGET_TOKENS_PER_BATCH * threads).max(1) * threads;
        let target = tokens.div_ceil(batches);
        BatchPlan { batches: fill_batches(&order, target, |i| encoded[i].ids.len()), use_team: false }
    }
}

/// Fills batches in the given order. A batch is full once it has `target` tokens.
fn fill_batches(order: &[usize], target: usize, token_count: impl Fn(usize) -> usize) -> Vec<Vec<usize>> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut batch_tokens = 0;
    for &i in order {
        let tokens = token_count(i);
        // The limit bounds the memory of a pass.
        if batch_tokens + tokens > MAX_TOKENS_PER_BATCH && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            batch_tokens = 0;
        }
        batch_tokens += tokens;
        batch.push(i);
        if batch_tokens >= target {
            batches.push(std::mem::take(&mut batch));
            batch_tokens = 0;
        }
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_respect_target_and_limit() {
        let tokens = [300, 150, 150, 100, 90, 10];
        let batches = fill_batches(&[0, 1, 2, 3, 4, 5], 200, |i| tokens[i]);
        // A longer text has a batch to itself; 150 + 150 exceeds the limit of 288; the last batch
        // is not full.
        assert_eq!(batches, [vec![0], vec![1], vec![2, 3], vec![4, 5]]);
        assert!(fill_batches(&[], 200, |_| 1).is_empty());
    }
}
