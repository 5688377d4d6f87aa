//! Sparse encoders in the subcommands.

use likewise::{SparseEmbeddings, SparseEncoder};
use serde_json::json;

use super::*;
use crate::common::{Golden, matrix};

/// A model whose files say that it is a sparse encoder.
const SPLADE: &str = "bert/max/relu/F32/saved";
/// A model for masked language without modules.json.
const MASKED_LANGUAGE: &str = "bert/max/relu/F32/plain/untied";
/// A model whose queries need no network.
const ROUTER: &str = "bert/max/relu/F32/saved/router";

/// A desk with a sparse encoder of the matrix as LIKEWISE_MODEL.
fn desk(name: &str) -> Desk {
    let golden = Golden::load("sparse");
    let desk = Desk::new();
    for (file, bytes) in matrix::sparse_files(&golden, matrix::case(&golden, name)) {
        desk.write(&format!("model/{file}"), bytes);
    }
    let folder = desk.path("model");
    Desk { variables: vec![("LIKEWISE_MODEL", folder)], ..desk }
}

/// Returns the vectors of the library.
fn vectors(desk: &Desk) -> SparseEmbeddings {
    SparseEncoder::open(desk.path("model")).expect("a model").embed(&SENTENCES).expect("vectors")
}

/// Checks JSON lines of indices and values.
fn assert_lines(lines: &str, expected: &SparseEmbeddings) {
    assert_eq!(lines.lines().count(), expected.len());
    for (line, row) in lines.lines().zip(expected.rows()) {
        let line = json(line);
        assert_eq!(line["indices"], json!(row.indices));
        assert!(same_bits(&floats(&line["values"]), row.values), "{line}");
        assert!(row.indices.len() > 10, "{line}");
    }
}

#[test]
fn embed_writes_indices_and_values_as_lines_and_csr() {
    for (name, options) in [(SPLADE, &[][..]), (MASKED_LANGUAGE, &["--sparse"]), (ROUTER, &[])] {
        let desk = desk(name);
        let expected = vectors(&desk);
        assert_lines(&desk.output(&words(&[&["embed"], options, &SENTENCES])), &expected);
        let input = desk.write("in.txt", SENTENCES.join("\n"));
        let input = ["--input", text(&input)];
        desk.output(&words(&[&["embed", "--output", "out.jsonl"], options, &input]));
        assert_lines(&std::fs::read_to_string(desk.path("out.jsonl")).expect("a file"), &expected);
        desk.output(&words(&[&["embed", "--output", "out.safetensors"], options, &input]));
        let bytes = std::fs::read(desk.path("out.safetensors")).expect("a file");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
        let metadata = header.metadata().clone().expect("metadata");
        assert_eq!(
            (metadata["format"].as_str(), &metadata["shape"]),
            ("csr", &format!("[3, {}]", expected.dimension()))
        );
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        let tensor = |name: &str| tensors.tensor(name).expect("a tensor");
        let bounds: Vec<u8> = expected.bounds().iter().flat_map(|&bound| (bound as i64).to_le_bytes()).collect();
        let indices: Vec<u8> = expected.indices().iter().flat_map(|index| index.to_le_bytes()).collect();
        let values: Vec<u8> = expected.values().iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!((tensor("indptr").dtype(), tensor("indptr").data()), (Dtype::I64, bounds.as_slice()));
        assert_eq!((tensor("indices").dtype(), tensor("indices").data()), (Dtype::I32, indices.as_slice()));
        assert_eq!((tensor("values").dtype(), tensor("values").data()), (Dtype::F32, values.as_slice()));
    }
}

