//! Splits very long texts into chunks without changing their tokens.
//!
//! The tokenizer processes a whole text at once and takes some hundred bytes of memory per
//! character, although the model reads a few hundred tokens. A long text is therefore tokenized in
//! chunks: first the chunks with the tokens to keep, then the rest, chunk by chunk, only to count
//! the tokens.
//!
//! The chunks have the same tokens as the whole text if no token, no normalization and no special
//! token spans a boundary. Tokenizers that split text into words guarantee this at a space between
//! words. A boundary is
//!
//! * before a single ASCII space between ASCII letters or digits. No Unicode normalization joins
//!   these to another character. A normalizer may fold a run of spaces, so a run has no boundary.
//!   An added token that spans the boundary would contain a space, and
//!   [`TextChunker::for_tokenizer`] rejects tokenizers with such tokens. The space belongs to the
//!   second chunk, because pre-tokenizers that mark the beginnings of words expect it there;
//! * or between two Chinese characters (U+4E00 to U+9FFF, which have no decompositions), if the
//!   normalizer puts spaces around each of them, as BERT's does.
//!
//! Both apply only if all parts of the tokenizer are known to process words separately: the
//! normalizers and pre-tokenizers in the lists below.
//!
//! A text without a boundary (one endless word; Chinese, for a tokenizer that does not split it) is
//! tokenized whole. The same holds for all texts of an unknown tokenizer. Measured with texts of
//! 10 MB, of which 64 to 256 tokens are kept:
//!
//! * English: 1.8 to 2.7 s, all of it for counting the tokens, and 40 to 95 MiB in total.
//! * One word of ten million letters: 3.3 to 4.9 s and 0.6 to 1.4 GB.
//! * Chinese with a SentencePiece tokenizer: 2.0 s and 0.7 GB.

use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

/// Splits long texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextChunker {
    min_chunk_bytes: usize,
    /// Whether each Chinese character is a word.
    splits_ideographs: bool,
}

/// A text of the usual length is one chunk, and the tokens of a chunk take a few megabytes.
const MIN_CHUNK_BYTES: usize = 32 * 1024;

impl TextChunker {
    /// Returns the chunker for a tokenizer, or None if its texts must be tokenized whole.
    pub(super) fn for_tokenizer(tokenizer: &Tokenizer) -> Option<Self> {
        let to_json = |part: serde_json::Result<Value>| part.unwrap_or(Value::Bool(false));
        let normalizer = to_json(serde_json::to_value(tokenizer.get_normalizer()));
        let pre_tokenizer = to_json(serde_json::to_value(tokenizer.get_pre_tokenizer()));
        // An added token could span a boundary if it contains a space, or includes the space after
        // it.
        let is_local = |token: &AddedToken| !token.content.contains(' ') && !token.rstrip;
        let can_split = normalizer_is_local(&normalizer)
            && splits_at_spaces(&pre_tokenizer)
            && tokenizer.get_added_tokens_decoder().values().all(is_local);
        let splits_ideographs = normalizer["type"] == "BertNormalizer" && normalizer["handle_chinese_chars"] == true;
        can_split.then_some(Self { min_chunk_bytes: MIN_CHUNK_BYTES, splits_ideographs })
    }

    /// Splits a text into chunks of at least `min_chunk_bytes`, the last of which may be shorter.
    pub(super) fn chunks<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> + use<'t> {
        let Self { min_chunk_bytes, splits_ideographs } = *self;
        let mut rest = Some(text);
        std::iter::from_fn(move || {
            let text = rest?;
            let Some(end) = first_boundary(text.as_bytes(), min_chunk_bytes, splits_ideographs) else {
                return rest.take();
            };
            let (chunk, after) = text.split_at(end);
            rest = Some(after);
            Some(chunk)
        })
    }
}

/// Returns the first boundary at or after `min_bytes`.
fn first_boundary(text: &[u8], min_bytes: usize, splits_ideographs: bool) -> Option<usize> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric();
    let before_space = |i: usize| text[i] == b' ' && is_word(text[i - 1]) && is_word(text[i + 1]);
    let between_ideographs =
        |i: usize| splits_ideographs && i >= 3 && is_ideograph(&text[i - 3..]) && is_ideograph(&text[i..]);
    (min_bytes.max(1)..text.len().saturating_sub(1)).find(|&i| before_space(i) || between_ideographs(i))
}

/// Returns whether UTF-8 starts with a character from U+4E00 to U+9FFF.
fn is_ideograph(text: &[u8]) -> bool {
    match text {
        [0xe4, second, _, ..] => *second >= 0xb8,
        [first, _, _, ..] => (0xe5..=0xe9).contains(first),
        _ => false,
    }
}

/// Returns whether a normalizer changes the characters around a boundary as in the whole text.
fn normalizer_is_local(normalizer: &Value) -> bool {
    match normalizer["type"].as_str() {
        None => normalizer.is_null(),
        Some("Sequence") => all(&normalizer["normalizers"], normalizer_is_local),
        Some(
            "BertNormalizer" | "Lowercase" | "NFC" | "NFD" | "NFKC" | "NFKD" | "StripAccents" | "Nmt" | "Precompiled",
        ) => true,
        // Accept only replacements of runs of spaces. A boundary is never next to a run.
        Some("Replace") => {
            let pattern = &normalizer["pattern"];
            pattern["Regex"].as_str() == Some(" {2,}") || pattern["String"].as_str() == Some("  ")
        }
        // A chunk starts with a space, which `strip_left` would remove. Every chunk but the last
        // ends in a letter, a digit or an ideograph, so `strip_right` removes no space at a
        // boundary.
        Some("Strip") => normalizer["strip_left"].as_bool() == Some(false),
        Some(_) => false,
    }
}

