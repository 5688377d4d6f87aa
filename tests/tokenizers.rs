//! Tokenizers from the files that came before tokenizer.json, and those whose class decides what is taken from it: the
//! reference's ids.

mod common;

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::{Golden, files, in_memory};
use likewise::{Embedder, error_chain};
use serde_json::{Value, json};

/// A tiny model with another tokenizer. `pieces` among its files names a SentencePiece model of the golden file.
fn with_files(golden: &Value, case: &Value) -> likewise::Result<Embedder> {
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
        common::edit_json(&mut files, "config.json", |config| config["model_type"] = json!(family));
    }
    for (name, text) in case["files"].as_object().expect("files") {
        let text = text.as_str().expect("a text");
        match name.as_str() {
            "pieces" => files.insert(PIECES.to_owned(), of_pieces(golden, text)),
            name => files.insert(name.to_owned(), text.as_bytes().to_vec()),
        };
    }
    Embedder::builder().open_files(&in_memory(&files))
}

const PIECES: &str = "sentencepiece.bpe.model";

/// What SentencePiece wrote.
fn of_pieces(golden: &Value, name: &str) -> Vec<u8> {
    let text = golden["sentence_pieces"][name].as_str().expect("a model");
    BASE64_STANDARD.decode(text).expect("base 64")
}

#[test]
fn ids_are_the_references() {
    let golden = Golden::json_of("vocabularies");
    let texts = golden["texts"].as_array().expect("texts");
    for case in golden["cases"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        let model = with_files(&golden, case).unwrap_or_else(|e| panic!("{name}: {}", error_chain(&e)));
        let mut cut = 0;
        for (text, expected) in texts.iter().zip(case["ids"].as_array().expect("ids")) {
            let text = text.as_str().expect("a text");
            let expected: Vec<u32> =
                expected.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as u32).collect();
            let got = model.tokenize(text).expect("tokens");
            assert_eq!(got.usage.total, expected.len(), "{name}: tokens of {text:?}");
            // What the model does not read: the end of the text, but not its last token.
            let (last, kept) = (expected.len() - 1, got.usage.used - 1);
            assert_eq!(got.ids[..kept], expected[..kept], "{name}: ids of {text:?}");
            assert_eq!(got.ids[kept], expected[last], "{name}: the end of {text:?}");
            cut += usize::from(got.usage.truncated());
        }
        println!("{name}: {} texts, {cut} of them cut", texts.len());
    }
}

/// Makes a case's changes to tokenizer.json, and puts its files in place of the folder's.
fn change(files: &mut HashMap<String, Vec<u8>>, case: &Value) {
    common::edit_json(files, "tokenizer.json", |written| {
        for (pointer, value) in case["changes"].as_object().expect("changes") {
            *written.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value.clone();
        }
    });
    for (name, value) in case["files"].as_object().expect("files") {
        match value {
            Value::Null => drop(files.remove(name)),
            value => drop(files.insert(name.clone(), value.to_string().into_bytes())),
        }
    }
}

/// A folder whose tokenizer.json is a tiny model's with changes, and what stands beside it.
fn of_class(case: &Value, golden: &Value) -> likewise::Result<Embedder> {
    let text = |key: &str| case[key].as_str().expect("a string");
    let sibling = if text("of") == "roberta" { "xlm-roberta" } else { text("of") };
    let mut files = files(&format!("tiny-{sibling}"));
    files.remove("tokenizer_config.json");
    if text("of") == "roberta" {
        files.insert("tokenizer.json".to_owned(), golden["byte_level"].to_string().into_bytes());
    }
    // A BERT with the vocabulary of another family keeps that family's encoder, which its ids fit.
    let family = if text("of") == "xlm-roberta" && text("family") == "bert" { "xlm-roberta" } else { text("family") };
    common::edit_json(&mut files, "config.json", |config| {
        config["model_type"] = json!(family);
        for (key, value) in case["config"].as_object().expect("keys") {
            config[key] = value.clone();
        }
    });
    change(&mut files, case);
    let limit = golden["max_length"].as_u64().expect("a number") as usize;
    Embedder::builder().max_length(limit).open_files(&in_memory(&files))
}

