//! Conversion of texts to token ids.

use super::model::Backbone;
use super::runtime::TruncationPolicy;
use super::tokenized_text::{TokenizedText, prepend_prompt};
use crate::error::{CrossEncoderError, Error, Result};
use crate::tokenizer::{PairPart, TokenUsage, TokenizedPair, TruncationSide};

impl Backbone {
    /// Tokenizes one text. `text_index` is its index in the call, for errors.
    pub(crate) fn tokenize_text(
        &self,
        text_index: usize,
        text: &str,
        prompt: &str,
        truncation: TruncationPolicy,
        side: Option<TruncationSide>,
    ) -> Result<TokenizedText> {
        let (ids, usage) = self.tokenizer.encode(&prepend_prompt(prompt, text), side)?;
        self.validate_ids(text_index, ids, usage, truncation)
    }

    /// Tokenizes a pair of texts, with a prompt before the first. `pair_index` is its index in the
    /// call, for errors. Also returns the tokens of both texts, without special tokens.
    pub(crate) fn tokenize_pair(
        &self,
        pair_index: usize,
        prompt: &str,
        [first, second]: [&str; 2],
        truncation: TruncationPolicy,
    ) -> Result<(TokenizedText, [TokenUsage; 2])> {
        let first = self.tokenizer.encode_part(&prepend_prompt(prompt, first), None)?;
        let second = self.tokenizer.encode_part(second, None)?;
        self.join_pair(pair_index, [first, second], truncation, None)
    }

    /// Joins the tokens of two texts to a pair, as [`Self::tokenize_pair`] does.
    pub(crate) fn join_pair(
        &self,
        pair_index: usize,
        parts: [PairPart; 2],
        truncation: TruncationPolicy,
        side: Option<TruncationSide>,
    ) -> Result<(TokenizedText, [TokenUsage; 2])> {
        let TokenizedPair { ids, types, usage } = self.tokenizer.join_pair(parts, side)?;
        if truncation == TruncationPolicy::Error && usage.iter().any(TokenUsage::truncated) {
            return Err(Error::CrossEncoder(Box::new(CrossEncoderError::PairTooLong {
                pair: pair_index,
                tokens: usage.map(|usage| usage.total),
                special: self.tokenizer.special_tokens_of_pair(),
                cut: usage.map(|usage| usage.truncated()),
                limit: self.tokenizer.max_tokens(),
            })));
        }
        let used = TokenUsage { total: ids.len(), used: ids.len() };
        let text = self.validate_ids(pair_index, ids, used, truncation)?;
        Ok((TokenizedText { types, ..text }, usage))
    }
}
