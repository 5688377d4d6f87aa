//! `explain`: the table, JSON, the page, attention, and what is refused.

use super::*;
use crate::common::{Golden, matrix};

const TEXTS: [&str; 2] = [SOURCE, SENTENCES[1]];

fn explain<'a>(options: &[&'a str]) -> Vec<&'a str> {
    words(&[&["explain"], options, &TEXTS])
}

/// Returns the sum of all numbers in a value.
fn sum(value: &Value) -> f64 {
    match value {
        Value::Array(list) => list.iter().map(sum).sum(),
        other => other.as_f64().expect("a number"),
    }
}

/// A desk with a model of a golden matrix.
fn desk_of_matrix(golden: &str, name: &str) -> Desk {
    let golden = Golden::load(golden);
    let case = matrix::case(&golden, name);
    let is_sparse = case.get("kinds").is_some();
    let files = if is_sparse { matrix::sparse_files(&golden, case) } else { matrix::files(&golden, case) };
    let desk = Desk::new();
    for (file, bytes) in files {
        desk.write(&format!("model/{file}"), bytes);
    }
    let folder = desk.path("model");
    Desk { variables: vec![("LIKEWISE_MODEL", folder)], ..desk }
}

#[test]
fn table_shows_the_score_and_the_pairs_that_carry_most() {
    let desk = Desk::with_model("quickstart");
    let table = desk.output(&explain(&["--top-k", "3"]));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "  0.9554  cosine");
    assert!(lines[2].contains("carries") && lines[2].contains("first text"), "{table}");
    assert!(lines[3].contains(" % ") && lines[3].contains('█') && lines[3].matches("happy").count() == 2, "{table}");
    assert!(lines[6].contains("the other") && lines[6].contains("pairs"), "{table}");
    assert_eq!(lines.len(), 7, "{table}");
    let number = |line: &str| line.split_whitespace().next().expect("a number").parse::<f64>().expect("a number");
    let total: f64 = lines[3..].iter().map(|line| number(line)).sum();
    assert!((total - 0.9554).abs() < 3e-4, "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
}

#[test]
fn json_adds_up_to_the_score_of_similarity() {
    let desk = Desk::with_model("tiny-mpnet");
    let json = desk.json(&explain(&["--json"]));
    let scores = floats(&desk.json(&words(&[&["similarity", "--json"], &TEXTS])));
    assert_eq!(json["score"].as_f64().map(|score| score as f32), Some(scores[0]));
    assert!((sum(&json["pairs"]) - f64::from(scores[0])).abs() < 1e-6);
    let layers = json["layers"].as_u64().expect("layers") as usize;
    for text in json["texts"].as_array().expect("texts") {
        assert_eq!(text["attention"].as_array().map(Vec::len), Some(layers));
    }
    let one = desk.json(&explain(&["--json", "--layer", "1"]));
    assert_eq!(one["texts"][0]["attention"].as_array().map(Vec::len), Some(1));
    assert_eq!(one["texts"][0]["attention"][0], json["texts"][0]["attention"][1]);
}

#[test]
fn attention_is_a_matrix_or_a_list() {
    let desk = Desk::with_model("tiny-mpnet");
    let table = desk.output(&explain(&["--layer", "1", "--head", "0"]));
    assert_eq!(table.matches("Attention of layer 1, head 0").count(), 2, "{table}");
    assert!(table.contains("A row for each token that attends"), "{table}");
    let long = SENTENCES.join(" ").repeat(2);
    let table = desk.output(&["explain", "--layer", "0", &long, SOURCE]);
    assert!(table.contains("mean of") && table.contains("attends to most"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    desk.fails(&explain(&["--layer", "9"]), 2, &["--layer 9", "expected 0 to 1"]);
    desk.fails(&explain(&["--layer", "0", "--head", "99"]), 2, &["--head 99", "expected 0 to"]);
    desk.fails(&explain(&["--head", "0"]), 2, &["--layer"]);
}

#[test]
fn page_stands_alone_and_escapes_texts() {
    let desk = Desk::with_model("tiny-mpnet");
    let hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>";
    assert_eq!(desk.output(&["explain", "--html", "why.html", hostile, "</script> a & b"]), "");
    let page = std::fs::read_to_string(desk.path("why.html")).expect("a page");
    assert!(!page.contains("<script>alert") && !page.contains("<img") && !page.contains("</script> a"), "{page}");
    let (_, data) = page.split_once("id=\"data\">").expect("data");
    let (data, _) = data.split_once("</script>").expect("an end");
    let data = json(data);
    assert_eq!(data["texts"][0]["text"], hostile);
    let heads = data["attention"][1][0].as_array().expect("heads");
    let tokens = data["texts"][1]["tokens"].as_array().expect("tokens").len();
    assert!(heads.len() > 1 && heads.iter().all(|head| head.as_array().map(Vec::len) == Some(tokens * tokens)));
    assert_eq!(page.matches("<script").count(), 2, "a script and its data");
    for outside in ["src=\"", "href=\"http", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let both = desk.json(&explain(&["--json", "--html", "why.html"]));
    assert_eq!(both["kind"], "pairs");
}

#[test]
fn other_kinds_have_their_own_explanation() {
    let desk = desk_of_matrix("sparse", "bert/max/relu/F32/saved");
    let table = desk.output(&explain(&[]));
    assert!(table.contains("weights") && table.contains(" · ") && table.contains("both have"), "{table}");
    let json = desk.json(&explain(&["--json"]));
    let total: f64 = json["terms"].as_array().expect("terms").iter().map(|term| sum(&term["contribution"])).sum();
    let score = sum(&json["score"]);
    assert!((total - score).abs() < 1e-6 * score.abs().max(1.0), "{total} {score}");
    desk.output(&explain(&["--html", "terms.html"]));
    assert!(std::fs::read_to_string(desk.path("terms.html")).expect("a page").contains("\"kind\":\"terms\""));
}

#[test]
fn what_cannot_be_explained_is_refused() {
    let desk = Desk::with_model("tiny-mpnet");
    desk.fails(&["explain", "a"], 2, &["expected two texts, found 1"]);
    desk.fails(&["explain", "-"], 1, &["stdin is empty"]);
    let run = desk.run_with(&["explain", "--json", "-"], b"a\nb\n");
    assert_eq!(run.code, 0, "{run:?}");
    let run = desk.run_with(&["explain", "-"], b"a\nb\nc\n");
    run.failed("three lines", 2, &["expected two texts, found 3"]);
    let mut files = crate::common::files("tiny-bert");
    edit_json(&mut files, "config_sentence_transformers.json", |json| json["similarity_fn_name"] = "euclidean".into());
    for (name, bytes) in files {
        desk.write(&format!("distance/{name}"), bytes);
    }
    desk.fails(&explain(&["--model", "distance"]), 1, &["similarity_fn_name", "cosine or dot", "euclidean"]);
}
