//! Everything the reference computes, against everything we compute: ids, offsets, every
//! intermediate tensor, vectors and scores, on every level.

use crate::common::{COMMITTED, Golden, Report, TINY, max_difference, max_error, open};
use likewise::{Embedder, Level, Similarity};

/// Intermediate tensors: numbers up to 1, and beyond that as a fraction.
const TENSOR: f64 = 2e-5;
/// A pooled and normalized vector.
const VECTOR: f64 = 2e-6;
/// A cosine.
const COSINE: f64 = 1e-6;
/// Our distance from the float64 result, as a multiple of the reference's own float32 run's.
const TIMES_REFERENCE: f64 = 1.5;

/// All comparisons of one model with its goldens.
fn compare(model: &Embedder, golden: &Golden, report: &mut Report, label: &str) {
    let vectors = model.embed(&golden.texts).expect("vectors");
    let normalized = golden
        .tensor("vectors")
        .chunks(vectors.width())
        .all(|v| (v.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-4);
    let bound = if normalized { VECTOR } else { TENSOR };
    report.within(&format!("{label} vectors"), max_difference(vectors.as_slice(), &golden.tensor("vectors")), bound);
    compare_with_f64(vectors.as_slice(), golden, report, label);
    compare_scores(model, golden, report, label, &vectors);
    compare_sites(model, golden, report, label);
}

/// Promise 1: closer to the float64 truth than the reference's float32 run, or within 1.5 times its
/// error.
fn compare_with_f64(vectors: &[f32], golden: &Golden, report: &mut Report, label: &str) {
    let truth = golden.tensor("vectors.f64");
    let reference: Vec<f32> = golden.tensor("vectors").into_iter().map(|x| x as f32).collect();
    let (ours, theirs) = (root_mean_square(vectors, &truth), root_mean_square(&reference, &truth));
    report.within(&format!("{label} error against f64 / reference's"), ours / theirs, TIMES_REFERENCE);
}

fn root_mean_square(a: &[f32], b: &[f64]) -> f64 {
    let squares = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - b).powi(2));
    (squares.sum::<f64>() / a.len() as f64).sqrt()
}

fn compare_scores(model: &Embedder, golden: &Golden, report: &mut Report, label: &str, vectors: &likewise::Embeddings) {
    let expected = golden.tensor("scores");
    let mut scores = Vec::new();
    for a in vectors.rows() {
        for b in vectors.rows() {
            scores.push(model.score(a, b).expect("one width"));
        }
    }
    // Dot products of vectors that are not normalized have the size of the squares of their
    // lengths.
    let size = expected.iter().fold(1.0_f64, |size, x| size.max(x.abs()));
    report.within(&format!("{label} scores"), max_difference(&scores, &expected) / size, COSINE);
}

fn compare_sites(model: &Embedder, golden: &Golden, report: &mut Report, label: &str) {
    let trace = model.trace(&golden.traced()).expect("a trace");
    for site in trace.activations.sites() {
        let ours = trace.activations.get(site).expect("the site");
        report.within(&format!("{label} {site}"), max_error(ours, &golden.tensor(site)), TENSOR);
    }
    for site in ["embeddings", "layer.0.output", "layer.1.output"] {
        let ours = trace.activations.get(site).expect("the site");
        report.within(&format!("{label} {site} f64"), max_error(ours, &golden.tensor(&format!("{site}.f64"))), TENSOR);
    }
    let layers = model.info().architecture.layers;
    assert_eq!(trace.activations.sites().count(), 1 + 8 * layers, "every site of every layer");
    let expected = golden.tensor("pooled");
    let traced = golden.numbers("traced");
    let expected: Vec<f64> =
        traced.iter().flat_map(|&i| expected.chunks(model.width()).nth(i).expect("a row")).copied().collect();
    report.within(&format!("{label} pooled"), max_error(&trace.pooled, &expected), TENSOR);
}

