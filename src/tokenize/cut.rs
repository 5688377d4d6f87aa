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
//!   because it would have to contain a space ([`Cutter::for_tokenizer`] refuses tokenizers with such tokens);
//! * only for tokenizers of which every part is known to treat words apart: the normalizers and pre-tokenizers in the
//!   lists below. The space goes with the word after it, as pre-tokenizers that mark the beginnings of words expect;
//! * or between two Chinese characters (U+4E00 to U+9FFF, which have no decompositions), if the tokenizer's normalizer puts
//!   spaces around each of them, as BERT's does.
//!
//! A text without such a place (of one endless word; of Chinese, for a tokenizer that does not split it) is tokenized
//! whole. So is any text if the tokenizer is not known. Measured on texts of 10 MB, for the 64 to 256 tokens that are kept:
//! English 1.8 to 2.7 s (all of it for counting the tokens) and 40 to 95 MiB in all; a single word of ten million letters
//! 3.3 to 4.9 s and 0.6 to 1.4 GB; Chinese for a SentencePiece tokenizer 2.0 s and 0.7 GB.

use serde::Deserialize;
use serde_json::Value;

use crate::config;
use crate::error::Result;

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

/// What matters here of a tokenizer.json. Its vocabulary, which is nearly all of it, is read over: to keep it would take a
/// third of the time that a small model takes to open.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Outline {
    normalizer: Value,
    pre_tokenizer: Value,
    added_tokens: Value,
}

impl Cutter {
    /// The cutter for a tokenizer.json, or None if its texts must be tokenized whole.
    pub(super) fn for_tokenizer(file: &str, bytes: &[u8]) -> Result<Option<Self>> {
        let outline = serde_json::from_slice(bytes);
        // JSON that is no tokenizer at all is not for us to refuse.
        let outline = outline.or_else(|_| config::parse(file, bytes).map(|_: Value| Outline::default()))?;
        let Outline { normalizer, pre_tokenizer, added_tokens } = outline;
        let local = normalizer_is_local(&normalizer)
            && splits_at_spaces(&pre_tokenizer)
            && !has_token_with_space(&added_tokens);
        let ideographs = normalizer["type"] == "BertNormalizer" && normalizer["handle_chinese_chars"] == true;
        Ok(local.then_some(Self { piece: PIECE, ideographs }))
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

/// Whether an added token could reach across a cut: by containing a space, or by taking the space after it.
fn has_token_with_space(added: &Value) -> bool {
    let apart = |token: &Value| {
        token["content"].as_str().is_some_and(|content| !content.contains(' ')) && token["rstrip"] != true
    };
    !added.is_null() && !all(added, apart)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::Tokenizer;

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
            let cutter = Cutter::for_tokenizer("tokenizer.json", bytes).expect("JSON").expect("a tokenizer of words");
            let mut tokenizer = Tokenizer::from_bytes(bytes).expect("a tokenizer");
            tokenizer.with_padding(None);
            tokenizer.with_truncation(None).expect("no truncation");
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
        let cut = |json: &str| Cutter::for_tokenizer("tokenizer.json", json.as_bytes()).expect("JSON").is_some();
        assert!(cut(r#"{"normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "added_tokens": []}"#));
        assert!(!cut(r#"{"normalizer": null, "pre_tokenizer": null, "added_tokens": []}"#));
        assert!(!cut(r#"{"normalizer": {"type": "Prepend"}, "pre_tokenizer": {"type": "WhitespaceSplit"}}"#));
        assert!(!cut(r#"{"pre_tokenizer": {"type": "Metaspace", "split": false}}"#));
        assert!(!cut(r#"{"pre_tokenizer": {"type": "WhitespaceSplit"}, "added_tokens": [{"content": "a b"}]}"#));
        let rstrip =
            r#"{"pre_tokenizer": {"type": "WhitespaceSplit"}, "added_tokens": [{"content": "a", "rstrip": true}]}"#;
        assert!(!cut(rstrip));
    }
}
