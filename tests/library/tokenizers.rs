//! Compares token ids with those of transformers: for vocabulary files without tokenizer.json, and
//! for every class that uses only parts of tokenizer.json.

use std::collections::HashMap;

use crate::common::{Golden, files, in_memory};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use likewise::{Embedder, error_chain};
use serde_json::{Value, json};

/// Opens a tiny model with the tokenizer of a case. The file `pieces` names a SentencePiece model
/// of the golden file.
fn open_with_vocabulary(golden: &Value, case: &Value) -> likewise::Result<Embedder> {
    let family = case["family"].as_str().expect("a family");
    let mut files = files(match family {
        "mpnet" => "tiny-mpnet",
        "roberta" | "xlm-roberta" | "camembert" => "tiny-xlm-roberta",
        _ => "tiny-bert",
    });
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        files.remove(name);
    }
    if ["roberta", "camembert"].contains(&family) {
        crate::common::edit_json(&mut files, "config.json", |config| config["model_type"] = json!(family));
    }
    for (name, text) in case["files"].as_object().expect("files") {
        let text = text.as_str().expect("a text");
        match name.as_str() {
            "pieces" => files.insert(PIECES.to_owned(), sentencepiece_model(golden, text)),
            name => files.insert(name.to_owned(), text.as_bytes().to_vec()),
        };
    }
    Embedder::builder().open_files(&in_memory(&files))
}

const PIECES: &str = "sentencepiece.bpe.model";

/// Returns a file written by SentencePiece.
fn sentencepiece_model(golden: &Value, name: &str) -> Vec<u8> {
    let text = golden["sentence_pieces"][name].as_str().expect("a model");
    BASE64_STANDARD.decode(text).expect("base 64")
}

#[test]
fn vocabulary_files_give_the_ids_of_transformers() {
    let golden = Golden::json_of("vocabularies");
    let texts = golden["texts"].as_array().expect("texts");
    for case in golden["cases"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        let model = open_with_vocabulary(&golden, case).unwrap_or_else(|e| panic!("{name}: {}", error_chain(&e)));
        let mut truncated = 0;
        for (text, expected) in texts.iter().zip(case["ids"].as_array().expect("ids")) {
            let text = text.as_str().expect("a text");
            let expected: Vec<u32> =
                expected.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as u32).collect();
            let found = model.tokenize(text).expect("tokens");
            assert_eq!(found.usage.total, expected.len(), "{name}: tokens of {text:?}");
            // Truncation removes the end of the text, but keeps the last special token.
            let last = expected.len() - 1;
            let kept = found.usage.used - 1;
            assert_eq!(found.ids[..kept], expected[..kept], "{name}: ids of {text:?}");
            assert_eq!(found.ids[kept], expected[last], "{name}: last id of {text:?}");
            truncated += usize::from(found.usage.truncated());
        }
        println!("{name}: {} texts, {truncated} of them truncated", texts.len());
    }
}

/// Applies a case's changes to tokenizer.json, and replaces or removes other files.
fn apply_changes(files: &mut HashMap<String, Vec<u8>>, case: &Value) {
    crate::common::edit_json(files, "tokenizer.json", |tokenizer| {
        for (pointer, value) in case["changes"].as_object().expect("changes") {
            *tokenizer.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value.clone();
        }
    });
    for (name, value) in case["files"].as_object().expect("files") {
        match value {
            Value::Null => drop(files.remove(name)),
            value => drop(files.insert(name.clone(), value.to_string().into_bytes())),
        }
    }
}

