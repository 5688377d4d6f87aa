//! Full-depth models whose weights are computed, not stored.
//!
//! Each weight is a hash of its tensor's name and its index: 12 layers of width 768 without a
//! download. The exporter (fixtures/exporter/computed.py) computes the same numbers; only the
//! vectors that the reference got from them are committed.

use std::collections::{BTreeMap, HashMap};

use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;

/// The value at index `i` of the tensor `name`.
pub(crate) fn weight(name: &str, i: usize) -> f32 {
    scaled(name, fraction(fnv1a(name).wrapping_add(i as u64)))
}

/// All values of a tensor.
pub(crate) fn tensor(name: &str, count: usize) -> Vec<f32> {
    let seed = fnv1a(name);
    (0..count as u64).map(|i| scaled(name, fraction(seed.wrapping_add(i)))).collect()
}

/// Numbers in (−1, 1) for the elements of a tensor.
pub(crate) fn units(name: &str, count: usize) -> Vec<f32> {
    let seed = fnv1a(name);
    (0..count as u64).map(|i| fraction(seed.wrapping_add(i))).collect()
}

/// A number in (−1, 1), exact in f32, from the upper 24 bits of a hash.
fn fraction(seed: u64) -> f32 {
    let k = (splitmix64(seed) >> 40) as i64;
    (2 * k + 1 - (1 << 24)) as f32 / (1 << 24) as f32
}

/// The size that a tensor of this kind has in a trained model, about.
fn scaled(name: &str, v: f32) -> f32 {
    match name {
        _ if name.ends_with("LayerNorm.weight") => 1.0 + v * 0.25,
        _ if name.ends_with("LayerNorm.bias") => v * 0.125,
        _ if name.ends_with("relative_attention_bias.weight") => v * 2.0,
        _ if name.ends_with(".weight") => v * 0.0625,
        _ => v * 0.125,
    }
}

fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn splitmix64(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The files of a full-depth model: the committed configuration, the tokenizer of its tiny sibling,
/// computed weights.
pub(crate) fn files(name: &str, sibling: &str) -> HashMap<String, Vec<u8>> {
    edited(name, sibling, |_| ())
}

/// The files of a model like a full-depth one, with another configuration.
pub(crate) fn edited(name: &str, sibling: &str, edit: impl FnOnce(&mut Value)) -> HashMap<String, Vec<u8>> {
    let mut files = super::files(name);
    for borrowed in ["tokenizer.json", "tokenizer_config.json"] {
        files.insert(borrowed.to_owned(), super::files(sibling)[borrowed].clone());
    }
    super::edit_json(&mut files, "config.json", edit);
    let config: Value = serde_json::from_slice(&files["config.json"]).expect("JSON");
    files.insert("model.safetensors".to_owned(), weights(&config));
    files
}

fn weights(config: &Value) -> Vec<u8> {
    let data: BTreeMap<String, (Vec<usize>, Vec<u8>)> = shapes(config)
        .into_iter()
        .map(|(name, shape)| {
            let numbers = tensor(&name, shape.iter().product());
            let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            (name, (shape, bytes))
        })
        .collect();
    let views = data
        .iter()
        .map(|(name, (shape, bytes))| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor")));
    safetensors::serialize(views, None).expect("safetensors")
}

fn shapes(config: &Value) -> Vec<(String, Vec<usize>)> {
    let size = |key: &str| config[key].as_u64().unwrap_or_else(|| panic!("{key}")) as usize;
    let (d, f) = (size("hidden_size"), size("intermediate_size"));
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
