//! Bad input: each case must give the right error, with a message that says which file, which key or tensor, what was
//! expected and what was found; and no case may panic.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{TINY, edit_json, edit_tensor, files, in_memory, same_bits};
use likewise::{Checkpoint, Embedder, Embeddings, Error, OnLong, Result};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::{Value, json};

type Files = HashMap<String, Vec<u8>>;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const POOLING: &str = "1_Pooling/config.json";
const SENTENCE: &str = "config_sentence_transformers.json";
const TEXT: &str = "That is a happy person";

// ---------------------------------------------------------------------------------------------------------------------
// Cases, all of which are run before the test is judged.

#[derive(Default)]
struct Cases {
    run: usize,
    failures: Vec<String>,
}

impl Cases {
    /// Runs a case that must fail with one of `variants` (separated by `|`) and with all `words` in its message.
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

// ---------------------------------------------------------------------------------------------------------------------
// Files.

#[test]
fn files_that_are_not_there() {
    let mut cases = Cases::default();
    for model in TINY {
        for (name, words) in [
            ("config.json", &["config.json", "architecture"][..]),
            ("tokenizer.json", &["tokenizer.json", "vocab.txt"]),
            (WEIGHTS, &[WEIGHTS, INDEX, "pytorch_model.bin"]),
            (POOLING, &[POOLING, "Pooling"]),
        ] {
            let mut files = files(model);
            files.remove(name);
            cases.model(&format!("{model} without {name}"), &files, "MissingFile", words);
            let folder = write_folder(&files);
            let path = folder.path().display().to_string();
            let words = [words, &[path.as_str()]].concat();
            cases.fails(
                &format!("{model} folder without {name}"),
                || Embedder::open(folder.path()),
                "MissingFile",
                &words,
            );
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("nothing here");
    cases.fails("a missing folder", || Embedder::open(&missing), "MissingFile", &["nothing here", "config.json"]);
    std::fs::write(&missing, "").expect("a file");
    cases.fails("a file as a folder", || Embedder::open(&missing), "Io|MissingFile", &["nothing here", "config.json"]);
    cases.finish();
}

#[test]
fn files_that_cannot_be_used() {
    let mut cases = Cases::default();
    let model = "tiny-bert";
    // Where a file should be, a folder.
    for name in ["config.json", "tokenizer.json", "modules.json", POOLING, SENTENCE, WEIGHTS] {
        let mut files = files(model);
        files.remove(name);
        files.insert(format!("{name}/inside"), Vec::new());
        let folder = write_folder(&files);
        cases.fails(&format!("{name} is a folder"), || Embedder::open(folder.path()), "Io", &[name, "cannot"]);
    }
    // An empty file can be mapped on some systems and not on others.
    let folder = write_folder(&with(model, WEIGHTS, ""));
    cases.fails("empty weights", || Embedder::open(folder.path()), "Safetensors", &[WEIGHTS, "(0 bytes)"]);
    cases.finish();
}

#[test]
fn json_that_is_not_json() {
    let mut cases = Cases::default();
    let not_json: [&[u8]; 6] = [b"", b" \n", b"not json", b"{\"a\": 1", b"{\"a\": 1e999}", b"{\"a\": \"\xff\"}"];
    let model = "tiny-bert";
    for name in ["config.json", "modules.json", POOLING, SENTENCE, "sentence_bert_config.json", "tokenizer_config.json"]
    {
        for bytes in not_json {
            let what = format!("{name} = {:?}", String::from_utf8_lossy(bytes));
            cases.model(&what, &with(model, name, bytes), "Json", &[name, "not valid JSON", "line"]);
        }
        let deep = "[".repeat(100_000);
        cases.model(&format!("{name} is deep"), &with(model, name, deep), "Json", &[name]);
        for (bytes, found) in [("null", "null"), ("3", "a number"), ("\"x\"", "a string"), ("true", "true or false")] {
            cases.model(&format!("{name} = {bytes}"), &with(model, name, bytes), "Config", &[name, "expected", found]);
        }
        let (other, found) = if name == "modules.json" { ("{}", "an object") } else { ("[]", "an array") };
        cases.model(&format!("{name} = {other}"), &with(model, name, other), "Config", &[name, "expected", found]);
    }
    let mut files = files(model);
    files.remove(WEIGHTS);
    for bytes in not_json {
        files.insert(INDEX.to_owned(), bytes.to_vec());
        cases.model("the index", &files, "Json", &[INDEX, "not valid JSON"]);
    }
    cases.finish();
}

// ---------------------------------------------------------------------------------------------------------------------
// config.json.

#[test]
fn sizes_that_are_no_sizes() {
    let mut cases = Cases::default();
    let wrong =
        [json!(-1), json!(0), json!(16_777_217), json!(u64::MAX), json!(1e30), json!(1.5), json!("12"), json!(true)];
    let wrong = wrong.into_iter().chain([json!([]), json!({})]);
    let keys = [
        "hidden_size",
        "num_attention_heads",
        "num_hidden_layers",
        "intermediate_size",
        "vocab_size",
        "max_position_embeddings",
        "type_vocab_size",
    ];
    for value in wrong {
        for key in keys {
            cases.key("tiny-bert", "config.json", key, &value);
        }
        cases.key("tiny-mpnet", "config.json", "relative_attention_num_buckets", &value);
        cases.key("tiny-mpnet", "sentence_bert_config.json", "max_seq_length", &value);
    }
    cases.finish();
}

#[test]
fn config_values_that_are_not_supported() {
    let mut cases = Cases::default();
    let table = [
        (
            "layer_norm_eps",
            vec![json!(0), json!(0.0), json!(-1e-5), json!("1e-5"), json!(true), json!(1e-60), json!(1e300)],
        ),
        ("hidden_act", vec![json!("gelu_fast"), json!(""), json!(3), json!(["gelu"])]),
        ("position_embedding_type", vec![json!("relative_key"), json!("relative_key_query"), json!(1)]),
        ("model_type", vec![json!("t5"), json!("BERT"), json!(""), json!(7), json!(null), json!(["bert"])]),
        ("is_decoder", vec![json!(true), json!("yes"), json!(1)]),
        ("add_cross_attention", vec![json!(true), json!(0)]),
        ("embedding_size", vec![json!(16), json!("32")]),
        ("num_attention_heads", vec![json!(5), json!(64), json!(16_777_216)]),
    ];
    for (key, values) in table {
        for value in values {
            cases.key("tiny-bert", "config.json", key, &value);
        }
    }
    cases.key("tiny-mpnet", "config.json", "relative_attention_num_buckets", &json!(31));
    for value in [json!(-1), json!(1_u64 << 40), json!("1"), json!(1.5)] {
        cases.key("tiny-xlm-roberta", "config.json", "pad_token_id", &value);
    }
    let files = edited("tiny-bert", "config.json", |json| {
        json.as_object_mut().expect("an object").remove("model_type");
    });
    cases.model("no model_type", &files, "Config", &["config.json", "model_type", "mpnet", "found nothing"]);
    cases.finish();
}

#[test]
fn config_values_that_the_weights_contradict() {
    let mut cases = Cases::default();
    let words = "bert.embeddings.word_embeddings.weight";
    let table: [(&str, Value, &str, &[&str]); 15] = [
        ("hidden_size", json!(64), "Config", &[POOLING, "word_embedding_dimension", "64", "32"]),
        ("num_hidden_layers", json!(1), "UnknownTensor", &[WEIGHTS, "BERT", "encoder.layer.1."]),
        ("num_hidden_layers", json!(3), "MissingTensor", &[WEIGHTS, "encoder.layer.2.", "encoder.layer.1."]),
        ("num_hidden_layers", json!(16_777_216), "MissingTensor", &[WEIGHTS, "encoder.layer.2."]),
        ("intermediate_size", json!(73), "TensorShape", &[WEIGHTS, "intermediate.dense", "73", "72"]),
        ("vocab_size", json!(361), "TensorShape", &[WEIGHTS, words, "[361, 32]", "[360, 32]", "config.json"]),
        ("vocab_size", json!(359), "TensorShape", &[WEIGHTS, words, "[359, 32]", "[360, 32]"]),
        ("max_position_embeddings", json!(65), "TensorShape", &["position_embeddings", "[65, 32]", "[64, 32]"]),
        ("type_vocab_size", json!(1), "TensorShape", &["token_type_embeddings", "[1, 32]", "[2, 32]"]),
        // null is as good as nothing, and nothing is the default of the architecture.
        ("hidden_size", json!(null), "Config", &["768", "32"]),
        ("num_attention_heads", json!(null), "Config", &["num_attention_heads", "divisor", "32"]),
        ("num_hidden_layers", json!(null), "MissingTensor", &["encoder.layer.2."]),
        ("intermediate_size", json!(null), "TensorShape", &["3072"]),
        ("vocab_size", json!(null), "TensorShape", &["30522"]),
        ("max_position_embeddings", json!(null), "TensorShape", &["512"]),
    ];
    for (key, value, variant, words) in table {
        let files = edited("tiny-bert", "config.json", |json| json[key] = value.clone());
        cases.model(&format!("{key} = {value}"), &files, variant, words);
    }
    let mut files = edited("tiny-bert", "config.json", |json| json["hidden_size"] = json!(64));
    files.remove("modules.json");
    cases.model("a width that is not the file's", &files, "TensorShape", &[WEIGHTS, words, "[360, 64]", "[360, 32]"]);
    let files = edited("tiny-mpnet", "config.json", |json| json["relative_attention_num_buckets"] = json!(33));
    cases.model("33 buckets", &files, "TensorShape", &["encoder.relative_attention_bias.weight", "[33, 3]", "[32, 3]"]);
    cases.finish();

    for key in ["type_vocab_size", "layer_norm_eps", "hidden_act", "pad_token_id", "is_decoder"] {
        let files = edited("tiny-bert", "config.json", |json| json[key] = Value::Null);
        embed(&files, &[TEXT]).unwrap_or_else(|e| panic!("{key} = null: {e}"));
    }
}

/// Positions are counted from the padding token's id, so a large one leaves no room, or little.
#[test]
fn padding_at_the_end_of_the_positions() {
    let mut cases = Cases::default();
    let padded = |id: u32| edited("tiny-xlm-roberta", "config.json", |json| json["pad_token_id"] = json!(id));
    for id in [63, 64, 65, 66, u32::MAX] {
        let words = ["config.json", "max_position_embeddings"];
        cases.model(&format!("pad_token_id {id}"), &padded(id), "Config", &words);
    }
    for rows in [1_usize, 2] {
        let mut files = reweighted("tiny-bert", |tensors| {
            let table = tensors.get_mut("bert.embeddings.position_embeddings.weight").expect("a table");
            table.shape[0] = rows;
            table.data.truncate(rows * 32 * 4);
        });
        edit_json(&mut files, "config.json", |json| json["max_position_embeddings"] = json!(rows));
        let words = ["config.json", "max_position_embeddings", "3 tokens"];
        cases.model(&format!("{rows} positions"), &files, "Config", &words);
    }
    cases.finish();

    let model = open(&padded(62)).expect("room for one token of text");
    let usage = model.embed(&[TEXT]).expect("a vector").usage()[0];
    assert_eq!((usage.used, model.info().max_length), (3, 3));
}

// ---------------------------------------------------------------------------------------------------------------------
// The sentence head, its prompts and its tokenizer.

#[test]
fn modules_that_are_not_supported() {
    let mut cases = Cases::default();
    let class = |name: &str| format!("sentence_transformers.models.{name}");
    let module = |name: &str, path: &str| json!({"idx": 0, "name": "0", "path": path, "type": class(name)});
    let (transformer, pooling) = (module("Transformer", ""), module("Pooling", "1_Pooling"));
    let normalize = module("Normalize", "2_Normalize");
    let foreign = json!({"path": "", "type": "os.system"});
    let lookalike = json!({"path": "", "type": "sentence_transformers_extra.models.Normalize"});
    let table = [
        ("empty", json!([]), vec!["Transformer", "fewer"]),
        ("elements", json!([1, "x", null]), vec!["an object", "a number"]),
        ("null element", json!([null]), vec!["an object", "null"]),
        ("no type", json!([{"path": ""}]), vec!["type", "sentence_transformers", "nothing"]),
        ("type is a number", json!([{"path": "", "type": 3}]), vec!["type", "a string", "3"]),
        ("path is a number", json!([{"path": 3, "type": class("Transformer")}]), vec!["path", "a string", "3"]),
        ("only a transformer", json!([transformer]), vec!["Pooling", "fewer"]),
        ("transformer elsewhere", json!([module("Transformer", "0_Transformer"), pooling]), vec!["type", "empty path"]),
        ("foreign class", json!([transformer, pooling, foreign]), vec!["type", "sentence_transformers", "os.system"]),
        ("lookalike", json!([transformer, pooling, lookalike]), vec!["type", "sentence_transformers_extra"]),
        ("class without a package", json!([{"path": "", "type": "Transformer"}]), vec!["type", "\"Transformer\""]),
        ("dense", json!([transformer, pooling, module("Dense", "2_Dense")]), vec!["type", "Normalize", "Dense"]),
        ("unknown", json!([transformer, pooling, module("Zoom", "2_Zoom")]), vec!["type", "Zoom"]),
        ("wrong order", json!([pooling, transformer]), vec!["type", "first module", "Pooling"]),
        ("normalize first", json!([transformer, normalize, pooling]), vec!["type", "second module", "Normalize"]),
        ("pooling without a folder", json!([transformer, module("Pooling", "")]), vec!["path", "folder", "\"\""]),
        ("pooling without a path", json!([transformer, {"type": class("Pooling")}]), vec!["path", "folder", "nothing"]),
        ("two poolings", json!([transformer, pooling, pooling]), vec!["type", "Pooling"]),
        ("word embeddings", json!([module("WordEmbeddings", ""), pooling]), vec!["type", "WordEmbeddings"]),
    ];
    for (what, modules, mut words) in table {
        words.push("modules.json");
        cases.model(what, &with("tiny-mpnet", "modules.json", modules.to_string()), "Config", &words);
    }
    for path in ["../elsewhere", "/etc", "1_Pooling/../../elsewhere", ".."] {
        let files = with("tiny-mpnet", "modules.json", json!([transformer, module("Pooling", path)]).to_string());
        cases.model(&format!("path {path} in memory"), &files, "MissingFile", &[path, "Pooling"]);
        let folder = write_folder(&files);
        let words = ["inside the model's folder", path, "leaves"];
        cases.fails(&format!("path {path}"), || Embedder::open(folder.path()), "Config", &words);
    }
    cases.finish();
}

#[test]
fn pooling_that_is_not_supported() {
    let mut cases = Cases::default();
    for mode in ["cls_token", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"] {
        for value in [json!(true), json!("true"), json!(1)] {
            cases.key("tiny-mpnet", POOLING, &format!("pooling_mode_{mode}"), &value);
        }
    }
    cases.key("tiny-mpnet", POOLING, "pooling_mode_mean_tokens", &json!("yes"));
    for mode in [json!("cls"), json!("max"), json!(["mean", "max"]), json!([]), json!([3]), json!(3), json!("")] {
        cases.key("tiny-xlm-roberta", POOLING, "pooling_mode", &mode);
    }
    for (model, key) in [("tiny-mpnet", "word_embedding_dimension"), ("tiny-xlm-roberta", "embedding_dimension")] {
        for value in [json!(47), json!(0), json!("48")] {
            cases.key(model, POOLING, key, &value);
        }
        cases.key(model, POOLING, "include_prompt", &json!(false));
        cases.key(model, POOLING, "include_prompt", &json!("no"));
    }
    cases.finish();
}

#[test]
fn sentence_configuration_that_is_not_supported() {
    let mut cases = Cases::default();
    let table = [
        (SENTENCE, "similarity_fn_name", vec![json!("chebyshev"), json!("Cosine"), json!(3)]),
        (SENTENCE, "model_type", vec![json!("CrossEncoder"), json!("SparseEncoder"), json!(1)]),
        (SENTENCE, "truncate_dim", vec![json!(16), json!("16"), json!(0)]),
        (SENTENCE, "prompts", vec![json!(["a"]), json!({"query": 1}), json!("query: ")]),
        (SENTENCE, "default_prompt_name", vec![json!(3), json!(["query"])]),
        ("tokenizer_config.json", "truncation_side", vec![json!("middle"), json!(1)]),
        ("tokenizer_config.json", "model_max_length", vec![json!(0), json!(-5), json!("64")]),
    ];
    for (file, key, values) in table {
        for value in values {
            cases.key("tiny-xlm-roberta", file, key, &value);
        }
    }
    cases.key("tiny-bert", "sentence_bert_config.json", "do_lower_case", &json!("yes"));
    let files = edited("tiny-xlm-roberta", SENTENCE, |json| json["default_prompt_name"] = json!("passage"));
    cases.model("default prompt", &files, "Prompt", &["passage", SENTENCE, "document, query"]);
    cases.finish();
}

#[test]
fn tokenizers_that_are_none() {
    let mut cases = Cases::default();
    for bytes in ["", "not json", "{\"decoder\": {\"a\": }", "{\"decoder\": \"\0\"}"] {
        let files = with("tiny-bert", "tokenizer.json", bytes);
        let words = ["tokenizer.json", "not valid JSON", "line"];
        cases.model(&format!("tokenizer.json = {bytes}"), &files, "Json", &words);
    }
    for bytes in ["{}", "[]", "null", r#"{"version": "1.0"}"#, r#"{"model": {"type": "WordPiece"}}"#] {
        let files = with("tiny-bert", "tokenizer.json", bytes);
        cases.model(
            &format!("tokenizer.json = {bytes}"),
            &files,
            "Tokenizer",
            &["tokenizer.json", "valid tokenizer: "],
        );
    }
    for (key, value) in [
        ("model", json!({"type": "Telepathy", "vocab": {}})),
        ("normalizer", json!({"type": "Telepathy"})),
        ("pre_tokenizer", json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed", "invert": false})),
        ("post_processor", json!([])),
        // The library that reads these panics.
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": ""})),
        ("added_tokens", json!([{"id": -1, "content": "x"}])),
    ] {
        let files = edited("tiny-bert", "tokenizer.json", |json| json[key] = value.clone());
        cases.model(&format!("{key} = {value}"), &files, "Tokenizer", &["tokenizer.json"]);
    }
    // The library reads this and panics when it meets a text.
    let files = edited("tiny-bert", "tokenizer.json", |json| {
        json["post_processor"]["single"][0]["SpecialToken"]["id"] = json!("[NONE]");
    });
    cases.model("a template without its token", &files, "Tokenizer", &["tokenizer.json"]);
    // No word for what is not in the vocabulary.
    let files = edited("tiny-bert", "tokenizer.json", |json| {
        json["model"]["vocab"].as_object_mut().expect("words").remove("[UNK]");
        json["added_tokens"].as_array_mut().expect("tokens").retain(|token| token["content"] != "[UNK]");
    });
    let run = || embed(&files, &["ⵣ"]);
    cases.fails("no unknown token", run, "Tokenizer", &["tokenizer.json", "refused a text", "[UNK]"]);
    cases.finish();
}

#[test]
fn ids_beyond_the_vocabulary() {
    let mut cases = Cases::default();
    let files = edited("tiny-bert", "tokenizer.json", |json| json["model"]["vocab"]["happy"] = json!(5000));
    cases.model("an id that is too large", &files, "TokenId", &["tokenizer.json", "5000", "360"]);
    assert!(embed(&files, &["a dog"]).is_ok(), "other texts are as they were");

    let mut files = reweighted("tiny-bert", |tensors| {
        let table = tensors.get_mut("bert.embeddings.word_embeddings.weight").expect("a table");
        table.shape[0] = 4;
        table.data.truncate(4 * 32 * 4);
    });
    edit_json(&mut files, "config.json", |json| json["vocab_size"] = json!(4));
    cases.model("a table that is too small", &files, "TokenId", &["tokenizer.json", "4 word embeddings"]);
    assert!(embed(&files, &[""]).is_ok(), "the special tokens are in the table");
    cases.finish();
}

// ---------------------------------------------------------------------------------------------------------------------
// Weights.

#[test]
fn safetensors_that_are_none() {
    let mut cases = Cases::default();
    let bytes = files("tiny-bert")[WEIGHTS].clone();
    let (header, data) = split(&bytes);
    let norm = "bert.embeddings.LayerNorm.beta";
    let edit = |key: &str, value: Value| with_header(&bytes, |header| header[norm][key] = value);
    let mut not_utf8 = bytes.clone();
    not_utf8[20] = 0xff;
    let length = |n: u64| [&n.to_le_bytes()[..], &bytes[8..]].concat();
    let table = [
        ("empty", Vec::new()),
        ("7 bytes", bytes[..7].to_vec()),
        ("8 bytes", bytes[..8].to_vec()),
        ("zeros", vec![0; 64]),
        ("a header longer than the file", length(bytes.len() as u64 - 7)),
        ("a header of 2⁶⁴ − 1 bytes", length(u64::MAX)),
        ("a header of 2⁶⁴ − 8 bytes", length(u64::MAX - 7)),
        ("a header of 2⁶³ bytes", length(1 << 63)),
        ("a header that is too short", length(header.len() as u64 - 1)),
        ("a header that is too long", length(header.len() as u64 + 1)),
        ("a header that is not JSON", join(b"not json", data)),
        ("a header that is an array", join(b"[]", data)),
        ("a header that is a number", join(b"1", data)),
        ("an empty header", join(b"", data)),
        ("a header without tensors", join(b"{}", data)),
        ("a header that is not UTF-8", not_utf8),
        ("bytes after the end", [&bytes[..], &[0]].concat()),
        ("overlapping tensors", edit("data_offsets", json!([448, 640]))),
        ("a hole", with_header(&bytes, |header| drop(header.as_object_mut().expect("tensors").remove(norm)))),
        ("an end before the beginning", edit("data_offsets", json!([640, 512]))),
        ("offsets beyond the end", edit("data_offsets", json!([u64::MAX - 127, u64::MAX]))),
        ("negative offsets", edit("data_offsets", json!([-128, 0]))),
        ("one offset", edit("data_offsets", json!([512]))),
        ("a shape of fewer numbers", edit("shape", json!([31]))),
        ("a shape of more numbers", edit("shape", json!([32, 2]))),
        ("a shape that overflows", edit("shape", json!([1_u64 << 32, 1_u64 << 32, 1_u64 << 32]))),
        ("a shape that overflows to its size", edit("shape", json!([1_u64 << 62, 4, 32]))),
        ("a huge shape", edit("shape", json!([u64::MAX]))),
        ("a negative shape", edit("shape", json!([-32]))),
        ("a shape that is a number", edit("shape", json!(32))),
        ("an unknown dtype", edit("dtype", json!("F31"))),
        ("no dtype", edit("dtype", json!(null))),
        ("a pickle", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.".to_vec()),
    ];
    for (what, bytes) in table {
        let size = format!("({} bytes)", bytes.len());
        let words = [WEIGHTS, "not a valid safetensors file", size.as_str(), "bytes): "];
        cases.model(what, &with("tiny-bert", WEIGHTS, bytes), "Safetensors", &words);
    }
    cases.finish();
}

#[test]
fn safetensors_cut_short_anywhere() {
    let mut cases = Cases::default();
    let bytes = files("tiny-bert")[WEIGHTS].clone();
    let data = 8 + split(&bytes).0.len();
    let lengths = (0..data + 2).chain((data..bytes.len()).step_by(4099)).chain([bytes.len() - 1]);
    for length in lengths {
        let run = || Checkpoint::from_bytes(bytes[..length].to_vec());
        let size = format!("({length} bytes)");
        cases.fails(&format!("{length} bytes"), run, "Safetensors", &[WEIGHTS, &size]);
    }
    // Mapped files take the same way.
    for length in [0, 7, 8, data - 1, data, bytes.len() - 1] {
        let folder = write_folder(&with("tiny-bert", WEIGHTS, &bytes[..length]));
        cases.fails(&format!("{length} bytes, mapped"), || Embedder::open(folder.path()), "Safetensors", &[WEIGHTS]);
    }
    cases.finish();
}

#[test]
fn tensors_that_are_wrong() {
    let mut cases = Cases::default();
    let words = "embeddings.word_embeddings.weight";
    for (dtype, size) in [("I64", 8), ("F64", 8), ("U8", 1), ("BOOL", 1), ("I32", 4), ("F8_E4M3", 1)] {
        for name in [words, "embeddings.LayerNorm.bias", "encoder.layer.1.output.dense.weight"] {
            let files = reweighted("tiny-mpnet", |tensors| {
                let tensor = tensors.get_mut(name).expect("a tensor");
                tensor.dtype = dtype.to_owned();
                tensor.data = vec![0; size * tensor.shape.iter().product::<usize>()];
            });
            cases.model(
                &format!("{name} is {dtype}"),
                &files,
                "TensorDtype",
                &[WEIGHTS, name, "F32, F16 or BF16", dtype],
            );
        }
    }
    for (name, near) in [
        ("encoder.layer.0.attention.attn.q.weight", "encoder.layer.0.attention.attn.k.weight"),
        ("encoder.layer.1.output.LayerNorm.bias", "encoder.layer.0.output.LayerNorm.bias"),
        ("encoder.relative_attention_bias.weight", "nearest"),
        (words, "embeddings.position_embeddings.weight"),
    ] {
        let files = reweighted("tiny-mpnet", |tensors| drop(tensors.remove(name)));
        cases.model(&format!("no {name}"), &files, "MissingTensor", &[WEIGHTS, name, near]);
        let files = reweighted("tiny-mpnet", |tensors| tensors.get_mut(name).expect("a tensor").shape.reverse());
        let run = || embed(&files, &[TEXT]);
        // A square or a vector turned round is itself.
        if open(&files).is_err() {
            cases.fails(&format!("{name} turned round"), run, "TensorShape", &[WEIGHTS, name, "expected", "found ["]);
        }
        let files = reweighted("tiny-mpnet", |tensors| tensors.get_mut(name).expect("a tensor").shape.push(1));
        cases.model(&format!("{name} with an axis more"), &files, "TensorShape", &[WEIGHTS, name, ", 1]"]);
    }
    for name in [
        "encoder.layer.0.adapter.weight",
        "encoder.layer.2.output.dense.bias",
        "embeddings.token_type_embeddings.weight",
    ] {
        let files = reweighted("tiny-mpnet", |tensors| {
            let tensor = tensors["embeddings.LayerNorm.bias"].clone();
            tensors.insert(name.to_owned(), tensor);
        });
        cases.model(&format!("an unknown {name}"), &files, "UnknownTensor", &[WEIGHTS, name, "MPNet"]);
    }
    // Of the encoder by its name, but not where the others are.
    let beside = "encoder.layer.0.output.dense.bias";
    let files = reweighted("tiny-bert", |tensors| {
        let tensor = tensors["bert.embeddings.LayerNorm.beta"].clone();
        tensors.insert(beside.to_owned(), tensor);
    });
    cases.model("a tensor without the prefix", &files, "UnknownTensor", &[WEIGHTS, beside, "BERT"]);
    let empty = with("tiny-mpnet", WEIGHTS, write(&Tensors::new()));
    cases.model("no tensors at all", &empty, "MissingTensor", &[WEIGHTS, words]);
    cases.finish();
}

#[test]
fn tensors_of_another_architecture() {
    let mut cases = Cases::default();
    for model in TINY {
        for other in TINY.into_iter().filter(|other| *other != model) {
            let files = with(model, WEIGHTS, files(other)[WEIGHTS].clone());
            let any = "MissingTensor|TensorShape|UnknownTensor";
            cases.model(&format!("{model} with the weights of {other}"), &files, any, &[WEIGHTS, "embeddings"]);
        }
    }
    // The same sizes and another name: what one has and the other has not must be noticed.
    let files = edited("tiny-mpnet", "config.json", |json| json["model_type"] = json!("bert"));
    cases.model("MPNet as BERT", &files, "MissingTensor", &[WEIGHTS, "token_type_embeddings"]);
    let files = edited("tiny-xlm-roberta", "config.json", |json| json["model_type"] = json!("mpnet"));
    cases.model("XLM-RoBERTa as MPNet", &files, "MissingTensor", &[WEIGHTS, "relative_attention_bias"]);
    cases.finish();
}

#[test]
fn numbers_that_are_not_finite() {
    let mut cases = Cases::default();
    // The tensor, the place of the number, and the row that is then named.
    let at_load = [
        ("encoder.layer.1.intermediate.dense.weight", 5 * 48 + 7, 5),
        ("encoder.layer.0.attention.attn.k.weight", 47 * 48 + 47, 47),
        ("encoder.layer.0.attention.attn.v.bias", 11, 11),
        ("encoder.layer.0.output.LayerNorm.weight", 0, 0),
        ("embeddings.LayerNorm.bias", 47, 47),
        ("encoder.relative_attention_bias.weight", 31 * 3 + 2, 31),
    ];
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        for (tensor, place, row) in at_load {
            let mut files = files("tiny-mpnet");
            edit_tensor(&mut files, tensor, |numbers| numbers[place] = value);
            let row = format!("row {row} ");
            cases.fails(
                &format!("{tensor} {value}"),
                || open(&files),
                "TensorNotFinite",
                &[WEIGHTS, tensor, &row, shown],
            );
        }
        // Rows of the tables are read when they are needed.
        let happy = open(&files("tiny-mpnet")).expect("a model").tokenize("happy").expect("tokens").ids[1] as usize;
        for (tensor, row, hit, miss) in [
            ("embeddings.word_embeddings.weight", happy, "a happy person", "a dog"),
            ("embeddings.position_embeddings.weight", 2 + 5, "a a a a a a a", "a a"),
        ] {
            let mut files = files("tiny-mpnet");
            edit_tensor(&mut files, tensor, |numbers| numbers[row * 48 + 3] = value);
            let row = format!("row {row} ");
            let words = [WEIGHTS, tensor, row.as_str(), shown];
            cases.fails(&format!("{tensor} {value}"), || embed(&files, &[hit]), "TensorNotFinite", &words);
            let many: Vec<&str> = (0..600).map(|i| if i == 333 { hit } else { miss }).collect();
            for threads in [1, 2] {
                let run = || Embedder::builder().threads(threads).open_files(&in_memory(&files))?.embed(&many);
                cases.fails(&format!("{tensor} among many, {threads}"), run, "TensorNotFinite", &words);
            }
            let whole = embed(&common::files("tiny-mpnet"), &[miss]).expect("a vector");
            let other = embed(&files, &[miss]).expect("a text that does not read the row");
            assert!(same_bits(whole.as_slice(), other.as_slice()), "{tensor}");
        }
    }
    // Weights that are finite and too large.
    let mut files = files("tiny-bert");
    edit_tensor(&mut files, "bert.encoder.layer.1.output.LayerNorm.gamma", |numbers| numbers.fill(3e38));
    cases.model("an overflow", &files, "NotFinite", &["text 0", "not finite"]);
    cases.finish();
}

// ---------------------------------------------------------------------------------------------------------------------
// Weights that are right in another form.

const TEXTS: [&str; 4] = [TEXT, "", "Today is a sunny day, and the dog is happy about it.", "今天 est un jour"];

fn assert_same(files: &Files, expected: &Files, what: &str) {
    let vectors = |files: &Files| embed(files, &TEXTS).unwrap_or_else(|e| panic!("{what}: {}", message(&e)));
    assert!(same_bits(vectors(files).as_slice(), vectors(expected).as_slice()), "{what}");
}

/// tiny-mpnet in three shards, tensors dealt out in turn.
fn sharded() -> Files {
    let mut files = files("tiny-mpnet");
    let all = tensors(&files.remove(WEIGHTS).expect("weights"));
    let shard = |i: usize| format!("model-{:05}-of-00003.safetensors", i % 3 + 1);
    for i in 0..3 {
        let part = all.iter().skip(i).step_by(3).map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
        files.insert(shard(i), write(&part));
    }
    let map: BTreeMap<_, _> = all.keys().enumerate().map(|(i, name)| (name, shard(i))).collect();
    files.insert(INDEX.to_owned(), json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string().into_bytes());
    files
}

#[test]
fn shards_are_one_model() {
    let expected = files("tiny-mpnet");
    let files = sharded();
    assert_same(&files, &expected, "in memory");
    let folder = write_folder(&files);
    let mapped = Embedder::open(folder.path()).and_then(|model| model.embed(&TEXTS)).expect("vectors");
    assert!(same_bits(mapped.as_slice(), embed(&expected, &TEXTS).expect("vectors").as_slice()), "mapped");
}

#[test]
fn shards_that_do_not_agree() {
    let mut cases = Cases::default();
    let first = "model-00001-of-00003.safetensors";
    let second = "model-00002-of-00003.safetensors";
    let norm = "embeddings.LayerNorm.bias";
    let index = |edit: &dyn Fn(&mut Value)| {
        let mut files = sharded();
        edit_json(&mut files, INDEX, edit);
        files
    };
    let map = |tensor: &str, shard: Value| index(&|json: &mut Value| json["weight_map"][tensor] = shard.clone());

    let mut files = sharded();
    files.remove(second);
    cases.model("a shard is missing", &files, "MissingFile", &[second, INDEX]);
    cases.model(
        "a tensor of no shard",
        &map("extra", json!(first)),
        "Shard",
        &[INDEX, "extra", first, "no such tensor"],
    );
    cases.model("another shard", &map(norm, json!(second)), "Shard", &[INDEX, norm, second, "another shard"]);
    let mut files = sharded();
    let mut part = tensors(&files[second]);
    part.insert(norm.to_owned(), tensors(&files[first])[norm].clone());
    files.insert(second.to_owned(), write(&part));
    cases.model("in two shards", &files, "Shard", &[INDEX, norm, "another shard has it too"]);
    let mut files = sharded();
    let mut part = tensors(&files[first]);
    part.remove(norm);
    files.insert(first.to_owned(), write(&part));
    cases.model("gone from its shard", &files, "Shard", &[INDEX, norm, first, "no such tensor"]);
    let mut files = sharded();
    files.get_mut(second).expect("a shard").pop();
    cases.model("a shard cut short", &files, "Safetensors", &[second]);

    for value in [json!(null), json!({}), json!([]), json!("x"), json!(3)] {
        let files = index(&|json: &mut Value| json["weight_map"] = value.clone());
        cases.model(&format!("weight_map = {value}"), &files, "Config", &[INDEX, "weight_map", "expected", "object"]);
    }
    cases.model("a shard that is a number", &map(norm, json!(3)), "Config", &[INDEX, "weight_map", "strings"]);
    for shard in ["../model.safetensors", "/dev/zero", "a/../../b"] {
        let files = map(norm, json!(shard));
        cases.model(&format!("{shard} in memory"), &files, "MissingFile", &[shard, INDEX]);
        let folder = write_folder(&files);
        let words = [shard, "inside the model's folder", "leaves"];
        cases.fails(shard, || Embedder::open(folder.path()), "Config", &words);
    }
    let folder = write_folder(&map(norm, json!("")));
    cases.fails("a shard without a name", || Embedder::open(folder.path()), "Io|Config|MissingFile", &[]);
    cases.finish();
}

/// An f16 by its definition (IEEE 754), in f64, which holds all of them.
fn f16_value(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    assert!(exponent < 31, "an infinity or NaN");
    let size =
        if exponent == 0 { fraction * 2_f64.powi(-24) } else { (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15) };
    if bits >> 15 == 1 { -size } else { size }
}

/// Weights of 16 bits are those of 32 with the same values.
#[test]
fn halves_are_widened_exactly() {
    type Round = fn(f32) -> (u16, f32);
    let f16: Round = |x| {
        let bits = half::f16::from_f32(x).to_bits();
        (bits, f16_value(bits) as f32)
    };
    let bf16: Round = |x| ((x.to_bits() >> 16) as u16, f32::from_bits(x.to_bits() & 0xffff_0000));
    for model in TINY {
        for (dtype, round) in [("F16", f16), ("BF16", bf16)] {
            let half = reweighted(model, |tensors| {
                for tensor in tensors.values_mut().filter(|tensor| tensor.dtype == "F32") {
                    tensor.dtype = dtype.to_owned();
                    tensor.data = numbers(&tensor.data).into_iter().flat_map(|x| round(x).0.to_le_bytes()).collect();
                }
            });
            let rounded = reweighted(model, |tensors| {
                for tensor in tensors.values_mut().filter(|tensor| tensor.dtype == "F32") {
                    tensor.data = numbers(&tensor.data).into_iter().flat_map(|x| round(x).1.to_le_bytes()).collect();
                }
            });
            assert_same(&half, &rounded, &format!("{model} as {dtype}"));
            assert_eq!(open(&half).expect("a model").info().dtype, dtype);
            let exact = embed(&files(model), &TEXTS).expect("vectors");
            let near = embed(&half, &TEXTS).expect("vectors");
            assert!(!same_bits(exact.as_slice(), near.as_slice()), "{model}: rounding to {dtype} changes something");
        }
    }
}

/// All values of an f16 that a weight can have, through the library and by definition.
#[test]
fn every_half_has_its_value() {
    let finite: Vec<u16> = (0..=u16::MAX).filter(|bits| bits >> 10 & 31 != 31).collect();
    let file = |dtype: &str, bits: &[u16]| {
        let data = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        let tensor = Raw { dtype: dtype.to_owned(), shape: vec![bits.len()], data };
        write(&BTreeMap::from([("x".to_owned(), tensor)]))
    };
    let read = |bytes: Vec<u8>, n: usize| {
        Checkpoint::from_bytes(bytes).and_then(|file| file.tensor("x", &[n])?.to_vec()).expect("numbers")
    };
    let expected: Vec<f32> = finite.iter().map(|&bits| f16_value(bits) as f32).collect();
    assert!(same_bits(&read(file("F16", &finite), finite.len()), &expected));
    let finite: Vec<u16> = (0..=u16::MAX).filter(|bits| bits >> 7 & 255 != 255).collect();
    let expected: Vec<f32> = finite.iter().map(|&bits| f32::from_bits(u32::from(bits) << 16)).collect();
    assert!(same_bits(&read(file("BF16", &finite), finite.len()), &expected));
    for (dtype, bits, shown) in [("F16", 0x7c00, "inf"), ("F16", 0x7e00, "NaN"), ("BF16", 0xff80, "-inf")] {
        let error = Checkpoint::from_bytes(file(dtype, &[0, bits])).and_then(|file| file.tensor("x", &[2])?.to_vec());
        let error = message(&error.expect_err("not finite"));
        assert!(error.contains("`x`") && error.contains("row 1 ") && error.contains(shown), "{error}");
    }
}

#[test]
fn prefixes_are_found() {
    let renamed = |model: &str, rename: &dyn Fn(&str) -> String| {
        reweighted(model, |tensors| {
            *tensors = std::mem::take(tensors).into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect();
        })
    };
    for (model, own, prefixes) in [
        ("tiny-mpnet", "", &["", "mpnet.", "0.auto_model.", "0.auto_model.mpnet.", "model.mpnet."][..]),
        ("tiny-bert", "bert.", &["", "bert.", "0.auto_model.bert."]),
        ("tiny-xlm-roberta", "", &["roberta.", "xlm_roberta.", "0.model."]),
    ] {
        for prefix in prefixes {
            let rename = |name: &str| match name.strip_prefix(own) {
                Some(rest) => format!("{prefix}{rest}"),
                None => name.to_owned(),
            };
            assert_same(&renamed(model, &rename), &files(model), &format!("{model} with {prefix:?}"));
        }
    }
    let mut cases = Cases::default();
    let words = [WEIGHTS, "embeddings.word_embeddings.weight", "strange.embeddings.word_embeddings.weight"];
    let files = renamed("tiny-mpnet", &|name: &str| format!("strange.{name}"));
    cases.model("an unknown prefix", &files, "MissingTensor", &words);
    // Half of the names have the prefix.
    let files = renamed("tiny-mpnet", &|name: &str| {
        if name.starts_with("embeddings") { format!("mpnet.{name}") } else { name.to_owned() }
    });
    cases.model("two prefixes", &files, "MissingTensor", &[WEIGHTS, "encoder."]);
    cases.finish();
}

// ---------------------------------------------------------------------------------------------------------------------
// Requests.

#[test]
fn requests_that_cannot_be_met() {
    let mut cases = Cases::default();
    for (name, most) in [("tiny-mpnet", 128), ("tiny-xlm-roberta", 64), ("tiny-bert", 64)] {
        let builder = || Embedder::builder().threads(1);
        let memory = in_memory(&files(name));
        let model = builder().open_files(&memory).expect("a model");
        cases.fails("no sentences", || model.similarity::<&str>(TEXT, &[]), "Empty", &["no sentences", "at least one"]);
        cases.fails("no texts to trace", || model.trace::<&str>(&[]), "Empty", &["at least one"]);
        let none = model.embed::<&str>(&[]).expect("no vectors");
        assert!(none.is_empty() && none.as_slice().is_empty() && none.rows().next().is_none());

        for asked in [0, 1, 2, most + 1, usize::MAX] {
            let words = [asked.to_string(), "3 to".to_owned(), most.to_string()];
            let words = words.each_ref().map(String::as_str);
            let run = || builder().max_length(asked).open_files(&memory);
            cases.fails(&format!("{name} max_length {asked}"), run, "MaxLength", &words);
        }
        for asked in [3, most] {
            let model = builder().max_length(asked).open_files(&memory).expect("a length that is possible");
            let long = "happy ".repeat(200);
            assert_eq!(model.embed(&[long]).expect("a vector").usage()[0].used, asked, "{name}");
        }

        let limit = model.info().max_length;
        let long = "happy ".repeat(limit);
        let tokens = model.embed(&[&long]).expect("a vector").usage()[0].tokens;
        let strict = builder().on_long(OnLong::Error).open_files(&memory).expect("a model");
        let words = [format!("text 70 has {tokens} tokens"), format!("the limit is {limit}")];
        let words = words.each_ref().map(String::as_str);
        let texts: Vec<&str> = (0..100).map(|i| if i == 70 { long.as_str() } else { "a dog" }).collect();
        cases.fails("a long text", || strict.embed(&texts), "TooLong", &words);
        cases.fails("a long source", || strict.similarity(&long, &["a"]), "TooLong", &["text 0"]);
        cases.fails("a long sentence", || strict.similarity("a", &["b", long.as_str()]), "TooLong", &["text 2"]);
        cases.fails("a width", || model.score(&[1.0], &[1.0, 2.0]), "Width", &["1", "2"]);
    }
    for name in ["tiny-xlm-roberta", "tiny-bert", "tiny-mpnet"] {
        let run = |files: Files| Embedder::builder().prompt_name("passage").open_files(&in_memory(&files));
        cases.fails(
            &format!("{name} prompt"),
            || run(files(name)),
            "Prompt",
            &["passage", SENTENCE, "document, query"],
        );
        let mut without = files(name);
        without.remove(SENTENCE);
        cases.fails(
            &format!("{name} no prompts"),
            || run(without),
            "Prompt",
            &["passage", SENTENCE, "document, query"],
        );
    }
    cases.finish();
}

// ---------------------------------------------------------------------------------------------------------------------
// Anything.

/// Files and how many of their bytes, from the beginning, are changed.
fn corruptible() -> Vec<(&'static str, usize)> {
    let files = files("tiny-bert");
    let header = 8 + split(&files[WEIGHTS]).0.len();
    ["config.json", "tokenizer.json", "modules.json", POOLING, SENTENCE, "sentence_bert_config.json"]
        .into_iter()
        .map(|name| (name, files[name].len()))
        .chain([(WEIGHTS, header)])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_that_are_flipped(
        file in 0_usize..7,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (name, length) = corruptible()[file];
        let mut files = files("tiny-bert");
        let bytes = files.get_mut(name).expect("a file");
        for (place, value) in flips {
            bytes[place.index(length)] = value;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| embed(&files, &TEXTS)));
        prop_assert!(outcome.is_ok(), "{} panicked", name);
        if let Ok(Err(error)) = outcome {
            prop_assert!(!message(&error).is_empty());
        }
    }

    /// The table of the normalizer is a trie in base 64.
    #[test]
    fn tables_that_are_flipped(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)) {
        let mut files = files("tiny-xlm-roberta");
        edit_json(&mut files, "tokenizer.json", |json| {
            let table = &mut json["normalizer"]["normalizers"][0]["precompiled_charsmap"];
            let mut bytes = table.as_str().expect("base 64").as_bytes().to_vec();
            for (place, value) in &flips {
                let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
                let length = bytes.len();
                bytes[place.index(length)] = letters[usize::from(*value) % letters.len()];
            }
            *table = Value::String(String::from_utf8(bytes).expect("ASCII"));
        });
        let outcome = catch_unwind(AssertUnwindSafe(|| embed(&files, &TEXTS)));
        prop_assert!(outcome.is_ok(), "panicked");
    }

    #[test]
    fn bytes_that_are_anything(bytes in prop::collection::vec(any::<u8>(), 0..200), file in 0_usize..7) {
        let (name, _) = corruptible()[file];
        let outcome = catch_unwind(AssertUnwindSafe(|| embed(&with("tiny-bert", name, bytes.clone()), &TEXTS).is_err()));
        prop_assert!(matches!(outcome, Ok(true)), "{} of {:?}: {:?}", name, bytes, outcome.is_err());
    }
}
