//! The tokens of a text, as callers receive them.

use tokenizers::Encoding;

/// The tokens of a text that the model reads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tokens {
    /// Token ids with special tokens, truncated to the model's maximum length.
    pub ids: Vec<u32>,
    /// The start and end of each token in the prompt followed by the text, in Unicode characters;
    /// (0, 0) for special tokens.
    pub offsets: Vec<(usize, usize)>,
    /// How many of the text's tokens the ids include.
    pub usage: TokenUsage,
}

/// The tokens of a pair of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenizedPair {
    pub(crate) ids: Vec<u32>,
    /// For each token, which of the two texts the model takes it for: 0 or 1. Empty if the model
    /// takes all tokens for those of the first text.
    pub(crate) types: Vec<u32>,
    /// The tokens of each text, without special tokens.
    pub(crate) usage: [TokenUsage; 2],
}

/// The tokens of one text of a pair, so that a text of many pairs is tokenized once.
#[derive(Clone)]
pub(crate) struct PairPart {
    pub(super) encoding: Encoding,
    /// The number of tokens of the whole text.
    pub(super) total: usize,
}

/// How many of a text's tokens the model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenUsage {
    /// The number of tokens of the whole text, with special tokens.
    pub total: usize,
    /// The number of tokens that the model reads.
    pub used: usize,
}

impl TokenUsage {
    /// Returns whether the text was truncated.
    pub fn truncated(&self) -> bool {
        self.used < self.total
    }
}

/// A token and its text.
#[cfg(feature = "serve")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenSpan {
    pub(crate) id: u32,
    /// The part of the text that became this token, or the name of a special token.
    pub(crate) text: String,
    /// The start and end of that part, in characters. None for special tokens.
    pub(crate) span: Option<(usize, usize)>,
}
