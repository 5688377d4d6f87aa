//! Where a tokenizer's parts allow a boundary.

use std::collections::HashSet;

use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

use super::characters::{Character, Classifier, Kind, normalize};

/// Decides whether a boundary between two characters changes no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BoundaryRules {
    words: WordRules,
    /// Whether each Chinese character is a word: the normalizer puts spaces around it.
    splits_ideographs: bool,
    /// Whether the normalizer folds runs of spaces.
    folds_spaces: bool,
    added_tokens: AddedTokenRules,
}

/// How a pre-tokenizer finds words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WordRules {
    whitespace: WhitespaceRule,
    /// The other boundaries between words.
    splitting: Splitting,
}

/// What becomes of whitespace between words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhitespaceRule {
    /// All of it is removed.
    Removed,
    /// A space belongs to the word after it. Other whitespace is a part of words.
    MarksWord,
    /// A space belongs to the word after it. Other whitespace is a word.
    MarksWordOrIsWord,
}

/// Between which visible characters words end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Splitting {
    /// Only at whitespace.
    None,
    /// Each punctuation character is a word (BERT).
    EachPunctuation,
    /// `\w+|[^\w\s]+`
    WordsAndOthers,
    /// `\p{L}+|\p{N}+|[^\s\p{L}\p{N}]+`, and contractions such as `'s` (GPT-2).
    LettersNumbersAndOthers,
}

/// What the added tokens forbid.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AddedTokenRules {
    /// Pairs of characters, in lower case, that are neighbours in an added token.
    pairs: HashSet<(char, char)>,
    /// Whether a token must be between characters that are not of words.
    has_single_words: bool,
    /// Whether a token includes the whitespace before it.
    strips_whitespace: bool,
    /// Whether a token is a run of whitespace.
    has_whitespace_runs: bool,
}

/// The four characters around a possible boundary, which is between the second and the third. None
/// at an end of the text.
pub(super) struct Neighbours {
    pub(super) before: Option<char>,
    pub(super) left: char,
    pub(super) right: char,
    pub(super) after: Option<char>,
}

impl BoundaryRules {
    /// Returns the rules of a tokenizer, or None if its texts must be tokenized whole.
    pub(super) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let to_json = |part: serde_json::Result<Value>| part.unwrap_or(Value::Bool(false));
        let normalizer = to_json(serde_json::to_value(tokenizer.get_normalizer()));
        let pre_tokenizer = to_json(serde_json::to_value(tokenizer.get_pre_tokenizer()));
        let normalizer = normalizer_after_literals(normalizer);
        let has_literals = normalizer.has_literals;
        let normalizer = normalizer.rest;
        if !normalizer_is_local(&normalizer) {
            return None;
        }
        let splits_ideographs =
            !has_literals && normalizer["type"] == "BertNormalizer" && normalizer["handle_chinese_chars"] == true;
        let words = WordRules::of(&pre_tokenizer)?;
        Some(Self {
            // A replaced string may be on both sides of a boundary between visible characters.
            words: if has_literals { WordRules { splitting: Splitting::None, ..words } } else { words },
            splits_ideographs,
            folds_spaces: folds_spaces(&normalizer),
            added_tokens: AddedTokenRules::of(tokenizer)?,
        })
    }

    /// Returns whether the tokens on both sides of a boundary are those of the whole text.
    /// `keep_offsets` says whether their offsets must also be the same.
    pub(super) fn allow(&self, around: &Neighbours, classifier: &mut Classifier<'_>, keep_offsets: bool) -> bool {
        let Neighbours { before, left, right, after } = *around;
        if is_inside_word(left, right) {
            return false;
        }
        // Characters of unknown kinds may combine with the known ones beside them.
        let mut is_known = |c: Option<char>| c.is_none_or(|c| classifier.classify(c).is_some());
        if !is_known(before) || !is_known(after) {
            return false;
        }
        let (Some(left), Some(right)) = (classifier.classify(left), classifier.classify(right)) else { return false };
        match (left.kind.is_visible(), right.kind.is_visible()) {
            (true, false) => {
                let after = after.and_then(|c| classifier.classify(c));
                after.is_some_and(|after| self.allows_before_space(left, right, after))
            }
            (false, false) => self.allows_in_spaces(left, right, keep_offsets),
            (true, true) => self.allows_between_visible(left, right),
            // The whitespace must be in the second chunk.
            (false, true) => false,
        }
    }

    /// Before a single whitespace character between visible ones.
    fn allows_before_space(&self, left: Character, space: Character, after: Character) -> bool {
        let is_padded = left.is_padded || after.is_padded;
        let marks_word = match self.words.whitespace {
            WhitespaceRule::Removed => return after.kind.is_visible(),
            WhitespaceRule::MarksWord => space.is_space(),
            WhitespaceRule::MarksWordOrIsWord => true,
        };
        marks_word && after.kind.is_visible() && !is_padded
    }

    /// In a run of whitespace, all of which is removed.
    fn allows_in_spaces(&self, left: Character, right: Character, keep_offsets: bool) -> bool {
        self.words.whitespace == WhitespaceRule::Removed
            && !self.folds_spaces
            && !self.added_tokens.has_whitespace_runs
            && (left.original, right.original) != ('\r', '\n')
            && !(keep_offsets && self.added_tokens.strips_whitespace)
    }

    fn allows_between_visible(&self, left: Character, right: Character) -> bool {
        if self.added_tokens.may_span(left, right) {
            return false;
        }
        let is_kind = |kind: Kind| (left.kind == kind, right.kind == kind);
        if self.splits_ideographs && is_kind(Kind::Ideograph) == (true, true) {
            return true;
        }
        let is_ascii =
            |c: Character| matches!(c.kind, Kind::Letter | Kind::Digit | Kind::Punctuation) && c.original.is_ascii();
        match self.words.splitting {
            Splitting::None => false,
            Splitting::EachPunctuation => {
                let is_word = |c: Character| match c.kind {
                    Kind::Punctuation | Kind::WidePunctuation => true,
                    Kind::Ideograph => self.splits_ideographs,
                    _ => false,
                };
                is_word(left) || is_word(right)
            }
            Splitting::WordsAndOthers => {
                let is_word = |c: Character| c.kind != Kind::Punctuation || c.original == '_';
                is_ascii(left) && is_ascii(right) && is_word(left) != is_word(right)
            }
            Splitting::LettersNumbersAndOthers => {
                // `'` and the letters after it may be a contraction.
                is_ascii(left) && is_ascii(right) && left.kind != right.kind && left.original != '\''
            }
        }
    }
}

