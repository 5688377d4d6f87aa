//! The division of a call's texts into batches, and who computes each.

use super::model::Backbone;
use super::runtime::prefers_team;
use super::tokenized_text::TokenizedText;
use crate::error::Result;

/// The number of tokens that a batch of one thread should have.
///
/// Each panel of weights, once in the cache, then serves sixteen tiles, and the activations still
/// stay in the cache. They take 17 KB a token in MiniLM and 34 KB in models of base size. (128 and
/// 256 are within the noise, 512 is 5 % slower for MiniLM.)
pub(crate) const TARGET_TOKENS_PER_BATCH: usize = 192;

/// The number of tokens that a batch must not exceed, except for a single text that is longer. Half
/// as many again as the target, so that two texts of medium length still share a batch.
pub(super) const MAX_TOKENS_PER_BATCH: usize = TARGET_TOKENS_PER_BATCH * 3 / 2;

/// The threads share a batch if otherwise the last thread would finish so much later than it would
/// with equal shares: a ninth, in units of the shares. Sharing itself costs about as much.
const MAX_IMBALANCE: f64 = 1.125;

/// The batches of a call, each a list of texts.
#[derive(Debug, Default, PartialEq, Eq)]
struct BatchPlan {
    /// All threads compute these together, one after the other.
    shared: Vec<Vec<usize>>,
    /// Each thread computes one of these at a time.
    separate: Vec<Vec<usize>>,
}

impl Backbone {
    /// Divides texts into batches, and runs `compute(texts, use_team)` for each: with `use_team`
    /// all threads should compute it together. Returns the texts of each batch with its result.
    ///
    /// A text without any token is in no batch. Such texts exist only if the tokenizer adds no
    /// special tokens.
    pub(crate) fn run_batches<R: Send>(
        &self,
        texts: &[TokenizedText],
        compute: impl Fn(&[usize], bool) -> Result<R> + Sync,
    ) -> Result<Vec<(Vec<usize>, R)>> {
        let BatchPlan { shared, separate } =
            BatchPlan::new(texts.len(), self.thread_pool.size(), |i| texts[i].ids.len());
        let mut results = Vec::with_capacity(shared.len() + separate.len());
        for batch in shared {
            let result = compute(&batch, true)?;
            results.push((batch, result));
        }
        let separate_results = self.thread_pool.map(separate.len(), |i| compute(&separate[i], false));
        for (batch, result) in separate.into_iter().zip(separate_results) {
            results.push((batch, result?));
        }
        Ok(results)
    }
}

impl BatchPlan {
    /// Divides `count` texts into batches.
    fn new(count: usize, threads: usize, token_count: impl Fn(usize) -> usize) -> Self {
        let mut order: Vec<usize> = (0..count).filter(|&i| token_count(i) > 0).collect();
        let tokens: usize = order.iter().map(|&i| token_count(i)).sum();
        if prefers_team(tokens, threads) && !order.is_empty() {
            return Self { shared: vec![order], separate: Vec::new() };
        }
        // Longest first, so that little work is left when the first thread runs out of batches.
        order.sort_by_key(|&i| std::cmp::Reverse(token_count(i)));
        // Each thread gets about the same number of batches, and each batch about the same number
        // of tokens.
        let batches = tokens.div_ceil(TARGET_TOKENS_PER_BATCH * threads).max(1) * threads;
        let target = tokens.div_ceil(batches);
        let mut separate = fill_batches(&order, target, &token_count);
        let sizes: Vec<usize> = separate.iter().map(|batch| batch.iter().map(|&i| token_count(i)).sum()).collect();
        // A few long texts cannot be divided evenly: without this, one text would keep one thread
        // busy and the others idle.
        let is_uneven = |sizes: &[usize]| {
            let share = sizes.iter().sum::<usize>() as f64 / threads as f64;
            last_finish(sizes, threads) as f64 > MAX_IMBALANCE * share
        };
        let shared = (0..sizes.len()).find(|&first| !is_uneven(&sizes[first..])).unwrap_or(sizes.len());
        let separate_batches = separate.split_off(shared);
        Self { shared: separate, separate: separate_batches }
    }
}

/// Returns how many tokens the thread computes that finishes last, if each thread takes the next
/// batch as soon as it is free.
fn last_finish(sizes: &[usize], threads: usize) -> usize {
    let mut finish = vec![0; threads];
    for size in sizes {
        if let Some(first) = finish.iter_mut().min() {
            *first += size;
        }
    }
    finish.into_iter().max().unwrap_or(0)
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

    fn plan(tokens: &[usize], threads: usize) -> BatchPlan {
        BatchPlan::new(tokens.len(), threads, |i| tokens[i])
    }

    #[test]
    fn batches_respect_target_and_limit() {
        let tokens = [300, 150, 150, 100, 90, 10];
        let batches = fill_batches(&[0, 1, 2, 3, 4, 5], 200, |i| tokens[i]);
        // A longer text has a batch to itself; 150 + 150 exceeds the limit of 288; the last batch
        // is not full.
        assert_eq!(batches, [vec![0], vec![1], vec![2, 3], vec![4, 5]]);
        assert!(fill_batches(&[], 200, |_| 1).is_empty());
    }

    #[test]
    fn few_long_texts_are_shared_by_all_threads() {
        let shared = |tokens: &[usize], threads| plan(tokens, threads).shared;
        assert_eq!(plan(&[8192], 2), BatchPlan { shared: vec![vec![0]], separate: vec![] });
        // Three equal texts for two threads: one is shared, and then each thread has one.
        assert_eq!(plan(&[512; 3], 2), BatchPlan { shared: vec![vec![0]], separate: vec![vec![1], vec![2]] });
        // The long text takes longer than a thread's share of all tokens.
        assert_eq!(shared(&[20, 8192, 300, 300], 2), [vec![1]]);
        assert!(shared(&[512; 64], 2).is_empty());
        assert!(shared(&[17; 1000], 2).is_empty());
        assert!(shared(&[8192; 3], 1).is_empty());
    }

    #[test]
    fn plan_has_every_text_with_tokens_once() {
        for threads in 1..6 {
            for tokens in [&[][..], &[0, 0], &[1, 0, 7000, 3], &[400; 7], &[60; 100], &[0, 2000, 1000, 500, 250, 125]] {
                let BatchPlan { shared, separate } = plan(tokens, threads);
                let mut texts: Vec<usize> = shared.into_iter().chain(separate).flatten().collect();
                texts.sort_unstable();
                let expected: Vec<usize> = (0..tokens.len()).filter(|&i| tokens[i] > 0).collect();
                assert_eq!(texts, expected, "{tokens:?} on {threads} threads");
            }
        }
    }
}