/// Opens a tiny model with a changed tokenizer.json and a case's other files.
fn open_with_class(case: &Value, golden: &Value) -> likewise::Result<Embedder> {
    let text = |key: &str| case[key].as_str().expect("a string");
    let sibling = if text("of") == "roberta" { "xlm-roberta" } else { text("of") };
    let mut files = files(&format!("tiny-{sibling}"));
    files.remove("tokenizer_config.json");
    if text("of") == "roberta" {
        files.insert("tokenizer.json".to_owned(), golden["byte_level"].to_string().into_bytes());
    }
    // With the vocabulary of XLM-RoBERTa, a BERT uses the encoder of XLM-RoBERTa, because the token
    // ids exceed the embedding table of tiny-bert.
    let family = if text("of") == "xlm-roberta" && text("family") == "bert" { "xlm-roberta" } else { text("family") };
    crate::common::edit_json(&mut files, "config.json", |config| {
        config["model_type"] = json!(family);
        for (key, value) in case["config"].as_object().expect("keys") {
            config[key] = value.clone();
        }
    });
    apply_changes(&mut files, case);
    let limit = golden["max_length"].as_u64().expect("a number") as usize;
    Embedder::builder().max_length(limit).open_files(&in_memory(&files))
}

/// Covers classes that use only the vocabulary, the generic class, and the other configuration
/// files.
#[test]
fn tokenizer_classes_give_the_ids_of_transformers() {
    let rejected = HashMap::from([
        ("a class for other vocabularies", &["tokenizer.json", "kind BPE", "is WordPiece", "tokenizer_class"][..]),
        ("nobody's class", &["tokenizer_config.json", "tokenizer_class", "NoSuchTokenizer"]),
    ]);
    let golden = Golden::json_of("classes");
    let mut count = 0;
    let mut wrong = Vec::new();
    for case in golden["cases"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        let model = match (open_with_class(case, &golden), rejected.get(name)) {
            (Ok(model), None) => model,
            (Ok(_), Some(_)) => panic!("{name}: accepted"),
            (Err(error), parts) => {
                let message = error_chain(&error);
                let Some(parts) = parts else { panic!("{name}: {message}") };
                assert!(parts.iter().all(|part| message.contains(part)), "{name}: {message}");
                println!("{name}: {message}");
                continue;
            }
        };
        for (text, expected) in
            golden["texts"].as_array().expect("texts").iter().zip(case["ids"].as_array().expect("ids"))
        {
            let text = text.as_str().expect("a text");
            let found = json!(model.tokenize(text).expect("tokens").ids);
            if found != *expected {
                wrong.push(format!("{name}: {text:?}\n  expected {expected}\n  found    {found}"));
            }
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} texts have wrong ids:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 90, "{count} tokenizers");
}

/// Covers all sources of maximum length and truncation side, their precedence, and lower-casing
/// before the normalizer of tokenizer.json.
#[test]
fn length_and_case_settings_give_the_ids_of_sentence_transformers() {
    let golden = Golden::json_of("classes");
    let cases = golden["models"].as_array().expect("cases");
    assert!(cases.len() >= 25, "{} cases", cases.len());
    let mut prompts = 0;
    for case in cases {
        let name = case["name"].as_str().expect("a name");
        let mut files = files("tiny-bert");
        apply_changes(&mut files, case);
        let model = Embedder::builder().open_files(&in_memory(&files));
        let model = model.unwrap_or_else(|e| panic!("{name}: {}", error_chain(&e)));
        for (text, expected) in
            golden["inputs"].as_array().expect("texts").iter().zip(case["ids"].as_array().expect("ids"))
        {
            let found = model.tokenize(text.as_str().expect("a text")).expect("tokens").ids;
            assert_eq!(json!(found), *expected, "{name}: {text}");
        }
        // Pooling without the prompt depends on the number of the prompt's tokens.
        let Some(prompted) = case["prompted"].as_array() else { continue };
        prompts += 1;
        let prompt = golden["prompt"].as_str().expect("a prompt");
        let model = Embedder::builder().prompt(prompt).open_files(&in_memory(&files)).expect("a model");
        for (text, expected) in golden["inputs"].as_array().expect("texts").iter().zip(prompted) {
            let vector = model.embed(&[text.as_str().expect("a text")]).expect("a vector");
            for (&found, expected) in vector.row(0).iter().zip(expected.as_array().expect("elements")) {
                let expected = expected.as_f64().expect("a number") as f32;
                let max_error = 2e-6 * expected.abs().max(1.0);
                assert!((found - expected).abs() <= max_error, "{name}: {text}: expected {expected}, found {found}");
            }
        }
    }
    assert_eq!(prompts, 6);
}

