//! Compares multi-vector encoders with MultiVectorEncoder of sentence-transformers: the tokens that
//! are scored, their vectors, and the scores.

use std::collections::HashMap;

use likewise::{Builder, MultiVectorEncoder, ModelKind, TokenVectors, error_chain};
use serde_json::{Value, json};

use crate::common::{Golden, Report, in_memory, matrix, max_error};

/// Maximum error of an element of a token's vector, and of a score: absolute up to magnitude 1,
/// relative above.
const MAX_ERROR: f64 = 3e-6;
/// The same against float64.
const MAX_EXACT_ERROR: f64 = 3e-6;

fn cases(golden: &Golden) -> impl Iterator<Item = (&str, &Value)> {
    let cases = golden.json["cases"].as_array().expect("cases");
    cases.iter().map(|case| (case["name"].as_str().expect("a name"), case))
}

/// Returns the queries or documents of the golden file.
fn texts(golden: &Golden, key: &str) -> Vec<String> {
    serde_json::from_value(golden.json[key].clone()).expect("texts")
}

/// Creates the files of a model. Its tokenizer may be a changed one.
fn files(golden: &Golden, case: &Value) -> HashMap<String, Vec<u8>> {
    let name = case["tokenizer"].as_str().expect("a name");
    let Some(tokenizer) = golden.json["tokenizers"].get(name) else { return matrix::files(golden, case) };
    let mut of_sibling = case.clone();
    of_sibling["tokenizer"] = tokenizer["of"].clone();
    let mut files = matrix::files(golden, &of_sibling);
    crate::common::edit_json(&mut files, "tokenizer.json", |json| {
        for (pointer, value) in tokenizer["changes"].as_object().expect("changes") {
            *json.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value.clone();
        }
    });
    files
}

fn open(builder: Builder, files: &HashMap<String, Vec<u8>>) -> likewise::Result<MultiVectorEncoder> {
    builder.open_multi_vector_encoder_files(&in_memory(files))
}

fn lengths(vectors: &TokenVectors) -> Vec<usize> {
    vectors.iter().map(|rows| rows.len()).collect()
}

#[test]
fn every_family_folder_and_setting_matches_sentence_transformers() {
    let golden = Golden::load("multi-vector");
    let [queries, documents] = ["queries", "documents"].map(|key| texts(&golden, key));
    let mut report = Report::default();
    let mut compared = 0;
    for (name, case) in cases(&golden) {
        let files = files(&golden, case);
        assert_eq!(ModelKind::detect(&in_memory(&files)).expect("a kind"), ModelKind::MultiVector, "{name}");
        let model = open(MultiVectorEncoder::builder(), &files);
        let model = model.unwrap_or_else(|error| panic!("{name}: {}", error_chain(&error)));
        let info = model.info();
        assert_eq!(json!(info.width), case["dimension"], "{name}");
        assert_eq!(json!(info.similarity.name()), case["similarity"], "{name}");
        assert_eq!(json!(info.prompts), case["prompts"], "{name}");
        let encoded = [
            ("query", model.encode_queries(&queries).expect("queries")),
            ("document", model.encode_documents(&documents).expect("documents")),
        ];
        for (role, vectors) in &encoded {
            let what = format!("{name}.{role}");
            let ids: Vec<f64> = vectors.ids().iter().map(|&id| f64::from(id)).collect();
            let found: Vec<f64> = lengths(vectors).iter().map(|&length| length as f64).collect();
            assert_eq!(ids, golden.tensor(&format!("{what}.ids")), "{what}: tokens");
            assert_eq!(found, golden.tensor(&format!("{what}.lengths")), "{what}");
            report.within(&what, max_error(vectors.as_slice(), &golden.tensor(&what)), MAX_ERROR);
            if has_exact(case) {
                let exact = golden.tensor(&format!("{what}.f64"));
                report.within(&format!("{what}, f64"), max_error(vectors.as_slice(), &exact), MAX_EXACT_ERROR);
            }
        }
        let [(_, queries), (_, documents)] = &encoded;
        let scores = model.scores(queries, documents).expect("scores");
        report.within(&format!("{name}.scores"), max_error(&scores, &golden.tensor(&format!("{name}.scores"))), MAX_ERROR);
        if has_exact(case) {
            let exact = golden.tensor(&format!("{name}.scores.f64"));
            report.within(&format!("{name}.scores, f64"), max_error(&scores, &exact), MAX_EXACT_ERROR);
        }
        compared += 1;
    }
    report.finish();
    assert_eq!(compared, 73);
}

/// Whether the outputs of a model in float64 are recorded: for the first one of each family.
fn has_exact(case: &Value) -> bool {
    let name = case["name"].as_str().expect("a name");
    name.ends_with("/saved/F32")
}
