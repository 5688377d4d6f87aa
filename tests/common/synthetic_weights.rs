//! Full-depth models with computed weights.
//!
//! Each weight is a hash of its tensor's name and its index. Tests can therefore use 12 layers of
//! hidden size 768 without a download. The exporter (fixtures/exporter/computed.py) computes the
//! same weights. Only the vectors that sentence-transformers computes from them are committed.

use std::collections::{BTreeMap, HashMap};

use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;

/// Full-depth models with rotary positions, and the tiny models whose tokenizers they use.
pub const ROTARY: [(&str, &str); 3] =
    [("full-nomic-bert", "tiny-nomic-bert"), ("full-gte", "tiny-bert"), ("full-modernbert", "tiny-modernbert")];

/// Computes all elements of a tensor.
pub fn tensor(name: &str, length: usize) -> Vec<f32> {
    let seed = fnv1a(name);
    (0..length as u64).map(|i| scale(name, unit(seed.wrapping_add(i)))).collect()
}

/// Computes a value in (−1, 1) for each element of a tensor.
pub fn units(name: &str, length: usize) -> Vec<f32> {
    let seed = fnv1a(name);
    (0..length as u64).map(|i| unit(seed.wrapping_add(i))).collect()
}

/// Computes a value in (−1, 1), exact in f32, from the upper 24 bits of a hash.
fn unit(seed: u64) -> f32 {
    let k = (splitmix64(seed) >> 40) as i64;
    (2 * k + 1 - (1 << 24)) as f32 / (1 << 24) as f32
}

/// Scales a value in (−1, 1) to the approximate range that the tensor has in a trained model. The
/// table in fixtures/README.md lists these rules.
fn scale(name: &str, x: f32) -> f32 {
    if is_norm(name) {
        1.0 + x * 0.25
    } else if name.ends_with("relative_attention_bias.weight") {
        x * 2.0
    } else if name.ends_with("up_gate_proj.weight") {
        x * 0.03125
    } else if name.ends_with(".weight") {
        x * 0.0625
    } else {
        x * 0.125
    }
}

