//! Compares all results with those of sentence-transformers, on every level: token ids, offsets,
//! every intermediate tensor, vectors and scores.

use crate::common::{Golden, Report, TINY, committed, elements, max_difference, max_error, open, synthetic_weights};
use likewise::{Embedder, Level, Similarity};

/// Maximum error of an element of an intermediate tensor: absolute up to magnitude 1, relative
/// above.
const MAX_TENSOR_ERROR: f64 = 2e-5;
/// Maximum absolute error of an element of a pooled and normalized vector.
const MAX_VECTOR_ERROR: f64 = 2e-6;
/// Maximum absolute error of a cosine similarity.
const MAX_COSINE_ERROR: f64 = 1e-6;
/// Maximum RMS error against float64, relative to that of sentence-transformers in float32.
const MAX_ERROR_RATIO: f64 = 1.5;

/// Compares all results of one model with its goldens.
fn compare(model: &Embedder, golden: &Golden, report: &mut Report, label: &str) {
    let vectors = model.embed(&golden.texts).expect("vectors");
    let bound = if golden.is_normalized() { MAX_VECTOR_ERROR } else { MAX_TENSOR_ERROR };
    report.within(&format!("{label} vectors"), max_difference(vectors.as_slice(), &golden.tensor("vectors")), bound);
    compare_with_f64(vectors.as_slice(), golden, report, label);
    compare_scores(model, golden, report, label, &vectors);
    compare_trace(model, golden, report, label);
}

/// Compares the RMS error against float64 with that of sentence-transformers in float32.
fn compare_with_f64(vectors: &[f32], golden: &Golden, report: &mut Report, label: &str) {
    let exact = golden.tensor("vectors.f64");
    let golden_f32: Vec<f32> = golden.tensor("vectors").into_iter().map(|x| x as f32).collect();
    let error_ratio = rms_error(vectors, &exact) / rms_error(&golden_f32, &exact);
    report.within(&format!("{label} error ratio against f64"), error_ratio, MAX_ERROR_RATIO);
}

fn rms_error(a: &[f32], b: &[f64]) -> f64 {
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
    // Dot products of vectors that are not normalized grow with the square of the norm, so the
    // bound is relative to the largest score.
    let magnitude = expected.iter().fold(1.0_f64, |max, x| max.max(x.abs()));
    report.within(&format!("{label} scores"), max_difference(&scores, &expected) / magnitude, MAX_COSINE_ERROR);
}

/// Compares the intermediate tensors and pooled vectors of the traced texts.
fn compare_trace(model: &Embedder, golden: &Golden, report: &mut Report, label: &str) {
    let trace = model.trace(&golden.traced()).expect("a trace");
    let architecture = model.info().architecture;
    let in_golden = || trace.tensors().iter().filter(|tensor| golden.has_site(tensor.site()));
    for tensor in in_golden() {
        let expected = golden.site(tensor.site(), architecture.heads);
        report.within(&format!("{label} {}", tensor.site()), max_error(tensor.as_slice(), &expected), MAX_TENSOR_ERROR);
    }
    let is_in_f64 = |site: &&str| *site == "embeddings" || *site == "final_norm" || site.ends_with(".output");
    for tensor in trace.tensors().iter().filter(|tensor| is_in_f64(&tensor.site())) {
        let site = tensor.site();
        let exact = golden.tensor(&format!("{site}.f64"));
        report.within(&format!("{label} {site} f64"), max_error(tensor.as_slice(), &exact), MAX_TENSOR_ERROR);
    }
    // Each layer has eight sites in golden files, and two more with rotary positions.
    let has = |site: &str| usize::from(trace.get(site).is_some());
    let sites = 1 + (8 + 2 * has("layer.0.rotated_query")) * architecture.layers + has("final_norm");
    assert_eq!(in_golden().count(), sites, "sites of the trace in the golden file");
    assert_eq!(sites, golden.sites(), "sites of the reference");
    let expected = golden.tensor("pooled");
    let traced = golden.integers("traced");
    let pooled_width = expected.len() / golden.texts.len();
    let expected: Vec<f64> =
        traced.iter().flat_map(|&i| expected.chunks(pooled_width).nth(i).expect("a row")).copied().collect();
    report.within(&format!("{label} pooled"), max_error(elements(&trace, "pooled"), &expected), MAX_TENSOR_ERROR);
}

