//! Errors about models: content of another kind, weights in other formats, misspelt folders.

use super::*;

const COMMIT: &str = "1111111111111111111111111111111111111111";

impl Desk {
    /// Writes a fixture model to a folder, with some files replaced, added (or removed: None).
    fn write_model(&self, folder: &str, changes: &[(&str, Option<&str>)]) {
        let mut files = crate::common::files("tiny-bert");
        for (name, text) in changes {
            match text {
                Some(text) => drop(files.insert((*name).to_owned(), text.as_bytes().to_vec())),
                None => drop(files.remove(*name)),
            }
        }
        for (name, bytes) in files {
            self.write(&format!("{folder}/{name}"), bytes);
        }
    }
}

#[test]
fn git_lfs_pointer_and_web_page_are_named_with_the_file() {
    for name in ["model.safetensors", "config.json", "tokenizer.json", "1_Pooling/config.json"] {
        for (content, found) in [
            ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
            ("<!DOCTYPE html><html></html>", "HTML page"),
        ] {
            let desk = Desk::new();
            desk.write_model("model", &[(name, Some(content))]);
            for command in [&["similarity", "--model", "model", "a", "b"][..], &["info", "--model", "model"]] {
                desk.fails(command, 1, &[&format!("model/{name}"), found, "expected"]);
            }
        }
    }
}

#[test]
fn cross_encoder_without_modules_json_prints_no_scores() {
    let desk = Desk::new();
    let config = String::from_utf8(crate::common::files("tiny-bert")["config.json"].clone()).expect("UTF-8");
    let cross_encoder = config.replace("BertForMaskedLM", "BertForSequenceClassification");
    assert_ne!(config, cross_encoder);
    let config = ("config.json", Some(cross_encoder.as_str()));
    desk.write_model("cross", &[config, ("modules.json", None)]);
    for command in ["similarity", "embed"] {
        let parts = ["cross: expected a model that computes vectors", "a cross-encoder", "use `likewise rerank`"];
        desk.fails(&[command, "--model", "cross", "a", "b"], 1, &parts);
    }
    desk.write_model("encoder", &[config]);
    desk.output(&["similarity", "--model", "encoder", "a", "b"]);
}

#[test]
fn key_of_unknown_effect_is_named_with_what_to_do() {
    let desk = Desk::new();
    let config = String::from_utf8(crate::common::files("tiny-bert")["config.json"].clone()).expect("UTF-8");
    let scaled = config.replacen('{', "{\"rope_scaling\": {\"factor\": 2.0},", 1);
    desk.write_model("model", &[("config.json", Some(&scaled))]);
    let parts = ["model/config.json", "`rope_scaling`", "remove the key if it changes no vector", "{\"factor\":2.0}"];
    desk.fails(&["similarity", "--model", "model", "a", "b"], 1, &parts);
}

/// A pickle that runs a command when Python loads it, in the archive of torch.save.
#[test]
fn pytorch_weights_that_run_a_command_are_refused_by_name() {
    let path = crate::common::root().join("fixtures/pytorch/rejected-subclass.bin");
    let desk = Desk::new();
    desk.write_model("model", &[("model.safetensors", None)]);
    desk.write("model/pytorch_model.bin", std::fs::read(path).expect("a file"));
    let parts = ["model/pytorch_model.bin", "data.pkl, byte 13", "`posix.system`", "may run code", "model.safetensors"];
    for command in [&["similarity", "--model", "model", "a", "b"][..], &["info", "--model", "model"]] {
        desk.fails(command, 1, &parts);
    }
}

#[test]
fn pytorch_weights_give_the_output_of_their_safetensors() {
    let path = crate::common::root().join("fixtures/pytorch/tiny-bert.bin");
    let desk = Desk::new();
    desk.write_model("safetensors", &[]);
    desk.write_model("pytorch", &[("model.safetensors", None)]);
    desk.write("pytorch/pytorch_model.bin", std::fs::read(path).expect("a file"));
    let [expected, found] = ["safetensors", "pytorch"].map(|model| desk.run(&["embed", "--model", model, "a", "b"]));
    assert!(expected.stdout == found.stdout && found.stdout.lines().count() == 2, "{found:?}");
}