/// Returns whether two characters are certainly of one word, or unknown. Most pairs are, so this
/// check is cheap.
fn is_inside_word(left: char, right: char) -> bool {
    match (Kind::of(left), Kind::of(right)) {
        (Some(left), Some(right)) => left == right && matches!(left, Kind::Letter | Kind::Digit | Kind::OtherLetter),
        // The kind is unknown.
        _ => true,
    }
}

impl AddedTokenRules {
    /// Returns the rules of a tokenizer's added tokens, or None if a token contains whitespace, or
    /// includes the whitespace after it: it may span any boundary.
    ///
    /// A token may be a run of whitespace. A boundary at a single whitespace character is outside
    /// of such a token, or at its beginning.
    fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let mut rules = Self {
            pairs: HashSet::new(),
            has_single_words: false,
            strips_whitespace: false,
            has_whitespace_runs: false,
        };
        for token in tokenizer.get_added_tokens_decoder().values() {
            rules.add(token, tokenizer)?;
        }
        Some(rules)
    }

    fn add(&mut self, token: &AddedToken, tokenizer: &Tokenizer) -> Option<()> {
        let normalized =
            if token.normalized { normalize(tokenizer.get_normalizer(), &token.content)? } else { String::new() };
        let is_run = |content: &str| !content.is_empty() && content.chars().all(char::is_whitespace);
        if is_run(&token.content) && (!token.normalized || is_run(&normalized)) {
            self.has_whitespace_runs = true;
            return (!token.single_word && !token.lstrip && !token.rstrip).then_some(());
        }
        for content in [&token.content, &normalized] {
            if content.contains(char::is_whitespace) {
                return None;
            }
            let characters = || content.chars().map(lower);
            self.pairs.extend(characters().zip(characters().skip(1)));
        }
        self.has_single_words |= token.single_word;
        self.strips_whitespace |= token.lstrip;
        (!token.rstrip).then_some(())
    }

    /// Returns whether a token may span the boundary between two visible characters, or depends on
    /// the character beyond it.
    fn may_span(&self, left: Character, right: Character) -> bool {
        self.has_single_words
            || self.pairs.contains(&(lower(left.original), lower(right.original)))
            || self.pairs.contains(&(lower(left.last), lower(right.first)))
    }
}

/// Returns the first character of the lower-case form.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

