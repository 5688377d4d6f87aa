//! Models that golden files describe: small JSON files, the tokenizer of a committed model, and
//! rules for weights (fixtures/exporter/matrix.py).

use std::collections::HashMap;

use half::{bf16, f16};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;

use super::{Golden, synthetic_weights};

/// Returns the description of a model by its name.
pub fn case<'a>(golden: &'a Golden, name: &str) -> &'a Value {
    let mut cases = golden.json["cases"].as_array().expect("cases").iter();
    cases.find(|case| case["name"] == name).unwrap_or_else(|| panic!("no model {name}"))
}

/// Creates the files of a model.
pub fn files(golden: &Golden, case: &Value) -> HashMap<String, Vec<u8>> {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let mut files = HashMap::new();
    for (name, value) in case["files"].as_object().expect("files") {
        files.insert(name.clone(), value.to_string().into_bytes());
    }
    let sibling = super::files(&text(&case["tokenizer"]));
    files.insert("tokenizer.json".to_owned(), sibling["tokenizer.json"].clone());
    for (name, weights) in case["weights"].as_object().expect("weights") {
        let set = &golden.json["sets"][weights["set"].as_u64().expect("a number") as usize];
        let tensors: Vec<_> = set.as_array().expect("tensors").iter().map(|row| tensor(row, weights)).collect();
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor"))
        });
        files.insert(name.clone(), safetensors::serialize(views, None).expect("safetensors"));
    }
    files
}

/// Creates a tensor from its rule: name, shape, offset, amplitude.
fn tensor(rule: &Value, weights: &Value) -> (String, Dtype, Vec<usize>, Vec<u8>) {
    let name = rule[0].as_str().expect("a name");
    let shape: Vec<usize> =
        rule[1].as_array().expect("a shape").iter().map(|n| n.as_u64().expect("a size") as usize).collect();
    let float = |i: usize| rule[i].as_f64().expect("a number") as f32;
    let offset = float(2);
    let amplitude = float(3);
    let elements = synthetic_weights::units(name, shape.iter().product()).into_iter().map(|x| offset + x * amplitude);
    let (dtype, bytes) = match weights["dtype"].as_str() {
        Some("F32") => (Dtype::F32, elements.flat_map(f32::to_le_bytes).collect()),
        Some("F16") => (Dtype::F16, elements.flat_map(|x| f16::from_f32(x).to_le_bytes()).collect()),
        Some("BF16") => (Dtype::BF16, elements.flat_map(|x| bf16::from_f32(x).to_le_bytes()).collect()),
        other => panic!("{other:?}"),
    };
    (format!("{}{name}", weights["prefix"].as_str().expect("a prefix")), dtype, shape, bytes)
}

/// Returns the files of a sparse encoder. Those with a router have tokenizers in subfolders only.
pub fn sparse_files(golden: &Golden, case: &Value) -> HashMap<String, Vec<u8>> {
    let mut case = case.clone();
    let has_own = !case["tokenizer"].is_null();
    if !has_own {
        case["tokenizer"] = "tiny-bert".into();
    }
    let mut files = files(golden, &case);
    if !has_own {
        files.remove("tokenizer.json");
    }
    for (path, name) in case["tokenizers"].as_object().into_iter().flatten() {
        let mut sibling = super::files(name.as_str().expect("a name"));
        files.insert(path.clone(), sibling.remove("tokenizer.json").expect("a tokenizer"));
    }
    files
}
