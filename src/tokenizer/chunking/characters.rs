//! The characters whose processing does not depend on their neighbours.

use std::collections::HashMap;

use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper, Tokenizer};

use crate::tokenizer::error::{CrateError, catch_tokenizer_panic};

/// What a pre-tokenizer sees in a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An ASCII letter.
    Letter,
    /// An ASCII digit.
    Digit,
    /// An ASCII punctuation character or symbol.
    Punctuation,
    /// A Chinese, Japanese or full-width punctuation character.
    WidePunctuation,
    /// A Chinese character from U+4E00 to U+9FFF.
    Ideograph,
    /// A letter or digit of another script.
    OtherLetter,
    Whitespace,
}

/// Letters that start a grapheme, have canonical combining class 0, and do not compose with a
/// character before them.
const OTHER_LETTERS: [std::ops::RangeInclusive<char>; 17] = [
    '\u{c0}'..='\u{d6}',     // Latin
    '\u{d8}'..='\u{f6}',     // Latin
    '\u{f8}'..='\u{24f}',    // Latin
    '\u{391}'..='\u{3a1}',   // Greek
    '\u{3a3}'..='\u{3c9}',   // Greek
    '\u{400}'..='\u{481}',   // Cyrillic
    '\u{5d0}'..='\u{5ea}',   // Hebrew
    '\u{621}'..='\u{63a}',   // Arabic
    '\u{641}'..='\u{64a}',   // Arabic
    '\u{904}'..='\u{939}',   // Devanagari
    '\u{e01}'..='\u{e30}',   // Thai
    '\u{3041}'..='\u{3096}', // Hiragana
    '\u{30a1}'..='\u{30fa}', // Katakana
    '\u{ac00}'..='\u{d7a3}', // Hangul syllables
    '\u{ff10}'..='\u{ff19}', // full-width digits
    '\u{ff21}'..='\u{ff3a}', // full-width letters
    '\u{ff41}'..='\u{ff5a}', // full-width letters
];

impl Kind {
    /// Returns the kind of a character before normalization. None if its processing may depend on
    /// its neighbours: combining marks, emoji, control characters, and all that are not listed.
    pub(super) fn of(c: char) -> Option<Self> {
        match c {
            'a'..='z' | 'A'..='Z' => Some(Self::Letter),
            '0'..='9' => Some(Self::Digit),
            '!'..='~' => Some(Self::Punctuation),
            '、' | '。' | '！' | '，' | '：' | '；' | '？' => Some(Self::WidePunctuation),
            '\u{4e00}'..='\u{9fff}' => Some(Self::Ideograph),
            _ if c.is_whitespace() => Some(Self::Whitespace),
            _ if OTHER_LETTERS.iter().any(|range| range.contains(&c)) => Some(Self::OtherLetter),
            _ => None,
        }
    }

    /// Returns whether the character is visible: any kind but whitespace.
    pub(super) fn is_visible(self) -> bool {
        self != Self::Whitespace
    }
}

/// A character whose normalized form has the kind of the character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Character {
    pub(super) kind: Kind,
    pub(super) original: char,
    /// The first and the last character of the normalized form.
    pub(super) first: char,
    pub(super) last: char,
    /// Whether the normalizer puts spaces around the character.
    pub(super) is_padded: bool,
}

impl Character {
    /// Returns whether the character is a space, or normalized to one.
    pub(super) fn is_space(self) -> bool {
        (self.first, self.last) == (' ', ' ')
    }
}

/// Classifies characters by what a tokenizer's normalizer makes of them.
///
/// [`Kind::of`] describes the standard normalizers. The table of a SentencePiece model may map
/// characters to any others, so each character that a boundary depends on is normalized once.
pub(super) struct Classifier<'t> {
    normalizer: Option<&'t NormalizerWrapper>,
    known: HashMap<char, Option<Character>>,
}

impl<'t> Classifier<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer) -> Self {
        Self { normalizer: tokenizer.get_normalizer(), known: HashMap::new() }
    }

    /// Returns a character, or None if its processing may depend on its neighbours.
    pub(super) fn classify(&mut self, c: char) -> Option<Character> {
        let kind = Kind::of(c)?;
        let normalizer = self.normalizer;
        *self.known.entry(c).or_insert_with(|| normalized_character(normalizer, kind, c))
    }
}

fn normalized_character(normalizer: Option<&NormalizerWrapper>, kind: Kind, c: char) -> Option<Character> {
    let letter = normalize(normalizer, "a")?;
    // Between letters, because a normalizer may remove whitespace at the ends of a text.
    let normalized = normalize(normalizer, &format!("a{c}a"))?;
    let normalized = normalized.strip_prefix(&letter)?.strip_suffix(&letter)?;
    let trimmed = if kind == Kind::Ideograph { normalized.trim_matches(' ') } else { normalized };
    let is_padded = trimmed.len() < normalized.len();
    let normalized = trimmed;
    let mut characters = normalized.chars();
    let first = characters.next()?;
    let last = characters.next_back().unwrap_or(first);
    let is_single = normalized.len() == first.len_utf8();
    let has_kind = match kind {
        Kind::Letter => is_single && first.is_ascii_alphabetic(),
        Kind::Digit => is_single && first.is_ascii_digit(),
        Kind::Punctuation | Kind::Ideograph => is_single && first == c,
        Kind::WidePunctuation => is_single && (first == c || first.is_ascii_punctuation()),
        Kind::OtherLetter => normalized.chars().all(char::is_alphanumeric),
        Kind::Whitespace => normalized.chars().all(char::is_whitespace),
    };
    has_kind.then_some(Character { kind, original: c, first, last, is_padded })
}

/// Normalizes a text. Returns None if the normalizer fails.
pub(in crate::tokenizer) fn normalize(normalizer: Option<&NormalizerWrapper>, text: &str) -> Option<String> {
    let mut normalized = NormalizedString::from(text);
    if let Some(normalizer) = normalizer {
        catch_tokenizer_panic::<_, CrateError>(|| normalizer.normalize(&mut normalized)).ok()?;
    }
    Some(normalized.get().to_owned())
}
