//! Compares cross-encoders with CrossEncoder of sentence-transformers: tokens of pairs, numbers of
//! the heads, and scores.

use std::collections::HashMap;

use base64::Engine;
use likewise::{
    Builder, CrossEncoder, CrossEncoderError, Error, Level, ModelKind, ModelOutput, Precision, TruncationPolicy,
    error_chain,
};
use serde_json::{Value, json};

use crate::common::matrix::files;
use crate::common::{Golden, Report, elements, in_memory, max_error, same_bits};

/// Maximum error of a score or logit: absolute up to magnitude 1, relative above.
const MAX_SCORE_ERROR: f64 = 2e-6;
/// The same against float64.
const MAX_EXACT_ERROR: f64 = 4e-6;

/// Models of the fixtures that are rejected, and part of the message.
const REJECTED: [(&str, &str); 5] = [
    // transformers warns of the tensor that it does not know.
    ("bert/1 labels/F32/plain/gamma and beta", "not part of BERT: bert.embeddings.extra.weight"),
    ("bert/1 labels/F32/saved/own, Softplus", "`activation_fn`: expected Identity, Sigmoid"),
    ("bert/1 labels/F32/saved/own, LogSigmoid", "`activation_fn`: expected Identity, Sigmoid"),
    // sentence-transformers then ignores modules.json and the settings beside it.
    ("bert/1 labels/F32/saved/another kind of model", "`model_type`: expected CrossEncoder"),
    ("bert/1 labels/F32/saved/no kind of model", "`model_type`: expected CrossEncoder"),
];

fn cases(json: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let cases = json["cases"].as_array().expect("cases");
    cases.iter().map(|case| (case["name"].as_str().expect("a name"), case))
}

/// Returns the pairs of a golden file.
fn pairs(json: &Value) -> Vec<(String, String)> {
    serde_json::from_value(json["pairs"].clone()).expect("pairs")
}

fn open(builder: Builder, files: &HashMap<String, Vec<u8>>) -> likewise::Result<CrossEncoder> {
    builder.open_cross_encoder_files(&in_memory(files))
}

#[test]
fn every_family_and_head_matches_sentence_transformers() {
    let golden = Golden::load("cross-encoders");
    let pairs = pairs(&golden.json);
    let mut report = Report::default();
    let mut compared = 0;
    for (name, case) in cases(&golden.json) {
        let opened = open(CrossEncoder::builder(), &files(&golden, case));
        if let Some((_, message)) = REJECTED.iter().find(|(rejected, _)| *rejected == name) {
            let error = error_chain(&opened.expect_err(name));
            assert!(error.contains(message), "{name}: {error}");
            continue;
        }
        let model = opened.unwrap_or_else(|error| panic!("{name}: {}", error_chain(&error)));
        assert_eq!(ModelKind::detect(&in_memory(&files(&golden, case))).expect("a kind"), ModelKind::CrossEncoder);
        let info = model.info();
        assert_eq!(json!(model.labels().len()), case["num_labels"], "{name}: labels");
        if !case["labels"].is_null() {
            assert_eq!(json!(model.labels()), case["labels"], "{name}: names of labels");
        }
        let activation = case["activation"].as_str().expect("a name").to_lowercase();
        let ModelOutput::Scores { labels, activation: found } = info.output else { panic!("{name}: {info:?}") };
        assert_eq!((labels.as_slice(), found.to_lowercase()), (model.labels(), activation), "{name}");
        let expected = |suffix: &str| golden.tensor(&format!("{name}{suffix}"));
        let scores = model.predict(&pairs).expect("scores");
        let logits = model.logits(&pairs).expect("logits");
        report.within(&format!("{name}: scores"), max_error(scores.as_slice(), &expected("")), MAX_SCORE_ERROR);
        report.within(&format!("{name}: logits"), max_error(logits.as_slice(), &expected(".logits")), MAX_SCORE_ERROR);
        let trace = model.trace(&pairs).expect("a trace");
        assert!(same_bits(elements(&trace, "scores"), scores.as_slice()), "{name}: traced scores");
        assert!(same_bits(elements(&trace, "logits"), logits.as_slice()), "{name}: traced logits");
        let exact = max_error(logits.as_slice(), &expected(".logits.f64"));
        report.within(&format!("{name}: logits, f64"), exact, MAX_EXACT_ERROR);
        compared += 1;
    }
    report.finish();
    assert!(compared >= 136, "{compared} models");
}