/// The cache has the whole model, but its weights are in another format.
#[test]
fn other_weights_are_named_in_a_folder_and_in_an_offline_cache() {
    for other in ["pytorch_model-00001-of-00002.bin", "onnx/model.onnx", "tf_model.h5", "x.gguf", "x.msgpack"] {
        let desk = Desk::new();
        let snapshot = format!(".cache/huggingface/hub/models--org--old/snapshots/{COMMIT}");
        desk.write(".cache/huggingface/hub/models--org--old/refs/main", COMMIT);
        desk.write_model(&snapshot, &[("model.safetensors", None), (other, Some("x"))]);
        let parts = ["no weights in model.safetensors", other, "not read", "refs/pr/N", "save_pretrained"];
        for model in ["org/old", &snapshot] {
            let run = desk.run(&["similarity", "--model", model, "a", "b"]);
            run.failed(model, 1, &parts);
            assert!(!run.stderr.contains("only part"), "{model}: {run:?}");
        }
        desk.fails(&["convert", "--model", "org/old", "--precision", "int8", "--output", "new"], 1, &parts);
    }
    // Without any weights, the cache does have only a part.
    let desk = Desk::new();
    desk.write(".cache/huggingface/hub/models--org--old/refs/main", COMMIT);
    desk.write_model(
        &format!(".cache/huggingface/hub/models--org--old/snapshots/{COMMIT}"),
        &[("model.safetensors", None)],
    );
    if cfg!(feature = "hub") {
        desk.fails(&["info", "--model", "org/old"], 1, &["no model.safetensors", "only part", "offline"]);
    }
}

#[test]
fn misspelt_folder_is_reported_with_similar_folders() {
    let desk = Desk::new();
    desk.write_model("models/minilm-l6", &[]);
    desk.write_model("minilm-l6", &[]);
    for (name, suggestion) in [
        ("models/minilm", "models/minilm-l6"),
        ("models/minilm/", "models/minilm-l6"),
        ("./models/minilm", "./models/minilm-l6"),
        ("model/minilm-l6", "models/minilm-l6"),
        ("models/MiniLM-L6", "models/minilm-l6"),
        ("minilm", "minilm-l6"),
        ("./minilm", "./minilm-l6"),
        ("~/minilm-l6", "/minilm-l6"),
        ("models\\minilm-l6", "models/minilm-l6"),
    ] {
        let run = desk.run(&["similarity", "--model", name, "a", "b"]);
        run.failed(name, 1, &["no such folder", &format!("{suggestion}?"), "did you mean"]);
    }
    // The shape of a hub id: the cache was searched also.
    desk.fails(&["info", "--model", "models/minilm"], 1, &["not in the Hugging Face cache", "models--models--minilm"]);
    for path in ["./x", "../x/y", "/x", "~/models/x", "models/x/y", "C:\\models\\x", "x/"] {
        let run = desk.run(&["info", "--model", path]);
        run.failed(path, 1, &["no such folder", path]);
        assert!(!run.stderr.contains("cache") && !run.stderr.contains("did you mean"), "{path}: {run:?}");
    }
    for file in ["models/minilm-l6/model.safetensors", "models/minilm-l6/config.json"] {
        desk.fails(&["info", "--model", file], 1, &[file, "a file", "did you mean models/minilm-l6?"]);
    }
}

#[test]
fn revision_without_a_hub_id_is_a_usage_error() {
    let desk = Desk::new();
    desk.write_model("model", &[]);
    for revision in ["main", "v1"] {
        desk.fails(&["info", "--model", "model", "--revision", revision], 2, &["--revision", revision, "folder model"]);
    }
    desk.fails(&["info", "--model", "a/b@v1", "--revision", "main"], 2, &["--revision main", "a/b@v1"]);
    desk.fails(&["info", "--model", "model@v1"], 1, &["model@v1", "a folder has no revisions"]);
    if cfg!(feature = "quickstart") {
        desk.fails(&["info", "--revision", "v1"], 2, &["--revision", "built-in"]);
        desk.fails(&["info", "--model", "quickstart", "--revision", "v1"], 2, &["--revision", "built-in"]);
    }
}
