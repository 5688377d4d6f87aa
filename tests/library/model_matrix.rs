//! Compares every family with every kind of pooling head, in both folder formats and all data types
//! of weights, with sentence-transformers.
//!
//! The golden files contain the JSON files of each model and rules for its weights
//! (fixtures/exporter/matrix.py). The tests create the models from them.

use crate::common::matrix::files;
use crate::common::{Golden, Report, in_memory, max_error, same_bits};
use likewise::{Embedder, Level, error_chain};

/// Maximum error of an element of a vector: absolute up to magnitude 1, relative above.
const MAX_VECTOR_ERROR: f64 = 2e-6;
/// Maximum RMS error against float64, relative to that of sentence-transformers in float32, as the
/// geometric mean over all models.
const MAX_MEAN_ERROR_RATIO: f64 = 1.1;
/// The same maximum for a single model. It is looser, because seven short vectors per model are a
/// small sample.
const MAX_ERROR_RATIO: f64 = 2.0;

/// Computes the root mean square of a − b.
fn rms_error(a: &[f32], b: &[f64]) -> f64 {
    let squares = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - b).powi(2));
    (squares.sum::<f64>() / a.len() as f64).sqrt()
}

/// Checks all models of a golden file, which must contain at least `min_cases` models.
fn check(golden: &Golden, min_cases: usize) {
    let mut report = Report::default();
    let cases = golden.json["cases"].as_array().expect("cases");
    assert!(cases.len() >= min_cases, "{} models", cases.len());
    let mut log_ratio_sum = 0.0;
    for case in cases {
        let name = case["name"].as_str().expect("a name");
        let model = Embedder::builder().open_files(&in_memory(&files(golden, case)));
        let model = model.unwrap_or_else(|e| panic!("{name}: {}", error_chain(&e)));
        let vectors = model.embed(&golden.texts).expect("vectors");
        let expected = golden.tensor(name);
        let exact = golden.tensor(&format!("{name}.f64"));
        report.within(name, max_error(vectors.as_slice(), &expected), MAX_VECTOR_ERROR);
        let golden_f32: Vec<f32> = expected.iter().map(|&x| x as f32).collect();
        let error = rms_error(vectors.as_slice(), &exact);
        let error_ratio = error / rms_error(&golden_f32, &exact);
        report.within(&format!("{name}: error ratio"), error_ratio, MAX_ERROR_RATIO);
        log_ratio_sum += error_ratio.ln();
        if case["weights"]["model.safetensors"]["dtype"] != "F32" && case["weights"]["model.safetensors"].is_object() {
            // By default, sentence-transformers computes in the data type of the weights, whose
            // error is much larger than that of f32.
            let native: Vec<f32> = golden.tensor(&format!("{name}.native")).iter().map(|&x| x as f32).collect();
            assert!(error < 0.01 * rms_error(&native, &exact), "{name}: error {error:e}");
        }
    }
    let mean = (log_ratio_sum / cases.len() as f64).exp();
    report.within("error ratio, geometric mean over all models", mean, MAX_MEAN_ERROR_RATIO);
    report.finish();
}

#[test]
fn every_family_and_head_matches_sentence_transformers() {
    check(&Golden::load("matrix"), 90);
}

/// Families with rotary positions, gates, biases by distance or shared layers, in the dialects of
/// config.json that published models have.
#[test]
fn later_families_match_sentence_transformers() {
    check(&Golden::load("encoder-matrix"), 105);
}

/// These models have embeddings of relative positions. The goldens are from the last release of
/// transformers 4.
#[test]
fn relative_key_models_match_transformers() {
    check(&Golden::load("distances"), 3);
}

/// Heads and relative positions share their code among all families, so one family covers them on
/// every level.
#[test]
fn matrix_models_on_fused_levels_have_same_bits() {
    let mut report = Report::default();
    for golden in ["matrix", "distances"].map(Golden::load) {
        for case in golden.json["cases"].as_array().expect("cases") {
            let name = case["name"].as_str().expect("a name");
            if !name.starts_with("bert/") {
                continue;
            }
            let files = in_memory(&files(&golden, case));
            let expected = golden.tensor(name);
            let mut fused: Option<Vec<f32>> = None;
            for level in Level::available() {
                let model = Embedder::builder().level(level).open_files(&files).expect("a model");
                let vectors = model.embed(&golden.texts).expect("vectors").as_slice().to_vec();
                report.within(&format!("{level} {name}"), max_error(&vectors, &expected), MAX_VECTOR_ERROR);
                if level.is_fused() {
                    let first = fused.get_or_insert_with(|| vectors.clone());
                    assert!(same_bits(first, &vectors), "{name}: the bits differ on {level}");
                    // A single-text batch must give the same bits.
                    for (i, text) in golden.texts.iter().enumerate() {
                        let single = model.embed(&[text]).expect("a vector");
                        let expected = &first[i * single.width()..][..single.width()];
                        assert!(same_bits(single.row(0), expected), "{name}: {i}");
                    }
                }
            }
        }
    }
    report.finish();
}
