//! Folders of static embeddings that a golden file describes (fixtures/exporter/static.py).

use std::collections::HashMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;

use super::synthetic_weights;

/// A tensor: name, type, shape, bytes.
pub type StoredTensor = (String, Dtype, Vec<usize>, Vec<u8>);

/// Returns the description of a folder by its name.
pub fn case<'a>(golden: &'a Value, name: &str) -> &'a Value {
    let mut cases = golden["cases"].as_array().expect("cases").iter();
    cases.find(|case| case["name"] == name).unwrap_or_else(|| panic!("no folder {name}"))
}

/// Creates the files of a folder.
pub fn files(case: &Value) -> HashMap<String, Vec<u8>> {
    let mut files = HashMap::new();
    for (name, content) in case["files"].as_object().expect("files") {
        files.insert(name.clone(), content.to_string().into_bytes());
    }
    for (path, tokenizer) in case["tokenizers"].as_object().expect("tokenizers") {
        let sibling = super::files(tokenizer["of"].as_str().expect("a model"));
        let mut json: Value = serde_json::from_slice(&sibling["tokenizer.json"]).expect("JSON");
        for (pointer, value) in tokenizer["changes"].as_object().expect("changes") {
            *json.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value.clone();
        }
        files.insert(path.clone(), json.to_string().into_bytes());
    }
    for (path, rules) in case["tensors"].as_object().expect("tensors") {
        let tensors: Vec<StoredTensor> = rules.as_array().expect("rules").iter().map(tensor).collect();
        files.insert(path.clone(), serialize(&tensors));
    }
    files
}

/// Writes the files of a model to a folder.
pub fn write(files: &HashMap<String, Vec<u8>>, folder: &Path) {
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }
}

/// Makes a safetensors file.
pub fn serialize(tensors: &[StoredTensor]) -> Vec<u8> {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (name, TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor")));
    safetensors::serialize(views, None).expect("safetensors")
}

/// Creates a tensor from its rule: name, shape, type, offset, amplitude.
pub fn tensor(rule: &Value) -> StoredTensor {
    let name = rule[0].as_str().expect("a name");
    let shape: Vec<usize> = serde_json::from_value(rule[1].clone()).expect("a shape");
    let [offset, amplitude] = [3, 4].map(|i| rule[i].as_f64().expect("a number"));
    let units = synthetic_weights::units(name, shape.iter().product());
    let elements = units.into_iter().map(|unit| offset + f64::from(unit) * amplitude);
    let (dtype, bytes) = match rule[2].as_str().expect("a type") {
        "F64" => (Dtype::F64, elements.flat_map(f64::to_le_bytes).collect()),
        "F32" => (Dtype::F32, elements.flat_map(|x| (x as f32).to_le_bytes()).collect()),
        "F16" => (Dtype::F16, elements.flat_map(|x| f16::from_f32(x as f32).to_le_bytes()).collect()),
        "BF16" => (Dtype::BF16, elements.flat_map(|x| bf16::from_f32(x as f32).to_le_bytes()).collect()),
        "I64" => (Dtype::I64, elements.flat_map(|x| (x.floor() as i64).to_le_bytes()).collect()),
        "I32" => (Dtype::I32, elements.flat_map(|x| (x.floor() as i32).to_le_bytes()).collect()),
        "I8" => (Dtype::I8, elements.flat_map(|x| (x.round_ties_even() as i8).to_le_bytes()).collect()),
        other => panic!("{other}"),
    };
    (name.to_owned(), dtype, shape, bytes)
}