type CaseFiles = serde_json::Map<String, Value>;

/// Opens the model of a case after an edit of its files.
fn open_edited(golden: &Value, name: &str, edit: impl Fn(&mut CaseFiles)) -> likewise::Result<Embedder> {
    let cases = golden["cases"].as_array().expect("cases");
    let mut case = cases.iter().find(|case| case["name"] == name).expect("a case").clone();
    edit(case["files"].as_object_mut().expect("files"));
    open_with_vocabulary(golden, &case)
}

/// Requires an error whose message contains all parts.
fn assert_rejected(what: &str, outcome: likewise::Result<Embedder>, parts: &[&str]) {
    let Err(error) = outcome else { panic!("{what}: accepted") };
    let message = error_chain(&error);
    println!("{what}: {message}");
    assert!(parts.iter().all(|part| message.contains(part)), "{what}: {message}");
}

#[test]
fn missing_vocabulary_files_are_rejected_by_name() {
    let golden = Golden::json_of("vocabularies");
    for (case, file, parts) in
        [("bert", "vocab.txt", &["vocab.txt", "AutoTokenizer"][..]), ("roberta", "merges.txt", &["merges.txt"])]
    {
        let outcome = open_edited(&golden, case, |files| drop(files.remove(file)));
        assert_rejected(&format!("{case} without {file}"), outcome, parts);
    }
}

#[test]
fn invalid_vocabulary_files_are_rejected_by_name() {
    let golden = Golden::json_of("vocabularies");
    for (case, file, text, parts) in [
        ("roberta", "merges.txt", "#version: 0.2\na b c\n", &["line 2", "two pieces"][..]),
        ("roberta", "merges.txt", "a \n", &["merges.txt", "line 1"]),
        ("roberta", "merges.txt", "§ §\n", &["vocab.json", "not a valid tokenizer"]),
        ("roberta", "vocab.json", "{", &["vocab.json", "JSON"]),
        ("roberta", "vocab.json", "{\"a\": -1}", &["vocab.json", "JSON"]),
        ("bert", "added_tokens.json", "{\"<new>\": -7}", &["added_tokens.json", "<new>"]),
        (
            "bert",
            "added_tokens.json",
            "{\"a\": 700, \"b\": 700}",
            &["added_tokens.json", "another id than that of \"a\"", "700"],
        ),
        (
            "bert",
            "tokenizer_config.json",
            "{\"tokenizer_class\": \"BertTokenizer\", \"sep_token\": null}",
            &["tokenizer_config.json", "`sep_token`", "puts it around a text", "found null"],
        ),
        (
            "bert",
            "special_tokens_map.json",
            "{\"cls_token\": null}",
            &["special_tokens_map.json", "`cls_token`", "found null"],
        ),
        ("bert", "special_tokens_map.json", "{\"cls_token\": 7}", &["cls_token", "a token", "7"]),
    ] {
        let outcome = open_edited(&golden, case, |files| drop(files.insert(file.to_owned(), json!(text))));
        assert_rejected(&format!("{file} = {text:?}"), outcome, parts);
    }
}

/// A vocabulary of lines would take a Git LFS pointer for three words.
#[test]
fn git_lfs_pointer_in_place_of_a_vocabulary_is_rejected_by_name() {
    const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    let golden = Golden::json_of("vocabularies");
    for (case, name) in [
        ("bert", "vocab.txt"),
        ("bert", "added_tokens.json"),
        ("bert", "special_tokens_map.json"),
        ("roberta", "vocab.json"),
        ("roberta", "merges.txt"),
    ] {
        let outcome = open_edited(&golden, case, |files| drop(files.insert(name.to_owned(), json!(POINTER))));
        assert_rejected(&format!("{case}: {name}"), outcome, &[name, "Git LFS pointer", "git lfs pull"]);
    }
    let mut pieces = crate::common::files("tiny-xlm-roberta");
    pieces.remove("tokenizer.json");
    pieces.insert(PIECES.to_owned(), POINTER.as_bytes().to_vec());
    let outcome = Embedder::builder().open_files(&in_memory(&pieces));
    assert_rejected(PIECES, outcome, &[PIECES, "Git LFS pointer", "git lfs pull"]);
}