impl WordRules {
    /// Returns the rules of a pre-tokenizer, or None if it is not known to separate the words on
    /// both sides of a space, and to mark a word after a space as it marks a word at the beginning
    /// of a text.
    fn of(pre_tokenizer: &Value) -> Option<Self> {
        use WhitespaceRule::{MarksWord, MarksWordOrIsWord, Removed};
        let is = |key: &str, value: bool| pre_tokenizer[key].as_bool() == Some(value);
        let (whitespace, splitting) = match pre_tokenizer["type"].as_str()? {
            "BertPreTokenizer" => (Removed, Splitting::EachPunctuation),
            "Whitespace" => (Removed, Splitting::WordsAndOthers),
            "WhitespaceSplit" => (Removed, Splitting::None),
            "Metaspace" if !is("split", false) => (MarksWord, Splitting::None),
            "ByteLevel" if is("use_regex", false) => return None,
            // A chunk without a space at its beginning would get one.
            "ByteLevel" if !is("add_prefix_space", false) => (MarksWord, Splitting::None),
            "ByteLevel" => (MarksWordOrIsWord, Splitting::LettersNumbersAndOthers),
            "Sequence" => return Self::of_sequence(pre_tokenizer["pretokenizers"].as_array()?),
            _ => return None,
        };
        Some(Self { whitespace, splitting })
    }

    /// Once the first step has split the words, later steps process single words. But a step may
    /// mark the words after whitespace, or the first word of a text, so without whitespace between
    /// two words no later step but known ones may follow.
    fn of_sequence(steps: &[Value]) -> Option<Self> {
        let (first, later) = steps.split_first()?;
        let rules = Self::of(first)?;
        let only_splits = |step: &Value| {
            let kind = step["type"].as_str();
            kind.is_some_and(|kind| ["BertPreTokenizer", "Whitespace", "WhitespaceSplit"].contains(&kind))
        };
        let splitting = if later.iter().all(only_splits) { rules.splitting } else { Splitting::None };
        Some(Self { splitting, ..rules })
    }
}

/// The steps of a normalizer after those that replace a string without whitespace.
struct NormalizerAfterLiterals {
    has_literals: bool,
    rest: Value,
}

/// Separates the first steps of a normalizer that replace a string without whitespace by another,
/// as ALBERT's does. They change nothing at whitespace. Later steps of this kind stay in the rest,
/// because a step before them may have changed whitespace.
fn normalizer_after_literals(mut normalizer: Value) -> NormalizerAfterLiterals {
    let is_literal = |step: &Value| {
        let has_no_whitespace = |text: &Value| {
            let text = text.as_str();
            text.is_some_and(|text| !text.is_empty() && !text.contains(char::is_whitespace))
        };
        step["type"] == "Replace"
            && has_no_whitespace(&step["pattern"]["String"])
            && has_no_whitespace(&step["content"])
    };
    let mut has_literals = false;
    if let Some(steps) = normalizer.get_mut("normalizers").and_then(Value::as_array_mut) {
        let literals = steps.iter().take_while(|step| is_literal(step)).count();
        has_literals = literals > 0;
        steps.drain(..literals);
    }
    NormalizerAfterLiterals { has_literals, rest: normalizer }
}

/// Returns whether a normalizer changes the characters around a boundary as in the whole text.
fn normalizer_is_local(normalizer: &Value) -> bool {
    match normalizer["type"].as_str() {
        None => normalizer.is_null(),
        Some("Sequence") => {
            let steps = normalizer["normalizers"].as_array();
            steps.is_some_and(|steps| steps.iter().all(normalizer_is_local))
        }
        Some(
            "BertNormalizer" | "Lowercase" | "NFC" | "NFD" | "NFKC" | "NFKD" | "StripAccents" | "Nmt" | "Precompiled",
        ) => true,
        // Accept only replacements of runs of spaces. Where spaces count, a boundary is never next
        // to a run.
        Some("Replace") => {
            let pattern = &normalizer["pattern"];
            pattern["Regex"].as_str() == Some(" {2,}") || pattern["String"].as_str() == Some("  ")
        }
        // A chunk may start with a space, which `strip_left` would remove. A chunk that is followed
        // by a word does not end in a space, so `strip_right` removes no space at a boundary.
        Some("Strip") => normalizer["strip_left"].as_bool() == Some(false),
        Some(_) => false,
    }
}

/// Returns whether a normalizer has a step that replaces runs of spaces.
fn folds_spaces(normalizer: &Value) -> bool {
    let steps = normalizer["normalizers"].as_array();
    normalizer["type"] == "Replace" || steps.is_some_and(|steps| steps.iter().any(folds_spaces))
}

/// Returns whether a tokenizer's normalizer may replace a character by more than four, which is the
/// most that canonical decompositions need.
pub(super) fn expands(tokenizer: &Tokenizer) -> bool {
    let normalizer = serde_json::to_value(tokenizer.get_normalizer()).unwrap_or_default();
    let may_expand = |step: &Value| {
        let kind = step["type"].as_str();
        kind.is_some_and(|kind| !["BertNormalizer", "Lowercase", "NFC", "NFD", "StripAccents", "Strip"].contains(&kind))
    };
    match normalizer["normalizers"].as_array() {
        Some(steps) => steps.iter().any(may_expand),
        None => may_expand(&normalizer),
    }
}
