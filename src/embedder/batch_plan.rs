//! How the texts of a call are divided into passes.

use super::{Embedder, EncodedIds, MAX_TOKENS_PER_BATCH, MIN_TOKENS_PER_THREAD, TARGET_TOKENS_PER_BATCH};

/// How a call is divided into passes.
pub(super) struct BatchPlan {
    /// The texts of each pass.
    pub(super) batches: Vec<Vec<usize>>,
    /// Whether all threads make each pass together.
    pub(super) use_team: bool,
}

impl Embedder {
    /// Which texts go together, and whether all threads share each pass.
    pub(super) fn plan_batches(&self, encoded: &[EncodedIds]) -> BatchPlan {
        // A text without any token (only a tokenizer that adds no special ones gives such) keeps its vector of zeros, which
        // is what the reference's mean over nothing comes to.
        let mut order: Vec<usize> = (0..encoded.len()).filter(|&i| !encoded[i].ids.is_empty()).collect();
        let tokens: usize = encoded.iter().map(|text| text.ids.len()).sum();
        let threads = self.thread_pool.size();
        if threads > 1 && tokens < MIN_TOKENS_PER_THREAD * threads && !order.is_empty() {
            return BatchPlan { batches: vec![order], use_team: true };
        }
        // Longest first, so that what is left when threads run out of work is short. About as many batches for each thread,
        // of about the same number of tokens.
        order.sort_by_key(|&i| std::cmp::Reverse(encoded[i].ids.len()));
        let batches = tokens.div_ceil(TARGET_TOKENS_PER_BATCH * threads).max(1) * threads;
        let budget = tokens.div_ceil(batches);
        let mut plan = BatchPlan { batches: Vec::new(), use_team: false };
        let (mut batch, mut size) = (Vec::new(), 0);
        for i in order {
            let tokens = encoded[i].ids.len();
            // Never more than promised, so that the memory of a pass is known.
            if size + tokens > MAX_TOKENS_PER_BATCH && !batch.is_empty() {
                plan.batches.push(std::mem::take(&mut batch));
                size = 0;
            }
            size += tokens;
            batch.push(i);
            if size >= budget {
                plan.batches.push(std::mem::take(&mut batch));
                size = 0;
            }
        }
        plan.batches.extend((!batch.is_empty()).then_some(batch));
        plan
    }
}
