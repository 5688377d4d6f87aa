//! The tokens of ASCII words by BERT's rules, without the `tokenizers` crate.
//!
//! A static model spends nearly all of its time on tokens. The crate keeps for each word where its
//! characters came from, and allocates several strings for it. In ASCII nothing of that is needed:
//! BERT's normalizer at most lower-cases a letter, its pre-tokenizer splits at whitespace and at
//! punctuation, and WordPiece takes the longest entries of the vocabulary from the left.
//!
//! The crate tokenizes the words that are not ASCII, up to the whitespace on both sides. Neither
//! the normalizer nor the pre-tokenizer looks beyond whitespace.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use tokenizers::{Model, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer as Inner};

use super::chunking::normalize;

/// Longer words are the unknown token in all published models, which allow 100 characters.
const MAX_WORD_BYTES: usize = 128;

/// The vocabulary and the settings of a tokenizer with BERT's rules.
pub(super) struct AsciiWords {
    lowercase: bool,
    /// The entries that begin a word.
    beginnings: Entries,
    /// The entries that continue a word, without the prefix that marks them.
    continuations: Entries,
    unknown_id: u32,
    max_word_bytes: usize,
    /// What each byte of a text is.
    kinds: [Kind; 256],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whitespace,
    Letter,
    Punctuation,
    /// Part of a character that is not ASCII.
    Other,
    /// A control character, or the beginning of an added token.
    NeedsCrate,
}

/// Ids of the entries of a vocabulary.
struct Entries {
    ids: HashMap<Box<[u8]>, u32, BuildHasherDefault<WordHasher>>,
    longest: usize,
}

impl AsciiWords {
    /// Returns the rules of a tokenizer, or None if they are not BERT's.
    pub(super) fn of(tokenizer: &Inner) -> Option<Self> {
        let Some(NormalizerWrapper::BertNormalizer(normalizer)) = tokenizer.get_normalizer() else { return None };
        let Some(PreTokenizerWrapper::BertPreTokenizer(_)) = tokenizer.get_pre_tokenizer() else { return None };
        let ModelWrapper::WordPiece(model) = tokenizer.get_model() else { return None };
        if model.max_input_chars_per_word > MAX_WORD_BYTES || model.continuing_subword_prefix.is_empty() {
            return None;
        }
        let mut kinds = [Kind::Other; 256];
        for (byte, kind) in kinds.iter_mut().enumerate().take(128) {
            *kind = match byte as u8 {
                b' ' | b'\t' | b'\n' | b'\r' => Kind::Whitespace,
                byte if byte.is_ascii_alphanumeric() => Kind::Letter,
                byte if byte.is_ascii_punctuation() => Kind::Punctuation,
                _ => Kind::NeedsCrate,
            };
        }
        for token in tokenizer.get_added_tokens_decoder().values() {
            let normalized = normalize(tokenizer.get_normalizer(), &token.content)?;
            for content in [&token.content, &normalized] {
                if content.contains(char::is_whitespace) {
                    return None;
                }
                let first = *content.as_bytes().first()?;
                for byte in [first.to_ascii_lowercase(), first.to_ascii_uppercase()] {
                    kinds[usize::from(byte)] = Kind::NeedsCrate;
                }
            }
        }
        let vocabulary = model.get_vocab();
        let prefix = model.continuing_subword_prefix.as_str();
        let beginnings = vocabulary.iter().map(|(entry, &id)| (entry.as_str(), id));
        let continuations = vocabulary.iter().filter_map(|(entry, &id)| Some((entry.strip_prefix(prefix)?, id)));
        Some(Self {
            lowercase: normalizer.lowercase,
            beginnings: Entries::new(beginnings),
            continuations: Entries::new(continuations),
            unknown_id: *vocabulary.get(&model.unk_token)?,
            max_word_bytes: model.max_input_chars_per_word,
            kinds,
        })
    }

