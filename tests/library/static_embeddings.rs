//! Compares static embeddings with sentence-transformers and Model2Vec.

use std::collections::HashMap;

use likewise::{Builder, Embedder, Level, ModelKind, Precision, TruncationPolicy, error_chain};
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::common::static_models::{StoredTensor, case, files, serialize, tensor};
use crate::common::{Golden, Report, edit_json, elements, in_memory, max_error, same_bits};

/// Maximum error of an element against float64: absolute up to magnitude 1, relative above.
const MAX_EXACT_ERROR: f64 = 2e-7;
/// The same against float32.
const MAX_ERROR: f64 = 1e-6;

type Files = HashMap<String, Vec<u8>>;

fn golden() -> Golden {
    Golden::load("static")
}

fn open(files: &Files) -> Embedder {
    open_with(Embedder::builder(), files)
}

fn open_with(builder: Builder, files: &Files) -> Embedder {
    builder.open_files(&in_memory(files)).unwrap_or_else(|error| panic!("{}", error_chain(&error)))
}

/// Returns the name of a folder's golden tensor: without modules.json, Model2Vec's rules apply.
fn reference(case: &Value) -> String {
    let name = case["name"].as_str().expect("a name");
    let library = if case["files"].get("modules.json").is_some() { "" } else { ".model2vec" };
    format!("{name}{library}")
}

#[test]
fn every_folder_matches_the_library_that_opens_it() {
    let golden = golden();
    let mut report = Report::default();
    let cases = golden.json["cases"].as_array().expect("cases");
    for case in cases {
        let files = files(case);
        assert_eq!(ModelKind::detect(&in_memory(&files)).expect("a kind"), ModelKind::Embedder);
        let vectors = open(&files).embed(&golden.texts).expect("vectors");
        let name = reference(case);
        let exact = max_error(vectors.as_slice(), &golden.tensor(&format!("{name}.f64")));
        report.within(&format!("{name}, f64"), exact, MAX_EXACT_ERROR);
        // Model2Vec rounds the mean of F16 rows to F16.
        if !name.contains("F16.model2vec") {
            // Of thousands of words, the sum in float32 is 1e-5 from that in float64.
            let elements = (golden.texts.len() - 1) * vectors.width();
            let error = max_error(&vectors.as_slice()[..elements], &golden.tensor(&name)[..elements]);
            report.within(&name, error, MAX_ERROR);
        }
    }
    report.finish();
    assert_eq!(cases.len(), 46);
}

/// Returns the largest error of a model's vectors against float64.
fn error_of(model: &Embedder, golden: &Golden, case: &Value) -> f64 {
    let vectors = model.embed(&golden.texts).expect("vectors");
    max_error(vectors.as_slice(), &golden.tensor(&format!("{}.f64", reference(case))))
}

/// Replaces or removes a tensor of model.safetensors in the folder of a case.
fn with_tensors(case: &Value, edit: impl Fn(&mut Vec<StoredTensor>)) -> Files {
    let mut files = files(case);
    let rules = case["tensors"]["model.safetensors"].as_array().expect("rules");
    let mut tensors: Vec<StoredTensor> = rules.iter().map(tensor).collect();
    edit(&mut tensors);
    files.insert("model.safetensors".to_owned(), serialize(&tensors));
    files
}

