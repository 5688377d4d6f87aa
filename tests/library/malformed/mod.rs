//! Bad input: each case must give the right error, with a message that says which file, which key
//! or tensor, what was expected and what was found; and no case may panic.

mod configs;
mod files;
mod random_bytes;
mod requests;
mod sentence_head;
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

// ---------------------------------------------------------------------------------------------------------------------
// Cases, all of which are run before the test is judged.

#[derive(Default)]
struct Cases {
    run: usize,
    failures: Vec<String>,
}

impl Cases {
    /// Runs a case that must fail with one of `variants` (separated by `|`) and with all `words` in
    /// its message.
    fn fails<T>(&mut self, what: &str, run: impl FnOnce() -> Result<T>, variants: &str, words: &[&str]) {
        self.run += 1;
        let problem = match catch_unwind(AssertUnwindSafe(run)) {
            Err(_) => "panicked".to_owned(),
            Ok(Ok(_)) => format!("succeeded, expected {variants}"),
            Ok(Err(error)) => {
                let (variant, message) = (variant(&error), message(&error));
                let missing: Vec<_> = words.iter().filter(|word| !message.contains(**word)).collect();
                if !variants.split('|').any(|expected| expected == variant) {
                    format!("is {variant}, expected {variants}: {message}")
                } else if !missing.is_empty() {
                    format!("does not say {missing:?}: {message}")
                } else {
                    return;
                }
            }
        };
        self.failures.push(format!("{what}: {problem}"));
    }

    /// A model that must fail when it is opened or when it embeds a text.
    fn model(&mut self, what: &str, files: &Files, variants: &str, words: &[&str]) {
        self.fails(what, || embed(files, &[TEXT]), variants, words);
    }

    /// A value of a key of a JSON file that must be refused, naming file, key and value.
    fn key(&mut self, model: &str, file: &str, key: &str, value: &Value) {
        let mut files = files(model);
        edit_json(&mut files, file, |json| json[key] = value.clone());
        let found = value.to_string();
        self.model(&format!("{model} {file} {key} = {found}"), &files, "Config", &[file, key, "expected", &found]);
    }

    fn finish(self) {
        assert!(self.run > 0, "no case");
        let count = self.failures.len();
        assert!(count == 0, "{count} of {} cases:\n{}", self.run, self.failures.join("\n"));
    }
}

/// The name of an error's variant.
fn variant(error: &Error) -> String {
    format!("{error:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}

/// An error's message and those of all errors beneath it.
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

/// The files of a model with one of them replaced.
fn with(model: &str, name: &str, bytes: impl Into<Vec<u8>>) -> Files {
    let mut files = files(model);
    files.insert(name.to_owned(), bytes.into());
    files
}

/// The files of a model, one of them as JSON changed.
fn edited(model: &str, name: &str, edit: impl FnOnce(&mut Value)) -> Files {
    let mut files = files(model);
    edit_json(&mut files, name, edit);
    files
}

/// Makes a model's tokenizer one that is taken as it is written, of which its own class would take
/// only the vocabulary.
fn as_written(files: &mut Files) {
    edit_json(files, "tokenizer_config.json", |json| json["tokenizer_class"] = json!("PreTrainedTokenizerFast"));
}

/// The files of a model, its tensors changed.
fn reweighted(model: &str, edit: impl FnOnce(&mut Tensors)) -> Files {
    let mut files = files(model);
    let mut tensors = tensors(&files[WEIGHTS]);
    edit(&mut tensors);
    files.insert(WEIGHTS.to_owned(), write(&tensors));
    files
}

fn write_folder(files: &Files) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, bytes).expect("a file");
    }
    folder
}

// ---------------------------------------------------------------------------------------------------------------------
// Safetensors files, written here and not by the crate that reads them, so that they can be wrong.

type Tensors = BTreeMap<String, Raw>;

#[derive(Clone)]
struct Raw {
    dtype: String,
    shape: Vec<usize>,
    data: Vec<u8>,
}

fn tensors(bytes: &[u8]) -> Tensors {
    let file = SafeTensors::deserialize(bytes).expect("safetensors");
    let raw = |tensor: safetensors::tensor::TensorView<'_>| Raw {
        dtype: format!("{:?}", tensor.dtype()),
        shape: tensor.shape().to_vec(),
        data: tensor.data().to_vec(),
    };
    file.tensors().into_iter().map(|(name, tensor)| (name, raw(tensor))).collect()
}

fn write(tensors: &Tensors) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, tensor) in tensors {
        let start = data.len();
        data.extend_from_slice(&tensor.data);
        let offsets = [start, data.len()];
        header.insert(name.clone(), json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets}));
    }
    join(Value::Object(header).to_string().as_bytes(), &data)
}

/// A file of a header and data.
fn join(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header, data].concat()
}

/// A file's header and data.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    bytes[8..].split_at(length)
}

/// A file with its header changed and its data as they are.
fn with_header(bytes: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (header, data) = split(bytes);
    let mut header: Value = serde_json::from_slice(header).expect("JSON");
    edit(&mut header);
    join(header.to_string().as_bytes(), data)
}

fn numbers(data: &[u8]) -> Vec<f32> {
    data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