#[test]
fn committed_models_on_every_level_match_goldens() {
    let mut report = Report::default();
    for name in COMMITTED {
        let golden = Golden::load(name);
        for level in Level::available() {
            compare(&open(name, level), &golden, &mut report, &format!("{name} {level}"));
        }
    }
    report.finish();
}

#[test]
fn similarity_functions_match_goldens() {
    for name in TINY {
        let golden = Golden::load(name);
        let mut report = Report::default();
        for function in Similarity::ALL {
            let mut files = crate::common::files(name);
            crate::common::edit_json(&mut files, "config_sentence_transformers.json", |config| {
                config["similarity_fn_name"] = serde_json::json!(function.name());
            });
            let expected = golden.tensor(&format!("scores.{function}"));
            let n = expected.len().isqrt();
            for level in Level::available() {
                let model =
                    Embedder::builder().level(level).open_files(&crate::common::in_memory(&files)).expect("a model");
                let mut scores = Vec::new();
                for source in &golden.texts[..n] {
                    scores.extend_from_slice(&model.similarity(source, &golden.texts[..n]).expect("scores"));
                }
                let size = expected.iter().fold(1.0_f64, |size, x| size.max(x.abs()));
                report.within(&format!("{name} {level} {function}"), max_difference(&scores, &expected) / size, COSINE);
            }
        }
        report.finish();
    }
}

/// RoBERTa computes what XLM-RoBERTa does: only the class that reads its configuration differs.
#[test]
fn roberta_config_computes_xlm_roberta_vectors() {
    let golden = Golden::load("tiny-xlm-roberta");
    let mut files = crate::common::files("tiny-xlm-roberta");
    crate::common::edit_json(&mut files, "config.json", |config| config["model_type"] = serde_json::json!("roberta"));
    let roberta = Embedder::builder().open_files(&crate::common::in_memory(&files)).expect("a model");
    assert_eq!(roberta.info().architecture.family, "RoBERTa");
    let vectors = roberta.embed(&golden.texts).expect("vectors");
    assert!(max_difference(vectors.as_slice(), &golden.tensor("vectors")) <= VECTOR);
}

#[test]
fn token_ids_offsets_and_truncation_match_goldens() {
    for name in COMMITTED {
        let golden = Golden::load(name);
        let model = open(name, Level::PORTABLE);
        let (tokens, used) = (golden.numbers("tokens"), golden.numbers("used"));
        let mut truncated = 0;
        for (i, text) in golden.texts.iter().enumerate() {
            let got = model.tokenize(text).expect("tokens");
            let ids: Vec<u64> = got.ids.iter().map(|&id| u64::from(id)).collect();
            assert_eq!(serde_json::json!(ids), golden.json["ids"][i], "{name}: ids of {text:?}");
            assert_eq!(serde_json::json!(got.offsets), golden.json["offsets"][i], "{name}: offsets of {text:?}");
            assert_eq!((got.usage.total, got.usage.used), (tokens[i], used[i]), "{name}: tokens of {text:?}");
            truncated += usize::from(got.usage.truncated());
        }
        assert!(truncated > 0, "{name}: no golden text is truncated");
        let embedded = model.embed(&golden.texts).expect("vectors");
        for (i, usage) in embedded.usage().iter().enumerate() {
            assert_eq!((usage.total, usage.used), (tokens[i], used[i]), "{name}: usage of {:?}", golden.texts[i]);
        }
    }
}