/// Returns whether a pre-tokenizer separates the words on both sides of a space, and marks a word
/// after a space as it marks a word at the beginning of a text.
fn splits_at_spaces(pre_tokenizer: &Value) -> bool {
    match pre_tokenizer["type"].as_str() {
        Some("BertPreTokenizer" | "Whitespace" | "WhitespaceSplit") => true,
        Some("Metaspace") => pre_tokenizer["split"].as_bool() != Some(false),
        Some("ByteLevel") => pre_tokenizer["use_regex"].as_bool() != Some(false),
        // Once the first step has split at spaces, later steps process single words.
        Some("Sequence") => {
            pre_tokenizer["pretokenizers"].as_array().and_then(|steps| steps.first()).is_some_and(splits_at_spaces)
        }
        _ => false,
    }
}

fn all(list: &Value, predicate: impl Fn(&Value) -> bool) -> bool {
    list.as_array().is_some_and(|list| list.iter().all(predicate))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const MPNET: &[u8] = include_bytes!("../../fixtures/models/tiny-mpnet/tokenizer.json");
    const XLM_R: &[u8] = include_bytes!("../../fixtures/models/tiny-xlm-roberta/tokenizer.json");
    const BERT: &[u8] = include_bytes!("../../fixtures/models/tiny-bert/tokenizer.json");

    /// Returns the ids of a text that is split into chunks.
    fn ids((chunker, tokenizer): &(TextChunker, Tokenizer), text: &str, min_chunk_bytes: usize) -> Vec<u32> {
        let ids = |text: &str| tokenizer.encode_fast(text, false).expect("tokens").get_ids().to_vec();
        TextChunker { min_chunk_bytes, ..*chunker }.chunks(text).flat_map(ids).collect()
    }

    fn tokenizers() -> Vec<(TextChunker, Tokenizer)> {
        let load = |bytes: &[u8]| {
            let mut tokenizer = Tokenizer::from_bytes(bytes).expect("a tokenizer");
            tokenizer.with_padding(None);
            tokenizer.with_truncation(None).expect("no truncation");
            let chunker = TextChunker::for_tokenizer(&tokenizer).expect("a tokenizer of words");
            (chunker, tokenizer)
        };
        [MPNET, XLM_R, BERT].map(load).into()
    }

    proptest! {
        #[test]
        fn chunks_of_any_text_have_the_tokens_of_the_whole(text in "([a-zA-Z0-9]{1,6}| |  |é|e\u{301}|今天|很好気|ﬁ|\u{200d}|<s>|<mask>|\\PC|[.,!?\t\n-]){0,60}", min_bytes in 1_usize..20) {
            for tokenizer in tokenizers() {
                prop_assert_eq!(ids(&tokenizer, &text, min_bytes), ids(&tokenizer, &text, usize::MAX / 2));
            }
        }
    }

    #[test]
    fn chunks_joined_are_the_text() {
        let chunker = |splits_ideographs| TextChunker { min_chunk_bytes: 5, splits_ideographs };
        let text = "one two  three four,five six";
        let chunks: Vec<&str> = chunker(true).chunks(text).collect();
        assert_eq!(chunks, ["one two  three", " four,five", " six"]);
        assert_eq!(chunker(true).chunks("").collect::<Vec<_>>(), [""]);
        let chinese = "今天天气很好";
        assert_eq!(chunker(true).chunks(chinese).collect::<Vec<_>>(), ["今天", "天气", "很好"]);
        assert_eq!(chunker(false).chunks(chinese).collect::<Vec<_>>(), [chinese]);
    }

    #[test]
    fn tokenizer_with_tokens_across_spaces_has_no_chunker() {
        let has_chunker = |normalizer: Value, pre_tokenizer: Value, token: &str, rstrip: bool| {
            let mut tokenizer: Tokenizer = json!({
                "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": normalizer,
                "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": null,
                "model": { "type": "WordLevel", "vocab": { "a": 0 }, "unk_token": "a" },
            })
            .to_string()
            .parse()
            .expect("a tokenizer");
            tokenizer.add_tokens([AddedToken::from(token, false).rstrip(rstrip)]).expect("a token");
            TextChunker::for_tokenizer(&tokenizer).is_some()
        };
        let words = || json!({ "type": "WhitespaceSplit" });
        assert!(has_chunker(Value::Null, words(), "b", false));
        assert!(!has_chunker(Value::Null, Value::Null, "b", false));
        assert!(!has_chunker(json!({ "type": "Prepend", "prepend": "x" }), words(), "b", false));
        let unsplit = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false });
        assert!(!has_chunker(Value::Null, unsplit, "b", false));
        assert!(!has_chunker(Value::Null, words(), "a b", false));
        assert!(!has_chunker(Value::Null, words(), "b", true));
    }
}
