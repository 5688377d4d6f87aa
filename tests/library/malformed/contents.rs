//! Files whose content is not what their name promises: a Git LFS pointer, a web page, an archive,
//! text in another encoding. And weights in formats that are not read.

use super::*;
use crate::common::committed;

const LFS_POINTER: &[u8] =
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12\n";

/// Content of other kinds, and how the message names each.
const FOREIGN: [(&[u8], &str); 9] = [
    (LFS_POINTER, "a Git LFS pointer"),
    (b"<!DOCTYPE html>\n<html><title>Sign in</title></html>", "an HTML page"),
    (b"\xef\xbb\xbf \r\n<!doctype HTML>", "an HTML page"),
    (b"\n<html lang=\"en\"><body>404</body></html>", "an HTML page"),
    (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "an XML document"),
    (b"PK\x03\x04\x14\0\0\0\x08\0{}", "a zip archive"),
    (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "a gzip archive"),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a Python pickle"),
    (b"", "an empty file"),
];

/// The files of a model that is in shards and has a Dense module.
fn sharded_with_dense() -> Files {
    let mut files = files("tiny-mpnet");
    let all = tensors(&files.remove(WEIGHTS).expect("weights"));
    let names = ["model-1-of-2.safetensors", "model-2-of-2.safetensors"];
    for (i, name) in names.iter().enumerate() {
        let part = all.iter().skip(i).step_by(2).map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
        files.insert((*name).to_owned(), write(&part));
    }
    let map: BTreeMap<_, _> = all.keys().enumerate().map(|(i, name)| (name, names[i % 2])).collect();
    files.insert(INDEX.to_owned(), json!({"weight_map": map}).to_string().into_bytes());
    let config = json!({"in_features": 48, "out_features": 2, "bias": false,
        "activation_function": "torch.nn.modules.linear.Identity"});
    files.insert("2_Dense/config.json".to_owned(), config.to_string().into_bytes());
    let weight = UncheckedTensor { dtype: "F32".to_owned(), shape: vec![2, 48], data: 1_f32.to_le_bytes().repeat(96) };
    files.insert("2_Dense/model.safetensors".to_owned(), write(&[("linear.weight".to_owned(), weight)].into()));
    edit_json(&mut files, "modules.json", |modules| {
        let dense = json!({"path": "2_Dense", "type": "sentence_transformers.models.Dense"});
        modules.as_array_mut().expect("an array").push(dense);
    });
    files
}

/// The files of a model with a vocab.txt instead of tokenizer.json, and the other files of that
/// time.
fn with_vocab_txt() -> Files {
    let mut files = files("tiny-bert");
    let tokenizer: Value = serde_json::from_slice(&files.remove("tokenizer.json").expect("a tokenizer")).expect("JSON");
    let vocabulary = tokenizer["model"]["vocab"].as_object().expect("a vocabulary");
    let mut words: Vec<(u64, &String)> =
        vocabulary.iter().map(|(word, id)| (id.as_u64().expect("an id"), word)).collect();
    words.sort();
    let lines: String = words.iter().map(|(_, word)| format!("{word}\n")).collect();
    files.insert("vocab.txt".to_owned(), lines.into_bytes());
    edit_json(&mut files, "tokenizer_config.json", |config| {
        config.as_object_mut().expect("an object").remove("added_tokens_decoder");
    });
    files.insert("special_tokens_map.json".to_owned(), b"{}".to_vec());
    files.insert("added_tokens.json".to_owned(), b"{}".to_vec());
    files
}

/// All fixture models, and models with the files that these lack.
fn models() -> Vec<(String, Files)> {
    let mut models: Vec<_> = committed().map(|name| (name.to_owned(), all_files(name))).collect();
    models.push(("shards".to_owned(), sharded_with_dense()));
    models.push(("vocab.txt".to_owned(), with_vocab_txt()));
    models
}

/// Reads every file of a fixture model except the README.
fn all_files(name: &str) -> Files {
    fn insert(folder: &std::path::Path, prefix: &str, files: &mut Files) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = format!("{prefix}{}", path.file_name().expect("a name").to_str().expect("UTF-8"));
            if path.is_dir() {
                insert(&path, &format!("{name}/"), files);
            } else if name != "README.md" {
                files.insert(name, std::fs::read(&path).expect("a file"));
            }
        }
    }
    let mut files = Files::new();
    insert(&crate::common::model(name), "", &mut files);
    files
}

/// Every file of every model, one at a time.
#[test]
fn content_of_another_kind_is_named_in_every_file() {
    let mut cases = Cases::default();
    let mut names = std::collections::BTreeSet::new();
    for (model, files) in models() {
        open(&files).unwrap_or_else(|e| panic!("{model}: {}", message(&e)));
        for name in files.keys() {
            names.insert(name.clone());
            for (bytes, found) in FOREIGN {
                let mut files = files.clone();
                files.insert(name.clone(), bytes.to_vec());
                let what = format!("{model}: {name} is {found}");
                cases.fails(&what, || open(&files), "Content", &[name, "expected", found, ";"]);
            }
        }
    }
    println!("{} cases, files: {names:?}", cases.count);
    for name in
        ["vocab.txt", "special_tokens_map.json", "added_tokens.json", INDEX, "2_Dense/model.safetensors", POOLING]
    {
        assert!(names.contains(name), "{name}");
    }
    cases.finish();
}