/// Whether its class makes a tokenizer anew from the vocabulary or takes it as written, and whatever stands beside it.
#[test]
fn classes_are_the_references() {
    let refused = HashMap::from([
        ("a class for other vocabularies", &["tokenizer.json", "kind BPE", "is WordPiece", "tokenizer_class"][..]),
        ("nobody's class", &["tokenizer_config.json", "tokenizer_class", "NoSuchTokenizer"]),
    ]);
    let golden = Golden::json_of("classes");
    let (mut count, mut wrong) = (0, Vec::new());
    for case in golden["cases"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        let model = match (of_class(case, &golden), refused.get(name)) {
            (Ok(model), None) => model,
            (Ok(_), Some(_)) => panic!("{name}: accepted"),
            (Err(error), words) => {
                let message = error_chain(&error);
                let Some(words) = words else { panic!("{name}: {message}") };
                assert!(words.iter().all(|word| message.contains(word)), "{name}: {message}");
                println!("{name}: {message}");
                continue;
            }
        };
        for (text, expected) in
            golden["texts"].as_array().expect("texts").iter().zip(case["ids"].as_array().expect("ids"))
        {
            let text = text.as_str().expect("a text");
            let got = json!(model.tokenize(text).expect("tokens").ids);
            if got != *expected {
                wrong.push(format!("{name}: {text:?}\n  {got}\n  {expected}"));
            }
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} texts:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 90, "{count} tokenizers");
}

/// Where the maximum length and the side that is cut may stand, and which of several counts; and lower-casing before the
/// tokenizer's own normalizer.
#[test]
fn inputs_are_the_references() {
    let golden = Golden::json_of("classes");
    let cases = golden["models"].as_array().expect("cases");
    assert!(cases.len() >= 25, "{} cases", cases.len());
    let mut prompts = 0;
    for case in cases {
        let name = case["name"].as_str().expect("a name");
        let mut files = files("tiny-bert");
        change(&mut files, case);
        let model = Embedder::builder().open_files(&in_memory(&files));
        let model = model.unwrap_or_else(|e| panic!("{name}: {}", error_chain(&e)));
        for (text, expected) in
            golden["inputs"].as_array().expect("texts").iter().zip(case["ids"].as_array().expect("ids"))
        {
            let got = model.tokenize(text.as_str().expect("a text")).expect("tokens").ids;
            assert_eq!(json!(got), *expected, "{name}: {text}");
        }
        // Pooling without the prompt shows how many tokens are taken for it.
        let Some(prompted) = case["prompted"].as_array() else { continue };
        prompts += 1;
        let prompt = golden["prompt"].as_str().expect("a prompt");
        let model = Embedder::builder().prompt(prompt).open_files(&in_memory(&files)).expect("a model");
        for (text, expected) in golden["inputs"].as_array().expect("texts").iter().zip(prompted) {
            let got = model.embed(&[text.as_str().expect("a text")]).expect("a vector");
            for (&got, expected) in got.row(0).iter().zip(expected.as_array().expect("numbers")) {
                let expected = expected.as_f64().expect("a number") as f32;
                assert!((got - expected).abs() <= 2e-6 * expected.abs().max(1.0), "{name}: {text}: {got} {expected}");
            }
        }
    }
    assert_eq!(prompts, 6);
}

/// The order of lines is the only thing that a vocab.txt says, so it must be read as it is.
#[test]
fn what_cannot_be_put_together() {
    let golden = Golden::json_of("vocabularies");
    let edited = |name: &str, edit: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let cases = golden["cases"].as_array().expect("cases");
        let mut case = cases.iter().find(|case| case["name"] == name).expect("a case").clone();
        edit(case["files"].as_object_mut().expect("files"));
        with_files(&golden, &case)
    };
    let set = |name: &'static str, text: &'static str| {
        move |files: &mut serde_json::Map<String, Value>| drop(files.insert(name.to_owned(), json!(text)))
    };
    for (what, outcome, words) in [
        ("nothing", edited("bert", &|files| drop(files.remove("vocab.txt"))), &["vocab.txt", "AutoTokenizer"][..]),
        ("no merges", edited("roberta", &|files| drop(files.remove("merges.txt"))), &["merges.txt"]),
        ("a line of three", edited("roberta", &set("merges.txt", "#version: 0.2\na b c\n")), &["line 2", "two pieces"]),
        ("half a line", edited("roberta", &set("merges.txt", "a \n")), &["merges.txt", "line 1"]),
        ("merges of nothing", edited("roberta", &set("merges.txt", "§ §\n")), &["vocab.json", "not a valid tokenizer"]),
        ("no JSON", edited("roberta", &set("vocab.json", "{")), &["vocab.json", "JSON"]),
        ("no ids", edited("roberta", &set("vocab.json", "{\"a\": -1}")), &["vocab.json", "JSON"]),
        (
            "ids that are none",
            edited("bert", &set("added_tokens.json", "{\"<new>\": -7}")),
            &["added_tokens.json", "<new>"],
        ),
        (
            "two tokens of one id",
            edited("bert", &set("added_tokens.json", "{\"a\": 700, \"b\": 700}")),
            &["added_tokens.json", "another id than that of \"a\"", "700"],
        ),
        (
            "null around a text",
            edited(
                "bert",
                &set("tokenizer_config.json", "{\"tokenizer_class\": \"BertTokenizer\", \"sep_token\": null}"),
            ),
            &["tokenizer_config.json", "`sep_token`", "puts it around a text", "found null"],
        ),
        (
            "null around a text, beside",
            edited("bert", &set("special_tokens_map.json", "{\"cls_token\": null}")),
            &["special_tokens_map.json", "`cls_token`", "found null"],
        ),
        (
            "a number",
            edited("bert", &set("special_tokens_map.json", "{\"cls_token\": 7}")),
            &["cls_token", "a token", "7"],
        ),
    ] {
        let Err(error) = outcome else { panic!("{what}: accepted") };
        let message = error_chain(&error);
        println!("{what}: {message}");
        assert!(words.iter().all(|word| message.contains(word)), "{what}: {message}");
    }
    let crlf = edited("bert", &|files| {
        let text = files["vocab.txt"].as_str().expect("a text").replace('\n', "\r\n");
        files.insert("vocab.txt".to_owned(), json!(text));
    });
    let plain = edited("bert", &|_| ()).expect("a model");
    let text = "That is a happy person";
    assert_eq!(crlf.expect("a model").tokenize(text).expect("ids"), plain.tokenize(text).expect("ids"));
}

