//! Malformed tokenizer.json, and token ids outside of the embedding table.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::*;

#[test]
fn malformed_tokenizer_json_is_rejected_by_name() {
    let mut cases = Cases::default();
    for bytes in ["not json", "{\"decoder\": {\"a\": }", "{\"decoder\": \"\0\"}"] {
        let files = with("tiny-bert", "tokenizer.json", bytes);
        let parts = ["tokenizer.json", "not valid JSON", "line"];
        cases.rejects_model(&format!("tokenizer.json = {bytes}"), &files, "Json", &parts);
    }
    for bytes in ["{}", "[]", "null", r#"{"version": "1.0"}"#, r#"{"model": {"type": "WordPiece"}}"#] {
        let files = with("tiny-bert", "tokenizer.json", bytes);
        cases.rejects_model(
            &format!("tokenizer.json = {bytes}"),
            &files,
            "Tokenizer",
            &["tokenizer.json", "valid tokenizer: "],
        );
    }
    cases.finish();
}

#[test]
fn invalid_tokenizer_parts_are_rejected_by_name() {
    let mut cases = Cases::default();
    for (key, value) in [
        ("model", json!({"type": "Telepathy", "vocab": {}})),
        ("normalizer", json!({"type": "Telepathy"})),
        ("pre_tokenizer", json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed", "invert": false})),
        ("post_processor", json!([])),
        // The tokenizers crate panics when it reads these tables.
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": ""})),
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "=A"})),
        // For this table, the tokenizers crate would allocate 8 GB.
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="})),
        (
            "normalizer",
            json!({"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": "/////w"}]}),
        ),
        ("added_tokens", json!([{"id": -1, "content": "x"}])),
    ] {
        let mut files = with_json("tiny-bert", "tokenizer.json", |json| json[key] = value.clone());
        use_generic_class(&mut files);
        cases.rejects_model(&format!("{key} = {value}"), &files, "Tokenizer", &["tokenizer.json"]);
    }
    cases.finish();
}

/// These normalizers could expand a text of 1 MB until it exhausts the memory.
#[test]
fn expanding_normalizers_are_rejected_by_name() {
    let mut cases = Cases::default();
    let replace =
        |pattern: Value, length: usize| json!({"type": "Replace", "pattern": pattern, "content": "a".repeat(length)});
    // An empty trie with a replacement of 1000 letters.
    let table = [&4_u32.to_le_bytes()[..], &[0; 4], "a".repeat(1000).as_bytes(), &[0]].concat();
    let table = json!({"type": "Precompiled", "precompiled_charsmap": BASE64_STANDARD.encode(table)});
    for steps in [
        vec![table],
        vec![replace(json!({"String": "a"}), 10); 12],
        vec![replace(json!({"String": ""}), 300)],
        vec![replace(json!({"Regex": "a?"}), 20); 2],
        vec![
            json!({"type": "NFKC"}),
            json!({"type": "Sequence", "normalizers": vec![replace(json!({"String": "ab"}), 40); 2]}),
        ],
    ] {
        let mut files = with_json("tiny-bert", "tokenizer.json", |json| {
            json["normalizer"] = json!({"type": "Sequence", "normalizers": steps});
        });
        use_generic_class(&mut files);
        cases.rejects_model(
            &format!("{} steps", steps.len()),
            &files,
            "Config",
            &["tokenizer.json", "normalizer", "times as long"],
        );
    }
    cases.finish();
}

#[test]
fn tokenizers_without_required_tokens_are_rejected_by_name() {
    let mut cases = Cases::default();
    // The tokenizers crate accepts this template, and panics when it tokenizes a text.
    let mut files = with_json("tiny-bert", "tokenizer.json", |json| {
        json["post_processor"]["single"][0]["SpecialToken"]["id"] = json!("[NONE]");
    });
    use_generic_class(&mut files);
    cases.rejects_model("a template without its token", &files, "Tokenizer", &["tokenizer.json"]);
    // Without an unknown token, a text outside of the vocabulary cannot be tokenized.
    let mut files = with_json("tiny-bert", "tokenizer.json", |json| {
        json["model"]["vocab"].as_object_mut().expect("tokens").remove("[UNK]");
        json["added_tokens"].as_array_mut().expect("tokens").retain(|token| token["content"] != "[UNK]");
    });
    use_generic_class(&mut files);
    let run = || embed(&files, &["ⵣ"]);
    cases.fails("no unknown token", run, "Tokenizer", &["tokenizer.json", "cannot tokenize a text", "[UNK]"]);
    cases.finish();
}

#[test]
fn token_ids_beyond_vocabulary_are_rejected() {
    let mut cases = Cases::default();
    let files = with_json("tiny-bert", "tokenizer.json", |json| json["model"]["vocab"]["happy"] = json!(5000));
    cases.rejects_model("an id that is too large", &files, "TokenId", &["tokenizer.json", "5000", "360"]);
    assert!(embed(&files, &["a dog"]).is_ok(), "a text without the id is still valid");

    let mut files = with_tensors("tiny-bert", |tensors| {
        let table = tensors.get_mut("bert.embeddings.word_embeddings.weight").expect("a table");
        table.shape[0] = 4;
        table.data.truncate(4 * 32 * 4);
    });
    edit_json(&mut files, "config.json", |json| json["vocab_size"] = json!(4));
    cases.rejects_model("an embedding table that is too small", &files, "TokenId", &["tokenizer.json", "less than 4"]);
    assert!(embed(&files, &[""]).is_ok(), "the empty text uses only ids inside of the table");
    cases.finish();
}
