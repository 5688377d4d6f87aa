//! Where a very long text may be cut into pieces without changing its tokens.
//!
//! The tokenizer works on a whole text at a time and takes some hundred bytes of memory a character, although the model
//! reads a few hundred tokens. So a long text is given to it in pieces: those that hold the tokens to be kept, and then
//! the rest, piece by piece, only to be counted.
//!
//! That gives the same tokens as the whole if, at each cut, no token, no normalization and no special token reaches across
//! it. Tokenizers for words guarantee this at a space between words. A cut is made
//!
//! * before a single ASCII space whose neighbours are ASCII letters or digits. None of Unicode's normalizations joins
//!   these to anything, a run of spaces that a normalizer would fold is excluded, and no added token spans the place,
//!   because it would have to contain a space ([`Cutter::of`] refuses tokenizers with such tokens);
//! * only for tokenizers of which every part is known to treat words apart: the normalizers and pre-tokenizers in the
//!   lists below. The space goes with the word after it, as pre-tokenizers that mark the beginnings of words expect;
//! * or between two Chinese characters (U+4E00 to U+9FFF, which have no decompositions), if the tokenizer's normalizer puts
//!   spaces around each of them, as BERT's does.
//!
//! A text without such a place (of one endless word; of Chinese, for a tokenizer that does not split it) is tokenized
//! whole. So is any text if the tokenizer is not known. Measured on texts of 10 MB, for the 64 to 256 tokens that are kept:
//! English 1.8 to 2.7 s (all of it for counting the tokens) and 40 to 95 MiB in all; a single word of ten million letters
//! 3.3 to 4.9 s and 0.6 to 1.4 GB; Chinese for a SentencePiece tokenizer 2.0 s and 0.7 GB.

use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

/// Cuts long texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cutter {
    /// The least length of a piece, in bytes.
    piece: usize,
    /// Whether each Chinese character is a word.
    ideographs: bool,
}

/// Long enough that a text of the usual length is one piece, short enough that its tokens take a few megabytes.
const PIECE: usize = 32 * 1024;

impl Cutter {
    /// The cutter for a tokenizer, or None if its texts must be tokenized whole.
    pub(super) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let part = |part: serde_json::Result<Value>| part.unwrap_or(Value::Bool(false));
        let normalizer = part(serde_json::to_value(tokenizer.get_normalizer()));
        let before = part(serde_json::to_value(tokenizer.get_pre_tokenizer()));
        // An added token could reach across a cut by containing a space, or by taking the space after it.
        let apart = |token: &AddedToken| !token.content.contains(' ') && !token.rstrip;
        let local = normalizer_is_local(&normalizer)
            && splits_at_spaces(&before)
            && tokenizer.get_added_tokens_decoder().values().all(apart);
        let ideographs = normalizer["type"] == "BertNormalizer" && normalizer["handle_chinese_chars"] == true;
        local.then_some(Self { piece: PIECE, ideographs })
    }

    /// The text in pieces of `piece` bytes or a little more; in one if it is short or cannot be cut.
    pub(super) fn pieces<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> + use<'t> {
        let Self { piece: least, ideographs } = *self;
        let mut rest = Some(text);
        std::iter::from_fn(move || {
            let text = rest?;
            let Some(cut) = place_to_cut(text.as_bytes(), least, ideographs) else { return rest.take() };
            let (piece, after) = text.split_at(cut);
            rest = Some(after);
            Some(piece)
        })
    }
}

/// The first place at or after `least` bytes where a text may be cut.
fn place_to_cut(text: &[u8], least: usize, ideographs: bool) -> Option<usize> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric();
    let before_space = |i: usize| text[i] == b' ' && is_word(text[i - 1]) && is_word(text[i + 1]);
    let between = |i: usize| ideographs && i >= 3 && is_ideograph(&text[i - 3..]) && is_ideograph(&text[i..]);
    (least.max(1)..text.len().saturating_sub(1)).find(|&i| before_space(i) || between(i))
}

/// Whether UTF-8 begins with a character from U+4E00 to U+9FFF.
fn is_ideograph(text: &[u8]) -> bool {
    match text {
        [0xe4, second, _, ..] => *second >= 0xb8,
        [first, _, _, ..] => (0xe5..=0xe9).contains(first),
        _ => false,
    }
}

/// Whether a normalizer changes the characters around a cut in the same way as in the whole text.
fn normalizer_is_local(normalizer: &Value) -> bool {
    match normalizer["type"].as_str() {
        None => normalizer.is_null(),
        Some("Sequence") => all(&normalizer["normalizers"], normalizer_is_local),
        Some(
            "BertNormalizer" | "Lowercase" | "NFC" | "NFD" | "NFKC" | "NFKD" | "StripAccents" | "Nmt" | "Precompiled",
        ) => true,
        // Of the replacements only those of runs of spaces are known; a cut is never next to one.
        Some("Replace") => {
            let pattern = &normalizer["pattern"];
            pattern["Regex"].as_str() == Some(" {2,}") || pattern["String"].as_str() == Some("  ")
        }
        // Strip cuts spaces at the ends, and a piece begins with one; but it takes none from the right of a piece, which
        // ends in a letter or digit, or in the end of the text.
        Some("Strip") => normalizer["strip_left"].as_bool() == Some(false),
        Some(_) => false,
    }
}

