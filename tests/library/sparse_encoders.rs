//! Compares sparse encoders with SparseEncoder of sentence-transformers: indices, values, and
//! scores.

use std::collections::HashMap;

use likewise::{
    Builder, Embedder, Error, Level, ModelKind, Precision, SparseEmbeddings, SparseEncoder, SparseRow,
    TruncationPolicy, error_chain,
};
use serde_json::{Value, json};

use crate::common::matrix::sparse_files;
use crate::common::{Golden, Report, edit_json, elements, in_memory, max_error, same_bits};

/// Maximum error of a value against float64.
const MAX_VALUE_ERROR: f64 = 1e-5;
/// Smaller values may be missing on one side.
const SUPPORT: f64 = 1e-4;

fn cases(json: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let cases = json["cases"].as_array().expect("cases");
    cases.iter().map(|case| (case["name"].as_str().expect("a name"), case))
}

fn case_files(golden: &Golden, name: &str) -> HashMap<String, Vec<u8>> {
    sparse_files(golden, cases(&golden.json).find(|(other, _)| *other == name).expect(name).1)
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
        let files = sparse_files(&golden, case);
        let model =
            open(SparseEncoder::builder(), &files).unwrap_or_else(|error| panic!("{name}: {}", error_chain(&error)));
        let kind = ModelKind::detect(&in_memory(&files)).expect("a kind");
        let expected = if files.contains_key("modules.json") { ModelKind::SparseEncoder } else { ModelKind::Embedder };
        assert_eq!(kind, expected, "{name}");
        assert_eq!(json!(model.dimension()), case["dimension"], "{name}: dimension");
        assert_eq!(json!(model.similarity_function().name()), case["similarity"], "{name}: similarity");
        let trace = model.trace(&texts).expect("a trace");
        let rows = elements(&trace, "vectors").chunks_exact(model.dimension());
        for (i, (row, vector)) in rows.zip(embed(&model, "encode", &texts).rows()).enumerate() {
            assert!(same_bits(row, &dense(vector, model.dimension())), "{name}: traced text {i}");
        }
        let kinds: Vec<String> = serde_json::from_value(case["kinds"].clone()).expect("kinds");
        for kind in ["encode", "encode_query", "encode_document"] {
            let recorded = if kinds.iter().any(|other| other == kind) { kind } else { "encode" };
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

/// Models with each pooling, another width, and a router.
const SOME: [&str; 4] = [
    "bert/sum/log1p_relu/F32/saved",
    "albert/max/relu/BF16/plain",
    "modernbert/sum/relu/F32/saved/router",
    "distilbert/max/log1p_relu/F16/saved/router",
];

#[test]
fn vectors_in_any_batch_order_and_threads_keep_bits() {
    let golden = Golden::load("sparse");
    let texts: Vec<String> = texts(&golden.json).into_iter().cycle().take(60).collect();
    for name in SOME {
        let files = case_files(&golden, name);
        for precision in Precision::ALL {
            let mut expected: Option<Vec<Vec<f32>>> = None;
            for level in Level::available().into_iter().filter(|level| level.is_fused()) {
                let builder = SparseEncoder::builder().level(level).precision(precision);
                let one = open(builder.clone().threads(1), &files).expect("a model");
                let row = |vectors: &SparseEmbeddings, i| dense(vectors.row(i), vectors.dimension());
                let single = |text: &String| row(&one.embed(&[text]).expect("a vector"), 0);
                let singly: Vec<Vec<f32>> = texts.iter().map(single).collect();
                let first = expected.get_or_insert_with(|| singly.clone());
                let what = format!("{name}, {}, {level}", precision.name());
                assert!(first.iter().zip(&singly).all(|(a, b)| same_bits(a, b)), "{what}: levels differ");
                for threads in [1, 2, 3] {
                    let model = open(builder.clone().threads(threads), &files).expect("a model");
                    let order: Vec<usize> = (0..texts.len()).map(|i| i * 7 % texts.len()).collect();
                    let shuffled: Vec<&String> = order.iter().map(|&i| &texts[i]).collect();
                    let vectors = model.embed(&shuffled).expect("vectors");
                    let few = model.embed(&shuffled[..5]).expect("vectors");
                    for (j, &i) in order.iter().enumerate() {
                        assert!(same_bits(&row(&vectors, j), &singly[i]), "{what}, {threads} threads: text {i}");
                        assert!(j >= 5 || same_bits(&row(&few, j), &singly[i]), "{what}: few texts");
                    }
                }
            }
        }
    }
}

/// Returns the largest error of a case after its files were changed.
fn error_after(name: &str, kind: &str, change: impl FnOnce(&mut HashMap<String, Vec<u8>>)) -> f64 {
    let golden = Golden::load("sparse");
    let mut files = case_files(&golden, name);
    change(&mut files);
    let model = open(SparseEncoder::builder(), &files).expect("a model");
    largest_error(&golden, &format!("{name}.{kind}"), &embed(&model, kind, &texts(&golden.json)))
}

#[test]
fn mutants_of_head_and_pooling_are_noticed() {
    const POOLING: &str = "1_SpladePooling/config.json";
    let bert = "bert/max/relu/F32/saved";
    let set = |file: &'static str, key: &'static str, value: Value| {
        move |files: &mut HashMap<String, Vec<u8>>| edit_json(files, file, |json| json[key] = value)
    };
    let noticed = |what: &str, error: f64| assert!(error > 3.0 * MAX_VALUE_ERROR, "{what}: error {error:.1e}");
    noticed("log1p twice", error_after(bert, "encode", set(POOLING, "activation_function", json!("log1p_relu"))));
    noticed("sum", error_after(bert, "encode", set(POOLING, "pooling_strategy", json!("sum"))));
    noticed(
        "tanh GELU",
        error_after("albert/max/relu/F32/saved/gelu", "encode", set("config.json", "hidden_act", json!("gelu_new"))),
    );
    noticed(
        "all elements",
        error_after("bert/max/relu/F32/saved/at most 9", "encode", |files| {
            set("config_sentence_transformers.json", "max_active_dims", json!(null))(files);
        }),
    );
    noticed(
        "no prompt",
        error_after("bert/max/relu/F32/saved/prompts", "encode_query", |files| {
            set("config_sentence_transformers.json", "prompts", json!({}))(files);
            set("config_sentence_transformers.json", "default_prompt_name", json!(null))(files);
        }),
    );
    noticed(
        "special tokens dropped",
        error_after(bert, "encode", |files| {
            set("tokenizer.json", "post_processor", json!(null))(files);
            set("tokenizer_config.json", "tokenizer_class", json!("PreTrainedTokenizerFast"))(files);
        }),
    );
    noticed(
        "decoder ignored",
        error_after("bert/max/relu/F32/plain/untied in the file", "encode", |files| {
            without_tensor(files, "cls.predictions.decoder.weight");
        }),
    );
}

/// Removes a tensor from model.safetensors.
fn without_tensor(files: &mut HashMap<String, Vec<u8>>, name: &str) {
    let bytes = files["model.safetensors"].clone();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    assert!(tensors.names().contains(&name), "no tensor {name}");
    let kept = tensors.tensors().into_iter().filter(|(other, _)| other != name);
    files.insert("model.safetensors".to_owned(), safetensors::serialize(kept, None).expect("safetensors"));
}

#[test]
fn unsuitable_model_or_setting_is_rejected_with_the_way_out() {
    let golden = Golden::load("sparse");
    let message = |result: likewise::Result<SparseEncoder>| error_chain(&result.expect_err("an error"));
    let contains = |message: &str, parts: &[&str]| {
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    };
    for name in
        ["bert/max/relu/F32/saved", "bert/max/relu/F32/old/old length", SOME[2], "bert/max/relu/F32/saved/static"]
    {
        let files = case_files(&golden, name);
        let error = Embedder::builder().open_files(&in_memory(&files)).expect_err(name);
        contains(&error_chain(&error), &["`model_type`: expected SentenceTransformer", "SparseEncoder)"]);
    }
    let dense = crate::common::files("tiny-bert");
    contains(&message(open(SparseEncoder::builder(), &dense)), &["`model_type`: expected SparseEncoder"]);
    let untied = case_files(&golden, "bert/max/relu/F32/plain/untied");
    for tensor in ["cls.predictions.decoder.weight", "cls.predictions.transform.dense.weight"] {
        let mut files = untied.clone();
        without_tensor(&mut files, tensor);
        contains(&message(open(SparseEncoder::builder(), &files)), &[tensor]);
    }
    let mut files = untied.clone();
    edit_json(&mut files, "config.json", |json| json["architectures"] = json!(["BertModel"]));
    contains(&message(open(SparseEncoder::builder(), &files)), &["`architectures`", "BertForMaskedLM"]);
    contains(&message(open(SparseEncoder::builder().truncate_dim(8), &untied)), &["truncate_dim", "max_active_dims"]);
    let long = "a b c d e f g h ".repeat(40);
    let strict = open(SparseEncoder::builder().truncation(TruncationPolicy::Error), &untied).expect("a model");
    assert!(matches!(strict.embed(&["a", &long]), Err(Error::TooLong { text: 1, .. })));
    assert!(matches!(strict.similarity("a", &[] as &[&str]), Err(Error::Empty(_))));
}
