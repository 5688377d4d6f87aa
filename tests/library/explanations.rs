//! Explanations: contributions that add up to the score, tokens, attention, and what is refused.

use std::collections::HashMap;

use likewise::{
    AttentionLayers, Builder, Embedder, Error, Explanation, ExplanationKind, MultiVectorEncoder, Precision,
    SparseEncoder, error_chain,
};
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::common::static_models::serialize;
use crate::common::{Golden, committed, edit_json, elements, files, in_memory, matrix, model, static_models};

/// Maximum difference of the sum of all contributions from the score: absolute up to magnitude 1,
/// relative to the magnitude of the contributions above.
const MAX_ERROR: f64 = 1e-6;

const TEXTS: [&str; 4] =
    ["That is a happy person", "That is a very happy, happy dog!", "heute 今日は 'quoted' — naïve", "x"];

type Files = HashMap<String, Vec<u8>>;

fn open(files: &Files) -> Embedder {
    open_with(Embedder::builder(), files)
}

fn open_with(builder: Builder, files: &Files) -> Embedder {
    builder.open_files(&in_memory(files)).unwrap_or_else(|error| panic!("{}", error_chain(&error)))
}

/// Checks that an explanation adds up to its score.
fn assert_sum(explanation: &Explanation, what: &str) {
    let contributions = || explanation.pairs.iter().copied().chain(explanation.terms.iter().map(|t| t.contribution));
    let sum = contributions().sum::<f64>() + explanation.rest;
    let magnitude = contributions().map(f64::abs).sum::<f64>().max(1.0);
    let bound = if explanation.similarity == "cosine" { MAX_ERROR } else { MAX_ERROR * magnitude };
    assert!((sum - explanation.explained).abs() < 1e-9 * magnitude, "{what}: {sum}, {explanation:?}");
    let error = (sum - f64::from(explanation.score)).abs();
    assert!(error <= bound, "{what}: {sum}, score {}, error {error:e}", explanation.score);
    assert!(explanation.is_exact, "{what}");
    let [a, b] = explanation.texts.each_ref().map(|text| text.tokens.len());
    let expected = if explanation.kind == ExplanationKind::SharedTerms { 0 } else { a * b };
    assert_eq!(explanation.pairs.len(), expected, "{what}");
}

/// Explains all pairs of texts, and compares the scores with those of the model.
fn assert_exact(model: &Embedder, what: &str) {
    for a in TEXTS {
        let scores = model.similarity(a, &TEXTS).expect("scores");
        for (b, &score) in TEXTS.iter().zip(scores.iter()) {
            let explanation = model.explain(a, b).expect("an explanation");
            assert_eq!(explanation.score.to_bits(), score.to_bits(), "{what}: the model's score");
            assert_sum(&explanation, &format!("{what}: {a} / {b}"));
        }
    }
}

#[test]
fn contributions_of_every_fixture_model_add_up_to_the_score() {
    for name in committed() {
        for precision in [Precision::F32, Precision::Int8] {
            let model = Embedder::builder().precision(precision).open(model(name)).expect(name);
            assert_exact(&model, name);
        }
    }
}

/// tiny-bert with other modules after the encoder, each with its files.
fn with_modules(pooling: &Value, modules: &[(&str, Files)]) -> Files {
    let mut files = files("tiny-bert");
    files.insert("1_Pooling/config.json".to_owned(), pooling.to_string().into_bytes());
    let class = |name: &str| format!("sentence_transformers.models.{name}");
    let mut list = vec![
        json!({"idx": 0, "name": "0", "path": "", "type": class("Transformer")}),
        json!({"idx": 1, "name": "1", "path": "1_Pooling", "type": class("Pooling")}),
    ];
    for (i, (name, own)) in modules.iter().enumerate() {
        let path = format!("{}_{name}", i + 2);
        files.extend(own.iter().map(|(file, bytes)| (format!("{path}/{file}"), bytes.clone())));
        list.push(json!({"idx": i + 2, "name": (i + 2).to_string(), "path": path, "type": class(name)}));
    }
    files.insert("modules.json".to_owned(), json!(list).to_string().into_bytes());
    files
}

/// Varied elements from −1 to 1.
fn varied(count: usize, seed: usize) -> Vec<u8> {
    let element = |i: usize| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0;
    (0..count).flat_map(|i| element(i).to_le_bytes()).collect()
}