/// Returns whether a tensor is the weight of a norm, such as `LayerNorm`, `attn_norm`, `norm1` or
/// `emb_ln`.
fn is_norm(name: &str) -> bool {
    name.strip_suffix(".weight").is_some_and(|module| {
        let module = module.trim_end_matches(|c: char| c.is_ascii_digit()).to_ascii_lowercase();
        module.ends_with("norm") || module.ends_with("_ln")
    })
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
pub fn files(name: &str, sibling: &str) -> HashMap<String, Vec<u8>> {
    edited(name, sibling, |_| ())
}

/// Returns the files of a full-depth model after an edit of its configuration.
pub fn edited(name: &str, sibling: &str, edit: impl FnOnce(&mut Value)) -> HashMap<String, Vec<u8>> {
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

/// Returns the number of elements of a full-depth model's tensor.
pub fn length(model: &str, tensor: &str) -> usize {
    let config: Value = serde_json::from_slice(&super::files(model)["config.json"]).expect("JSON");
    let (_, shape) = shapes(&config).into_iter().find(|(name, _)| name == tensor).expect("a tensor of the model");
    shape.iter().product()
}

/// Names and shapes of tensors.
type Shapes = Vec<(String, Vec<usize>)>;

/// Lists the name and shape of each tensor of a model.
fn shapes(config: &Value) -> Shapes {
    match config["model_type"].as_str() {
        Some("mpnet" | "xlm-roberta") => bert_shapes(config),
        Some("nomic_bert") => nomic_bert_shapes(config),
        Some("new") => gte_shapes(config),
        Some("modernbert") => modernbert_shapes(config),
        other => panic!("no tensors of {other:?}"),
    }
}

/// Reads a size of the configuration.
fn size(config: &Value, key: &str) -> usize {
    config[key].as_u64().unwrap_or_else(|| panic!("{key}")) as usize
}

/// Adds the weight of a module.
fn weight_of(list: &mut Shapes, module: &str, shape: &[usize]) {
    list.push((format!("{module}.weight"), shape.to_vec()));
}

/// Adds the weight and the bias of a module.
fn weight_and_bias_of(list: &mut Shapes, module: &str, shape: &[usize]) {
    weight_of(list, module, shape);
    list.push((format!("{module}.bias"), vec![shape[0]]));
}

fn nomic_bert_shapes(config: &Value) -> Shapes {
    let size = |key| size(config, key);
    let d = size("hidden_size");
    let f = size("intermediate_size");
    let mut list = Shapes::new();
    weight_of(&mut list, "embeddings.word_embeddings", &[size("vocab_size"), d]);
    weight_of(&mut list, "embeddings.token_type_embeddings", &[size("type_vocab_size"), d]);
    weight_and_bias_of(&mut list, "emb_ln", &[d]);
    for layer in 0..size("num_hidden_layers") {
        let at = |module: &str| format!("encoder.layers.{layer}.{module}");
        weight_of(&mut list, &at("attn.Wqkv"), &[3 * d, d]);
        weight_of(&mut list, &at("attn.out_proj"), &[d, d]);
        weight_of(&mut list, &at("mlp.fc11"), &[f, d]);
        weight_of(&mut list, &at("mlp.fc12"), &[f, d]);
        weight_of(&mut list, &at("mlp.fc2"), &[d, f]);
        weight_and_bias_of(&mut list, &at("norm1"), &[d]);
        weight_and_bias_of(&mut list, &at("norm2"), &[d]);
    }
    list
}

/// Lists the tensors of a GTE without token types.
fn gte_shapes(config: &Value) -> Shapes {
    let size = |key| size(config, key);
    let d = size("hidden_size");
    let f = size("intermediate_size");
    assert_eq!(size("type_vocab_size"), 0, "token types");
    let mut list = Shapes::new();
    weight_of(&mut list, "embeddings.word_embeddings", &[size("vocab_size"), d]);
    weight_and_bias_of(&mut list, "embeddings.LayerNorm", &[d]);
    for layer in 0..size("num_hidden_layers") {
        let at = |module: &str| format!("encoder.layer.{layer}.{module}");
        weight_and_bias_of(&mut list, &at("attention.qkv_proj"), &[3 * d, d]);
        weight_and_bias_of(&mut list, &at("attention.o_proj"), &[d, d]);
        weight_of(&mut list, &at("mlp.up_gate_proj"), &[2 * f, d]);
        weight_and_bias_of(&mut list, &at("mlp.down_proj"), &[d, f]);
        weight_and_bias_of(&mut list, &at("attn_ln"), &[d]);
        weight_and_bias_of(&mut list, &at("mlp_ln"), &[d]);
    }
    list
}

fn modernbert_shapes(config: &Value) -> Shapes {
    let size = |key| size(config, key);
    let d = size("hidden_size");
    let f = size("intermediate_size");
    let mut list = Shapes::new();
    weight_of(&mut list, "embeddings.tok_embeddings", &[size("vocab_size"), d]);
    weight_of(&mut list, "embeddings.norm", &[d]);
    for layer in 0..size("num_hidden_layers") {
        let at = |module: &str| format!("layers.{layer}.{module}");
        // The first layer reads the embeddings, which already have a norm.
        if layer > 0 {
            weight_of(&mut list, &at("attn_norm"), &[d]);
        }
        weight_of(&mut list, &at("attn.Wqkv"), &[3 * d, d]);
        weight_of(&mut list, &at("attn.Wo"), &[d, d]);
        weight_of(&mut list, &at("mlp_norm"), &[d]);
        weight_of(&mut list, &at("mlp.Wi"), &[2 * f, d]);
        weight_of(&mut list, &at("mlp.Wo"), &[d, f]);
    }
    weight_of(&mut list, "final_norm", &[d]);
    list
}

/// Lists the tensors of an MPNet or an XLM-RoBERTa.
fn bert_shapes(config: &Value) -> Shapes {
    let size = |key| size(config, key);
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
