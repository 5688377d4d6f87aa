//! Models whose weights are in the format of `torch.save`.

use std::collections::{BTreeMap, HashMap};

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use super::*;
use crate::common::{committed, edit_json, files, in_memory, same_bits};
use likewise::{Embedder, ModelFiles};

type Files = HashMap<String, Vec<u8>>;

const WEIGHTS: &str = "model.safetensors";
const PYTORCH: &str = "pytorch_model.bin";
const PYTORCH_INDEX: &str = "pytorch_model.bin.index.json";
const TEXTS: [&str; 3] = ["That is a happy person", "", "Ein Satz mit Umlauten: äöü, und noch mehr"];

/// Writes the tensors of a safetensors file in the format of `torch.save`.
fn resaved(bytes: &[u8]) -> Vec<u8> {
    let file = SafeTensors::deserialize(bytes).expect("safetensors");
    save_views(&file.iter().map(|(name, view)| (name.to_owned(), view)).collect())
}

fn save_views(views: &BTreeMap<String, TensorView<'_>>) -> Vec<u8> {
    let tensors: Vec<Tensor<'_>> = views
        .iter()
        .map(|(name, view)| {
            let (class, element_bytes) = match format!("{:?}", view.dtype()).as_str() {
                "F32" => ("FloatStorage", 4),
                "F16" => ("HalfStorage", 2),
                "I64" => ("LongStorage", 8),
                other => panic!("{name} is {other}"),
            };
            Tensor { name, class, element_bytes, shape: view.shape().to_vec(), data: view.data() }
        })
        .collect();
    save(&tensors)
}

/// Returns the files of a model whose weights were saved again.
fn pickled(model: &str) -> Files {
    let mut files = files(model);
    let weights = files.remove(WEIGHTS).expect("weights");
    files.insert(PYTORCH.to_owned(), resaved(&weights));
    files
}

fn open(files: &ModelFiles) -> likewise::Result<Embedder> {
    Embedder::builder().threads(1).open_files(files)
}

fn vectors(files: &ModelFiles) -> Vec<f32> {
    let model = open(files).unwrap_or_else(|error| panic!("{error}"));
    model.embed(&TEXTS).expect("vectors").as_slice().to_vec()
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

/// Checks that a model fails to open with all parts of a message.
fn fails(files: &Files, parts: &[&str]) {
    let error = open(&in_memory(files)).expect_err("an invalid model");
    let message = likewise::error_chain(&error);
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in the message: {message}");
    }
}

/// Returns a model with a Dense module from 48 to 4 dimensions.
fn with_dense(weights: &str) -> Files {
    let mut files = pickled("tiny-mpnet");
    edit_json(&mut files, "modules.json", |modules| {
        let dense = json!({"path": "2_Dense", "type": "sentence_transformers.models.Dense"});
        modules.as_array_mut().expect("modules").push(dense);
    });
    let config = json!({"in_features": 48, "out_features": 4, "bias": false,
        "activation_function": "torch.nn.modules.linear.Identity"});
    files.insert("2_Dense/config.json".to_owned(), config.to_string().into_bytes());
    let data: Vec<u8> = (0..48 * 4).flat_map(|i| ((i % 7) as f32 - 3.0).to_le_bytes()).collect();
    let view = TensorView::new(safetensors::Dtype::F32, vec![4, 48], &data).expect("a tensor");
    let bytes = if weights == PYTORCH {
        save_views(&BTreeMap::from([("linear.weight".to_owned(), view)]))
    } else {
        safetensors::serialize([("linear.weight", view)], None).expect("a file")
    };
    files.insert(format!("2_Dense/{weights}"), bytes);
    files
}

#[test]
fn model_saved_by_torch_has_the_bits_of_its_safetensors() {
    let mut files = files("tiny-bert");
    let expected = vectors(&in_memory(&files));
    files.remove(WEIGHTS);
    files.insert(PYTORCH.to_owned(), read_fixture("tiny-bert.bin"));
    let folder = write_folder(&files);
    for source in
        [in_memory(&files), ModelFiles::folder(folder.path()), ModelFiles::folder(folder.path()).without_mmap()]
    {
        assert!(same_bits(&vectors(&source), &expected));
    }
    // The elements may start at any address.
    let whole = read_fixture("tiny-bert.bin");
    for shift in 1..4 {
        let buffer: &'static [u8] = [vec![0; shift], whole.clone()].concat().leak();
        assert!(same_bits(&vectors(&in_memory(&files).with(PYTORCH, &buffer[shift..])), &expected), "{shift}");
    }
}

#[test]
fn every_model_saved_again_has_the_same_bits() {
    for model in committed() {
        let expected = vectors(&in_memory(&files(model)));
        assert!(same_bits(&vectors(&in_memory(&pickled(model))), &expected), "{model}");
    }
}