fn dense(input: usize, output: usize, activation: &str, is_residual: bool) -> (&'static str, Files) {
    let config = json!({
        "in_features": input, "out_features": output, "bias": true, "use_residual": is_residual,
        "activation_function": format!("torch.nn.modules.{activation}"),
    });
    let tensor = |name: &str, shape: Vec<usize>, seed| {
        (name.to_owned(), Dtype::F32, shape.clone(), varied(shape.iter().product(), seed))
    };
    let mut tensors = vec![tensor("linear.weight", vec![output, input], 1), tensor("linear.bias", vec![output], 2)];
    if is_residual && input != output {
        tensors.push(tensor("residual.weight", vec![output, input], 3));
    }
    let files = [("config.json", config.to_string().into_bytes()), ("model.safetensors", serialize(&tensors))];
    ("Dense", files.map(|(name, bytes)| (name.to_owned(), bytes)).into())
}

fn layer_norm(width: usize) -> (&'static str, Files) {
    let tensor = |name: &str, seed| (name.to_owned(), Dtype::F32, vec![width], varied(width, seed));
    let files = [
        ("config.json", json!({"dimension": width}).to_string().into_bytes()),
        ("model.safetensors", serialize(&[tensor("norm.weight", 4), tensor("norm.bias", 5)])),
    ];
    ("LayerNorm", files.map(|(name, bytes)| (name.to_owned(), bytes)).into())
}

fn normalize() -> (&'static str, Files) {
    ("Normalize", Files::new())
}

const MODES: [&str; 6] = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"];

#[test]
fn contributions_add_up_under_every_pooling_and_linear_module() {
    let heads = |width: usize| {
        [
            vec![],
            vec![normalize()],
            vec![dense(width, 24, "linear.Identity", false), normalize()],
            vec![dense(width, width, "linear.Identity", true)],
            vec![normalize(), dense(width, 40, "linear.Identity", true), layer_norm(40)],
        ]
    };
    for modes in MODES.iter().map(|mode| vec![*mode]).chain([vec!["cls", "max"], vec!["mean", "weightedmean"]]) {
        for (i, head) in heads(32 * modes.len()).iter().enumerate() {
            for similarity in ["cosine", "dot"] {
                let mut files = with_modules(&json!({"pooling_mode": modes}), head);
                edit_json(&mut files, "config_sentence_transformers.json", |json| {
                    json["similarity_fn_name"] = similarity.into();
                });
                let what = format!("{modes:?}, head {i}, {similarity}");
                assert_exact(&open(&files), &what);
                assert_exact(&open_with(Embedder::builder().truncate_dim(9).normalize(), &files), &what);
                assert_exact(&open_with(Embedder::builder().truncate_dim(9), &files), &what);
            }
        }
    }
}

#[test]
fn biases_carry_the_rest() {
    let head = [dense(32, 24, "linear.Identity", false)];
    let model = open(&with_modules(&json!({"pooling_mode": "mean"}), &head));
    let explanation = model.explain(TEXTS[0], TEXTS[1]).expect("an explanation");
    assert!(explanation.rest.abs() > 1e-3, "{}", explanation.rest);
    assert!(explanation.notes.iter().any(|note| note.contains("biases")), "{:?}", explanation.notes);
}

#[test]
fn vectors_before_an_activation_are_explained() {
    let head = [dense(32, 24, "activation.Tanh", false), normalize()];
    let model = open(&with_modules(&json!({"pooling_mode": "mean"}), &head));
    let explanation = model.explain(TEXTS[0], TEXTS[1]).expect("an explanation");
    assert!(!explanation.is_exact);
    let [note] = explanation.notes.as_slice() else { panic!("{:?}", explanation.notes) };
    assert!(note.contains("Dense 32 → 24, Tanh") && note.contains(&format!("{:.4}", explanation.explained)), "{note}");
    let before = open(&with_modules(&json!({"pooling_mode": "mean"}), &[]));
    let before = before.explain(TEXTS[0], TEXTS[1]).expect("an explanation");
    assert_eq!(before.pairs, explanation.pairs);
}

#[test]
fn pair_of_the_pooled_token_carries_the_whole_score() {
    for (mode, last) in [("cls", false), ("lasttoken", true)] {
        let model = open(&with_modules(&json!({"pooling_mode": mode}), &[]));
        let explanation = model.explain(TEXTS[0], TEXTS[1]).expect("an explanation");
        let carrying: Vec<usize> = (0..explanation.pairs.len()).filter(|&i| explanation.pairs[i] != 0.0).collect();
        assert_eq!(carrying, [if last { explanation.pairs.len() - 1 } else { 0 }], "{mode}");
        assert!(explanation.notes[0].contains("attention of the last layer"), "{:?}", explanation.notes);
        for text in &explanation.texts {
            assert_eq!(text.tokens.iter().filter(|token| token.is_counted).count(), 1);
        }
    }
}