/// Makes a small cross-encoder of a family with the tokenizer of a case. The matrix has the
/// weights; tables of tokens and positions get more rows.
fn with_tokenizer(matrix: &Golden, vocabularies: &Value, case: &Value) -> HashMap<String, Vec<u8>> {
    const VOCABULARY: u64 = 1_500;
    const POSITIONS: u64 = 600;
    let family = &case["family"];
    let of_family = |(_, other): &(&str, &Value)| {
        other["files"]["config.json"]["model_type"] == *family
            && other["weights"]["model.safetensors"]["dtype"] == "F32"
    };
    let (_, base) = cases(&matrix.json).find(of_family).unwrap_or_else(|| panic!("no model of {family}"));
    let mut base = base.clone();
    let config = &mut base["files"]["config.json"];
    let [vocabulary, positions] = ["vocab_size", "max_position_embeddings"].map(|key| config[key].clone());
    config["vocab_size"] = json!(VOCABULARY);
    config["max_position_embeddings"] = json!(POSITIONS);
    let mut matrix_json = matrix.json.clone();
    let set = base["weights"]["model.safetensors"]["set"].as_u64().expect("a set") as usize;
    for row in matrix_json["sets"][set].as_array_mut().expect("rows") {
        let name = row[0].as_str().expect("a name").to_owned();
        if name.ends_with("word_embeddings.weight") || name.ends_with("tok_embeddings.weight") {
            assert_eq!(row[1][0], vocabulary, "{name}");
            row[1][0] = json!(VOCABULARY);
        } else if name.ends_with("position_embeddings.weight") {
            assert_eq!(row[1][0], positions, "{name}");
            row[1][0] = json!(POSITIONS);
        }
    }
    let resized = Golden::load("cross-encoders").with_json(matrix_json);
    let mut files = files(&resized, &base);
    for name in
        ["tokenizer_config.json", "sentence_bert_config.json", "modules.json", "config_sentence_transformers.json"]
    {
        files.remove(name);
    }
    add_tokenizer(&mut files, vocabularies, case);
    files
}

/// Puts the tokenizer files of a case instead of others.
fn add_tokenizer(files: &mut HashMap<String, Vec<u8>>, golden: &Value, case: &Value) {
    files.remove("tokenizer.json");
    let of = case["of"].as_str().expect("a name");
    if let Some(vocabulary) = golden["vocabularies"].get(of) {
        for (name, content) in vocabulary.as_object().expect("files") {
            let bytes = base64::engine::general_purpose::STANDARD.decode(content.as_str().expect("base 64"));
            files.insert(name.clone(), bytes.expect("base 64"));
        }
    } else {
        let mut tokenizer: Value = match golden["tokenizers"].get(of) {
            Some(tokenizer) => tokenizer.clone(),
            None => serde_json::from_slice(&crate::common::files(of)["tokenizer.json"]).expect("JSON"),
        };
        for (pointer, value) in case["changes"].as_object().expect("changes") {
            *tokenizer.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value.clone();
        }
        files.insert("tokenizer.json".to_owned(), tokenizer.to_string().into_bytes());
    }
    for (name, content) in case["files"].as_object().expect("files") {
        files.insert(name.clone(), content.to_string().into_bytes());
    }
}

/// Returns the types of runs `[type, length]`.
fn expand(runs: &Value) -> Vec<u32> {
    let runs: Vec<(u32, usize)> = serde_json::from_value(runs.clone()).unwrap_or_default();
    runs.into_iter().flat_map(|(token_type, length)| vec![token_type; length]).collect()
}