/// A SentencePiece model whose parts are not what they should be.
#[test]
fn pieces_that_cannot_be_put_together() {
    let golden = Golden::json_of("vocabularies");
    let open = |family: &str, class: &str, pieces: Vec<u8>| {
        let mut files = files("tiny-xlm-roberta");
        files.remove("tokenizer.json");
        files.insert(PIECES.to_owned(), pieces);
        files.insert("tokenizer_config.json".to_owned(), json!({"tokenizer_class": class}).to_string().into_bytes());
        common::edit_json(&mut files, "config.json", |config| config["model_type"] = json!(family));
        Embedder::builder().open_files(&in_memory(&files))
    };
    let whole = of_pieces(&golden, "unigram");
    // Of two messages that are laid end to end, the second adds to the first.
    let and = |more: &[u8]| [&whole[..], more].concat();
    let (xlm, camembert) = ("XLMRobertaTokenizer", "CamembertTokenizer");
    assert!(open("xlm-roberta", xlm, whole.clone()).is_ok());
    for (what, family, class, pieces, words) in [
        ("nothing", "xlm-roberta", xlm, Vec::new(), &["not a valid tokenizer", "has no pieces"][..]),
        ("text", "xlm-roberta", xlm, b"[PAD]\n[UNK]\n".to_vec(), &["not a valid tokenizer"]),
        ("half of it", "xlm-roberta", xlm, whole[..whole.len() / 2].to_vec(), &["not a valid tokenizer"]),
        ("a piece that is no text", "xlm-roberta", xlm, and(b"\x0a\x04\x0a\x02\xff\xfe"), &["not a valid tokenizer"]),
        ("a table of two bytes", "xlm-roberta", xlm, and(b"\x1a\x04\x12\x02ab"), &["table of less than 4 bytes"]),
        // The crate would allocate eight gigabytes.
        (
            "a table of nothing",
            "xlm-roberta",
            xlm,
            and(b"\x1a\x07\x12\x05\xff\xff\xff\xff0"),
            &["trie of 4294967295 bytes and has 1"],
        ),
        ("pieces by pairs", "camembert", camembert, of_pieces(&golden, "bpe"), &["Unigram, 1", "kind 2"]),
        (
            "a class that takes a file as it is written",
            "xlm-roberta",
            "PreTrainedTokenizerFast",
            whole.clone(),
            &["tokenizer_config.json", "tokenizer_class", PIECES, "no tokenizer.json"],
        ),
        (
            "a class of words",
            "bert",
            "BertTokenizer",
            whole.clone(),
            &["tokenizer_class", "no tokenizer.json", PIECES, "BertTokenizer"],
        ),
    ] {
        let Err(error) = open(family, class, pieces) else { panic!("{what}: accepted") };
        let message = error_chain(&error);
        println!("{what}: {message}");
        assert!(words.iter().all(|word| message.contains(word)), "{what}: {message}");
        assert!(message.contains(PIECES), "{what}: {message}");
    }
}
