//! Late-interaction models in the subcommands.

use likewise::MultiVectorEncoder;
use serde_json::json;

use super::*;
use crate::common::{Golden, matrix};

const QUERY: &str = "That is a happy person";
const TEXTS: [&str; 4] =
    ["That is a happy dog", "That is a very happy person", "That is a happy dog", "Today, a sunny day!"];

/// A desk with a model of the fixtures as LIKEWISE_MODEL.
fn desk() -> (Desk, MultiVectorEncoder) {
    let golden = Golden::load("multi-vector");
    let desk = Desk::new();
    for (file, bytes) in matrix::files(&golden, matrix::case(&golden, "bert/saved/F32/skip list")) {
        desk.write(&format!("model/{file}"), bytes);
    }
    let folder = desk.path("model");
    let model = MultiVectorEncoder::open(&folder).expect("a model");
    (Desk { variables: vec![("LIKEWISE_MODEL", folder)], ..desk }, model)
}

#[test]
fn similarity_and_rerank_score_by_token_vectors() {
    let (desk, model) = desk();
    let expected = model.similarity(QUERY, &TEXTS).expect("scores");
    let printed = desk.json(&words(&[&["similarity", "--json", QUERY], &TEXTS]));
    for (printed, score) in printed.as_array().expect("scores").iter().zip(expected.iter()) {
        assert_eq!(printed.as_f64().expect("a number") as f32, *score);
    }
    let ranked = model.rank(QUERY, &TEXTS).expect("a ranking");
    let printed = desk.json(&words(&[&["rerank", "--json", QUERY], &TEXTS]));
    for (printed, text) in printed.as_array().expect("entries").iter().zip(ranked.iter()) {
        assert_eq!((&printed["index"], &printed["text"]), (&json!(text.index), &json!(TEXTS[text.index])));
        assert_eq!(printed["score"].as_f64().expect("a number") as f32, text.score);
    }
    let table = desk.output(&words(&[&["similarity", QUERY], &TEXTS]));
    assert_eq!(table.lines().count(), TEXTS.len());
}

#[test]
fn embed_writes_the_vectors_of_tokens_with_offsets() {
    let (desk, model) = desk();
    let documents = model.encode_documents(&TEXTS).expect("documents");
    let queries = model.encode_queries(&TEXTS).expect("queries");
    for (role, expected) in [(&[][..], &documents), (&["--document"], &documents), (&["--query"], &queries)] {
        desk.output(&words(&[&["embed", "--output", "out.safetensors"], role, &TEXTS]));
        let bytes = std::fs::read(desk.path("out.safetensors")).expect("a file");
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        let tensor = |name: &str, dtype: Dtype, shape: &[usize]| {
            let tensor = file.tensor(name).expect(name);
            assert_eq!((tensor.dtype(), tensor.shape()), (dtype, shape), "{name}");
            tensor.data().to_vec()
        };
        let count = expected.ids().len();
        let floats: Vec<u8> = expected.as_slice().iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(tensor("vectors", Dtype::F32, &[count, 12]), floats);
        let offsets: Vec<u8> = expected.offsets().iter().flat_map(|&x| (x as i64).to_le_bytes()).collect();
        assert_eq!(tensor("offsets", Dtype::I64, &[TEXTS.len() + 1]), offsets);
        let ids: Vec<u8> = expected.ids().iter().flat_map(|id| id.to_le_bytes()).collect();
        assert_eq!(tensor("ids", Dtype::U32, &[count]), ids);
        tensor("used", Dtype::U32, &[TEXTS.len()]);
    }
    let lines = desk.output(&words(&[&["embed"], &TEXTS]));
    for (i, line) in lines.lines().enumerate() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let rows = documents.text(i);
        assert_eq!(line["text"], TEXTS[i]);
        assert_eq!(line["vectors"].as_array().expect("vectors").len(), rows.len());
        assert_eq!(line["vectors"][1][2].as_f64().expect("a number") as f32, rows.as_slice()[14]);
    }
}

#[test]
fn other_formats_and_options_are_refused() {
    let (desk, _) = desk();
    desk.fails(&["embed", "--output", "out.npy", "a"], 2, &["expected .safetensors or .jsonl", "late-interaction"]);
    desk.fails(&["embed", "--quantize", "int8", "a"], 2, &["--quantize", "late-interaction"]);
    desk.fails(&["embed", "--query", "--document", "a"], 2, &["--document"]);
    let embedder = Desk::with_model("tiny-bert");
    embedder.fails(&["embed", "--query", "a"], 2, &["--query", "late-interaction", "--prompt-name"]);
}

#[test]
fn info_eval_and_bench_take_such_a_model() {
    let (desk, model) = desk();
    let info = desk.json(&["info", "--json"]);
    assert_eq!((&info["kind"], &info["dimension"]), (&json!("multi-vector"), &json!(12)));
    assert_eq!((&info["similarity"], &info["expanded_query_length"]), (&json!("maxsim"), &json!(16)));
    let table = desk.output(&["info"]);
    assert!(table.contains("token vectors") && table.contains("expanded to 16 tokens"), "{table}");
    let scores = model.similarity(QUERY, &TEXTS).expect("scores");
    let line = |(score, text): (&f32, &str)| format!("{score}\t{QUERY}\t{text}\n");
    let file = desk.write("pairs.tsv", scores.iter().zip(TEXTS).map(line).collect::<String>());
    let result = desk.json(&["eval", "--json", text(&file)]);
    assert!((result[0]["pearson"].as_f64().expect("a number") - 100.0).abs() < 1e-3, "{result}");
    let texts = desk.write("texts.txt", TEXTS.join("\n"));
    assert_eq!(desk.json(&["bench", "--json", "--repeat", "1", "--input", text(&texts)])["texts"], 4);
}