/// The same from a folder, where weights are mapped, and without a map.
#[test]
fn content_of_another_kind_is_named_with_its_path() {
    let mut cases = Cases::default();
    let folder = write_folder(&files("tiny-bert"));
    for name in [WEIGHTS, "config.json", "tokenizer.json", "modules.json", POOLING] {
        let path = folder.path().join(name);
        let original = std::fs::read(&path).expect("a file");
        for (bytes, found) in FOREIGN {
            std::fs::write(&path, bytes).expect("a file");
            let parts = [path.to_str().expect("UTF-8"), found];
            cases.fails(&format!("{name} is {found}"), || Embedder::open(folder.path()), "Content", &parts);
            let files = likewise::ModelFiles::folder(folder.path()).without_mmap();
            let read = || Embedder::builder().open_files(&files);
            cases.fails(&format!("{name} is {found}, without mmap"), read, "Content", &parts);
        }
        std::fs::write(&path, original).expect("a file");
    }
    Embedder::open(folder.path()).expect("the original files");
    cases.finish();
}

/// Windows PowerShell saves UTF-16, and some editors put a byte order mark before UTF-8.
#[test]
fn text_in_another_encoding_is_named() {
    let mut cases = Cases::default();
    for (model, name) in [
        ("tiny-bert", "config.json"),
        ("tiny-bert", "modules.json"),
        ("tiny-mpnet", SENTENCE),
        ("vocab.txt", "vocab.txt"),
    ] {
        let files = if model == "vocab.txt" { with_vocab_txt() } else { files(model) };
        let text = String::from_utf8(files[name].clone()).expect("UTF-8");
        let utf16: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        for (bytes, found) in [
            (format!("\u{feff}{text}").into_bytes(), "byte order mark"),
            (utf16[2..].to_vec(), "UTF-16"),
            (utf16, "UTF-16"),
        ] {
            let mut files = files.clone();
            files.insert(name.to_owned(), bytes);
            cases.fails(&format!("{name} with {found}"), || open(&files), "Content", &[name, found, "UTF-8"]);
        }
    }
    cases.finish();
}

/// Some folders have only the weights of another program.
#[test]
fn weights_in_other_formats_are_named_with_the_way_to_safetensors() {
    let mut cases = Cases::default();
    for (others, removed) in [
        (&["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"][..], &[][..]),
        (&["onnx/model.onnx"], &[]),
        (&["openvino/openvino_model.bin"], &[]),
        (&["tf_model.h5"], &[]),
        (&["flax_model.msgpack"], &[]),
        (&["model-q4.gguf"], &["config.json", "tokenizer.json", "modules.json"]),
    ] {
        let mut files = files("tiny-bert");
        files.remove(WEIGHTS);
        removed.iter().for_each(|name| drop(files.remove(*name)));
        files.extend(others.iter().map(|name| ((*name).to_owned(), b"x".to_vec())));
        let parts = [others[0], WEIGHTS, "not read", "refs/pr/", "save_pretrained"];
        cases.rejects_model(&format!("{others:?}"), &files, "UnsupportedWeights", &parts);
        let folder = write_folder(&files);
        let parts = [&parts[..], &[folder.path().to_str().expect("UTF-8")]].concat();
        cases.fails(&format!("{others:?} in a folder"), || Embedder::open(folder.path()), "UnsupportedWeights", &parts);
    }
    let mut dense = sharded_with_dense();
    dense.remove("2_Dense/model.safetensors");
    cases.rejects_model("Dense without weights", &dense, "MissingFile", &["2_Dense/model.safetensors"]);
    dense.insert("2_Dense/pytorch_model.bin".to_owned(), b"x".to_vec());
    cases.rejects_model("Dense with a text", &dense, "Content", &["2_Dense/pytorch_model.bin", "`x`"]);
    dense.remove("2_Dense/pytorch_model.bin");
    dense.insert("2_Dense/tf_model.h5".to_owned(), b"x".to_vec());
    cases.rejects_model("Dense of Keras", &dense, "UnsupportedWeights", &["2_Dense/tf_model.h5"]);
    // What training leaves behind is no model, and weights beside the right ones do not matter.
    let mut files = files("tiny-bert");
    files.insert("pytorch_model.bin".to_owned(), b"x".to_vec());
    open(&files).expect("a model");
    files.remove("pytorch_model.bin");
    files.remove(WEIGHTS);
    files.insert("training_args.bin".to_owned(), b"x".to_vec());
    cases.rejects_model("only training_args.bin", &files, "MissingFile", &[WEIGHTS]);
    cases.finish();
}

/// A link to a file that was removed is not a file that the model does not have.
#[cfg(unix)]
#[test]
fn link_that_leads_nowhere_is_named() {
    let mut cases = Cases::default();
    for name in [WEIGHTS, "config.json", "modules.json", SENTENCE, "tokenizer_config.json"] {
        let folder = write_folder(&files("tiny-bert"));
        let path = folder.path().join(name);
        std::fs::remove_file(&path).expect("a file");
        std::os::unix::fs::symlink("../blobs/gone", &path).expect("a link");
        let parts = [path.to_str().expect("UTF-8"), "../blobs/gone", "does not exist"];
        cases.fails(&format!("{name} leads nowhere"), || Embedder::open(folder.path()), "Io", &parts);
    }
    cases.finish();
}

#[test]
fn backslash_in_a_path_of_the_model_is_named() {
    let mut cases = Cases::default();
    let files = with_json("tiny-bert", "modules.json", |modules| modules[1]["path"] = json!("modules\\1_Pooling"));
    cases.rejects_model("modules.json", &files, "MissingFile|Config", &["1_Pooling"]);
    let folder = write_folder(&files);
    let parts = ["modules\\1_Pooling", "with `/` between folders", "a backslash"];
    cases.fails("modules.json in a folder", || Embedder::open(folder.path()), "Config", &parts);
    cases.finish();
}