#[test]
fn committed_models_on_every_level_match_goldens() {
    let mut report = Report::default();
    for name in committed() {
        let golden = Golden::load(name);
        for level in Level::available() {
            compare(&open(name, level), &golden, &mut report, &format!("{name} {level}"));
        }
    }
    report.finish();
}

#[test]
fn similarity_functions_match_goldens() {
    let mut report = Report::default();
    for name in TINY {
        let golden = Golden::load(name);
        for level in Level::available() {
            let vectors = open(name, level).embed(&golden.texts).expect("vectors");
            for function in Similarity::ALL {
                let expected = golden.tensor(&format!("scores.{function}"));
                let n = expected.len().isqrt();
                let pairs = (0..n).flat_map(|i| (0..n).map(move |j| (i, j)));
                let score = |(i, j)| function.score(level, vectors.row(i), vectors.row(j)).expect("a score");
                let scores: Vec<f32> = pairs.map(score).collect();
                let magnitude = expected.iter().fold(1.0_f64, |max, x| max.max(x.abs()));
                let error = max_difference(&scores, &expected) / magnitude;
                report.within(&format!("{name} {level} {function}"), error, MAX_COSINE_ERROR);
            }
        }
    }
    report.finish();
}

#[test]
fn similarity_function_of_the_folder_scores_sentences() {
    let golden = Golden::load("tiny-bert");
    for function in Similarity::ALL {
        let mut files = crate::common::files("tiny-bert");
        crate::common::edit_json(&mut files, "config_sentence_transformers.json", |config| {
            config["similarity_fn_name"] = serde_json::json!(function.name());
        });
        let model = Embedder::builder().open_files(&crate::common::in_memory(&files)).expect("a model");
        let expected = golden.tensor(&format!("scores.{function}"));
        let n = expected.len().isqrt();
        let scores = model.similarity(&golden.texts[0], &golden.texts[..n]).expect("scores");
        let magnitude = expected[..n].iter().fold(1.0_f64, |max, x| max.max(x.abs()));
        let mut report = Report::default();
        report.within(function.name(), max_difference(&scores, &expected[..n]) / magnitude, MAX_COSINE_ERROR);
        report.finish();
    }
}

/// RoBERTa and XLM-RoBERTa have the same encoder. Only the class of the configuration differs.
#[test]
fn roberta_config_computes_xlm_roberta_vectors() {
    let golden = Golden::load("tiny-xlm-roberta");
    let mut files = crate::common::files("tiny-xlm-roberta");
    crate::common::edit_json(&mut files, "config.json", |config| config["model_type"] = serde_json::json!("roberta"));
    let roberta = Embedder::builder().open_files(&crate::common::in_memory(&files)).expect("a model");
    assert_eq!(roberta.info().architecture.family, "RoBERTa");
    let vectors = roberta.embed(&golden.texts).expect("vectors");
    assert!(max_difference(vectors.as_slice(), &golden.tensor("vectors")) <= MAX_VECTOR_ERROR);
}

