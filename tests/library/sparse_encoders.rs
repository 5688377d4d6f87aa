//! Compares sparse encoders with SparseEncoder of sentence-transformers: indices, values, and
//! scores.

use std::collections::HashMap;

use likewise::{
    Builder, Embedder, Error, Level, ModelKind, Precision, SparseEmbeddings, SparseEncoder, SparseRow,
    TruncationPolicy, error_chain,
};
use serde_json::{Value, json};

use crate::common::{Golden, Report, edit_json, in_memory, max_error, same_bits};

/// Maximum error of a value against float64.
const MAX_VALUE_ERROR: f64 = 1e-5;
/// Smaller values may be missing on one side.
const SUPPORT: f64 = 1e-4;

fn cases(json: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let cases = json["cases"].as_array().expect("cases");
    cases.iter().map(|case| (case["name"].as_str().expect("a name"), case))
}

/// Returns the files of a case. Those with a router have tokenizers in subfolders only.
fn files(golden: &Golden, case: &Value) -> HashMap<String, Vec<u8>> {
    let mut case = case.clone();
    let has_own = !case["tokenizer"].is_null();
    if !has_own {
        case["tokenizer"] = json!("tiny-bert");
    }
    let mut files = crate::model_matrix::files(golden, &case);
    if !has_own {
        files.remove("tokenizer.json");
    }
    for (path, name) in case["tokenizers"].as_object().into_iter().flatten() {
        let mut sibling = crate::common::files(name.as_str().expect("a name"));
        files.insert(path.clone(), sibling.remove("tokenizer.json").expect("a tokenizer"));
    }
    files
}

fn case_files(golden: &Golden, name: &str) -> HashMap<String, Vec<u8>> {
    files(golden, cases(&golden.json).find(|(other, _)| *other == name).expect(name).1)
}

fn texts(json: &Value) -> Vec<String> {
    serde_json::from_value(json["texts"].clone()).expect("texts")
}

fn open(builder: Builder, files: &HashMap<String, Vec<u8>>) -> likewise::Result<SparseEncoder> {
    builder.open_sparse_encoder_files(&in_memory(files))
}

fn embed(model: &SparseEncoder, kind: &str, texts: &[String]) -> SparseEmbeddings {
    match kind {
        "encode_query" => model.embed_queries(texts),
        "encode_document" => model.embed_documents(texts),
        _ => model.embed(texts),
    }
    .expect("vectors")
}

fn dense(row: SparseRow<'_>, dimension: usize) -> Vec<f32> {
    let mut dense = vec![0.0; dimension];
    row.indices.iter().zip(row.values).for_each(|(&i, &value)| dense[i as usize] = value);
    dense
}

/// Returns the largest error of any value, or of one that only one side has.
fn largest_error(golden: &Golden, name: &str, vectors: &SparseEmbeddings) -> f64 {
    let lengths = golden.tensor(&format!("{name}.lengths"));
    let indices = golden.tensor(&format!("{name}.indices"));
    let values = golden.tensor(&format!("{name}.values.f64"));
    assert_eq!(lengths.len(), vectors.len(), "{name}: texts");
    let mut start = 0;
    let mut worst = 0.0_f64;
    for (row, length) in vectors.rows().zip(lengths) {
        let end = start + length as usize;
        let mut expected = vec![0.0; vectors.dimension()];
        indices[start..end].iter().zip(&values[start..end]).for_each(|(&i, &value)| expected[i as usize] = value);
        assert!(row.indices.is_sorted_by(|a, b| a < b), "{name}: order of indices");
        let found = dense(row, vectors.dimension());
        worst = worst.max(max_error(&found, &expected));
        for (i, (&a, &b)) in found.iter().zip(&expected).enumerate() {
            let is_only_one = (f64::from(a) > SUPPORT && b == 0.0) || (a == 0.0 && b > SUPPORT);
            if is_only_one {
                worst = worst.max(1.0);
                eprintln!("{name}: element {i} is {a}, expected {b}");
            }
        }
        start = end;
    }
    worst
}

#[test]
fn every_family_and_folder_matches_sentence_transformers() {
    let golden = Golden::load("sparse");
    let texts = texts(&golden.json);
    let mut report = Report::default();
    let mut compared = 0;
    let mut largest = 0.0_f64;
    for (name, case) in cases(&golden.json) {
        let files = files(&golden, case);
        let model =
            open(SparseEncoder::builder(), &files).unwrap_or_else(|error| panic!("{name}: {}", error_chain(&error)));
        let kind = ModelKind::detect(&in_memory(&files)).expect("a kind");
        let expected = if files.contains_key("modules.json") { ModelKind::SparseEncoder } else { ModelKind::Embedder };
        assert_eq!(kind, expected, "{name}");
        assert_eq!(json!(model.dimension()), case["dimension"], "{name}: dimension");
        assert_eq!(json!(model.similarity_function().name()), case["similarity"], "{name}: similarity");
        let kinds: Vec<&str> = serde_json::from_value(Value::clone(&case["kinds"])).map_or_else(
            |_| vec![],
            |kinds: Vec<String>| {
                ["encode", "encode_query", "encode_document"]
                    .into_iter()
                    .filter(|kind| kinds.iter().any(|k| k == kind))
                    .collect()
            },
        );
        for kind in ["encode", "encode_query", "encode_document"] {
            let recorded = if kinds.contains(&kind) { kind } else { "encode" };
            let error = largest_error(&golden, &format!("{name}.{recorded}"), &embed(&model, kind, &texts));
            largest = largest.max(error);
            report.within(&format!("{name}: {kind}"), error, MAX_VALUE_ERROR);
        }
        let mut scores = Vec::new();
        for text in &texts {
            scores.extend(model.similarity(text, &texts).expect("scores").values);
        }
        let error = max_error(&scores, &golden.tensor(&format!("{name}.scores")));
        report.within(&format!("{name}: scores"), error, MAX_VALUE_ERROR);
        compared += 1;
    }
    println!("{compared} models, largest error of a value {largest:.2e}");
    report.finish();
    assert_eq!(compared, 94);
}