#[test]
fn relative_bias_matches_mpnet_golden() {
    // Seen through what it does: with all queries zero the scores are the bias, and the
    // probabilities its softmax.
    let golden = Golden::load("tiny-mpnet");
    let bias = golden.tensor("relative_bias");
    let mut files = crate::common::files("tiny-mpnet");
    for layer in 0..2 {
        for leaf in ["weight", "bias"] {
            crate::common::edit_tensor(&mut files, &format!("encoder.layer.{layer}.attention.attn.q.{leaf}"), |x| {
                x.fill(0.0)
            });
        }
    }
    let longest = golden.texts.iter().max_by_key(|text| text.len()).expect("texts");
    for level in Level::available() {
        let model = Embedder::builder().level(level).open_files(&crate::common::in_memory(&files)).expect("a model");
        let trace = model.trace(&[longest]).expect("a trace");
        let length = trace.token_counts[0];
        assert_eq!(length, 128, "the text fills the model, so that every distance occurs");
        let probabilities = trace.activations.get("layer.1.probabilities").expect("probabilities");
        let mut expected = Vec::new();
        for head in bias.chunks(255) {
            for i in 0..length {
                let row: Vec<f64> = (0..length).map(|j| head[127 + j - i].exp()).collect();
                let sum: f64 = row.iter().sum();
                expected.extend(row.into_iter().map(|x| x / sum));
            }
        }
        let mut report = Report::default();
        report.within(&format!("{level} softmax of the bias"), max_difference(probabilities, &expected), 1e-6);
        report.finish();
    }
}

/// 12 layers of width 768, with weights computed from their names.
fn full_depth(name: &str, sibling: &str) {
    let golden = Golden::load(name);
    for (check, sum) in
        golden.json["check_tensors"].as_array().expect("names").iter().zip(golden.tensor("weights.check"))
    {
        let tensor = check.as_str().expect("a name");
        let ours: f64 =
            (0..count(name, tensor)).map(|i| f64::from(crate::common::synthetic_weights::weight(tensor, i))).sum();
        assert!((ours - sum).abs() < 1e-6, "{tensor}: the computed weights differ from the exporter's: {ours}, {sum}");
    }
    let files = crate::common::in_memory(&crate::common::synthetic_weights::files(name, sibling));
    let (all, truth) = (golden.tensor("vectors"), golden.tensor("vectors.f64"));
    let mut report = Report::default();
    for level in Level::available() {
        let model = Embedder::builder().level(level).open_files(&files).expect("a model");
        let ids = golden.texts.iter().flat_map(|text| model.tokenize(text).expect("tokens").ids);
        assert_eq!(ids.map(f64::from).collect::<Vec<_>>(), golden.tensor("ids"), "{name}: token ids");
        let vectors = model.embed(&golden.texts).expect("vectors");
        let label = format!("{name} {level}");
        report.within(&format!("{label} vectors"), max_difference(vectors.as_slice(), &all), VECTOR);
        let reference: Vec<f32> = all.iter().map(|&x| x as f32).collect();
        let (ours, theirs) = (root_mean_square(vectors.as_slice(), &truth), root_mean_square(&reference, &truth));
        report.within(&format!("{label} error against f64 / reference's"), ours / theirs, TIMES_REFERENCE);
    }
    report.finish();
}

/// Numbers in a tensor that the golden file sums up.
fn count(model: &str, tensor: &str) -> usize {
    let config = crate::common::files(model)["config.json"].clone();
    let config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    let size = |key: &str| config[key].as_u64().expect("a size") as usize;
    let d = size("hidden_size");
    match tensor {
        _ if tensor.ends_with("word_embeddings.weight") => size("vocab_size") * d,
        _ if tensor.ends_with("token_type_embeddings.weight") => size("type_vocab_size") * d,
        _ if tensor.ends_with("relative_attention_bias.weight") => 32 * size("num_attention_heads"),
        _ if tensor.ends_with("output.dense.weight") => d * size("intermediate_size"),
        _ if tensor.ends_with("LayerNorm.weight") || tensor.ends_with(".bias") => d,
        _ => panic!("the size of {tensor}"),
    }
}

#[test]
fn full_depth_mpnet_matches_goldens() {
    full_depth("full-mpnet", "tiny-mpnet");
}

#[test]
fn full_depth_xlm_roberta_matches_goldens() {
    full_depth("full-xlm-roberta", "tiny-xlm-roberta");
}
