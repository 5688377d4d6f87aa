use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use super::*;

const MPNET: &[u8] = include_bytes!("../../../fixtures/models/tiny-mpnet/tokenizer.json");
const XLM_R: &[u8] = include_bytes!("../../../fixtures/models/tiny-xlm-roberta/tokenizer.json");
const BERT: &[u8] = include_bytes!("../../../fixtures/models/tiny-bert/tokenizer.json");

/// Pieces of texts: everything that a boundary may be beside.
const PIECES: &str = "[a-zA-Z0-9]{1,4}|[!-/:-@\\[-`{-~]{1,3}|[0-9],[0-9]|'(s|t|re|ve|m|ll|d)|[ \t\n]|[ \t\n\r]{2,4}|\r\n\
    |[\u{a0}\u{3000}\u{85}\u{b}\u{2028}\u{1680}]{1,2}|今天|很好気|、|。|，|か|が|は\u{3099}|한|각|\u{1100}|\u{11a8}|กั|ก|é|e\u{301}\
    |[=<>.,a]\u{338}|\u{301}|\u{200d}|\u{200b}|\u{600}|क|\u{94d}|\u{fdfa}|ﬁ|İ|😀|Ａ|１|<s>|</s>|<mask>|``|''|`|\\|\\|\\||\\[MASK\\]|ab\\.c|\\PC";

fn text() -> impl Strategy<Value = String> {
    proptest::string::string_regex(&format!("({PIECES}){{0,40}}")).expect("a pattern")
}

fn load(bytes: &[u8]) -> Tokenizer {
    let mut tokenizer = Tokenizer::from_bytes(bytes).expect("a tokenizer");
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).expect("no truncation");
    tokenizer
}

/// Returns a tokenizer with another normalizer, another pre-tokenizer and an added token.
fn edited(bytes: &[u8], normalizer: &Value, pre_tokenizer: &Value, token: Option<AddedToken>) -> Tokenizer {
    let mut json: Value = serde_json::from_slice(bytes).expect("JSON");
    json["normalizer"] = normalizer.clone();
    json["pre_tokenizer"] = pre_tokenizer.clone();
    let mut tokenizer = load(json.to_string().as_bytes());
    tokenizer.add_tokens(token).expect("a token");
    tokenizer
}

/// Returns a byte-level BPE tokenizer, as RoBERTa has.
fn byte_level(add_prefix_space: bool) -> Vec<u8> {
    let mut bytes: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    bytes.sort_unstable();
    let merges =
        [("a", "b"), ("Ġ", "a"), ("Ġ", "ab"), ("1", "2"), (",", ","), ("'", "s"), ("Ġ", "Ġ"), ("Ċ", "Ċ"), ("1", "a")];
    let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
    let words = bytes.iter().map(char::to_string).chain(merged);
    let vocab: serde_json::Map<String, Value> = words.enumerate().map(|(id, word)| (word, json!(id))).collect();
    let step =
        json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": step, "post_processor": step, "decoder": step,
        "model": { "type": "BPE", "vocab": vocab, "merges": merges.map(|(left, right)| format!("{left} {right}")) },
    })
    .to_string()
    .into_bytes()
}

/// Tokenizers of all kinds that have boundaries.
static TOKENIZERS: LazyLock<Vec<Tokenizer>> = LazyLock::new(tokenizers);