#[test]
fn tokens_of_pairs_match_sentence_transformers() {
    let golden = Golden::json_of("pairs");
    let matrix = Golden::load("cross-encoders");
    let pairs = pairs(&golden);
    let limits: Vec<Option<usize>> = serde_json::from_value(golden["limits"].clone()).expect("limits");
    let [mut compared, mut too_short] = [0, 0];
    for (name, case) in cases(&golden) {
        // T5 has no head for classification without its decoder.
        if case["family"] == "t5" {
            continue;
        }
        let files = with_tokenizer(&matrix, &golden, case);
        for (limit, rows) in limits.iter().zip(case["rows"].as_array().expect("rows")) {
            let builder = limit.map_or(CrossEncoder::builder(), |limit| CrossEncoder::builder().max_length(limit));
            let model = match open(builder, &files) {
                Ok(model) => model,
                // Both texts need a token. sentence-transformers computes with less.
                Err(Error::MaxLength { requested, min, .. }) if requested < min && min <= 6 => {
                    too_short += 1;
                    continue;
                }
                Err(error) => panic!("{name}, {limit:?}: {}", error_chain(&error)),
            };
            for (row, (a, b)) in rows.as_array().expect("rows").iter().zip(&pairs) {
                let found = model.tokenize(a, b).expect("tokens");
                let what = format!("{name}, at most {limit:?}: {a:?}, {b:?}");
                assert_eq!(json!(found.ids), golden["ids"][row[0].as_u64().expect("an index") as usize], "{what}");
                let mut types = expand(&row[1]);
                types.resize(found.ids.len(), 0);
                assert_eq!(found.types, types, "{what}");
                assert_eq!(json!(found.usage.map(|usage| usage.total - usage.used)), row[2], "{what}");
                compared += 1;
            }
        }
    }
    assert!(compared > 5_000 && too_short > 100, "{compared} pairs, {too_short} limits");
}

/// A model of each kind of head, on tokenizers with and without types.
fn some_models(golden: &Golden) -> Vec<(&str, HashMap<String, Vec<u8>>)> {
    let names = [
        "bert/1 labels/F32/saved",
        "mpnet/3 labels/F32/plain",
        "modernbert/1 labels/F32/saved/pooling mean",
        "bert/1 labels/F32/saved/mean and wide+layernorm+dense",
        "albert/1 labels/F32/saved/with types",
    ];
    names.map(|name| (name, files(golden, cases(&golden.json).find(|(other, _)| *other == name).expect(name).1))).into()
}

#[test]
fn scores_in_any_batch_order_and_threads_keep_bits() {
    let golden = Golden::load("cross-encoders");
    let pairs: Vec<(String, String)> = pairs(&golden.json).into_iter().cycle().take(60).collect();
    for (name, files) in some_models(&golden) {
        for precision in Precision::ALL {
            let mut expected: Option<Vec<Vec<f32>>> = None;
            for level in Level::available().into_iter().filter(|level| level.is_fused()) {
                let builder = CrossEncoder::builder().level(level).precision(precision);
                let one = open(builder.clone().threads(1), &files).expect("a model");
                let score = |pair| one.predict(std::slice::from_ref(pair)).expect("scores").as_slice().to_vec();
                let singly: Vec<Vec<f32>> = pairs.iter().map(score).collect();
                let first = expected.get_or_insert_with(|| singly.clone());
                let what = format!("{name}, {}, {level}", precision.name());
                assert!(first.iter().zip(&singly).all(|(a, b)| same_bits(a, b)), "{what}: levels differ");
                for threads in [1, 2, 3] {
                    let model = open(builder.clone().threads(threads), &files).expect("a model");
                    let order: Vec<usize> = (0..pairs.len()).map(|i| i * 7 % pairs.len()).collect();
                    let chosen: Vec<_> = order.iter().map(|&i| pairs[i].clone()).collect();
                    let scores = model.predict(&chosen).expect("scores");
                    let same = |(row, &i): (usize, &usize)| same_bits(scores.row(row), &singly[i]);
                    assert!(order.iter().enumerate().all(same), "{what}, {threads} threads");
                }
            }
        }
    }
}

