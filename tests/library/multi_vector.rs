//! Compares multi-vector encoders with MultiVectorEncoder of sentence-transformers: the tokens that
//! are scored, their vectors, and the scores.

use std::collections::HashMap;

use likewise::{
    Builder, CrossEncoder, Embedder, Level, ModelKind, MultiVectorEncoder, Precision, TokenVectors, TruncationPolicy,
    error_chain,
};
use serde_json::{Value, json};

use crate::common::{Golden, Report, edit_json, edit_tensor, elements, in_memory, matrix, max_error, same_bits};

/// Maximum error of an element of a token's vector, and of a score: absolute up to magnitude 1,
/// relative above.
const MAX_ERROR: f64 = 1.5e-6;
/// The same against float64.
const MAX_EXACT_ERROR: f64 = 1.5e-6;

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
    edit_json(&mut files, "tokenizer.json", |json| {
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
        assert_eq!(json!(model.width()), case["dimension"], "{name}");
        assert_eq!(json!(model.similarity_function().name()), case["similarity"], "{name}");
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
        let traces = [model.trace_queries(&queries), model.trace_documents(&documents)];
        for (trace, (role, vectors)) in traces.iter().zip(&encoded) {
            let trace = trace.as_ref().expect("a trace");
            let rows = elements(trace, "vectors").chunks_exact(model.width()).zip(elements(trace, "scored"));
            let scored: Vec<f32> =
                rows.filter(|(_, scored)| **scored == 1.0).flat_map(|(row, _)| row).copied().collect();
            assert!(same_bits(&scored, vectors.as_slice()), "{name}.{role}: traced vectors");
        }
        let [(_, queries), (_, documents)] = &encoded;
        let scores = model.scores(queries, documents).expect("scores");
        report.within(
            &format!("{name}.scores"),
            max_error(&scores, &golden.tensor(&format!("{name}.scores"))),
            MAX_ERROR,
        );
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

/// Returns the files of a model by its name.
fn named(golden: &Golden, name: &str) -> HashMap<String, Vec<u8>> {
    files(golden, matrix::case(golden, name))
}

const SAVED: &str = "bert/saved/F32/skip list";
const PYLATE: &str = "bert/pylate/F32";
const STANFORD: &str = "bert/stanford/F32";
const OWN: &str = "config_sentence_transformers.json";

/// Mistakes of a port change the scores beyond the bound.
#[test]
fn mistakes_of_porters_are_caught_by_goldens() {
    let golden = Golden::load("multi-vector");
    let [queries, documents] = ["queries", "documents"].map(|key| texts(&golden, key));
    let error = |name: &str, files: &HashMap<String, Vec<u8>>| {
        let model = open(MultiVectorEncoder::builder(), files).expect("a model");
        let queries = model.encode_queries(&queries).expect("queries");
        let documents = model.encode_documents(&documents).expect("documents");
        max_error(&model.scores(&queries, &documents).expect("scores"), &golden.tensor(&format!("{name}.scores")))
    };
    for name in [SAVED, PYLATE, STANFORD] {
        assert!(error(name, &named(&golden, name)) <= MAX_ERROR, "{name}");
    }
    type Edit = fn(&mut Value);
    let mutants: [(&str, Edit); 7] = [
        ("markers dropped", |keys| {
            keys["query_prefix"] = Value::Null;
            keys["document_prefix"] = Value::Null;
        }),
        ("marker of queries before documents", |keys| keys["document_prefix"] = json!("[Q] ")),
        ("expansion dropped", |keys| keys["do_query_expansion"] = json!(false)),
        ("expansion attended", |keys| keys["attend_to_expansion_tokens"] = json!(true)),
        ("expansion one token shorter", |keys| keys["query_length"] = json!(15)),
        ("skip list ignored", |keys| keys["skiplist_words"] = json!([])),
        ("documents longer", |keys| keys["document_length"] = json!(21)),
    ];
    for (what, edit) in mutants {
        let mut files = named(&golden, PYLATE);
        edit_json(&mut files, OWN, edit);
        assert!(error(PYLATE, &files) > 100.0 * MAX_ERROR, "{what}");
    }
    let mut files = named(&golden, SAVED);
    edit_json(&mut files, "modules.json", |modules| {
        modules.as_array_mut().expect("modules").retain(|module| module["path"] != "3_Normalize");
    });
    assert!(error(SAVED, &files) > 100.0 * MAX_ERROR, "normalization forgotten");
    let mut files = named(&golden, STANFORD);
    edit_tensor(&mut files, "linear.weight", |x| x.reverse());
    assert!(error(STANFORD, &files) > 100.0 * MAX_ERROR, "another projection");
}

#[test]
fn vectors_and_scores_in_any_batch_order_and_threads_keep_bits() {
    let golden = Golden::load("multi-vector");
    let [queries, documents] = ["queries", "documents"].map(|key| texts(&golden, key));
    let many = |texts: &[String]| -> Vec<String> { texts.iter().cycle().take(40).cloned().collect() };
    let (queries, documents) = (many(&queries), many(&documents));
    for name in [PYLATE, "modernbert/saved/F32", "mpnet/saved/F32", "gte/saved/F32"] {
        let files = named(&golden, name);
        for precision in Precision::ALL {
            let mut expected: Option<[TokenVectors; 2]> = None;
            let mut expected_scores: Option<Vec<f32>> = None;
            for level in Level::available().into_iter().filter(|level| level.is_fused()) {
                for threads in [1, 2, 3] {
                    let builder = MultiVectorEncoder::builder().level(level).precision(precision).threads(threads);
                    let model = open(builder, &files).expect("a model");
                    let what = format!("{name}, {}, {level}, {threads} threads", precision.name());
                    let found = [
                        model.encode_queries(&queries).expect("queries"),
                        model.encode_documents(&documents).expect("documents"),
                    ];
                    let scores = model.scores(&found[0], &found[1]).expect("scores");
                    let first = expected.get_or_insert_with(|| found.clone());
                    let first_scores = expected_scores.get_or_insert_with(|| scores.clone());
                    assert!(first.iter().zip(&found).all(|(a, b)| same_bits(a.as_slice(), b.as_slice())), "{what}");
                    assert!(same_bits(first_scores, &scores), "{what}: scores");
                    for i in [0, 17, 39] {
                        let query = model.encode_queries(&queries[i..=i]).expect("a query");
                        let document = model.encode_documents(&documents[i..=i]).expect("a document");
                        assert!(same_bits(query.as_slice(), found[0].text(i).as_slice()), "{what}: query {i}");
                        assert!(same_bits(document.as_slice(), found[1].text(i).as_slice()), "{what}: document {i}");
                        let score = model.maxsim(query.text(0), document.text(0)).expect("a score");
                        assert_eq!(score.to_bits(), scores[i * documents.len() + i].to_bits(), "{what}: score {i}");
                    }
                }
            }
        }
    }
}

/// Added tokens that are not attended to leave the vectors of a query as they are.
#[test]
fn unattended_tokens_change_no_bit_of_the_others() {
    let golden = Golden::load("multi-vector");
    let queries = texts(&golden, "queries");
    let mut plain = named(&golden, PYLATE);
    edit_json(&mut plain, OWN, |keys| keys["do_query_expansion"] = json!(false));
    for level in Level::available() {
        let encode = |files| {
            let model = open(MultiVectorEncoder::builder().level(level), files).expect("a model");
            model.encode_queries(&queries[..2]).expect("queries")
        };
        let (expanded, plain) = (encode(&named(&golden, PYLATE)), encode(&plain));
        for (expanded, plain) in expanded.iter().zip(plain.iter()) {
            assert!(expanded.len() == 16 && plain.len() < 16);
            assert!(same_bits(&expanded.as_slice()[..plain.as_slice().len()], plain.as_slice()), "{level}");
        }
    }
}

#[test]
fn ranking_and_similarity_are_by_score() {
    let golden = Golden::load("multi-vector");
    let model = open(MultiVectorEncoder::builder(), &named(&golden, PYLATE)).expect("a model");
    let query = "That is a happy person";
    let texts = ["person", "That is a happy person", "person", "Today is a sunny day", "person"];
    let scores = model.similarity(query, &texts).expect("scores");
    let queries = model.encode_queries(&[query]).expect("a query");
    let documents = model.encode_documents(&texts).expect("documents");
    assert!(same_bits(&scores, &model.scores(&queries, &documents).expect("scores")));
    let ranked = model.rank(query, &texts).expect("a ranking");
    assert!(ranked.windows(2).all(|pair| pair[0].score >= pair[1].score), "{ranked:?}");
    assert_eq!(ranked[0].index, 1);
    let of_person: Vec<usize> = ranked.iter().map(|text| text.index).filter(|i| texts[*i] == "person").collect();
    assert_eq!(of_person, [0, 2, 4]);
    assert!(model.rank::<&str>(query, &[]).expect("no texts").texts.is_empty());
    assert!(model.encode_documents::<&str>(&[]).expect("no texts").is_empty());
}

#[test]
fn long_texts_are_truncated_or_rejected_with_the_length_of_their_role() {
    let golden = Golden::load("multi-vector");
    let files = named(&golden, PYLATE);
    let long = "person ".repeat(30);
    let model = open(MultiVectorEncoder::builder(), &files).expect("a model");
    assert_eq!(model.encode_documents(&[&long]).expect("a document").usage()[0].used, 20);
    assert_eq!(model.encode_queries(&[&long]).expect("a query").usage()[0].used, 16);
    let shorter = open(MultiVectorEncoder::builder().max_length(10), &files).expect("a model");
    assert_eq!(shorter.encode_documents(&[&long]).expect("a document").usage()[0].used, 10);
    assert_eq!(lengths(&shorter.encode_queries(&[&long]).expect("a query")), [16]);
    let strict = open(MultiVectorEncoder::builder().truncation(TruncationPolicy::Error), &files).expect("a model");
    for (limit, error) in [
        (20, strict.encode_documents(&["short", &long]).expect_err("too long")),
        (16, strict.encode_queries(&["short", &long]).expect_err("too long")),
    ] {
        assert!(error.to_string().contains(&format!("text 1: too long: expected at most {limit} tokens")), "{error}");
    }
}

#[test]
fn vectors_can_be_cut_and_normalized() {
    let golden = Golden::load("multi-vector");
    let files = named(&golden, "bert/saved/F32/no normalization");
    let texts = ["That is a happy person"];
    let encode = |builder| open(builder, &files).expect("a model").encode_documents(&texts).expect("a document");
    let whole = encode(MultiVectorEncoder::builder());
    let cut = encode(MultiVectorEncoder::builder().truncate_dim(5).normalize());
    assert_eq!((whole.width(), cut.width(), whole.ids()), (12, 5, cut.ids()));
    for (whole, cut) in whole.text(0).rows().zip(cut.text(0).rows()) {
        let length = whole[..5].iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!(whole.iter().zip(cut).all(|(a, b)| (a / length - b).abs() < 1e-6));
    }
    let error = open(MultiVectorEncoder::builder().truncate_dim(13), &files).expect_err("too many");
    assert!(error.to_string().contains("truncate_dim: expected 1 to 12"), "{error}");
}

#[test]
fn models_of_other_kinds_are_refused_with_the_type_to_use() {
    let golden = Golden::load("multi-vector");
    for name in [SAVED, PYLATE, "bert/pylate/F32/no kind of model", STANFORD] {
        let files = in_memory(&named(&golden, name));
        let of_embedder = Embedder::builder().open_files(&files).expect_err("no embedder");
        let of_pairs = CrossEncoder::builder().open_cross_encoder_files(&files).expect_err("no cross-encoder");
        for error in [error_chain(&of_embedder), error_chain(&of_pairs)] {
            assert!(error.contains("MultiVectorEncoder"), "{name}: {error}");
        }
    }
    let mut embedder = crate::common::files("tiny-bert");
    let error = |files: &HashMap<String, Vec<u8>>| {
        error_chain(&open(MultiVectorEncoder::builder(), files).expect_err("another kind"))
    };
    assert!(error(&embedder).contains("open this one as Embedder"), "{}", error(&embedder));
    embedder.remove("modules.json");
    let message = error(&embedder);
    assert!(message.contains("HF_ColBERT") && message.contains("no projection of its token vectors"), "{message}");
    let pairs = Golden::load("cross-encoders");
    for name in ["bert/1 labels/F32/saved", "mpnet/3 labels/F32/plain"] {
        let message = error(&matrix::files(&pairs, matrix::case(&pairs, name)));
        assert!(message.contains("open this one as CrossEncoder"), "{name}: {message}");
    }
}

type Edit = fn(&mut HashMap<String, Vec<u8>>);

/// Checks that changed folders are refused, and what the messages contain.
fn check_refused(cases: &[(&str, Edit, &[&str])]) {
    let golden = Golden::load("multi-vector");
    for (name, edit, parts) in cases {
        let mut files = named(&golden, name);
        edit(&mut files);
        let error = error_chain(&open(MultiVectorEncoder::builder(), &files).expect_err("a changed folder"));
        assert!(parts.iter().all(|part| error.contains(part)), "{name}, {parts:?}: {error}");
    }
}

#[test]
fn folders_that_lack_something_are_refused_by_its_name() {
    check_refused(&[
        (SAVED, |files| drop(files.remove("1_Dense/model.safetensors")), &["1_Dense/model.safetensors", "weights"]),
        (SAVED, |files| drop(files.remove("1_Dense/config.json")), &["1_Dense/config.json"]),
        (
            SAVED,
            |files| {
                edit_json(files, "modules.json", |keys| keys[2]["type"] = json!("sentence_transformers.models.Pooling"))
            },
            &["modules.json", "`type`", "MultiVectorMask", "Pooling"],
        ),
        (
            SAVED,
            |files| edit_json(files, "1_Dense/config.json", |keys| keys["in_features"] = json!(31)),
            &["1_Dense/config.json", "`in_features`", "expected 32"],
        ),
        (
            SAVED,
            |files| edit_json(files, "3_Normalize/config.json", |keys| keys["module_input_name"] = Value::Null),
            &["3_Normalize/config.json", "`module_input_name`", "token_embeddings"],
        ),
        (
            SAVED,
            |files| edit_json(files, "2_MultiVectorMask/config.json", |keys| keys["skiplist_words"] = json!([1])),
            &["2_MultiVectorMask/config.json", "`skiplist_words`", "a list of strings"],
        ),
        (STANFORD, |files| files.retain(|name, _| name != "config.json"), &["config.json"]),
        (STANFORD, without_projection, &["linear.weight"]),
    ]);
}

#[test]
fn lengths_and_tokens_that_do_not_fit_are_refused() {
    check_refused(&[
        (
            SAVED,
            |files| {
                edit_json(files, "sentence_bert_config.json", |keys| keys["query_expansion"]["token"] = json!("qqxz"));
            },
            &["sentence_bert_config.json", "`token`", "a token of the vocabulary", "qqxz"],
        ),
        (
            SAVED,
            |files| {
                edit_json(files, "sentence_bert_config.json", |keys| keys["query_expansion"]["length"] = json!(65));
            },
            &["sentence_bert_config.json", "`length`", "at most 64"],
        ),
        (
            SAVED,
            |files| edit_json(files, "sentence_bert_config.json", |keys| keys["query_length"] = json!(15)),
            &["sentence_bert_config.json", "`length`", "at most 15, the query_length"],
        ),
        (
            SAVED,
            |files| edit_json(files, "sentence_bert_config.json", |keys| keys["document_length"] = json!(2)),
            &["sentence_bert_config.json", "`document_length`", "at least 3"],
        ),
    ]);
}

/// Removes the projection from the weights.
fn without_projection(files: &mut HashMap<String, Vec<u8>>) {
    let weights = files["model.safetensors"].clone();
    let tensors = safetensors::SafeTensors::deserialize(&weights).expect("safetensors");
    let others = tensors.tensors().into_iter().filter(|(name, _)| name != "linear.weight");
    files.insert("model.safetensors".to_owned(), safetensors::serialize(others, None).expect("safetensors"));
}
