//! Static embeddings on the command line: the subcommands take them as they take any embedder.

use super::*;
use crate::common::{Golden, static_models};

/// Writes a folder of Model2Vec with a quantized vocabulary and returns its path.
fn folder(desk: &Desk) -> String {
    let golden = Golden::json_of("static");
    let case = static_models::case(&golden, "Model2Vec, F16, mapping I64");
    let path = desk.path("table");
    static_models::write(&static_models::files(case), &path);
    text(&path).to_owned()
}

#[test]
fn vectors_and_scores_are_those_of_the_library() {
    let desk = Desk::new();
    let folder = folder(&desk);
    let library = Embedder::open(&folder).expect("a model");
    let expected = library.embed(&SENTENCES).expect("vectors");
    let input = desk.write("in.txt", SENTENCES.join("\n"));
    for precision in ["f32", "int8"] {
        let lines = desk.output(&["embed", "--model", &folder, "--input", text(&input), "--precision", precision]);
        for (i, line) in lines.lines().enumerate() {
            assert!(same_bits(&floats(&json(line)["embedding"]), expected.row(i)), "{line}");
        }
        assert_eq!(lines.lines().count(), SENTENCES.len());
    }
    let arguments = [&["similarity", "--model", &folder, "--json", SOURCE][..], &SENTENCES].concat();
    let scores = library.similarity(SOURCE, &SENTENCES).expect("scores");
    assert!(same_bits(&floats(&desk.json(&arguments)), &scores));
}

#[test]
fn info_shows_a_table_and_no_layers() {
    let desk = Desk::new();
    let folder = folder(&desk);
    let shown = desk.output(&["info", "--model", &folder]);
    for part in [
        "StaticEmbedding, a table of tokens, width 24",
        "vocabulary     360\n",
        "F16 in the file",
        "StaticEmbedding → mean pooling → Normalize",
        "max length     none\n",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    assert!(!shown.contains("heads") && !shown.contains("int8"), "{shown}");
    let json = desk.json(&["info", "--model", &folder, "--json"]);
    assert_eq!(json["architecture"], "StaticEmbedding");
    for (key, value) in [("layers", 0), ("vocabulary", 360), ("dimension", 24), ("parameters", 40 * 24 + 360)] {
        assert_eq!(json[key], value, "{key}");
    }
    // The embeddings, the mapping and the weights.
    assert_eq!(json["mapped_bytes"], 2 * 40 * 24 + 8 * 360 + 4 * 360);
    assert_eq!(json["packed_bytes"], 0);
}

#[test]
fn bench_measures_and_convert_refuses() {
    let desk = Desk::new();
    let folder = folder(&desk);
    let input = desk.write("in.txt", SENTENCES.join("\n"));
    let measured = desk.run(&["bench", "--model", &folder, "--input", text(&input), "--repeat", "1"]);
    assert!(
        measured.code == 0 && measured.stdout.contains("texts/s") && !measured.stdout.contains('%'),
        "{measured:?}"
    );
    let parts = ["static embeddings", "open this folder as it is"];
    desk.fails(&["convert", "--precision", "int8", "--model", &folder, "--output", "new"], 1, &parts);
}
