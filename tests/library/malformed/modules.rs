//! Malformed modules.json, and modules that are not supported.

use super::*;

fn class_path(name: &str) -> String {
    format!("sentence_transformers.models.{name}")
}

fn module(name: &str, path: &str) -> Value {
    json!({"idx": 0, "name": path, "path": path, "type": class_path(name)})
}

fn transformer() -> Value {
    module("Transformer", "")
}

fn pooling() -> Value {
    module("Pooling", "1_Pooling")
}

/// Requires an error for each modules.json. Its message must contain all parts.
fn check_rejected(table: &[(&str, Value, &[&str])]) {
    let mut cases = Cases::default();
    for (what, modules, parts) in table {
        let parts = [*parts, &["modules.json"]].concat();
        cases.rejects_model(what, &with("tiny-mpnet", "modules.json", modules.to_string()), "Config", &parts);
    }
    cases.finish();
}

#[test]
fn malformed_module_lists_are_rejected_by_name() {
    check_rejected(&[
        ("empty", json!([]), &["Transformer", "fewer"]),
        ("elements", json!([1, "x", null]), &["an object", "a number"]),
        ("null element", json!([null]), &["an object", "null"]),
        ("no type", json!([{"path": ""}]), &["type", "sentence_transformers", "nothing"]),
        ("type is a number", json!([{"path": "", "type": 3}]), &["type", "a string", "3"]),
        ("path is a number", json!([{"path": 3, "type": class_path("Transformer")}]), &["path", "a string", "3"]),
        ("only a transformer", json!([transformer()]), &["Pooling", "fewer"]),
        (
            "a hundred and one",
            Value::Array(vec![module("Normalize", "2_Normalize"); 101]),
            &["at most 100 modules", "101"],
        ),
        ("the same name", json!([transformer(), pooling(), pooling()]), &["name", "earlier", "1_Pooling"]),
    ]);
}

#[test]
fn unsupported_module_classes_are_rejected_by_name() {
    check_rejected(&[
        (
            "foreign class",
            json!([transformer(), pooling(), {"path": "", "type": "os.system"}]),
            &["type", "sentence_transformers", "os.system"],
        ),
        (
            "lookalike",
            json!([transformer(), pooling(), {"path": "", "type": "sentence_transformers_extra.models.Normalize"}]),
            &["type", "sentence_transformers_extra"],
        ),
        ("class without a package", json!([{"path": "", "type": "Transformer"}]), &["type", "\"Transformer\""]),
        (
            "layers",
            json!([transformer(), module("WeightedLayerPooling", "1_W"), pooling()]),
            &["type", "second module", "WeightedLayerPooling"],
        ),
        ("convolutions", json!([transformer(), pooling(), module("CNN", "2_CNN")]), &["type", "CNN"]),
        ("two towers", json!([module("Asym", ""), pooling()]), &["type", "first module", "Asym"]),
        (
            "table after pooling",
            json!([transformer(), module("StaticEmbedding", "0_S")]),
            &["type", "second module", "StaticEmbedding"],
        ),
        ("router", json!([module("Router", ""), pooling()]), &["type", "first module", "Router"]),
        (
            "recurrent",
            json!([transformer(), pooling(), module("LSTM", "2_LSTM")]),
            &["type", "Dense, LayerNorm", "LSTM"],
        ),
        ("unknown", json!([transformer(), pooling(), module("Zoom", "2_Zoom")]), &["type", "Zoom"]),
        ("word embeddings", json!([module("WordEmbeddings", ""), pooling()]), &["type", "WordEmbeddings"]),
    ]);
}

#[test]
fn modules_in_wrong_order_are_rejected_by_name() {
    check_rejected(&[
        ("wrong order", json!([pooling(), transformer()]), &["type", "first module", "Pooling"]),
        (
            "normalize first",
            json!([transformer(), module("Normalize", "2_Normalize"), pooling()]),
            &["type", "second module", "Normalize"],
        ),
        ("two poolings", json!([transformer(), pooling(), module("Pooling", "2_Pooling")]), &["type", "Pooling"]),
    ]);
}

#[test]
fn modules_without_a_folder_are_rejected_by_name() {
    check_rejected(&[
        (
            "dense without a folder",
            json!([transformer(), pooling(), {"path": "", "type": class_path("Dense")}]),
            &["path", "folder", "Dense"],
        ),
        (
            "norm without a folder",
            json!([transformer(), pooling(), {"path": "", "type": class_path("LayerNorm")}]),
            &["path", "LayerNorm"],
        ),
        (
            "pooling without a folder",
            json!([transformer(), {"path": "", "type": class_path("Pooling")}]),
            &["path", "folder", "\"\""],
        ),
        (
            "pooling without a path",
            json!([transformer(), {"type": class_path("Pooling")}]),
            &["path", "folder", "nothing"],
        ),
    ]);
}

#[test]
fn missing_module_folders_are_named() {
    let mut cases = Cases::default();
    for (what, modules, file) in [
        (
            "a transformer in a subfolder",
            json!([module("Transformer", "0_Transformer"), pooling()]),
            "0_Transformer/config.json",
        ),
        ("dense", json!([transformer(), pooling(), module("Dense", "2_Dense")]), "2_Dense/config.json"),
        ("norm", json!([transformer(), pooling(), module("LayerNorm", "2_Norm")]), "2_Norm/config.json"),
    ] {
        cases.rejects_model(what, &with("tiny-mpnet", "modules.json", modules.to_string()), "MissingFile", &[file]);
    }
    cases.finish();
}

#[test]
fn module_paths_leaving_the_folder_are_rejected() {
    let mut cases = Cases::default();
    for path in ["../elsewhere", "/etc", "1_Pooling/../../elsewhere", ".."] {
        let files = with("tiny-mpnet", "modules.json", json!([transformer(), module("Pooling", path)]).to_string());
        cases.rejects_model(&format!("path {path} in memory"), &files, "MissingFile", &[path, "Pooling"]);
        let folder = write_folder(&files);
        let parts = ["inside the model's folder", path, "leaves"];
        cases.fails(&format!("path {path}"), || Embedder::open(folder.path()), "Config", &parts);
    }
    cases.finish();
}