    /// Appends the token ids of a text. `others` appends those of a part that is not ASCII. Returns
    /// false, and appends nothing, if the crate must tokenize the whole text.
    pub(super) fn append<E>(
        &self,
        text: &str,
        ids: &mut Vec<u32>,
        mut others: impl FnMut(&str, &mut Vec<u32>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let bytes = text.as_bytes();
        if bytes.iter().any(|&byte| self.kind(byte) == Kind::NeedsCrate) {
            return Ok(false);
        }
        let mut at = 0;
        while at < bytes.len() {
            if self.kind(bytes[at]) == Kind::Whitespace {
                at += 1;
                continue;
            }
            let length = bytes[at..].iter().position(|&byte| self.kind(byte) == Kind::Whitespace);
            let end = length.map_or(bytes.len(), |length| at + length);
            if bytes[at..end].is_ascii() {
                self.append_words(&bytes[at..end], ids);
            } else {
                // Whitespace is ASCII, so these are ends of characters.
                others(&text[at..end], ids)?;
            }
            at = end;
        }
        Ok(true)
    }

    #[inline(always)]
    fn kind(&self, byte: u8) -> Kind {
        self.kinds[usize::from(byte)]
    }

    /// Appends the ids of letters and punctuation without whitespace.
    fn append_words(&self, part: &[u8], ids: &mut Vec<u32>) {
        let mut rest = part;
        while let Some(&first) = rest.first() {
            let length = match self.kind(first) {
                Kind::Punctuation => 1,
                _ => rest.iter().position(|&byte| self.kind(byte) == Kind::Punctuation).unwrap_or(rest.len()),
            };
            let (word, after) = rest.split_at(length);
            self.append_word(word, ids);
            rest = after;
        }
    }

    /// Appends the ids of a word.
    fn append_word(&self, word: &[u8], ids: &mut Vec<u32>) {
        if word.len() > self.max_word_bytes {
            ids.push(self.unknown_id);
            return;
        }
        let mut lower = [0; MAX_WORD_BYTES];
        let word = if self.lowercase {
            let lower = &mut lower[..word.len()];
            lower.copy_from_slice(word);
            lower.make_ascii_lowercase();
            &*lower
        } else {
            word
        };
        let before = ids.len();
        let mut rest = word;
        let mut entries = &self.beginnings;
        while !rest.is_empty() {
            let Some((length, id)) = entries.longest_at(rest) else {
                ids.truncate(before);
                ids.push(self.unknown_id);
                return;
            };
            ids.push(id);
            rest = &rest[length..];
            entries = &self.continuations;
        }
    }
}

impl Entries {
    fn new<'e>(entries: impl Iterator<Item = (&'e str, u32)>) -> Self {
        let is_usable = |(entry, _): &(&str, u32)| entry.is_ascii() && (1..=MAX_WORD_BYTES).contains(&entry.len());
        let entries = entries.filter(is_usable).map(|(entry, id)| (Box::from(entry.as_bytes()), id));
        let ids: HashMap<Box<[u8]>, u32, _> = entries.collect();
        let longest = ids.keys().map(|entry| entry.len()).max().unwrap_or(0);
        Self { ids, longest }
    }

    /// Returns the length and the id of the longest entry at the beginning of a word.
    fn longest_at(&self, word: &[u8]) -> Option<(usize, u32)> {
        let lengths = (1..=word.len().min(self.longest)).rev();
        lengths.into_iter().find_map(|length| Some((length, *self.ids.get(&word[..length])?)))
    }
}

/// A fast hash for the entries of a vocabulary: words of few bytes, from a file that is trusted to
/// be a tokenizer.
#[derive(Default)]
struct WordHasher(u64);

impl WordHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0xf135_7aea_2e62_a9c5);
    }
}

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        let last = rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        self.add(last);
    }

    fn write_usize(&mut self, length: usize) {
        self.add(length as u64);
    }

    fn finish(&self) -> u64 {
        // The upper bits of a product are the best mixed, and a table uses the lower ones too.
        self.0 ^ self.0 >> 29
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tokenizer::error::CrateError;

    const BERT: &[u8] = include_bytes!("../../fixtures/models/tiny-bert/tokenizer.json");

    fn tokenizer() -> Inner {
        let mut inner = Inner::from_bytes(BERT).expect("a tokenizer");
        inner.with_padding(None);
        inner.with_truncation(None).expect("no truncation");
        inner
    }

    fn by_crate(inner: &Inner, text: &str) -> Vec<u32> {
        inner.encode_fast(text, false).expect("tokens").get_ids().to_vec()
    }

    /// Returns the ids, or None if the crate must tokenize the whole text.
    fn by_words(words: &AsciiWords, inner: &Inner, text: &str) -> Option<Vec<u32>> {
        let mut ids = vec![7];
        let others = |part: &str, ids: &mut Vec<u32>| {
            ids.extend(by_crate(inner, part));
            Ok::<_, CrateError>(())
        };
        let done = words.append(text, &mut ids, others).expect("tokens");
        assert!(done || ids == [7]);
        done.then(|| ids[1..].to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn words_have_the_tokens_of_the_crate(
            text in "([a-zA-Z0-9]{1,9}|(happy|The|children|playing|Person)(s|ing|ed)?|[ \t\n\r]{1,3}|[!-~]|[é今ÅİΣ。—’\u{301}\u{a0}\u{200d}😀]|[a-z]{95,105}){0,40}",
        ) {
            let inner = tokenizer();
            let words = AsciiWords::of(&inner).expect("BERT's rules");
            if let Some(ids) = by_words(&words, &inner, &text) {
                prop_assert_eq!(ids, by_crate(&inner, &text));
            } else {
                prop_assert!(text.contains('['), "{:?}", text);
            }
        }
    }

    #[test]
    fn control_characters_and_special_tokens_are_left_to_the_crate() {
        let inner = tokenizer();
        let words = AsciiWords::of(&inner).expect("BERT's rules");
        for text in ["[CLS] a dog", "a [MASK]", "a\u{0}dog", "a\u{b}dog", "a\u{7f}", "x["] {
            assert_eq!(by_words(&words, &inner, text), None, "{text:?}");
        }
        for text in ["", "  ", "a dog.", "Dogs'", "qqq\u{2003}zz", "\u{301} a", "]x"] {
            assert_eq!(by_words(&words, &inner, text), Some(by_crate(&inner, text)), "{text:?}");
        }
    }

    #[test]
    fn tokenizers_with_other_rules_have_none() {
        let mut inner = tokenizer();
        inner.with_pre_tokenizer(None::<PreTokenizerWrapper>);
        assert!(AsciiWords::of(&inner).is_none());
        let unigram: &[u8] = include_bytes!("../../fixtures/models/tiny-xlm-roberta/tokenizer.json");
        assert!(AsciiWords::of(&Inner::from_bytes(unigram).expect("a tokenizer")).is_none());
        let mut inner = tokenizer();
        inner.add_tokens([tokenizers::AddedToken::from("two words", false)]).expect("a token");
        assert!(AsciiWords::of(&inner).is_none());
    }
}