#[test]
fn mutants_are_caught() {
    const LISTED: &str = "Model2Vec, I8, mapping I64";
    const ALONE: &str = "Model2Vec, no modules.json, mapping";
    let golden = golden();
    let mutant = |name: &str, what: &str, mutate: &dyn Fn(&Value) -> Files| {
        let case = case(&golden.json, name);
        let error = error_of(&open(&mutate(case)), &golden, case);
        println!("{what:<40} {error:.2e}");
        assert!(error > 100.0 * MAX_ERROR, "{what}: {error:.2e}");
    };
    let without = |tensor: &'static str| {
        move |case: &Value| with_tensors(case, |tensors| tensors.retain(|(name, ..)| name != tensor))
    };
    mutant(LISTED, "weights ignored", &without("weights"));
    mutant("Model2Vec, no modules.json, F32", "normalize forgotten", &|case| {
        let mut files = files(case);
        edit_json(&mut files, "config.json", |config| config["normalize"] = json!(false));
        files
    });
    mutant("saved, F32", "Normalize forgotten", &|case| {
        let mut files = files(case);
        edit_json(&mut files, "modules.json", |modules| drop(modules.as_array_mut().expect("modules").pop()));
        files
    });
    // Without modules.json, unknown tokens are left out and the text is cut.
    mutant(LISTED, "unknown tokens left out", &|case| {
        let mut files = files(case);
        files.remove("modules.json");
        files
    });
    mutant(ALONE, "unknown tokens kept", &|case| {
        let mut files = files(case);
        let list = json!([{"path": ".", "type": "sentence_transformers.models.StaticEmbedding"},
            {"path": "1_Normalize", "type": "sentence_transformers.models.Normalize"}]);
        files.insert("modules.json".to_owned(), list.to_string().into_bytes());
        files
    });
    mutant("Model2Vec, tokenizer.json truncates and pads", "truncation ignored", &|case| {
        let mut files = files(case);
        edit_json(&mut files, "tokenizer.json", |tokenizer| tokenizer["truncation"] = Value::Null);
        files
    });
    mutant(LISTED, "mapping shifted", &|case| {
        with_tensors(case, |tensors| {
            let mapping = tensors.iter_mut().find(|(name, ..)| name == "mapping").expect("a mapping");
            mapping.3.rotate_left(8);
        })
    });
    // Special tokens that a template puts around a text, written into the text.
    let case = case(&golden.json, "saved, F32");
    let texts: Vec<String> = golden.texts.iter().map(|text| format!("[CLS]{text}[SEP]")).collect();
    let vectors = open(&files(case)).embed(&texts).expect("vectors");
    let error = max_error(vectors.as_slice(), &golden.tensor("saved, F32.f64"));
    assert!(error > 100.0 * MAX_ERROR, "special tokens added: {error:.2e}");
}

#[test]
fn vectors_have_the_same_bits_in_any_batch_order_and_on_any_threads() {
    let golden = golden();
    let mut texts: Vec<&str> = golden.texts.iter().map(String::as_str).collect();
    let many: Vec<String> = (0..150).map(|i| format!("text {i} of {} dogs", i * 7 % 31)).collect();
    texts.extend(many.iter().map(String::as_str));
    for name in ["saved, F16", "Model2Vec, I8, weights F64", "Model2Vec, no modules.json, mapping", "saved, Dense"] {
        let files = files(case(&golden.json, name));
        let model = open_with(Embedder::builder().threads(1), &files);
        let expected = model.embed(&texts).expect("vectors");
        let last_first: Vec<&str> = texts.iter().rev().copied().collect();
        for threads in [1, 2, 3] {
            for level in Level::available() {
                let model = open_with(Embedder::builder().threads(threads).level(level), &files);
                let reversed = model.embed(&last_first).expect("vectors");
                // The modules after the table may use fused multiply-add, and divide by a length.
                let alike = level == Level::best();
                for (i, text) in texts.iter().enumerate() {
                    let what = format!("{name}, {threads} threads, {level}: text {i}");
                    let alone = model.embed(&[text]).expect("a vector");
                    assert!(same_bits(alone.row(0), reversed.row(texts.len() - 1 - i)), "{what}");
                    assert!(!alike || same_bits(alone.row(0), expected.row(i)), "{what}");
                }
            }
        }
        let trace = model.trace(&["a happy person", "the dog"]).expect("a trace");
        assert!(same_bits(
            elements(&trace, "vectors"),
            model.embed(&["a happy person", "the dog"]).expect("vectors").as_slice()
        ));
        assert_eq!(trace.token_counts().iter().sum::<usize>(), trace.ids().len());
    }
}