#[test]
fn excluded_tokens_of_a_prompt_contribute_nothing() {
    for includes in [true, false] {
        let pooling = json!({"pooling_mode": "mean", "include_prompt": includes});
        let files = with_modules(&pooling, &[normalize()]);
        let model = open_with(Embedder::builder().prompt("search for: "), &files);
        assert_exact(&model, "a prompt");
        let explanation = model.explain(TEXTS[0], TEXTS[1]).expect("an explanation");
        let columns = explanation.texts[1].tokens.len();
        assert!(explanation.texts[0].text.starts_with("search for: That"));
        for (token, row) in explanation.texts[0].tokens.iter().zip(explanation.pairs.chunks(columns)) {
            let is_excluded = !includes && (token.is_prompt || token.token == "[CLS]");
            assert_eq!(token.is_counted, !is_excluded, "{token:?}");
            assert_eq!(row.iter().all(|x| *x == 0.0), is_excluded, "{token:?}");
        }
        assert!(explanation.texts[0].tokens.iter().filter(|token| token.is_prompt).count() > 2);
        assert_eq!(explanation.notes.len(), usize::from(!includes), "{:?}", explanation.notes);
    }
}

#[test]
fn tokens_are_those_of_the_text_and_the_vocabulary() {
    let model = Embedder::open(model("quickstart")).expect("a model");
    let text = "Naïve Übermut, twice";
    let explanation = model.explain(text, "x").expect("an explanation");
    let tokens = &explanation.texts[0].tokens;
    let expected = model.tokenize(text).expect("tokens");
    assert_eq!(tokens.iter().map(|token| token.id).collect::<Vec<_>>(), expected.ids);
    let characters: Vec<char> = text.chars().collect();
    let mut covered = String::new();
    for token in tokens {
        let Some((start, end)) = token.span else {
            assert!(token.text.is_empty() && token.label() == token.token, "{token:?}");
            continue;
        };
        assert_eq!(token.text, characters[start..end].iter().collect::<String>());
        covered.push_str(&token.text);
    }
    assert_eq!(covered, text.replace(' ', ""));
    assert!(tokens[0].span.is_none() && tokens[tokens.len() - 1].span.is_none());
}

#[test]
fn attention_equals_that_of_a_trace() {
    for name in ["tiny-mpnet", "tiny-albert", "tiny-modernbert", "quickstart"] {
        let model = Embedder::open(model(name)).expect("a model");
        let trace = model.trace(&TEXTS[..1]).expect("a trace");
        let explain = |layers| model.explain_with_attention(TEXTS[0], TEXTS[1], layers).expect("an explanation");
        let all = explain(AttentionLayers::All);
        let [text, other] = &all.texts;
        assert_eq!(text.attention.len(), all.layers, "{name}");
        assert_eq!(other.attention.len(), all.layers, "{name}");
        for (i, attention) in text.attention.iter().enumerate() {
            let recorded = elements(&trace, &format!("layer.{i}.probabilities"));
            let heads: Vec<f32> = (0..attention.heads()).flat_map(|head| attention.head(head).to_vec()).collect();
            assert_eq!(heads, recorded, "{name}: layer {i}");
            let mean = attention.mean();
            for row in mean.chunks(text.tokens.len()) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{name}: {row:?}");
            }
        }
        for (layers, index) in [(AttentionLayers::One(1), 1), (AttentionLayers::Last, all.layers - 1)] {
            assert_eq!(explain(layers).texts[0].attention, [text.attention[index].clone()], "{name}");
        }
        for none in [AttentionLayers::None, AttentionLayers::One(all.layers)] {
            assert_eq!(explain(none).texts[0].attention, [], "{name}");
        }
    }
}

#[test]
fn static_embeddings_are_explained_as_a_mean() {
    let golden = Golden::load("static");
    let cases = golden.json["cases"].as_array().expect("cases");
    let mut exact = 0;
    for case in cases {
        let model = open(&static_models::files(case));
        if !matches!(model.similarity_function().name(), "cosine" | "dot") {
            continue;
        }
        let explanation = model.explain("", "a dog").expect("an explanation");
        assert_eq!(explanation.layers, 0);
        // A Dense without the key of its activation has Tanh.
        if explanation.is_exact {
            assert_exact(&model, case["name"].as_str().expect("a name"));
            exact += 1;
        }
    }
    assert!(exact >= 20, "{exact} of {}", cases.len());
}