#[test]
fn token_ids_offsets_and_truncation_match_goldens() {
    for name in committed() {
        let golden = Golden::load(name);
        let model = open(name, Level::PORTABLE);
        let tokens = golden.integers("tokens");
        let used = golden.integers("used");
        let mut truncated = 0;
        for (i, text) in golden.texts.iter().enumerate() {
            let found = model.tokenize(text).expect("tokens");
            let ids: Vec<u64> = found.ids.iter().map(|&id| u64::from(id)).collect();
            assert_eq!(serde_json::json!(ids), golden.json["ids"][i], "{name}: ids of {text:?}");
            assert_eq!(serde_json::json!(found.offsets), golden.json["offsets"][i], "{name}: offsets of {text:?}");
            assert_eq!((found.usage.total, found.usage.used), (tokens[i], used[i]), "{name}: tokens of {text:?}");
            truncated += usize::from(found.usage.truncated());
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
    // The bias is not traced. With zero queries, the attention scores equal the bias, and the
    // attention probabilities equal its softmax.
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
        let length = trace.token_counts()[0];
        assert_eq!(length, 128, "the text must have the maximum length, to contain every distance");
        let probabilities = elements(&trace, "layer.1.probabilities");
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

/// The texts that the slow levels compute with a model of full depth.
const SLOW_TEXTS: usize = 2;

/// Compares a model with 12 layers of hidden size 768 and computed weights with its goldens.
fn check_full_depth(name: &str, sibling: &str, levels: &[Level]) {
    let golden = Golden::load(name);
    // The exporter must have computed the same weights.
    for (check, sum) in
        golden.json["check_tensors"].as_array().expect("names").iter().zip(golden.tensor("weights.check"))
    {
        let tensor = check.as_str().expect("a name");
        let elements = synthetic_weights::tensor(tensor, synthetic_weights::length(name, tensor));
        let found: f64 = elements.into_iter().map(f64::from).sum();
        assert!((found - sum).abs() < 1e-6, "{tensor}: sum of the weights: expected {sum}, found {found}");
    }
    let files = crate::common::in_memory(&synthetic_weights::files(name, sibling));
    let expected = golden.tensor("vectors");
    let width = expected.len() / golden.texts.len();
    let mut report = Report::default();
    for &level in levels {
        let model = Embedder::builder().level(level).open_files(&files).expect("a model");
        if !level.is_fused() {
            // These levels are hundreds of times slower.
            let vectors = model.embed(&golden.texts[..SLOW_TEXTS]).expect("vectors");
            let error = max_difference(vectors.as_slice(), &expected[..SLOW_TEXTS * width]);
            report.within(&format!("{name} {level} vectors"), error, MAX_VECTOR_ERROR);
            continue;
        }
        let ids = golden.texts.iter().flat_map(|text| model.tokenize(text).expect("tokens").ids);
        assert_eq!(ids.map(f64::from).collect::<Vec<_>>(), golden.tensor("ids"), "{name}: token ids");
        let vectors = model.embed(&golden.texts).expect("vectors");
        let label = format!("{name} {level}");
        report.within(&format!("{label} vectors"), max_difference(vectors.as_slice(), &expected), MAX_VECTOR_ERROR);
        compare_with_f64(vectors.as_slice(), &golden, &mut report, &label);
    }
    report.finish();
}

fn fused_levels() -> Vec<Level> {
    Level::available().into_iter().filter(|level| level.is_fused()).collect()
}

#[test]
#[ignore = "takes a minute; .ci/run includes it"]
fn full_depth_models_with_rotary_positions_match_goldens() {
    for (name, sibling) in synthetic_weights::ROTARY {
        check_full_depth(name, sibling, &fused_levels());
    }
}

/// ModernBERT with four layers, two of which have a window, on a text of 8,192 tokens. Mean pooling
/// reads all tokens, and CLS pooling computes the last layer for one of them. (The tests of
/// invariance compare the bits of the levels, with a shorter text.)
#[test]
#[ignore = "takes a minute; .ci/run includes it"]
fn text_of_8192_tokens_matches_golden() {
    let golden = Golden::load("long-modernbert");
    let layers = golden.json["num_hidden_layers"].clone();
    let mut files = synthetic_weights::edited("full-modernbert", "tiny-modernbert", |config| {
        config["num_hidden_layers"] = layers.clone();
    });
    let sentence = golden.json["sentence"].as_str().expect("a sentence");
    let repeats = golden.json["repeats"].as_u64().expect("a number");
    let text = (0..repeats).map(|i| format!("{sentence} {i}")).collect::<Vec<_>>().join(" ");
    let mut report = Report::default();
    for pooling in ["cls", "mean"] {
        crate::common::edit_json(&mut files, "1_Pooling/config.json", |config| {
            config["pooling_mode_cls_token"] = serde_json::json!(pooling == "cls");
            config["pooling_mode_mean_tokens"] = serde_json::json!(pooling == "mean");
        });
        let model = Embedder::builder().open_files(&crate::common::in_memory(&files)).expect("a model");
        let embeddings = model.embed(&[&text]).expect("a vector");
        assert_eq!(embeddings.usage()[0].used, 8192);
        let vector = embeddings.row(0);
        let label = format!("{pooling} of 8,192 tokens");
        report.within(&label, max_difference(vector, &golden.tensor(pooling)), MAX_VECTOR_ERROR);
        let exact = golden.tensor(&format!("{pooling}.f64"));
        report.within(&format!("{label}, f64"), max_difference(vector, &exact), MAX_VECTOR_ERROR);
    }
    report.finish();
}

#[test]
fn full_depth_mpnet_matches_goldens() {
    check_full_depth("full-mpnet", "tiny-mpnet", &Level::available());
}

#[test]
fn full_depth_xlm_roberta_matches_goldens() {
    // The slow levels run the same code for all models, so full-mpnet covers them.
    let levels: Vec<Level> = Level::available().into_iter().filter(|level| level.is_fused()).collect();
    check_full_depth("full-xlm-roberta", "tiny-xlm-roberta", &levels);
}
