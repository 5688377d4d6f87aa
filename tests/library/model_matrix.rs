//! Every family with every kind of head, in both folder formats and all types of weights: the
//! reference's vectors.
//!
//! The folders are made here from their JSON files and from rules for their weights
//! (fixtures/exporter/matrix.py).

use std::collections::HashMap;

use crate::common::{Golden, Report, in_memory, max_error, same_bits};
use half::{bf16, f16};
use likewise::{Embedder, Level, error_chain};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;

/// Numbers of a vector: up to 1, and beyond that as a fraction.
const VECTOR: f64 = 2e-6;
/// Our distance from the float64 result, as a multiple of the reference's own float32 run's: of all
/// models together, and of one, whose seven short vectors are few to tell an error from chance.
const TIMES_REFERENCE: f64 = 1.1;
const TIMES_REFERENCE_OF_ONE: f64 = 2.0;

/// The files of a model of the matrix.
fn files(golden: &Golden, case: &Value) -> HashMap<String, Vec<u8>> {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let mut files = HashMap::new();
    for (name, value) in case["files"].as_object().expect("files") {
        files.insert(name.clone(), value.to_string().into_bytes());
    }
    let sibling = crate::common::files(&text(&case["tokenizer"]));
    files.insert("tokenizer.json".to_owned(), sibling["tokenizer.json"].clone());
    for (name, weights) in case["weights"].as_object().expect("weights") {
        let set = &golden.json["sets"][weights["set"].as_u64().expect("a number") as usize];
        let tensors: Vec<_> = set.as_array().expect("tensors").iter().map(|row| tensor(row, weights)).collect();
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor"))
        });
        files.insert(name.clone(), safetensors::serialize(views, None).expect("safetensors"));
    }
    files
}

/// A tensor by its rule: name, shape, offset, amplitude.
fn tensor(rule: &Value, weights: &Value) -> (String, Dtype, Vec<usize>, Vec<u8>) {
    let name = rule[0].as_str().expect("a name");
    let shape: Vec<usize> =
        rule[1].as_array().expect("a shape").iter().map(|n| n.as_u64().expect("a size") as usize).collect();
    let number = |i: usize| rule[i].as_f64().expect("a number") as f32;
    let (offset, amplitude) = (number(2), number(3));
    let numbers = crate::common::synthetic_weights::units(name, shape.iter().product())
        .into_iter()
        .map(|x| offset + x * amplitude);
    let (dtype, bytes) = match weights["dtype"].as_str() {
        Some("F32") => (Dtype::F32, numbers.flat_map(f32::to_le_bytes).collect()),
        Some("F16") => (Dtype::F16, numbers.flat_map(|x| f16::from_f32(x).to_le_bytes()).collect()),
        Some("BF16") => (Dtype::BF16, numbers.flat_map(|x| bf16::from_f32(x).to_le_bytes()).collect()),
        other => panic!("{other:?}"),
    };
    (format!("{}{name}", weights["prefix"].as_str().expect("a prefix")), dtype, shape, bytes)
}

/// The root of the mean square of a − b.
fn distance(a: &[f32], b: &[f64]) -> f64 {
    let squares = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - b).powi(2));
    (squares.sum::<f64>() / a.len() as f64).sqrt()
}

/// All models of a golden file.
fn check(golden: &Golden, at_least: usize) {
    let mut report = Report::default();
    let cases = golden.json["cases"].as_array().expect("cases");
    assert!(cases.len() >= at_least, "{} models", cases.len());
    let mut ratios = 0.0;
    for case in cases {
        let name = case["name"].as_str().expect("a name");
        let model = Embedder::builder().open_files(&in_memory(&files(golden, case)));
        let model = model.unwrap_or_else(|e| panic!("{name}: {}", error_chain(&e)));
        let vectors = model.embed(&golden.texts).expect("vectors");
        let (expected, truth) = (golden.tensor(name), golden.tensor(&format!("{name}.f64")));
        report.within(name, max_error(vectors.as_slice(), &expected), VECTOR);
        let reference: Vec<f32> = expected.iter().map(|&x| x as f32).collect();
        let (ours, theirs) = (distance(vectors.as_slice(), &truth), distance(&reference, &truth));
        report.within(&format!("{name}: error / reference's"), ours / theirs, TIMES_REFERENCE_OF_ONE);
        ratios += (ours / theirs).ln();
        if case["weights"]["model.safetensors"]["dtype"] != "F32" && case["weights"]["model.safetensors"].is_object() {
            // By itself the reference computes in the type of the weights. That is farther from the
            // truth than we are.
            let native: Vec<f32> = golden.tensor(&format!("{name}.native")).iter().map(|&x| x as f32).collect();
            assert!(ours < 0.01 * distance(&native, &truth), "{name}");
        }
    }
    let mean = (ratios / cases.len() as f64).exp();
    report.within("error / reference's, geometric mean of all", mean, TIMES_REFERENCE);
    report.finish();
}

#[test]
fn every_family_and_head_matches_reference_vectors() {
    check(&Golden::load("matrix"), 90);
}

/// Vectors of distances in place of positions, which the last transformers 4 computes.
#[test]
fn relative_key_models_match_reference_vectors() {
    check(&Golden::load("distances"), 3);
}

/// The heads and the distances on every level: what is computed there is the same for all families.
#[test]
fn matrix_models_on_fused_levels_have_same_bits() {
    let mut report = Report::default();
    for golden in ["matrix", "distances"].map(Golden::load) {
        for case in golden.json["cases"].as_array().expect("cases") {
            let name = case["name"].as_str().expect("a name");
            if !name.starts_with("bert/") {
                continue;
            }
            let (files, expected) = (in_memory(&files(&golden, case)), golden.tensor(name));
            let mut fused: Option<Vec<f32>> = None;
            for level in Level::available() {
                let model = Embedder::builder().level(level).open_files(&files).expect("a model");
                let vectors = model.embed(&golden.texts).expect("vectors").as_slice().to_vec();
                report.within(&format!("{level} {name}"), max_error(&vectors, &expected), VECTOR);
                if level.is_fused() {
                    let first = fused.get_or_insert_with(|| vectors.clone());
                    assert!(same_bits(first, &vectors), "{name}: {level} has other bits");
                    // Alone as together.
                    for (i, text) in golden.texts.iter().enumerate() {
                        let alone = model.embed(&[text]).expect("a vector");
                        assert!(same_bits(alone.row(0), &first[i * alone.width()..][..alone.width()]), "{name}: {i}");
                    }
                }
            }
        }
    }
    report.finish();
}