#[test]
fn safetensors_take_precedence() {
    let expected = vectors(&in_memory(&files("tiny-bert")));
    let mut both = files("tiny-bert");
    both.insert(PYTORCH.to_owned(), b"\x80\x02cos\nsystem\n.".to_vec());
    both.insert(PYTORCH_INDEX.to_owned(), b"{}".to_vec());
    assert!(same_bits(&vectors(&in_memory(&both)), &expected));
    // A single file takes precedence over shards, also among files of PyTorch.
    let mut both = pickled("tiny-bert");
    both.insert(PYTORCH_INDEX.to_owned(), b"{}".to_vec());
    assert!(same_bits(&vectors(&in_memory(&both)), &expected));
    let mut dense = with_dense(PYTORCH);
    let expected = vectors(&in_memory(&dense));
    dense.extend(with_dense(WEIGHTS));
    dense.insert("2_Dense/pytorch_model.bin".to_owned(), b"x".to_vec());
    assert!(same_bits(&vectors(&in_memory(&dense)), &expected));
}

#[test]
fn shards_of_torch_save_are_read_as_the_index_lists_them() {
    let mut files = files("tiny-mpnet");
    let expected = vectors(&in_memory(&files));
    let weights = files.remove(WEIGHTS).expect("weights");
    let all = SafeTensors::deserialize(&weights).expect("safetensors");
    let names = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"];
    let mut map = serde_json::Map::new();
    for (shard, name) in names.iter().enumerate() {
        let part = all.iter().enumerate().filter(|(i, _)| i % 2 == shard);
        let part: BTreeMap<_, _> = part.map(|(_, (name, view))| (name.to_owned(), view)).collect();
        map.extend(part.keys().map(|tensor| (tensor.clone(), Value::from(*name))));
        files.insert((*name).to_owned(), save_views(&part));
    }
    files.insert(PYTORCH_INDEX.to_owned(), json!({"metadata": {}, "weight_map": map}).to_string().into_bytes());
    assert!(same_bits(&vectors(&in_memory(&files)), &expected));
    assert!(same_bits(&vectors(&ModelFiles::folder(write_folder(&files).path())), &expected));
    let mut missing = files.clone();
    missing.remove(names[1]);
    fails(&missing, &[names[1], PYTORCH_INDEX]);
    let mut foreign = files.clone();
    foreign.insert(names[1].to_owned(), b"<html></html>".to_vec());
    fails(&foreign, &[names[1], "an HTML page"]);
    files.insert(names[1].to_owned(), files[names[0]].clone());
    fails(&files, &[PYTORCH_INDEX, "another shard has it too"]);
}

#[test]
fn module_weights_of_torch_save_are_read() {
    let expected = vectors(&in_memory(&with_dense(WEIGHTS)));
    assert_eq!(expected.len(), 4 * TEXTS.len());
    assert!(same_bits(&vectors(&in_memory(&with_dense(PYTORCH))), &expected));
    let folder = write_folder(&with_dense(PYTORCH));
    assert!(same_bits(&vectors(&ModelFiles::folder(folder.path())), &expected));
    let mut hostile = with_dense(PYTORCH);
    hostile.insert("2_Dense/pytorch_model.bin".to_owned(), read_fixture("rejected-subclass.bin"));
    fails(&hostile, &["2_Dense/pytorch_model.bin", "`posix.system`", "may run code"]);
    hostile.remove("2_Dense/pytorch_model.bin");
    fails(&hostile, &["2_Dense/model.safetensors", "pytorch_model.bin"]);
}

/// A conversion copies the weights of modules, and packs those of the encoder.
#[test]
fn converted_model_of_torch_save_has_original_bits() {
    for precision in likewise::Precision::ALL {
        let builder = || Embedder::builder().precision(precision).threads(1);
        let source = write_folder(&with_dense(PYTORCH));
        let source = ModelFiles::folder(source.path());
        let folder = tempfile::tempdir().expect("a folder");
        builder().convert(&source, folder.path()).unwrap_or_else(|error| panic!("{error}"));
        assert!(!folder.path().join(PYTORCH).exists() && folder.path().join("2_Dense/pytorch_model.bin").exists());
        let converted = Embedder::open(folder.path()).unwrap_or_else(|error| panic!("{error}"));
        let expected = builder().open_files(&source).expect("a model").embed(&TEXTS).expect("vectors");
        assert!(same_bits(converted.embed(&TEXTS).expect("vectors").as_slice(), expected.as_slice()));
    }
}

#[test]
fn weights_that_do_not_fit_the_model_are_named() {
    let mut other = pickled("tiny-bert");
    other.insert(PYTORCH.to_owned(), pickled("tiny-mpnet")[PYTORCH].clone());
    fails(&other, &[PYTORCH, "word_embeddings", "expected shape [360, 32]"]);
    let folder = write_folder(&other);
    let error = Embedder::open(folder.path()).expect_err("other weights").to_string();
    assert!(error.contains(folder.path().to_str().expect("UTF-8")), "{error}");
    // A file of PyTorch under the name of safetensors, and the reverse.
    let mut swapped = files("tiny-bert");
    let weights = swapped.insert(WEIGHTS.to_owned(), read_fixture("tiny-bert.bin")).expect("weights");
    fails(&swapped, &[WEIGHTS, "a zip archive", PYTORCH]);
    swapped.remove(WEIGHTS);
    swapped.insert(PYTORCH.to_owned(), weights);
    fails(&swapped, &[PYTORCH, "weights in safetensors", WEIGHTS]);
}