/// Mistakes in the weights or the settings of a head change the scores beyond the bound.
#[test]
fn mistakes_of_porters_are_caught_by_goldens() {
    let golden = Golden::load("cross-encoders");
    let pairs = pairs(&golden.json);
    let swapped: Vec<_> = pairs.iter().map(|(a, b)| (b.clone(), a.clone())).collect();
    let name = "bert/1 labels/F32/saved";
    let original = files(&golden, cases(&golden.json).find(|(other, _)| *other == name).expect(name).1);
    let expected = golden.tensor(name);
    let error = |files: &HashMap<String, Vec<u8>>, pairs: &[(String, String)]| {
        max_error(
            open(CrossEncoder::builder(), files).expect("a model").predict(pairs).expect("scores").as_slice(),
            &expected,
        )
    };
    assert!(error(&original, &pairs) <= MAX_SCORE_ERROR);
    assert!(error(&original, &swapped) > 100.0 * MAX_SCORE_ERROR, "texts swapped");
    let mut no_types = original.clone();
    crate::common::edit_json(&mut no_types, "tokenizer_config.json", |config| {
        config["model_input_names"] = json!(["input_ids", "attention_mask"]);
    });
    assert!(error(&no_types, &pairs) > 100.0 * MAX_SCORE_ERROR, "all types 0");
    let mut no_activation = original.clone();
    crate::common::edit_json(&mut no_activation, "config_sentence_transformers.json", |config| {
        config["activation_fn"] = json!("torch.nn.Identity");
    });
    assert!(error(&no_activation, &pairs) > 100.0 * MAX_SCORE_ERROR, "activation forgotten");
    for tensor in ["bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"] {
        let mut zero = original.clone();
        crate::common::edit_tensor(&mut zero, tensor, |x| x.fill(0.0));
        assert!(error(&zero, &pairs) > 100.0 * MAX_SCORE_ERROR, "{tensor}");
    }
}

#[test]
fn ranking_is_by_score_and_stable() {
    let golden = Golden::load("cross-encoders");
    let (_, files) = some_models(&golden).swap_remove(0);
    let model = open(CrossEncoder::builder(), &files).expect("a model");
    let texts = ["person", "That is a happy person", "person", "Today is a sunny day", "person"];
    let ranked = model.rank("That is a happy person", &texts).expect("a ranking");
    assert!(ranked.windows(2).all(|pair| pair[0].score >= pair[1].score), "{ranked:?}");
    let of_person: Vec<usize> = ranked.iter().map(|text| text.index).filter(|i| texts[*i] == "person").collect();
    assert_eq!(of_person, [0, 2, 4]);
    let pairs = texts.map(|text| ("That is a happy person", text));
    let scores = model.predict(&pairs).expect("scores");
    assert!(ranked.iter().all(|text| text.score == scores.row(text.index)[0]));
    assert!(model.rank::<&str>("query", &[]).expect("no texts").texts.is_empty());
}

#[test]
fn long_pairs_are_truncated_or_rejected_by_the_text_that_is_cut() {
    let golden = Golden::load("cross-encoders");
    let (_, files) = some_models(&golden).swap_remove(0);
    let builder = CrossEncoder::builder().max_length(20);
    let model = open(builder.clone(), &files).expect("a model");
    let strict = open(builder.truncation(TruncationPolicy::Error), &files).expect("a model");
    let long = "person ".repeat(300);
    for (pair, cut, message) in [
        (("a person", long.as_str()), [false, true], "the second text would be cut"),
        ((long.as_str(), "a person"), [true, false], "the first text would be cut"),
        ((long.as_str(), long.as_str()), [true, true], "both texts would be cut"),
    ] {
        let usage = model.predict(&[pair]).expect("a score").usage()[0];
        assert_eq!(usage.map(|usage| usage.truncated()), cut);
        assert_eq!(usage.map(|usage| usage.used).iter().sum::<usize>(), 17);
        let error = strict.predict(&[("short", "text"), pair]).expect_err("too long");
        assert!(
            matches!(&error, Error::CrossEncoder(error) if matches!(**error, CrossEncoderError::PairTooLong { pair: 1, .. }))
        );
        assert!(error.to_string().contains(message), "{error}");
    }
}