/// Returns a tokenizer of ALBERT's class, which replaces two quotes by one character.
fn albert() -> Tokenizer {
    let xlm_r: Value = serde_json::from_slice(XLM_R).expect("JSON");
    let quotes = |pattern: &str| json!({"type": "Replace", "pattern": {"String": pattern}, "content": "\""});
    let table = &xlm_r["normalizer"]["normalizers"][0];
    let steps =
        json!([quotes("``"), quotes("''"), {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, table]);
    let words = json!([{"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}]);
    edited(
        XLM_R,
        &json!({"type": "Sequence", "normalizers": steps}),
        &json!({"type": "Sequence", "pretokenizers": words}),
        None,
    )
}

/// Returns a tokenizer in the form of ModernBERT's, with runs of spaces as added tokens.
fn modernbert() -> Tokenizer {
    let pre_tokenizer =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let mut tokenizer = edited(&byte_level(false), &json!({"type": "NFC"}), &pre_tokenizer, None);
    let runs = (2..=5).rev().map(|length| AddedToken::from(" ".repeat(length), false).normalized(true));
    let others = ["|||IP_ADDRESS|||", "\n\n"].map(|content| AddedToken::from(content, false).normalized(true));
    tokenizer.add_tokens(runs.chain(others)).expect("tokens");
    tokenizer
}

fn tokenizers() -> Vec<Tokenizer> {
    let bert = |strip: Value, chinese: bool| json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": chinese, "strip_accents": strip, "lowercase": false});
    let split = json!({"type": "WhitespaceSplit"});
    let metaspace =
        |scheme: &str| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
    let sequence = |steps: Value| json!({"type": "Sequence", "pretokenizers": steps});
    let normalizers = |steps: Value| json!({"type": "Sequence", "normalizers": steps});
    let xlm_r: Value = serde_json::from_slice(XLM_R).expect("JSON");
    let xlm_r = &xlm_r["normalizer"];
    let folding = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "});
    let nfc = json!({"type": "NFC"});
    let nfkc = json!({"type": "NFKC"});
    let of_bert = json!({"type": "BertPreTokenizer"});
    let token = |content: &str| AddedToken::from(content, false);
    let mut list = vec![load(MPNET), load(XLM_R), load(BERT), load(&byte_level(false)), load(&byte_level(true))];
    list.extend([albert(), modernbert()]);
    // Runs of spaces as tokens, where whitespace is removed otherwise.
    list.push(edited(BERT, &Value::Null, &of_bert, Some(token("  "))));
    list.extend([
        edited(BERT, &bert(json!(false), true), &of_bert, Some(token("b.c"))),
        edited(BERT, &bert(json!(null), false), &of_bert, Some(token("!,").single_word(true))),
        edited(BERT, &Value::Null, &of_bert, Some(token("،,").lstrip(true))),
        edited(BERT, &nfc, &of_bert, None),
        edited(
            BERT,
            &normalizers(json!([nfkc, bert(json!(true), true)])),
            &of_bert,
            Some(token(",,").normalized(true)),
        ),
        edited(BERT, &nfkc, &json!({"type": "Whitespace"}), Some(token("1.").normalized(true))),
        edited(
            BERT,
            &json!({"type": "Lowercase"}),
            &sequence(json!([{"type": "Whitespace"}, of_bert])),
            Some(token("A-").normalized(true)),
        ),
        edited(BERT, xlm_r, &of_bert, None),
        edited(BERT, &bert(json!(null), true), &metaspace("always"), None),
        edited(XLM_R, &nfkc, &sequence(json!([split, metaspace("first")])), None),
        edited(XLM_R, xlm_r, &sequence(json!([{"type": "Whitespace"}, metaspace("first")])), None),
        edited(XLM_R, &normalizers(json!([xlm_r, folding])), &metaspace("first"), Some(token("、").lstrip(true))),
        edited(XLM_R, &normalizers(json!([bert(json!(true), true), folding])), &metaspace("always"), None),
        edited(
            XLM_R,
            &normalizers(json!([folding, {"type": "Strip", "strip_left": false, "strip_right": true}])),
            &split,
            None,
        ),
        edited(
            &byte_level(false),
            &nfc,
            &json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true}),
            Some(token("1,")),
        ),
    ]);
    list
}

/// Returns the chunker of a tokenizer, for chunks of at least `min_chunk_bytes`.
fn chunker(tokenizer: &Tokenizer, min_chunk_bytes: usize) -> TextChunker {
    TextChunker::for_tokenizer(tokenizer).with_chunk_bytes(min_chunk_bytes)
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode_fast(text, false).expect("tokens").get_ids().to_vec()
}

#[test]
fn tokenizers_of_words_have_boundaries() {
    for (i, tokenizer) in TOKENIZERS.iter().enumerate() {
        assert!(TextChunker::for_tokenizer(tokenizer).rules.is_some(), "tokenizer {i}");
        let text = "one two three";
        assert!(chunker(tokenizer, 1).chunks(tokenizer, text, true).count() == 3, "tokenizer {i}");
    }
}

proptest! {
    #[test]
    fn chunks_of_any_text_have_the_tokens_of_the_whole(text in text(), min_bytes in 1_usize..12) {
        for (i, tokenizer) in TOKENIZERS.iter().enumerate() {
            let chunker = chunker(tokenizer, min_bytes);
            let whole = ids(tokenizer, &text);
            for keep_offsets in [false, true] {
                let chunks: Vec<&str> = chunker.chunks(tokenizer, &text, keep_offsets).collect();
                prop_assert_eq!(chunks.concat(), text.clone());
                let found: Vec<u32> = chunks.iter().flat_map(|chunk| ids(tokenizer, chunk)).collect();
                prop_assert_eq!(&found, &whole, "tokenizer {}, chunks {:?}", i, chunks);
            }
        }
    }
}

/// Texts without spaces that a BERT tokenizer splits anyway.
#[test]
fn punctuation_numbers_and_line_breaks_are_split_for_bert() {
    let tokenizer = load(MPNET);
    let chunker = TextChunker::for_tokenizer(&tokenizer);
    for part in [".", "12,", "{\"a\":0.25},", "\n", "\t", "[[", "今天，", "はい。\n", "a\n", "\u{a0}", "x-", "?!"]
    {
        let text = part.repeat(100_000);
        let longest = chunker.chunks(&tokenizer, &text, false).map(str::len).max();
        assert!(longest.is_some_and(|longest| longest <= MIN_CHUNK_BYTES + 16), "{part:?}: {longest:?}");
        assert_eq!(chunker.longest_run(&tokenizer, &text, 100_000), None, "{part:?}");
    }
}

#[test]
fn longest_run_counts_normalized_characters() {
    let tokenizer = load(XLM_R);
    let chunker = TextChunker::for_tokenizer(&tokenizer);
    let longest = |text: &str| chunker.longest_run(&tokenizer, text, 20_000);
    assert_eq!(longest(&"x".repeat(20_000)), None);
    assert_eq!(longest(&"x".repeat(20_001)), Some(20_001));
    // One character that NFKC replaces by 18.
    assert_eq!(longest(&"\u{fdfa}".repeat(10_000)), Some(180_000));
    assert_eq!(longest(&"some words ".repeat(10_000)), None);
    let last = longest(&format!("{} {}", "some words ".repeat(10_000), "x".repeat(30_000)));
    assert!(last.is_some_and(|characters| (30_000..33_000).contains(&characters)), "{last:?}");
}

#[test]
fn chunks_joined_are_the_text() {
    let bert = load(BERT);
    let split = |tokenizer: &Tokenizer, text: &str| -> Vec<String> {
        chunker(tokenizer, 5).chunks(tokenizer, text, true).map(str::to_owned).collect()
    };
    assert_eq!(split(&bert, "one two  three four,five six"), ["one two ", " three", " four", ",five", " six"]);
    assert_eq!(split(&bert, ""), [""]);
    assert_eq!(split(&bert, "今天天气很好"), ["今天", "天气", "很好"]);
    let roberta = load(&byte_level(false));
    assert_eq!(
        split(&roberta, "one two  three four'll12 six\n\nten\n2"),
        ["one two  three", " four", "'ll12", " six\n\nten", "\n2"]
    );
}

#[test]
fn tokenizer_with_tokens_across_spaces_has_no_boundaries() {
    let has_rules = |normalizer: Value, pre_tokenizer: Value, token: AddedToken| {
        TextChunker::for_tokenizer(&edited(BERT, &normalizer, &pre_tokenizer, Some(token))).rules.is_some()
    };
    let token = |content: &str| AddedToken::from(content, false);
    let words = || json!({ "type": "WhitespaceSplit" });
    assert!(has_rules(Value::Null, words(), token("b.c")));
    assert!(!has_rules(Value::Null, Value::Null, token("b.c")));
    assert!(!has_rules(json!({ "type": "Prepend", "prepend": "x" }), words(), token("b.c")));
    let unsplit = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false });
    assert!(!has_rules(Value::Null, unsplit, token("b.c")));
    assert!(!has_rules(Value::Null, words(), token("a b")));
    assert!(!has_rules(Value::Null, words(), token("b.c").rstrip(true)));
    assert!(has_rules(Value::Null, words(), token("  ")));
    assert!(!has_rules(Value::Null, words(), token("  ").single_word(true)));
    assert!(!has_rules(Value::Null, words(), token("  ").lstrip(true)));
    let replace = |pattern: &str| json!({"type": "Replace", "pattern": {"String": pattern}, "content": "x"});
    let sequence = |steps: Value| json!({"type": "Sequence", "normalizers": steps});
    assert!(has_rules(sequence(json!([replace("ab"), {"type": "NFC"}])), words(), token("b.c")));
    // A step before the replacement may have put the string where whitespace was.
    assert!(!has_rules(sequence(json!([{"type": "NFC"}, replace("ab")])), words(), token("b.c")));
    assert!(!has_rules(sequence(json!([replace("a b")])), words(), token("b.c")));
}
