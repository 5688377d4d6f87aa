//! Compares the three kinds of vectors of models as bge-m3, and their scores, with FlagEmbedding.

use std::collections::HashMap;

use base64::Engine;
use likewise::{BgeM3, BgeM3Vectors, Builder, Level, Precision, error_chain};
use serde_json::Value;

use crate::common::{Golden, Report, elements, in_memory, matrix, max_error, same_bits};

/// Maximum error of an element or a score: absolute up to magnitude 1, relative above.
const MAX_ERROR: f64 = 2e-6;

/// Creates the files of a model, with those of torch.save.
fn files(golden: &Golden, case: &Value) -> HashMap<String, Vec<u8>> {
    let mut files = matrix::files(golden, case);
    for (name, content) in case["binary"].as_object().expect("files") {
        let bytes = base64::engine::general_purpose::STANDARD.decode(content.as_str().expect("base 64"));
        files.insert(name.clone(), bytes.expect("base 64"));
    }
    files
}

fn open(builder: Builder, files: &HashMap<String, Vec<u8>>) -> likewise::Result<BgeM3> {
    builder.open_bge_m3_files(&in_memory(files))
}

fn texts(golden: &Golden) -> [Vec<String>; 2] {
    ["queries", "passages"].map(|key| serde_json::from_value(golden.json[key].clone()).expect("texts"))
}

/// Compares the vectors of all texts.
fn compare_vectors(report: &mut Report, golden: &Golden, name: &str, vectors: &BgeM3Vectors) {
    let floats = |numbers: Vec<usize>| numbers.into_iter().map(|n| n as f64).collect::<Vec<_>>();
    let rows: Vec<_> = (0..vectors.len()).map(|i| vectors.sparse(i)).collect();
    let lengths = floats(rows.iter().map(|row| row.indices.len()).collect());
    assert_eq!(lengths, golden.tensor(&format!("{name}.sparse.lengths")), "{name}");
    let indices = floats(rows.iter().flat_map(|row| row.indices).map(|&index| index as usize).collect());
    assert_eq!(indices, golden.tensor(&format!("{name}.sparse.indices")), "{name}");
    let lengths = floats(vectors.tokens().iter().map(|rows| rows.len()).collect());
    assert_eq!(lengths, golden.tensor(&format!("{name}.colbert.lengths")), "{name}");
    let dense: Vec<f32> = (0..vectors.len()).flat_map(|i| vectors.dense(i)).copied().collect();
    let sparse: Vec<f32> = rows.iter().flat_map(|row| row.values).copied().collect();
    for (kind, found) in
        [("dense", dense.as_slice()), ("sparse.values", &sparse), ("colbert", vectors.tokens().as_slice())]
    {
        for suffix in ["", ".f64"] {
            let what = format!("{name}.{kind}{suffix}");
            report.within(&what, max_error(found, &golden.tensor(&what)), MAX_ERROR);
        }
    }
}

/// The first token has no vector, and the others the traced ones with length 1.
fn compare_trace(model: &BgeM3, texts: &[String], name: &str) {
    let trace = model.trace(texts).expect("a trace");
    let vectors = model.encode(texts).expect("vectors");
    let width = vectors.tokens().width();
    let mut traced = elements(&trace, "token_vectors").chunks_exact(width);
    for (i, &tokens) in trace.token_counts().iter().enumerate() {
        traced.next();
        for token in 0..tokens - 1 {
            let row = traced.next().expect("a vector for each token");
            let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let expected: Vec<f64> = row.iter().map(|x| f64::from(*x) / length).collect();
            let found = &vectors.tokens().text(i).as_slice()[token * width..][..width];
            assert!(max_error(found, &expected) < 1e-6, "{name}: token {token} of text {i}");
        }
    }
    assert_eq!(elements(&trace, "token_weights").len(), trace.ids().len(), "{name}");
}

#[test]
fn vectors_and_scores_match_flag_embedding() {
    let golden = Golden::load("bge-m3");
    let [queries, passages] = texts(&golden);
    let mut report = Report::default();
    for case in golden.json["cases"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        let model = open(BgeM3::builder(), &files(&golden, case));
        let model = model.unwrap_or_else(|error| panic!("{name}: {}", error_chain(&error)));
        let all = model.encode(&[queries.clone(), passages.clone()].concat()).expect("vectors");
        compare_vectors(&mut report, &golden, name, &all);
        compare_trace(&model, &queries, name);
        let mut scores: HashMap<String, Vec<f32>> = HashMap::new();
        for i in 0..queries.len() {
            for j in 0..passages.len() {
                let found = model.scores(&all, i, &all, queries.len() + j).expect("scores");
                let mut push = |kind: String, score| scores.entry(kind).or_default().push(score);
                push("dense".to_owned(), found.dense);
                push("sparse".to_owned(), found.sparse);
                push("colbert".to_owned(), found.tokens);
                for (weights, values) in golden.json["weights"].as_object().expect("weights") {
                    let [dense, sparse, tokens]: [f32; 3] = serde_json::from_value(values.clone()).expect("weights");
                    push(format!("sparse+dense.{weights}"), found.weighted_mean([dense, sparse, 0.0]));
                    push(format!("colbert+sparse+dense.{weights}"), found.weighted_mean([dense, sparse, tokens]));
                }
            }
        }
        for (kind, scores) in &scores {
            for suffix in ["", ".f64"] {
                let what = format!("{name}.scores.{kind}{suffix}");
                report.within(&what, max_error(scores, &golden.tensor(&what)), MAX_ERROR);
            }
        }
        assert_eq!(scores.len(), 7);
    }
    report.finish();
}

