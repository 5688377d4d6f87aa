//! How the texts of a call are divided into passes.

use super::{Embedder, Encoded, MOST_TOKENS, TOKENS_FOR_A_THREAD, TOKENS_PER_BATCH};

/// How a call is divided into passes.
pub(super) struct Plan {
    /// The texts of each pass.
    pub(super) batches: Vec<Vec<usize>>,
    /// Whether all threads make each pass together.
    pub(super) shared: bool,
}

impl Embedder {
    /// Which texts go together, and whether all threads share each pass.
    pub(super) fn plan(&self, encoded: &[Encoded]) -> Plan {
        // A text without any token (only a tokenizer that adds no special ones gives such) keeps its vector of zeros, which
        // is what the reference's mean over nothing comes to.
        let mut order: Vec<usize> = (0..encoded.len()).filter(|&i| !encoded[i].ids.is_empty()).collect();
        let tokens: usize = encoded.iter().map(|text| text.ids.len()).sum();
        let threads = self.pool.size();
        if threads > 1 && tokens < TOKENS_FOR_A_THREAD * threads && !order.is_empty() {
            return Plan { batches: vec![order], shared: true };
        }
        // Longest first, so that what is left when threads run out of work is short. About as many batches for each thread,
        // of about the same number of tokens.
        order.sort_by_key(|&i| std::cmp::Reverse(encoded[i].ids.len()));
        let batches = tokens.div_ceil(TOKENS_PER_BATCH * threads).max(1) * threads;
        let budget = tokens.div_ceil(batches);
        let mut plan = Plan { batches: Vec::new(), shared: false };
        let (mut batch, mut size) = (Vec::new(), 0);
        for i in order {
            let tokens = encoded[i].ids.len();
            // Never more than promised, so that the memory of a pass is known.
            if size + tokens > MOST_TOKENS && !batch.is_empty() {
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
