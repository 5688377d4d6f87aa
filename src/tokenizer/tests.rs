//! Compares token ids with those of transformers, for classes whose encoders the files need not
//! describe.

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::encoder::spec::Family;
use crate::error_chain;

const GOLDEN: &str = include_str!("../../fixtures/goldens/families.json");

/// Reads the tokenizer of a case of the golden file.
fn load(golden: &Value, case: &Value) -> crate::Result<Tokenizer> {
    let text = |key: &str| case[key].as_str().expect("a string");
    let mut files = ModelFiles::in_memory();
    if text("pieces").is_empty() {
        let mut written = golden["tokenizers"][text("of")].clone();
        for (pointer, value) in case["changes"].as_object().expect("changes") {
            *written.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value.clone();
        }
        files = files.with("tokenizer.json", written.to_string().into_bytes());
    } else {
        let pieces = golden["sentence_pieces"][text("pieces")].as_str().expect("a model");
        files = files.with("spiece.model", BASE64_STANDARD.decode(pieces).expect("base 64"));
    }
    for (name, value) in case["files"].as_object().expect("files") {
        files = files.with(name, value.to_string().into_bytes());
    }
    let family = match text("family") {
        "t5" => Family::T5,
        "albert" => Family::Albert,
        "modernbert" => Family::ModernBert,
        "nomic_bert" => Family::NomicBert,
        "electra" => Family::Electra,
        "bert" => Family::JinaBertV2,
        "gte" => Family::Gte,
        "jina_embeddings_v3" => Family::JinaV3,
        "xlm-roberta" => Family::XlmRoberta,
        other => panic!("no family {other}"),
    };
    let limits = EncoderLimits { family, max_tokens: 128 };
    let max_tokens = golden["max_length"].as_u64().expect("a number") as usize;
    Tokenizer::load(&files, &limits, Some(max_tokens), None).map(|(tokenizer, _)| tokenizer)
}

/// The cases that transformers rejects, and what the messages contain.
fn rejected() -> HashMap<&'static str, &'static [&'static str]> {
    HashMap::from([
        (
            "T5, special_tokens_map.json, wrong sentinels",
            &["tokenizer_config.json", "`extra_ids`", "expected 1", "found 100"][..],
        ),
        ("T5, extra_ids null", &["tokenizer_config.json", "`extra_ids`", "whole number", "found null"]),
        ("T5, no end", &["`eos_token`", "puts it around a text", "found null"]),
        ("ALBERT, a new first", &["tokenizer.json", "has no token \"[NEW]\""]),
        ("ALBERT, no last", &["`sep_token`", "puts it around a text", "found null"]),
    ])
}

#[test]
fn classes_of_all_families_give_the_ids_of_transformers() {
    let golden: Value = serde_json::from_str(GOLDEN).expect("JSON");
    let rejected = rejected();
    let mut wrong = Vec::new();
    let mut counts = [0; 2];
    for case in golden["cases"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        let (tokenizer, expected) = match (load(&golden, case), case["ids"].as_array()) {
            (Ok(tokenizer), Some(expected)) => (tokenizer, expected),
            (Ok(_), None) => panic!("{name}: accepted"),
            (Err(error), expected) => {
                let message = error_chain(&error);
                assert!(expected.is_none(), "{name}: {message}");
                assert!(rejected[name].iter().all(|part| message.contains(part)), "{name}: {message}");
                counts[1] += 1;
                continue;
            }
        };
        for (text, expected) in golden["texts"].as_array().expect("texts").iter().zip(expected) {
            let text = text.as_str().expect("a text");
            let found = json!(tokenizer.tokenize(text).expect("tokens").ids);
            if found != *expected {
                wrong.push(format!("{name}: {text:?}\n  expected {expected}\n  found    {found}"));
            }
        }
        counts[0] += 1;
    }
    assert!(wrong.is_empty(), "{} texts have wrong ids:\n{}", wrong.len(), wrong.join("\n"));
    assert!(counts[0] >= 80 && counts[1] == rejected.len(), "{counts:?}");
}

#[test]
fn too_many_sentinels_are_rejected_by_name() {
    let golden: Value = serde_json::from_str(GOLDEN).expect("JSON");
    let case = |settings: Value| json!({"of": "t5", "family": "t5", "pieces": "", "changes": {}, "files": {"tokenizer_config.json": settings}});
    for count in [json!(1_000_000_000), json!(1e30), json!(true), json!("many")] {
        let Err(error) = load(&golden, &case(json!({"extra_ids": count}))) else { panic!("{count}: accepted") };
        let message = error_chain(&error);
        assert!(message.contains("`extra_ids`") && message.contains("10000"), "{message}");
    }
}
