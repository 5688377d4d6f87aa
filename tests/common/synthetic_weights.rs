//! Full-depth models with computed weights.
//!
//! Each weight is a hash of its tensor's name and its index. Tests can therefore use 12 layers of
//! hidden size 768 without a download. The exporter (fixtures/exporter/computed.py) computes the
//! same weights. Only the vectors that sentence-transformers computes from them are committed.

use std::collections::{BTreeMap, HashMap};

use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;

/// Computes element `i` of the tensor `name`.
pub(crate) fn weight(name: &str, i: usize) -> f32 {
    scale(name, unit(fnv1a(name).wrapping_add(i as u64)))
}

/// Computes all elements of a tensor.
pub(crate) fn tensor(name: &str, length: usize) -> Vec<f32> {
    let seed = fnv1a(name);
    (0..length as u64).map(|i| scale(name, unit(seed.wrapping_add(i)))).collect()
}

/// Computes a value in (−1, 1) for each element of a tensor.
pub(crate) fn units(name: &str, length: usize) -> Vec<f32> {
    let seed = fnv1a(name);
    (0..length as u64).map(|i| unit(seed.wrapping_add(i))).collect()
}

/// Computes a value in (−1, 1), exact in f32, from the upper 24 bits of a hash.
fn unit(seed: u64) -> f32 {
    let k = (splitmix64(seed) >> 40) as i64;
    (2 * k + 1 - (1 << 24)) as f32 / (1 << 24) as f32
}

/// Scales a value in (−1, 1) to the approximate range that the tensor has in a trained model.
fn scale(name: &str, x: f32) -> f32 {
    if name.ends_with("LayerNorm.weight") {
        1.0 + x * 0.25
    } else if name.ends_with("relative_attention_bias.weight") {
        x * 2.0
    } else if name.ends_with(".weight") {
        x * 0.0625
    } else {
        x * 0.125
    }
}

/// Hashes a string with 64-bit FNV-1a.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Mixes the bits of a seed with one step of SplitMix64.
fn splitmix64(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Returns the files of a full-depth model: the committed configuration, the tokenizer of its tiny
/// sibling and computed weights.
pub(crate) fn files(name: &str, sibling: &str) -> HashMap<String, Vec<u8>> {
    edited(name, sibling, |_| ())
}

/// Returns the files of a full-depth model after an edit of its configuration.
pub(crate) fn edited(name: &str, sibling: &str, edit: impl FnOnce(&mut Value)) -> HashMap<String, Vec<u8>> {
    let mut files = super::files(name);
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        files.insert(name.to_owned(), super::files(sibling)[name].clone());
    }
    super::edit_json(&mut files, "config.json", edit);
    let config: Value = serde_json::from_slice(&files["config.json"]).expect("JSON");
    files.insert("model.safetensors".to_owned(), weights(&config));
    files
}

/// Writes a safetensors file with all weights of a model.
fn weights(config: &Value) -> Vec<u8> {
    let data: BTreeMap<String, (Vec<usize>, Vec<u8>)> = shapes(config)
        .into_iter()
        .map(|(name, shape)| {
            let elements = tensor(&name, shape.iter().product());
            let bytes = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
            (name, (shape, bytes))
        })
        .collect();
    let views = data
        .iter()
        .map(|(name, (shape, bytes))| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor")));
    safetensors::serialize(views, None).expect("safetensors")
}

/// Lists the name and shape of each tensor of a model.
fn shapes(config: &Value) -> Vec<(String, Vec<usize>)> {
    let size = |key: &str| config[key].as_u64().unwrap_or_else(|| panic!("{key}")) as usize;
    let d = size("hidden_size");
    let f = size("intermediate_size");
    let mpnet = config["model_type"] == "mpnet";
    let mut list = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![size("vocab_size"), d]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![size("max_position_embeddings"), d]),
        ("embeddings.LayerNorm.weight".to_owned(), vec![d]),
        ("embeddings.LayerNorm.bias".to_owned(), vec![d]),
    ];
    if mpnet {
        list.push(("encoder.relative_attention_bias.weight".to_owned(), vec![32, size("num_attention_heads")]));
    } else {
        list.push(("embeddings.token_type_embeddings.weight".to_owned(), vec![size("type_vocab_size"), d]));
    }
    let attention = if mpnet {
        ["attn.q", "attn.k", "attn.v", "attn.o", "LayerNorm"]
    } else {
        ["self.query", "self.key", "self.value", "output.dense", "output.LayerNorm"]
    };
    for layer in 0..size("num_hidden_layers") {
        let mut module = |module: String, weight: Vec<usize>, bias: usize| {
            list.push((format!("encoder.layer.{layer}.{module}.weight"), weight));
            list.push((format!("encoder.layer.{layer}.{module}.bias"), vec![bias]));
        };
        for name in &attention[..4] {
            module(format!("attention.{name}"), vec![d, d], d);
        }
        module(format!("attention.{}", attention[4]), vec![d], d);
        module("intermediate.dense".to_owned(), vec![f, d], f);
        module("output.dense".to_owned(), vec![d, f], d);
        module("output.LayerNorm".to_owned(), vec![d], d);
    }
    list
}
