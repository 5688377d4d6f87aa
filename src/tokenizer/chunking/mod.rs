//! Splits long texts into chunks without changing their tokens.
//!
//! The tokenizer processes a whole text at once and takes some hundred bytes of memory per
//! character, although the model reads a few hundred tokens. A long text is therefore tokenized in
//! chunks, and only the tokens to keep stay in memory.
//!
//! The chunks have the same tokens as the whole text if no word, no normalization and no added
//! token spans a boundary. [`rules`] decides this from the four characters around a boundary, for
//! tokenizers whose parts are all known. All four must be of known kinds ([`characters`]): they
//! start a grapheme, do not combine with a neighbour, and are normalized to the same kind. Then a
//! boundary is
//!
//! * before a single whitespace character between visible ones. The whitespace belongs to the
//!   second chunk, because pre-tokenizers that mark the beginnings of words expect it there;
//! * within a run of whitespace, if the pre-tokenizer removes all whitespace;
//! * between two visible characters that the pre-tokenizer always separates: beside a punctuation
//!   character for BERT, between letters and digits for GPT-2;
//! * between two Chinese characters, if the normalizer puts spaces around each of them, as BERT's
//!   does.
//!
//! Between visible characters, no added token may contain the two characters beside each other, and
//! the normalizer may replace no string of several characters, as ALBERT's does with two quotes.
//!
//! A run without a boundary is tokenized whole: one endless word; Chinese without line breaks, for
//! a tokenizer that does not split it. The same holds for all texts of an unknown tokenizer. A
//! server should limit such runs.

mod characters;
mod rules;
#[cfg(test)]
mod tests;

use tokenizers::Tokenizer;

use characters::Classifier;
pub(super) use characters::normalize;
use rules::{BoundaryRules, Neighbours, expands};

/// The chunks of long texts have at least this many bytes.
const MIN_CHUNK_BYTES: usize = 8 * 1024;

/// The same, for normalizers that replace a character by several: 18 in the worst case of NFKC.
const MIN_EXPANDED_CHUNK_BYTES: usize = 2 * 1024;

/// Splits long texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextChunker {
    /// Texts of at most this many bytes are tokenized whole.
    max_whole_bytes: usize,
    min_chunk_bytes: usize,
    /// None if texts must be tokenized whole.
    rules: Option<BoundaryRules>,
}

impl TextChunker {
    /// Returns the chunker of a tokenizer.
    pub(super) fn for_tokenizer(tokenizer: &Tokenizer) -> Self {
        let rules = BoundaryRules::of(tokenizer);
        let min_chunk_bytes = if expands(tokenizer) { MIN_EXPANDED_CHUNK_BYTES } else { MIN_CHUNK_BYTES };
        Self { max_whole_bytes: 2 * min_chunk_bytes, min_chunk_bytes, rules }
    }

    /// Splits every text into chunks of at least so many bytes.
    #[cfg(test)]
    pub(super) fn with_chunk_bytes(self, min_chunk_bytes: usize) -> Self {
        Self { max_whole_bytes: 0, min_chunk_bytes, ..self }
    }

    /// Returns whether a text is long enough to be split.
    pub(super) fn is_long(&self, text: &str) -> bool {
        text.len() > self.max_whole_bytes
    }

    /// Splits a text into chunks of at least `min_chunk_bytes`, the last of which may be shorter.
    ///
    /// `keep_offsets` says whether the chunks must also have the offsets of the whole text.
    pub(super) fn chunks<'t>(
        &'t self,
        tokenizer: &'t Tokenizer,
        text: &'t str,
        keep_offsets: bool,
    ) -> impl Iterator<Item = &'t str> {
        let rules = self.rules.as_ref().filter(|_| self.is_long(text));
        let mut classifier = Classifier::new(tokenizer);
        let mut start = Some(0);
        std::iter::from_fn(move || {
            let from = start?;
            let minimum = char_boundary(text, from + self.min_chunk_bytes.max(1));
            let end = rules.and_then(|rules| first_boundary(rules, &mut classifier, text, minimum, keep_offsets));
            start = end;
            Some(&text[from..end.unwrap_or(text.len())])
        })
    }

    /// Returns the number of characters, once normalized, of the longest chunk of a text, if it
    /// exceeds `limit`.
    #[cfg(any(feature = "serve", test))]
    pub(super) fn longest_run(&self, tokenizer: &Tokenizer, text: &str, limit: usize) -> Option<usize> {
        // Most characters are not normalized to more, so most chunks are not counted.
        let can_exceed = |chunk: &&str| self.is_long(chunk);
        let chunks = self.chunks(tokenizer, text, true).filter(can_exceed);
        chunks.map(|chunk| normalized_len(tokenizer, chunk)).max().filter(|&longest| longest > limit)
    }
}

/// Returns the first boundary of a text at or after `minimum`.
fn first_boundary(
    rules: &BoundaryRules,
    classifier: &mut Classifier<'_>,
    text: &str,
    minimum: usize,
    keep_offsets: bool,
) -> Option<usize> {
    let rest = text.get(minimum..)?;
    let mut previous = text[..minimum].chars().rev();
    let mut left = previous.next()?;
    let mut before = previous.next();
    let mut following = rest.char_indices().peekable();
    while let Some((i, right)) = following.next() {
        let around = Neighbours { before, left, right, after: following.peek().map(|&(_, c)| c) };
        if rules.allow(&around, classifier, keep_offsets) {
            return Some(minimum + i);
        }
        before = Some(left);
        left = right;
    }
    None
}

/// Returns the first start of a character at or after a byte, or the end of the text.
fn char_boundary(text: &str, byte: usize) -> usize {
    (byte..text.len()).find(|&byte| text.is_char_boundary(byte)).unwrap_or(text.len())
}

/// Returns about how many characters a text has once it is normalized. Normalizes it in pieces, to
/// take little memory.
#[cfg(any(feature = "serve", test))]
fn normalized_len(tokenizer: &Tokenizer, text: &str) -> usize {
    const PIECE_BYTES: usize = 4096;
    let mut rest = text;
    let mut length = 0;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(char_boundary(rest, PIECE_BYTES));
        let normalized = normalize(tokenizer.get_normalizer(), piece);
        length += normalized.map_or(piece.len(), |normalized| normalized.chars().count());
        rest = after;
    }
    length
}