#[test]
fn pairs_of_late_interaction_add_up_to_the_score() {
    let golden = Golden::load("multi-vector");
    let cases = golden.json["cases"].as_array().expect("cases");
    let names = cases.iter().filter(|case| case["name"].as_str().is_some_and(|name| name.ends_with("/saved/F32")));
    let mut explained = 0;
    for case in names {
        let Some(model) = multi_vector(&golden, case) else { continue };
        for query in TEXTS {
            let scores = model.similarity(query, &TEXTS).expect("scores");
            for (document, &score) in TEXTS.iter().zip(scores.iter()) {
                let explanation = model.explain(query, document).expect("an explanation");
                assert_eq!(explanation.kind, ExplanationKind::MaxSim);
                assert!((explanation.score - score).abs() <= 1e-6 * score.abs().max(1.0), "{score}");
                assert_sum(&explanation, &format!("{}: {query} / {document}", case["name"]));
                let columns = explanation.texts[1].tokens.len();
                for (token, row) in explanation.texts[0].tokens.iter().zip(explanation.pairs.chunks(columns)) {
                    assert!(row.iter().filter(|x| **x != 0.0).count() <= usize::from(token.is_counted), "{token:?}");
                }
                explained += 1;
            }
        }
    }
    assert!(explained >= 16, "{explained}");
}

fn multi_vector(golden: &Golden, case: &Value) -> Option<MultiVectorEncoder> {
    let name = case["tokenizer"].as_str().expect("a name");
    if golden.json["tokenizers"].get(name).is_some() {
        return None;
    }
    let files = in_memory(&matrix::files(golden, case));
    Some(MultiVectorEncoder::builder().open_multi_vector_encoder_files(&files).expect("a model"))
}

#[test]
fn shared_terms_add_up_to_the_score() {
    let golden = Golden::load("sparse");
    for (i, case) in golden.json["cases"].as_array().expect("cases").iter().enumerate() {
        // A few of each family.
        if i % 4 != 0 {
            continue;
        }
        let files = in_memory(&matrix::sparse_files(&golden, case));
        let model = SparseEncoder::builder().open_sparse_encoder_files(&files).expect("a model");
        for query in TEXTS {
            let scores = model.similarity(query, &TEXTS).expect("scores");
            for (document, &score) in TEXTS.iter().zip(scores.iter()) {
                let result = model.explain(query, document);
                if !matches!(model.similarity_function().name(), "cosine" | "dot") {
                    assert!(matches!(result, Err(Error::Config { .. })), "{}", case["name"]);
                    continue;
                }
                let explanation = result.expect("an explanation");
                assert_eq!(explanation.score.to_bits(), score.to_bits());
                assert_sum(&explanation, case["name"].as_str().expect("a name"));
                assert!(explanation.terms.is_sorted_by(|a, b| a.contribution >= b.contribution));
            }
        }
    }
}

#[test]
fn distances_and_long_texts_are_refused() {
    for distance in ["euclidean", "manhattan"] {
        let mut files = files("tiny-bert");
        edit_json(&mut files, "config_sentence_transformers.json", |json| json["similarity_fn_name"] = distance.into());
        let message = error_chain(&open(&files).explain("a", "b").expect_err("a distance"));
        for part in ["similarity_fn_name", "expected cosine or dot", distance] {
            assert!(message.contains(part), "{message}");
        }
    }
    let golden = Golden::load("static");
    let model = open(&static_models::files(&golden.json["cases"][0]));
    let long = "word ".repeat(600);
    let error = model.explain("a", &long).expect_err("a long text");
    assert!(matches!(error, Error::TooLong { text: 1, limit: 512, .. }), "{error}");
    let model =
        Embedder::builder().truncation(likewise::TruncationPolicy::Error).open(crate::common::model("tiny-bert"));
    let error = model.expect("a model").explain(&"word ".repeat(200), "a").expect_err("a long text");
    assert!(matches!(error, Error::TooLong { text: 0, .. }), "{error}");
}

#[test]
fn json_has_every_part() {
    let model = Embedder::open(model("tiny-mpnet")).expect("a model");
    let explanation =
        model.explain_with_attention(TEXTS[0], TEXTS[1], AttentionLayers::One(0)).expect("an explanation");
    let json: Value = serde_json::from_str(&explanation.to_json()).expect("JSON");
    let [rows, columns] = explanation.texts.each_ref().map(|text| text.tokens.len());
    assert_eq!(json["kind"], "pairs");
    assert_eq!(json["pairs"].as_array().map(Vec::len), Some(rows));
    let sum: f64 = json["pairs"]
        .as_array()
        .expect("rows")
        .iter()
        .flat_map(|row| row.as_array().expect("a row"))
        .map(|x| x.as_f64().expect("a number"))
        .sum();
    assert!((sum - json["score"].as_f64().expect("a score")).abs() < MAX_ERROR);
    for (text, tokens) in json["texts"].as_array().expect("texts").iter().zip([rows, columns]) {
        assert_eq!(text["tokens"].as_array().map(Vec::len), Some(tokens));
        let heads = text["attention"][0]["heads"].as_array().expect("heads");
        assert!(heads.iter().all(|head| head[0].as_array().map(Vec::len) == Some(tokens)));
    }
}