#[test]
fn tokens_and_their_number_follow_the_rules_of_the_folder() {
    let golden = golden();
    let model = |name: &str| open(&files(case(&golden.json, name)));
    // Nothing is put around a text, and an unknown token counts.
    let all = model("saved, words").tokenize("the happy zebra person").expect("tokens");
    assert_eq!((all.ids, all.usage.total, all.usage.used), (vec![5, 7, 1, 6], 4, 4));
    assert_eq!(all.offsets, [(0, 3), (4, 9), (10, 15), (16, 22)]);
    let known = model("Model2Vec, no modules.json, words").tokenize("the happy zebra person").expect("tokens");
    assert_eq!((known.ids, known.usage.total, known.usage.used), (vec![5, 7, 6], 3, 3));
    assert_eq!(known.offsets, [(0, 3), (4, 9), (16, 22)]);
    // Texts are cut only if the folder says so.
    let long = "happy ".repeat(100_000);
    let usage = |model: &Embedder| model.embed(&[long.as_str()]).expect("a vector").usage()[0];
    for (name, used) in [
        ("saved, words", 100_000),
        ("Model2Vec, no modules.json, words", 512),
        ("Model2Vec, no modules.json, byte-level", 0),
        ("saved, tokenizer.json truncates and pads", 16),
    ] {
        let found = usage(&model(name));
        assert!(found.total >= 100_000 && (used == 0 || found.used <= used), "{name}: {found:?}");
        assert_eq!(found.truncated(), used == 512 || used == 16, "{name}: {found:?}");
    }
    let unlimited = model("saved, words").info();
    assert_eq!((unlimited.max_length, unlimited.architecture.layers), (u32::MAX as usize, 0));
    assert_eq!((model("saved, words").width(), unlimited.architecture.vocabulary_size), (24, 14));
    // The builder's maximum replaces the folder's.
    for name in ["saved, words", "Model2Vec, no modules.json, words", "saved, tokenizer.json truncates and pads"] {
        let files = files(case(&golden.json, name));
        let short = open_with(Embedder::builder().max_length(5), &files);
        assert!(usage(&short).used <= 5 && usage(&short).truncated(), "{name}");
        let strict = Embedder::builder().max_length(5).truncation(TruncationPolicy::Error);
        let error = open_with(strict, &files).embed(&["a dog", long.as_str()]).expect_err("too long").to_string();
        assert!(error.contains("text 1: too long: expected at most 5 tokens"), "{name}: {error}");
    }
}

#[test]
fn precision_changes_nothing() {
    let golden = golden();
    let files = files(case(&golden.json, "Model2Vec, F16, weights F32"));
    let expected = open(&files).embed(&golden.texts).expect("vectors");
    for precision in Precision::ALL {
        let model = open_with(Embedder::builder().precision(precision), &files);
        assert!(same_bits(model.embed(&golden.texts).expect("vectors").as_slice(), expected.as_slice()));
        let info = model.info();
        assert_eq!((info.precision, info.dtype, info.memory_by_precision.len()), (Precision::F32, "F16", 1));
        assert_eq!(info.parameters, 360 * 24 + 360);
        // In memory, the table is part of the given file.
        assert!(info.memory.given >= 2 * 360 * 24 && info.memory.packed == 0);
        assert!(info.modules == ["mean pooling", "Normalize"] && model.operations(100) == 0.0);
    }
}

/// Opens a model, which must fail with a message of these parts.
fn fails(what: &str, files: &Files, parts: &[&str]) {
    let error = Embedder::builder().open_files(&in_memory(files)).map(drop).expect_err(what);
    let message = error_chain(&error);
    println!("{what}: {message}");
    assert!(parts.iter().all(|part| message.contains(part)), "{what}: {parts:?} in {message}");
}

/// Edits a tensor of the folder of a case.
fn edit(case: &Value, name: &str, edit: &dyn Fn(&mut StoredTensor)) -> Files {
    with_tensors(case, |tensors| edit(tensors.iter_mut().find(|(found, ..)| found == name).expect("a tensor")))
}

#[test]
fn tensors_that_do_not_fit_are_errors_that_name_them_and_what_to_do() {
    let golden = golden();
    let all = case(&golden.json, "Model2Vec, I8, mapping I64");
    let saved = case(&golden.json, "saved, F32");
    let entry = |row: i64| move |tensor: &mut StoredTensor| tensor.3[24..32].copy_from_slice(&row.to_le_bytes());
    let file = "model.safetensors";
    fails("row 40 of 40", &edit(all, "mapping", &entry(40)), &[file, "`mapping`", "0 to 39", "40 for token 3", "save"]);
    fails("row −1", &edit(all, "mapping", &entry(-1)), &["`mapping`", "-1 for token 3"]);
    fails(
        "a weight too few",
        &edit(all, "weights", &|tensor| {
            tensor.2 = vec![359];
            tensor.3.truncate(359 * 4);
        }),
        &[file, "`weights`", "shape [360]", "[359]", "save"],
    );
    fails(
        "a mapping in two dimensions",
        &edit(all, "mapping", &|tensor| tensor.2 = vec![36, 10]),
        &["`mapping`", "[36, 10]"],
    );
    fails(
        "embeddings in one dimension",
        &edit(all, "embeddings", &|tensor| tensor.2 = vec![960]),
        &["`embeddings`", "matrix", "[960]"],
    );
    fails(
        "a mapping of floats",
        &edit(all, "mapping", &|tensor| tensor.1 = Dtype::F64),
        &["`mapping`", "I64 or I32", "F64"],
    );
    fails(
        "embeddings of I32",
        &edit(saved, "embedding.weight", &|tensor| tensor.1 = Dtype::I32),
        &["F64, F32, F16, BF16 or I8", "I32"],
    );
    let alone = case(&golden.json, "Model2Vec, no modules.json, F32");
    let short = |tensor: &mut StoredTensor| {
        tensor.2 = vec![359, 24];
        tensor.3.truncate(359 * 24 * 4);
    };
    fails("a row too few for Model2Vec", &edit(alone, "embeddings", &short), &["`embeddings`", "360 rows", "359"]);
}