#[test]
fn vectors_in_any_batch_and_threads_keep_bits() {
    let golden = Golden::load("bge-m3");
    let texts: Vec<String> = texts(&golden).concat().into_iter().cycle().take(40).collect();
    let files = files(&golden, &golden.json["cases"][0]);
    for precision in Precision::ALL {
        let mut expected: Option<BgeM3Vectors> = None;
        for level in Level::available().into_iter().filter(|level| level.is_fused()) {
            for threads in [1, 3] {
                let builder = BgeM3::builder().level(level).precision(precision).threads(threads);
                let model = open(builder, &files).expect("a model");
                let found = model.encode(&texts).expect("vectors");
                assert_eq!(expected.get_or_insert_with(|| found.clone()), &found, "{level}, {threads} threads");
                let alone = model.encode(&texts[3..4]).expect("vectors");
                assert!(same_bits(alone.dense(0), found.dense(3)));
                assert!(same_bits(alone.tokens().as_slice(), found.tokens().text(3).as_slice()));
                assert!(alone.sparse(0) == found.sparse(3));
            }
        }
    }
}

/// FlagEmbedding cuts dense and token vectors, and then scales them to length 1.
#[test]
fn truncate_dim_cuts_dense_and_token_vectors() {
    let golden = Golden::load("bge-m3");
    let files = files(&golden, &golden.json["cases"][0]);
    let texts = texts(&golden).concat();
    let whole = open(BgeM3::builder(), &files).expect("a model");
    let whole_vectors = whole.encode(&texts).expect("vectors");
    let unit = |vector: &[f32]| {
        let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        vector.iter().map(|&x| f64::from(x) / length).collect::<Vec<_>>()
    };
    for dimensions in [1, 5, whole.token_width(), whole.dense_width()] {
        let model = open(BgeM3::builder().truncate_dim(dimensions), &files).expect("a model");
        let token_width = dimensions.min(whole.token_width());
        assert_eq!((model.dense_width(), model.token_width()), (dimensions, token_width));
        let vectors = model.encode(&texts).expect("vectors");
        for i in 0..texts.len() {
            assert!(max_error(vectors.dense(i), &unit(&whole_vectors.dense(i)[..dimensions])) < MAX_ERROR);
            assert!(vectors.sparse(i) == whole_vectors.sparse(i));
            let (found, expected) = (vectors.tokens().text(i), whole_vectors.tokens().text(i));
            for (found, expected) in found.rows().zip(expected.rows()) {
                assert!(max_error(found, &unit(&expected[..token_width])) < MAX_ERROR);
            }
        }
    }
    for dimensions in [0, whole.dense_width() + 1] {
        let error = error_chain(&open(BgeM3::builder().truncate_dim(dimensions), &files).expect_err("a width"));
        assert!(error.contains(&format!("truncate_dim: expected 1 to {}", whole.dense_width())), "{error}");
    }
}

/// The same layers in safetensors give the same vectors, and a folder without them is refused.
#[test]
fn layers_are_read_from_either_format_and_never_guessed() {
    let golden = Golden::load("bge-m3");
    let original = files(&golden, &golden.json["cases"][3]);
    let expected = open(BgeM3::builder(), &original).expect("a model").encode(&["a text"]).expect("vectors");
    let mut files = original.clone();
    for (name, rows) in [("sparse_linear", 1), ("colbert_linear", 12)] {
        let pytorch = files.remove(&format!("{name}.pt")).expect("a layer");
        let error = error_chain(&open(BgeM3::builder(), &files).expect_err("no layer"));
        assert!(error.contains(&format!("{name}.pt or {name}.safetensors")) && error.contains("random"), "{error}");
        let checkpoint = likewise::Checkpoint::from_pytorch_bytes(pytorch).expect("a state dict");
        let tensors = [("weight", vec![rows, 32]), ("bias", vec![rows])].map(|(name, shape)| {
            let elements = checkpoint.tensor(name, &shape).expect(name).to_f32_vec().expect("floats");
            (name, shape, elements.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>())
        });
        let views = tensors.iter().map(|(name, shape, bytes)| {
            (
                *name,
                safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).expect("a tensor"),
            )
        });
        files.insert(format!("{name}.safetensors"), safetensors::serialize(views, None).expect("safetensors"));
    }
    assert_eq!(open(BgeM3::builder(), &files).expect("a model").encode(&["a text"]).expect("vectors"), expected);
    let mut swapped = original.clone();
    swapped.insert("sparse_linear.pt".to_owned(), original["colbert_linear.pt"].clone());
    let error = error_chain(&open(BgeM3::builder(), &swapped).expect_err("another shape"));
    assert!(error.contains("weight") && error.contains("[12, 32]"), "{error}");
}