/// Whether a pre-tokenizer keeps the words on both sides of a space apart, and marks a word after a space in the same way
/// at the beginning of a text.
fn splits_at_spaces(pre_tokenizer: &Value) -> bool {
    match pre_tokenizer["type"].as_str() {
        Some("BertPreTokenizer" | "Whitespace" | "WhitespaceSplit") => true,
        Some("Metaspace") => pre_tokenizer["split"].as_bool() != Some(false),
        Some("ByteLevel") => pre_tokenizer["use_regex"].as_bool() != Some(false),
        // Whatever follows a step that splits at spaces works on words.
        Some("Sequence") => {
            pre_tokenizer["pretokenizers"].as_array().and_then(|steps| steps.first()).is_some_and(splits_at_spaces)
        }
        _ => false,
    }
}

fn all(list: &Value, test: impl Fn(&Value) -> bool) -> bool {
    list.as_array().is_some_and(|list| list.iter().all(test))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const MPNET: &[u8] = include_bytes!("../../fixtures/models/tiny-mpnet/tokenizer.json");
    const XLM_R: &[u8] = include_bytes!("../../fixtures/models/tiny-xlm-roberta/tokenizer.json");
    const BERT: &[u8] = include_bytes!("../../fixtures/models/tiny-bert/tokenizer.json");

    /// Ids of a text, whole or in pieces of at least so many bytes.
    fn ids((cutter, tokenizer): &(Cutter, Tokenizer), text: &str, piece: usize) -> Vec<u32> {
        let ids = |text: &str| tokenizer.encode_fast(text, false).expect("tokens").get_ids().to_vec();
        Cutter { piece, ..*cutter }.pieces(text).flat_map(ids).collect()
    }

    fn tokenizers() -> Vec<(Cutter, Tokenizer)> {
        let load = |bytes: &[u8]| {
            let mut tokenizer = Tokenizer::from_bytes(bytes).expect("a tokenizer");
            tokenizer.with_padding(None);
            tokenizer.with_truncation(None).expect("no truncation");
            let cutter = Cutter::of(&tokenizer).expect("a tokenizer of words");
            (cutter, tokenizer)
        };
        [MPNET, XLM_R, BERT].map(load).into()
    }

    proptest! {
        #[test]
        fn pieces_have_the_tokens_of_the_whole(text in "([a-zA-Z0-9]{1,6}| |  |é|e\u{301}|今天|很好気|ﬁ|\u{200d}|<s>|<mask>|\\PC|[.,!?\t\n-]){0,60}", piece in 1_usize..20) {
            for tokenizer in tokenizers() {
                prop_assert_eq!(ids(&tokenizer, &text, piece), ids(&tokenizer, &text, usize::MAX / 2));
            }
        }
    }

    #[test]
    fn pieces_are_the_text() {
        let text = "one two  three four,five six";
        let pieces: Vec<&str> = Cutter { piece: 5, ideographs: true }.pieces(text).collect();
        assert_eq!(pieces, ["one two  three", " four,five", " six"]);
        assert_eq!(Cutter { piece: 5, ideographs: true }.pieces("").collect::<Vec<_>>(), [""]);
        let chinese = "今天天气很好";
        assert_eq!(Cutter { piece: 5, ideographs: true }.pieces(chinese).collect::<Vec<_>>(), ["今天", "天气", "很好"]);
        assert_eq!(Cutter { piece: 5, ideographs: false }.pieces(chinese).collect::<Vec<_>>(), [chinese]);
    }

    #[test]
    fn tokenizers_that_look_across_spaces_are_not_cut() {
        let cut = |normalizer: Value, before: Value, token: &str, rstrip: bool| {
            let mut tokenizer: Tokenizer = json!({
                "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": normalizer,
                "pre_tokenizer": before, "post_processor": null, "decoder": null,
                "model": { "type": "WordLevel", "vocab": { "a": 0 }, "unk_token": "a" },
            })
            .to_string()
            .parse()
            .expect("a tokenizer");
            tokenizer.add_tokens([AddedToken::from(token, false).rstrip(rstrip)]).expect("a token");
            Cutter::of(&tokenizer).is_some()
        };
        let words = || json!({ "type": "WhitespaceSplit" });
        assert!(cut(Value::Null, words(), "b", false));
        assert!(!cut(Value::Null, Value::Null, "b", false));
        assert!(!cut(json!({ "type": "Prepend", "prepend": "x" }), words(), "b", false));
        let unsplit = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false });
        assert!(!cut(Value::Null, unsplit, "b", false));
        assert!(!cut(Value::Null, words(), "a b", false));
        assert!(!cut(Value::Null, words(), "b", true));
    }
}
