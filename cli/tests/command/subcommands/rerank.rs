//! `likewise rerank`, and cross-encoders in the other subcommands.

use likewise::CrossEncoder;
use serde_json::json;

use super::*;
use crate::common::{Golden, matrix};

const QUERY: &str = "That is a happy person";
const TEXTS: [&str; 4] =
    ["That is a happy dog", "That is a very happy person", "That is a happy dog", "Today is a sunny day"];

/// A desk with a cross-encoder of the matrix as LIKEWISE_MODEL.
fn desk(name: &str) -> Desk {
    let golden = Golden::load("cross-encoders");
    let desk = Desk::new();
    for (file, bytes) in matrix::files(&golden, matrix::case(&golden, name)) {
        desk.write(&format!("model/{file}"), bytes);
    }
    let folder = desk.path("model");
    Desk { variables: vec![("LIKEWISE_MODEL", folder)], ..desk }
}

const RERANKER: &str = "bert/1 labels/F32/saved";
const CLASSIFIER: &str = "mpnet/3 labels/F32/plain";

#[test]
fn rerank_prints_the_ranking_of_the_library() {
    let desk = desk(RERANKER);
    let expected = CrossEncoder::open(desk.path("model")).expect("a model").rank(QUERY, &TEXTS).expect("a ranking");
    let printed = desk.json(&words(&[&["rerank", "--json", QUERY], &TEXTS]));
    let entries = printed.as_array().expect("an array");
    assert_eq!(entries.len(), TEXTS.len());
    for (entry, text) in entries.iter().zip(expected.iter()) {
        assert_eq!((&entry["index"], &entry["text"]), (&json!(text.index), &json!(TEXTS[text.index])));
        assert_eq!(entry["score"].as_f64().expect("a number") as f32, text.score);
    }
    // Equal texts have equal scores, and keep their order.
    let places: Vec<_> = [0, 2].map(|i| expected.iter().position(|text| text.index == i).expect("each text")).into();
    assert_eq!(places[1], places[0] + 1);

    let table = desk.output(&words(&[&["rerank", QUERY], &TEXTS]));
    for (line, text) in table.lines().zip(expected.iter()) {
        assert!(line.trim_start().starts_with(&format!("{:.4} ", text.score)), "{line}");
        assert!(line.ends_with(TEXTS[text.index]), "{line}");
    }
    let best = desk.output(&words(&[&["rerank", "--top-k", "1", QUERY], &TEXTS]));
    assert_eq!(best.lines().collect::<Vec<_>>(), [table.lines().next().expect("a line")]);
}

#[test]
fn texts_to_rank_come_from_arguments_files_and_stdin() {
    let desk = desk(RERANKER);
    let expected = desk.json(&words(&[&["rerank", "--json", QUERY], &TEXTS]));
    let file = desk.write("texts.txt", TEXTS.join("\n"));
    assert_eq!(desk.json(&["rerank", "--json", QUERY, "--input", text(&file)]), expected);
    let run = desk.run_with(&["rerank", "--json", QUERY, "-"], TEXTS.join("\n").as_bytes());
    assert_eq!(json(&run.stdout), expected);
    desk.fails(&["rerank", QUERY], 2, &["no texts", "--input"]);
    desk.fails(&["rerank"], 2, &["QUERY"]);
    desk.fails(&["rerank", "--top-k", "0", QUERY, "text"], 2, &["--top-k"]);
    let empty = desk.write("empty.txt", "");
    desk.fails(&["rerank", QUERY, "--input", text(&empty)], 1, &["no texts", "empty.txt"]);
}

#[test]
fn models_of_another_kind_are_refused_with_the_subcommand_to_use() {
    let reranker = desk(RERANKER);
    for arguments in [&["similarity", "a", "b"][..], &["embed", "a"]] {
        reranker.fails(arguments, 1, &["model: expected a model that computes vectors", "likewise rerank"]);
    }
    let embedder = Desk::with_model("tiny-bert");
    embedder.fails(&["rerank", "a", "b"], 1, &["tiny-bert: expected a cross-encoder", "likewise similarity"]);
    reranker.fails(&["rerank", "--truncate-dim", "3", "a", "b"], 1, &["truncate_dim", "cross-encoder"]);
    desk(CLASSIFIER).fails(&["rerank", "a", "b"], 1, &["3 labels", "expected one"]);
}

/// The built-in model cannot rank, so it is no default here.
#[test]
fn rerank_needs_a_model() {
    let desk = Desk::new();
    desk.fails(&["rerank", "a query", "a text"], 2, &["no model", "--model", "cross-encoder", "cannot rank"]);
    let help = desk.output(&["rerank", "--help"]);
    assert!(help.contains("required [env: LIKEWISE_MODEL]") && !help.contains("default: the built-in"), "{help}");
}

#[test]
fn long_pairs_are_reported_or_rejected() {
    let desk = desk(RERANKER);
    let long = "person ".repeat(60);
    let run = desk.run(&["rerank", "--json", "a person", &long, "dog"]);
    assert!(run.code == 0 && run.stderr.contains("1 of 2 pairs truncated"), "{run:?}");
    let strict = ["rerank", "--truncation", "error", "a person", "dog", &long];
    desk.fails(&strict, 1, &["pair 1: too long: expected at most 40 tokens", "the second text would be cut"]);
}

#[test]
fn info_describes_scores_and_labels() {
    let desk = desk(CLASSIFIER);
    let info = desk.json(&["info", "--json"]);
    assert_eq!(info["kind"], "cross-encoder");
    assert_eq!(info["labels"], json!(["LABEL_0", "LABEL_1", "LABEL_2"]));
    assert_eq!(info["activation"], "Identity");
    let table = desk.output(&["info"]);
    assert!(table.contains("scores of pairs") && table.contains("classifier 32 → 32, Tanh → 3"), "{table}");
}

#[test]
fn eval_correlates_scores_of_pairs() {
    let desk = desk(RERANKER);
    let pairs =
        [("That is a happy person", "That is a happy dog"), ("a dog", "Today is a sunny day"), ("person", "person")];
    let scores = CrossEncoder::open(desk.path("model")).expect("a model").predict(&pairs).expect("scores");
    let line = |(i, (a, b)): (usize, &(&str, &str))| format!("{}\t{a}\t{b}\n", scores.row(i)[0]);
    let file = desk.write("pairs.tsv", pairs.iter().enumerate().map(line).collect::<String>());
    let result = desk.json(&["eval", "--json", text(&file)]);
    assert!((result[0]["pearson"].as_f64().expect("a number") - 100.0).abs() < 1e-3, "{result}");
    desk.fails(&["eval", "--model", "nowhere", text(&file)], 1, &["nowhere"]);
}

#[test]
fn bench_of_a_cross_encoder_needs_a_query() {
    let desk = desk(RERANKER);
    let file = desk.write("texts.txt", TEXTS.join("\n"));
    let result = desk.json(&["bench", "--json", "--repeat", "1", "--query", QUERY, "--input", text(&file)]);
    assert_eq!(result["texts"], 4);
    assert!(result["tokens"].as_u64().expect("a number") > 40, "{result}");
    desk.fails(&["bench", "--input", text(&file)], 2, &["no query", "--query"]);
    let embedder = Desk::with_model("tiny-bert");
    embedder.fails(&["bench", "--query", "a", "--input", text(&file)], 2, &["--query"]);
}
