//! `--hybrid`: the dense, sparse and token vectors of models as bge-m3.

use base64::Engine;
use likewise::{BgeM3, BgeM3Scores};
use serde_json::json;

use super::*;
use crate::common::{Golden, matrix};

const QUERY: &str = "That is a happy person";
const TEXTS: [&str; 4] =
    ["That is a happy dog", "That is a very happy person", "That is a happy dog", "Today, a sunny day!"];

/// A desk with a model of the fixtures as LIKEWISE_MODEL.
fn desk() -> (Desk, BgeM3) {
    let golden = Golden::load("bge-m3");
    let case = &golden.json["cases"][0];
    let desk = Desk::new();
    for (file, bytes) in matrix::files(&golden, case) {
        desk.write(&format!("model/{file}"), bytes);
    }
    for (file, content) in case["binary"].as_object().expect("files") {
        let bytes = base64::engine::general_purpose::STANDARD.decode(content.as_str().expect("base 64"));
        desk.write(&format!("model/{file}"), bytes.expect("base 64"));
    }
    let folder = desk.path("model");
    let model = BgeM3::open(&folder).expect("a model");
    (Desk { variables: vec![("LIKEWISE_MODEL", folder)], ..desk }, model)
}

fn scores(model: &BgeM3) -> Vec<BgeM3Scores> {
    let [query, texts] = [&[QUERY][..], &TEXTS].map(|texts| model.encode(texts).expect("vectors"));
    (0..TEXTS.len()).map(|j| model.scores(&query, 0, &texts, j).expect("scores")).collect()
}

fn assert_scores(printed: &Value, expected: BgeM3Scores, weights: [f32; 3]) {
    let number = |key: &str| printed[key].as_f64().unwrap_or_else(|| panic!("{printed}")) as f32;
    assert_eq!(number("score"), expected.weighted_mean(weights), "{printed}");
    let found = [number("dense"), number("sparse"), number("multi_vector")];
    assert_eq!(found, [expected.dense, expected.sparse, expected.tokens]);
}

#[test]
fn similarity_prints_the_three_scores_and_their_mean() {
    let (desk, model) = desk();
    let expected = scores(&model);
    for (options, weights) in [
        (&[][..], [1.0; 3]),
        (&["--hybrid-weights", "0.4,0.2,0.4"], [0.4, 0.2, 0.4]),
        (&["--hybrid-weights=0,1,0"], [0.0, 1.0, 0.0]),
    ] {
        let printed = desk.json(&words(&[&["similarity", "--hybrid", "--json"], options, &[QUERY], &TEXTS]));
        let printed = printed.as_array().expect("scores");
        assert_eq!(printed.len(), TEXTS.len());
        printed.iter().zip(&expected).for_each(|(printed, &scores)| assert_scores(printed, scores, weights));
    }
    let table = desk.output(&words(&[&["similarity", "--hybrid", QUERY], &TEXTS]));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), TEXTS.len() + 1, "{table}");
    assert!(lines[0].contains("multi-vector"), "{table}");
    for ((line, scores), text) in lines[1..].iter().zip(&expected).zip(TEXTS) {
        let mean = scores.weighted_mean([1.0; 3]);
        assert!(line.trim_start().starts_with(&format!("{mean:.4} ")) && line.ends_with(text), "{line}");
        assert!(line.contains(&format!("{:.4}", scores.tokens)), "{line}");
    }
}

#[test]
fn rerank_sorts_by_the_mean() {
    let (desk, model) = desk();
    let expected = scores(&model);
    let weights = [0.4, 0.2, 0.4];
    let printed =
        desk.json(&words(&[&["rerank", "--hybrid", "--hybrid-weights", "0.4,0.2,0.4", "--json", QUERY], &TEXTS]));
    let entries = printed.as_array().expect("entries");
    assert_eq!(entries.len(), TEXTS.len());
    let mut order: Vec<usize> = (0..TEXTS.len()).collect();
    order.sort_by(|&a, &b| expected[b].weighted_mean(weights).total_cmp(&expected[a].weighted_mean(weights)));
    for (entry, index) in entries.iter().zip(order) {
        assert_eq!((&entry["index"], &entry["text"]), (&json!(index), &json!(TEXTS[index])));
        assert_scores(entry, expected[index], weights);
    }
    let best = desk.output(&words(&[&["rerank", "--hybrid", "--top-k", "1", QUERY], &TEXTS]));
    assert_eq!(best.lines().count(), 2, "{best}");
}

