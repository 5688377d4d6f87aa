//! Malformed input. Each case must give an error, and the message must name the file, the key or
//! tensor, the expected value and the found value. No case may panic.

mod config_keys;
mod configs;
mod contents;
mod dense;
mod files;
mod modules;
mod random_bytes;
mod requests;
mod sentence_head;
mod tasks;
mod tokenizers;
mod weight_formats;
mod weights;

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::common::{TINY, edit_json, edit_tensor, files, in_memory, same_bits};
use likewise::{Checkpoint, Embedder, Embeddings, Error, Result, TruncationPolicy};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::{Value, json};

type Files = HashMap<String, Vec<u8>>;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const POOLING: &str = "1_Pooling/config.json";
const SENTENCE: &str = "config_sentence_transformers.json";
const INPUTS: &str = "sentence_bert_config.json";
const TEXT: &str = "That is a happy person";
const TEXTS: [&str; 4] = [TEXT, "", "Today is a sunny day, and the dog is happy about it.", "今天 est un jour"];

/// A list of failed cases, so that a test runs all cases before it fails.
#[derive(Default)]
struct Cases {
    count: usize,
    failures: Vec<String>,
}

impl Cases {
    /// Runs a case. It must fail with one of the error `variants`, separated by `|`, and with a
    /// message that contains all `parts`.
    fn fails<T>(&mut self, what: &str, run: impl FnOnce() -> Result<T>, variants: &str, parts: &[&str]) {
        self.count += 1;
        let problem = match catch_unwind(AssertUnwindSafe(run)) {
            Err(_) => "panicked".to_owned(),
            Ok(Ok(_)) => format!("succeeded, expected {variants}"),
            Ok(Err(error)) => {
                let variant = variant(&error);
                let message = message(&error);
                let missing: Vec<_> = parts.iter().filter(|word| !message.contains(**word)).collect();
                if !variants.split('|').any(|expected| expected == variant) {
                    format!("is {variant}, expected {variants}: {message}")
                } else if !missing.is_empty() {
                    format!("{missing:?} is not in the message: {message}")
                } else {
                    return;
                }
            }
        };
        self.failures.push(format!("{what}: {problem}"));
    }

    /// Runs a case in which opening a model or embedding a text must fail.
    fn rejects_model(&mut self, what: &str, files: &Files, variants: &str, parts: &[&str]) {
        self.fails(what, || embed(files, &[TEXT]), variants, parts);
    }

    /// Runs a case in which a value of a key of a JSON file must be rejected. The message must name
    /// the file, the key and the value.
    fn rejects_value(&mut self, model: &str, file: &str, key: &str, value: &Value) {
        let mut files = files(model);
        edit_json(&mut files, file, |json| json[key] = value.clone());
        let found = value.to_string();
        self.rejects_model(
            &format!("{model} {file} {key} = {found}"),
            &files,
            "Config",
            &[file, key, "expected", &found],
        );
    }

    fn finish(self) {
        assert!(self.count > 0, "no case has run");
        let failed = self.failures.len();
        assert!(failed == 0, "{failed} of {} cases failed:\n{}", self.count, self.failures.join("\n"));
    }
}

/// Returns the name of an error's variant.
fn variant(error: &Error) -> String {
    format!("{error:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}

/// Returns the messages of an error and of all its sources.
fn message(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn open(files: &Files) -> Result<Embedder> {
    Embedder::builder().threads(1).open_files(&in_memory(files))
}

fn embed(files: &Files, texts: &[&str]) -> Result<Embeddings> {
    open(files)?.embed(texts)
}

/// Returns the files of a model after replacing one of them.
fn with(model: &str, name: &str, bytes: impl Into<Vec<u8>>) -> Files {
    let mut files = files(model);
    files.insert(name.to_owned(), bytes.into());
    files
}

/// Returns the files of a model after an edit of a JSON file.
fn with_json(model: &str, name: &str, edit: impl FnOnce(&mut Value)) -> Files {
    let mut files = files(model);
    edit_json(&mut files, name, edit);
    files
}

/// Selects the generic tokenizer class, which uses all parts of tokenizer.json. The default class
/// of the model uses only the vocabulary.
fn use_generic_class(files: &mut Files) {
    edit_json(files, "tokenizer_config.json", |json| json["tokenizer_class"] = json!("PreTrainedTokenizerFast"));
}

/// Returns the files of a model after an edit of its tensors.
fn with_tensors(model: &str, edit: impl FnOnce(&mut Tensors)) -> Files {
    let mut files = files(model);
    let mut tensors = tensors(&files[WEIGHTS]);
    edit(&mut tensors);
    files.insert(WEIGHTS.to_owned(), write(&tensors));
    files
}

/// Writes files to a new temporary folder.
fn write_folder(files: &Files) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, bytes).expect("a file");
    }
    folder
}

// The tests write safetensors files without the safetensors crate, because the crate does not write
// invalid files.

type Tensors = BTreeMap<String, UncheckedTensor>;

/// A tensor whose fields may contradict each other.
#[derive(Clone)]
struct UncheckedTensor {
    dtype: String,
    shape: Vec<usize>,
    data: Vec<u8>,
}

/// Reads all tensors of a safetensors file.
fn tensors(bytes: &[u8]) -> Tensors {
    let file = SafeTensors::deserialize(bytes).expect("safetensors");
    let unchecked_tensor = |tensor: safetensors::tensor::TensorView<'_>| UncheckedTensor {
        dtype: format!("{:?}", tensor.dtype()),
        shape: tensor.shape().to_vec(),
        data: tensor.data().to_vec(),
    };
    file.tensors().into_iter().map(|(name, tensor)| (name, unchecked_tensor(tensor))).collect()
}

/// Writes a safetensors file.
fn write(tensors: &Tensors) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, tensor) in tensors {
        let start = data.len();
        data.extend_from_slice(&tensor.data);
        let offsets = [start, data.len()];
        header.insert(name.clone(), json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets}));
    }
    join(Value::Object(header).to_string().as_bytes(), &data)
}

/// Joins a header and tensor data to a safetensors file.
fn join(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header, data].concat()
}

/// Splits a safetensors file into its header and tensor data.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    bytes[8..].split_at(length)
}

/// Returns a safetensors file after an edit of its header, with unchanged tensor data.
fn with_header(bytes: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (header, data) = split(bytes);
    let mut header: Value = serde_json::from_slice(header).expect("JSON");
    edit(&mut header);
    join(header.to_string().as_bytes(), data)
}

/// Converts little-endian bytes to f32 elements.
fn f32_elements(data: &[u8]) -> Vec<f32> {
    data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
