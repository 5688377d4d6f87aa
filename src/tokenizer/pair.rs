//! Pairs of texts in one sequence, as a cross-encoder reads them.
//!
//! Both texts are tokenized alone, then the class or tokenizer.json puts its tokens around and
//! between them, such as `[CLS] a [SEP] b [SEP]`. Follows the `tokenizers` crate and
//! sentence-transformers 6.2.0 (`base/modules/transformer.py`), which truncates with the strategy
//! `longest_first`.

use tokenizers::{PostProcessor, TruncationDirection};

use super::Tokenizer;
use super::tokens::{PairPart, TokenUsage, TokenizedPair};
use super::truncation::TruncationSide;
use crate::error::Result;

impl Tokenizer {
    /// Returns the number of special tokens of a pair.
    pub(crate) fn special_tokens_of_pair(&self) -> usize {
        self.inner.get_post_processor().map_or(0, |processor| processor.added_tokens(true))
    }

    /// Returns the number of types that the tokens of a pair have: one more than the largest type.
    pub(crate) fn types_of_pair(&self) -> Result<usize> {
        // The types of a pair's tokens do not depend on its texts.
        let types = self.encode_pair(["a", "a"])?.types;
        Ok(types.into_iter().max().unwrap_or(0) as usize + 1)
    }

    /// Returns the tokens of a pair, truncated to the maximum length.
    pub(crate) fn encode_pair(&self, texts: [&str; 2]) -> Result<TokenizedPair> {
        let [first, second] = texts.map(|text| self.encode_part(text, None));
        self.join_pair([first?, second?], None)
    }

    /// Returns the tokens of one text of a pair. `side` overrides the side from which a text that
    /// is too long is truncated.
    pub(crate) fn encode_part(&self, text: &str, side: Option<TruncationSide>) -> Result<PairPart> {
        let side = side.unwrap_or(self.truncation_side);
        if self.chunker.is_long(text) {
            // Some tokens that are beyond the maximum length are left out.
            let (encoding, total) = self.encode_chunks(text, self.max_tokens, side)?;
            return Ok(PairPart { encoding, total });
        }
        let encoding = self.run(text, || self.inner.encode_fast(text, false))?;
        Ok(PairPart { total: encoding.len(), encoding })
    }

    /// Joins two texts to a pair, truncated to the maximum length from the same side as its parts.
    pub(crate) fn join_pair(&self, parts: [PairPart; 2], side: Option<TruncationSide>) -> Result<TokenizedPair> {
        let side = side.unwrap_or(self.truncation_side);
        let [PairPart { encoding: mut first, total: first_total }, second] = parts;
        let PairPart { encoding: mut second, total: second_total } = second;
        let budget = self.max_tokens.saturating_sub(self.special_tokens_of_pair());
        let kept = longest_first([first_total, second_total], budget);
        let direction = match side {
            TruncationSide::Right => TruncationDirection::Right,
            TruncationSide::Left => TruncationDirection::Left,
        };
        first.truncate(kept[0], 0, direction);
        second.truncate(kept[1], 0, direction);
        first.set_type_ids(vec![0; first.len()]);
        second.set_type_ids(vec![1; second.len()]);
        let encoding = self.run("", || self.inner.post_process(first, Some(second), true))?;
        let usage = |total, used| TokenUsage { total, used };
        Ok(TokenizedPair {
            ids: encoding.get_ids().to_vec(),
            types: if self.passes_token_types { encoding.get_type_ids().to_vec() } else { Vec::new() },
            usage: [usage(first_total, kept[0]), usage(second_total, kept[1])],
        })
    }
}

/// Returns how many tokens of each text are kept, in order that both together have at most
/// `budget`. The longer text loses tokens until it is as long as the other; then both lose as many,
/// and of an odd number the longer keeps one more, or the second of two equal ones.
fn longest_first(lengths: [usize; 2], budget: usize) -> [usize; 2] {
    let [first, second] = lengths;
    if first + second <= budget {
        return lengths;
    }
    let first_is_longer = first > second;
    let shorter = first.min(second);
    let half = budget / 2;
    let [shorter, longer] = if 2 * shorter > budget { [half, budget - half] } else { [shorter, budget - shorter] };
    if first_is_longer { [longer, shorter] } else { [shorter, longer] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_text_loses_tokens_first() {
        assert_eq!(longest_first([3, 4], 7), [3, 4]);
        assert_eq!(longest_first([3, 10], 8), [3, 5]);
        assert_eq!(longest_first([10, 3], 8), [5, 3]);
        assert_eq!(longest_first([10, 20], 9), [4, 5]);
        assert_eq!(longest_first([20, 10], 9), [5, 4]);
        assert_eq!(longest_first([10, 10], 9), [4, 5]);
        assert_eq!(longest_first([4, 10], 8), [4, 4]);
        assert_eq!(longest_first([0, 10], 8), [0, 8]);
        assert_eq!(longest_first([10, 10], 0), [0, 0]);
    }

    #[test]
    fn kept_tokens_fill_the_budget() {
        for first in 0..12 {
            for second in 0..12 {
                for budget in 0..24 {
                    let kept = longest_first([first, second], budget);
                    assert_eq!(kept[0] + kept[1], budget.min(first + second), "{first} {second} {budget}");
                    assert!(kept[0] <= first && kept[1] <= second, "{first} {second} {budget}");
                }
            }
        }
    }
}