#[test]
fn embed_writes_all_vectors_of_one_pass() {
    let (desk, model) = desk();
    let expected = model.encode(&TEXTS).expect("vectors");
    desk.output(&words(&[&["embed", "--hybrid", "--output", "out.safetensors"], &TEXTS]));
    let bytes = std::fs::read(desk.path("out.safetensors")).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let tensor = |name: &str, dtype: Dtype, shape: &[usize]| {
        let tensor = file.tensor(name).expect(name);
        assert_eq!((tensor.dtype(), tensor.shape()), (dtype, shape), "{name}");
        tensor.data().to_vec()
    };
    let floats = |elements: &[f32]| -> Vec<u8> { elements.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let longs = |numbers: &[usize]| -> Vec<u8> { numbers.iter().flat_map(|&x| (x as i64).to_le_bytes()).collect() };
    let (texts, tokens) = (TEXTS.len(), expected.tokens());
    let rows: Vec<_> = (0..texts).map(|i| expected.sparse(i)).collect();
    let ends = rows.iter().scan(0, |end, row| {
        *end += row.indices.len();
        Some(*end)
    });
    let indptr: Vec<usize> = std::iter::once(0).chain(ends).collect();
    let dense: Vec<f32> = (0..texts).flat_map(|i| expected.dense(i)).copied().collect();
    let indices: Vec<u8> = rows.iter().flat_map(|row| row.indices).flat_map(|id| id.to_le_bytes()).collect();
    let values: Vec<f32> = rows.iter().flat_map(|row| row.values).copied().collect();
    assert!(indptr[texts] > 0);
    assert_eq!(tensor("dense", Dtype::F32, &[texts, model.dense_width()]), floats(&dense));
    assert_eq!(tensor("indptr", Dtype::I64, &[texts + 1]), longs(&indptr));
    assert_eq!(tensor("indices", Dtype::I32, &[indptr[texts]]), indices);
    assert_eq!(tensor("values", Dtype::F32, &[indptr[texts]]), floats(&values));
    assert_eq!(tensor("vectors", Dtype::F32, &[tokens.ids().len(), model.token_width()]), floats(tokens.as_slice()));
    assert_eq!(tensor("offsets", Dtype::I64, &[texts + 1]), longs(tokens.offsets()));
    tensor("ids", Dtype::U32, &[tokens.ids().len()]);
    tensor("used", Dtype::U32, &[texts]);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("metadata");
    let shape = metadata.metadata().as_ref().and_then(|keys| keys.get("shape").cloned());
    assert_eq!(shape, Some(format!("[{texts}, {}]", model.sparse_width())));

    let lines = desk.output(&words(&[&["embed", "--hybrid"], &TEXTS]));
    assert_eq!(lines.lines().count(), texts);
    for (i, line) in lines.lines().enumerate() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&line["text"], &line["indices"]), (&json!(TEXTS[i]), &json!(rows[i].indices)));
        assert_eq!(line["dense"][1].as_f64().expect("a number") as f32, expected.dense(i)[1]);
        assert_eq!(line["vectors"].as_array().expect("vectors").len(), tokens.text(i).len());
    }
}

#[test]
fn other_models_and_options_are_refused_with_what_is_missing() {
    let (desk, _) = desk();
    desk.fails(&["embed", "--hybrid", "--output", "out.npy", "a"], 2, &["expected .safetensors or .jsonl"]);
    desk.fails(&["embed", "--hybrid", "--quantize", "int8", "a"], 2, &["--quantize"]);
    desk.fails(&["similarity", "--hybrid", "--sparse", "a", "b"], 2, &["--sparse", "--hybrid"]);
    desk.fails(&["similarity", "--hybrid-weights", "1,1,1", "a", "b"], 2, &["--hybrid"]);
    desk.fails(&["similarity", "--hybrid", "--hybrid-weights", "1,1", "a", "b"], 2, &["three numbers"]);
    desk.fails(&["similarity", "--hybrid", "--truncate-dim", "999", "a", "b"], 1, &["truncate_dim", "999"]);
    let embedder = Desk::with_model("tiny-bert");
    for subcommand in ["similarity", "rerank"] {
        let layer = "sparse_linear.pt or sparse_linear.safetensors";
        embedder.fails(&[subcommand, "--hybrid", "a", "b"], 1, &["tiny-bert", layer]);
    }
    std::fs::remove_file(desk.path("model/colbert_linear.pt")).expect("removed");
    desk.fails(&["embed", "--hybrid", "a"], 1, &["colbert_linear.pt or colbert_linear.safetensors"]);
    Desk::new().fails(&["similarity", "--hybrid", "a", "b"], 2, &["no model", "--model", "bge-m3"]);
}