#[test]
fn ambiguous_or_missing_tensors_and_files_are_errors_that_name_them() {
    let golden = golden();
    let all = case(&golden.json, "Model2Vec, I8, mapping I64");
    let saved = case(&golden.json, "saved, F32");
    let rename = |case: &Value, from: &str, to: &str| edit(case, from, &|tensor| tensor.0 = to.to_owned());
    fails(
        "no embeddings",
        &rename(all, "embeddings", "vectors"),
        &["model.safetensors", "`embedding.weight` or `embeddings`", "vectors"],
    );
    fails("another tensor", &rename(all, "weights", "factors"), &["factors", "StaticEmbedding"]);
    fails(
        "a mapping beside embedding.weight",
        &rename(all, "embeddings", "embedding.weight"),
        &["`mapping`", "remove"],
    );
    fails(
        "both",
        &with_tensors(saved, |tensors| {
            let (_, dtype, shape, bytes) = tensors[0].clone();
            tensors.push(("embeddings".to_owned(), dtype, shape, bytes));
        }),
        &["`embedding.weight`", "`embeddings`", "both", "remove"],
    );
    let alone = case(&golden.json, "Model2Vec, no modules.json, F32");
    let mut files = files(saved);
    files.remove("tokenizer.json");
    fails("no tokenizer", &files, &["no tokenizer.json"]);
    for (key, value, parts) in [
        ("max_length", json!(0), &["`max_length`", "at least 1", "0"][..]),
        ("normalize", json!("yes"), &["`normalize`", "true or false"]),
        ("head_weights", json!(3), &["`head_weights`", "no such key"]),
    ] {
        let mut files = self::files(alone);
        edit_json(&mut files, "config.json", |config| config[key] = value);
        fails(key, &files, &[&["config.json"], parts].concat());
    }
    let mut only_second = self::files(saved);
    let truncation = json!({"direction": "Right", "max_length": 9, "strategy": "OnlySecond", "stride": 0});
    edit_json(&mut only_second, "tokenizer.json", |tokenizer| tokenizer["truncation"] = truncation);
    fails("truncation of the second", &only_second, &["`truncation`", "OnlySecond"]);
}

#[test]
fn bad_numbers_and_tokens_beyond_the_table_are_errors_of_the_text() {
    let golden = golden();
    let saved = case(&golden.json, "saved, F32");
    let embed = |files: &Files| open(files).embed(&["", "the dog"]).map(drop).expect_err("an error").to_string();
    let nan = with_tensors(saved, |tensors| {
        let rows = tensors[0].3.chunks_exact_mut(4).skip(100 * 24);
        rows.for_each(|element| element.copy_from_slice(&f32::NAN.to_le_bytes()));
    });
    let message = embed(&nan);
    assert!(message.contains("`embedding.weight`: row ") && message.contains("not finite"), "{message}");
    let weighted = case(&golden.json, "Model2Vec, F32, weights F32");
    let infinite = with_tensors(weighted, |tensors| {
        let weights = tensors.iter_mut().find(|(name, ..)| name == "weights").expect("weights");
        weights.3.chunks_exact_mut(4).for_each(|element| element.copy_from_slice(&f32::INFINITY.to_le_bytes()));
    });
    let message = embed(&infinite);
    assert!(message.contains("`weights`: row ") && message.contains("inf"), "{message}");
    let small = with_tensors(saved, |tensors| {
        tensors[0].2 = vec![10, 24];
        tensors[0].3.truncate(10 * 24 * 4);
    });
    let message = embed(&small);
    assert!(message.contains("tokenizer.json: token id ") && message.contains("less than 10"), "{message}");
}

#[test]
fn conversion_says_that_there_is_nothing_to_convert() {
    let golden = golden();
    let files = in_memory(&files(case(&golden.json, "saved, F32")));
    let folder = tempfile::tempdir().expect("a folder");
    let error = Embedder::builder().convert(&files, folder.path().join("new")).expect_err("no encoder").to_string();
    assert!(error.contains("static embeddings") && error.contains("memory-mapped"), "{error}");
}