#[test]
fn similarity_eval_and_bench_use_sparse_vectors() {
    for (name, options) in [(SPLADE, &[][..]), (MASKED_LANGUAGE, &["--sparse"]), (ROUTER, &[])] {
        let desk = desk(name);
        let model = SparseEncoder::open(desk.path("model")).expect("a model");
        let expected = model.similarity(SOURCE, &SENTENCES).expect("scores").values;
        let printed = desk.json(&words(&[&["similarity", "--json"], options, &[SOURCE], &SENTENCES]));
        assert!(same_bits(&floats(&printed), &expected), "{printed}");
        let table = desk.output(&words(&[&["similarity"], options, &[SOURCE], &SENTENCES]));
        assert!(table.lines().zip(SENTENCES).all(|(line, sentence)| line.ends_with(sentence)), "{table}");

        let vectors = vectors(&desk);
        let pairs = [(0, 1), (1, 2), (0, 2)];
        let line = |(i, j): (usize, usize)| {
            format!("{}\t{}\t{}\n", model.score(vectors.row(i), vectors.row(j)), SENTENCES[i], SENTENCES[j])
        };
        let file = desk.write("pairs.tsv", pairs.into_iter().map(line).collect::<String>());
        let result = desk.json(&words(&[&["eval", "--json"], options, &[text(&file)]]));
        assert!((result[0]["pearson"].as_f64().expect("a number") - 100.0).abs() < 1e-3, "{result}");

        let file = desk.write("texts.txt", SENTENCES.join("\n"));
        let result = desk.json(&words(&[&["bench", "--json", "--repeat", "1"], options, &["--input", text(&file)]]));
        assert_eq!(result["texts"], 3);
    }
}

#[test]
fn info_describes_vocabulary_pooling_and_routes() {
    let desk_of_router = desk(ROUTER);
    let desk = desk(SPLADE);
    let vocabulary = vectors(&desk).dimension();
    let info = desk.json(&["info", "--json"]);
    assert_eq!((&info["kind"], &info["dimension"]), (&json!("sparse-encoder"), &json!(vocabulary)));
    assert_eq!((&info["similarity"], &info["precision"]), (&json!("dot"), &json!("f32")));
    let bytes = |info: &Value, key: &str| info[key].as_u64().expect("bytes");
    assert!(bytes(&info, "packed_bytes") > bytes(&info["precisions"]["int8"], "packed_bytes"), "{info}");
    let table = desk.output(&["info"]);
    let parts = ["sparse encoder", "masked-language head", "SPLADE pooling (max, relu)", "compared by dot", "memory"];
    assert!(parts.iter().all(|part| table.contains(part)), "{table}");
    let table = desk_of_router.output(&["info"]);
    let parts = ["queries: weights of", "texts without a task, documents: BERT"];
    assert!(parts.iter().all(|part| table.contains(part)), "{table}");
}

#[test]
fn sparse_models_and_others_are_refused_with_the_way_out() {
    let desk_of = desk;
    let desk = desk_of(SPLADE);
    desk.fails(&["embed", "--output", "out.npy", "a"], 2, &["expected .jsonl or .safetensors for a sparse model"]);
    desk.fails(&["embed", "--quantize", "int8", "a"], 2, &["--quantize", "sparse model"]);
    for arguments in [&["embed", "--truncate-dim", "3", "a"][..], &["similarity", "--normalize", "a", "b"]] {
        desk.fails(arguments, 1, &["sparse encoder", "max_active_dims"]);
    }
    desk.fails(&["rerank", "a", "b"], 1, &["model: expected a cross-encoder", "likewise similarity"]);
    let convert = ["convert", "--precision", "int8", "--output", "converted"];
    desk.fails(&convert, 1, &["`model_type`: expected SentenceTransformer", "SparseEncoder"]);
    desk.fails(&["bench", "--query", "a", "--input", "-"], 1, &["stdin"]);

    let dense = Desk::with_model("tiny-bert");
    for arguments in [&["embed", "--sparse", "a"][..], &["similarity", "--sparse", "a", "b"], &["info", "--sparse"]] {
        dense.fails(arguments, 1, &["`model_type`: expected SparseEncoder", "open this one as Embedder"]);
    }
    // Without the head the encoder alone computes vectors.
    let desk = desk_of(MASKED_LANGUAGE);
    let config = desk.path("model/config.json");
    let mut keys = json(&std::fs::read_to_string(&config).expect("a file"));
    keys["architectures"] = json!(["BertModel"]);
    std::fs::write(config, keys.to_string()).expect("a file");
    desk.fails(&["embed", "--sparse", "a"], 1, &["`architectures`", "BertForMaskedLM"]);
}

#[test]
fn long_texts_of_sparse_models_are_reported_or_rejected() {
    let desk = desk(SPLADE);
    let long = "person ".repeat(600);
    let run = desk.run(&["embed", "a person", &long]);
    assert!(run.code == 0 && run.stderr.contains("1 of 2 texts truncated"), "{run:?}");
    desk.fails(&["embed", "--truncation", "error", "a person", &long], 1, &["text 1", "too long"]);
}