/// The order of the lines of a vocab.txt defines the ids.
#[test]
fn vocab_txt_with_crlf_gives_the_same_ids() {
    let golden = Golden::json_of("vocabularies");
    let crlf = open_edited(&golden, "bert", |files| {
        let text = files["vocab.txt"].as_str().expect("a text").replace('\n', "\r\n");
        files.insert("vocab.txt".to_owned(), json!(text));
    });
    let unchanged = open_edited(&golden, "bert", |_| ()).expect("a model");
    let text = "That is a happy person";
    assert_eq!(crlf.expect("a model").tokenize(text).expect("ids"), unchanged.tokenize(text).expect("ids"));
}

/// Opens a tiny model with a SentencePiece model.
fn open_with_sentencepiece(family: &str, class: &str, pieces: Vec<u8>) -> likewise::Result<Embedder> {
    let mut files = files("tiny-xlm-roberta");
    files.remove("tokenizer.json");
    files.insert(PIECES.to_owned(), pieces);
    files.insert("tokenizer_config.json".to_owned(), json!({"tokenizer_class": class}).to_string().into_bytes());
    crate::common::edit_json(&mut files, "config.json", |config| config["model_type"] = json!(family));
    Embedder::builder().open_files(&in_memory(&files))
}

#[test]
fn invalid_sentencepiece_models_are_rejected_by_name() {
    let golden = Golden::json_of("vocabularies");
    let valid = sentencepiece_model(&golden, "unigram");
    // Fields of a second message are merged into the first.
    let append = |more: &[u8]| [&valid[..], more].concat();
    let open = |pieces: Vec<u8>| open_with_sentencepiece("xlm-roberta", "XLMRobertaTokenizer", pieces);
    assert!(open(valid.clone()).is_ok());
    for (what, pieces, parts) in [
        ("an empty file", Vec::new(), &["a SentencePiece model", "an empty file"][..]),
        ("a file without pieces", b"\x12\x00".to_vec(), &["not a valid tokenizer", "has no pieces"]),
        ("a text file", b"[PAD]\n[UNK]\n".to_vec(), &["not a valid tokenizer"]),
        ("a truncated file", valid[..valid.len() / 2].to_vec(), &["not a valid tokenizer"]),
        ("a piece that is not UTF-8", append(b"\x0a\x04\x0a\x02\xff\xfe"), &["not a valid tokenizer"]),
        ("a table of two bytes", append(b"\x1a\x04\x12\x02ab"), &["table of less than 4 bytes"]),
        // Without this check, the tokenizers crate would allocate 8 GB.
        (
            "a table shorter than announced",
            append(b"\x1a\x07\x12\x05\xff\xff\xff\xff0"),
            &["trie of 4294967295 bytes and has 1"],
        ),
    ] {
        assert_rejected(what, open(pieces), &[parts, &[PIECES]].concat());
    }
}

#[test]
fn sentencepiece_models_of_other_classes_are_rejected_by_name() {
    let golden = Golden::json_of("vocabularies");
    for (family, class, pieces, parts) in [
        ("camembert", "CamembertTokenizer", "bpe", &["Unigram, 1", "kind 2", PIECES][..]),
        (
            "xlm-roberta",
            "PreTrainedTokenizerFast",
            "unigram",
            &["tokenizer_config.json", "tokenizer_class", PIECES, "no tokenizer.json"],
        ),
        ("bert", "BertTokenizer", "unigram", &["tokenizer_class", "no tokenizer.json", PIECES, "BertTokenizer"]),
    ] {
        let outcome = open_with_sentencepiece(family, class, sentencepiece_model(&golden, pieces));
        assert_rejected(class, outcome, parts);
    }
}
