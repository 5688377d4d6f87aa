//! Which of a repository's files a model consists of.

use std::collections::BTreeSet;

use serde_json::Value;

use super::cache::is_plain;
use crate::config::{self, JsonObject};
use crate::error::{Error, Result};
use crate::files::is_license_or_readme;
use crate::modules::MOST_MODULES;

pub(super) const MODULES: &str = "modules.json";
pub(super) const INDEX: &str = "model.safetensors.index.json";
pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const CONVERTED: &str = "likewise.safetensors";

/// What a tokenizer can be made from; one of them is enough.
pub(super) const VOCABULARIES: [&str; 4] = ["tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model"];
/// What counts only where tokenizer_config.json does not list the added tokens.
pub(super) const OF_OLD_TOKENIZERS: [&str; 2] = ["special_tokens_map.json", "added_tokens.json"];
/// What does not count without modules.json.
pub(super) const OF_MODULES: [&str; 2] = ["config_sentence_transformers.json", "sentence_bert_config.json"];
/// So that the model is refused.
pub(super) const REFUSED: [&str; 2] = ["adapter_config.json", "chat_template.jinja"];
/// Beside them, of the model and of each of its modules.
const SMALL: [&str; 6] = [
    "config.json",
    "config_sentence_transformers.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
];

/// What a model reads if it is there, and would be another model without.
pub(super) fn optional(encoder: &str) -> Vec<String> {
    let of_encoder = ["sentence_bert_config.json", "tokenizer_config.json", VOCABULARIES[0]];
    let of_encoder = of_encoder.into_iter().chain(OF_OLD_TOKENIZERS);
    let of_model = [MODULES, "config_sentence_transformers.json"].map(str::to_owned);
    of_model.into_iter().chain(of_encoder.map(|name| inside(encoder, name))).collect()
}

/// Whether a file belongs to a model or a module of it, by its name in that one's folder. Weights are another matter.
fn is_small(name: &str) -> bool {
    let of_the_text_module = name.starts_with("sentence_") && name.ends_with("_config.json") && !name.contains('/');
    SMALL.contains(&name) || REFUSED.contains(&name) || VOCABULARIES.contains(&name) || of_the_text_module
}

/// The files that are wanted of any repository.
pub(super) fn of_any(names: &BTreeSet<String>) -> Vec<String> {
    let wanted = |name: &&String| {
        is_small(name)
            || *name == MODULES
            || (is_license_or_readme(name) && !name.contains('/') && is_plain(name) && name.len() < 100)
    };
    names.iter().filter(wanted).cloned().collect()
}

/// A module of modules.json.
pub(super) struct Module {
    /// Its folder; empty if that is the model's own.
    path: String,
    /// The last part of its class.
    class: String,
}

/// What modules.json lists.
///
/// # Errors
/// If it is not a list of modules, or a path leaves the repository.
pub(super) fn modules(label: &str, bytes: &[u8]) -> Result<Vec<Module>> {
    let entries = match config::parse_json(label, bytes)? {
        Value::Array(entries) => entries,
        other => {
            return Err(Error::config(label, "(the whole file)", "an array of modules", config::json_type(&other)));
        }
    };
    if entries.len() > MOST_MODULES {
        let expected = format!("at most {MOST_MODULES} modules");
        return Err(Error::config(label, "(the whole file)", expected, entries.len().to_string()));
    }
    let mut modules = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let entry = JsonObject::from_value(&format!("{label}: element {i}"), entry)?;
        let path = entry.string("path")?.unwrap_or_default().trim_end_matches('/').to_owned();
        if !path.is_empty() && !is_plain(&path) {
            return Err(entry.invalid_value("path", "a folder of the repository, of letters, digits, `.`, `_` and `-`"));
        }
        let class = entry.string("type")?.unwrap_or_default();
        modules.push(Module { path, class: class.rsplit('.').next().unwrap_or_default().to_owned() });
    }
    Ok(modules)
}

/// The folder of the encoder, which is the first module; empty if that is the model's own.
pub(super) fn encoder(modules: &[Module]) -> &str {
    modules.first().map_or("", |module| &module.path)
}

/// A file of a folder of the repository.
pub(super) fn inside(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The files that are wanted of the modules' own folders; small ones first. The encoder's weights are [`weights`]' matter.
pub(super) fn of_modules(names: &BTreeSet<String>, modules: &[Module]) -> Vec<String> {
    let mut wanted = Vec::new();
    for (i, module) in modules.iter().enumerate().filter(|(_, module)| !module.path.is_empty()) {
        let belongs = |name: &&String| {
            let rest = name.strip_prefix(module.path.as_str()).and_then(|rest| rest.strip_prefix('/'));
            rest.is_some_and(|rest| (is_small(rest) || (rest == SINGLE && i > 0)) && is_plain(name))
        };
        wanted.extend(names.iter().filter(belongs).cloned());
    }
    wanted.sort_by_key(|name| name.ends_with(".safetensors"));
    wanted
}

/// The weights of an encoder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Weights {
    File(String),
    /// Those that this index names.
    Shards(String),
    /// None that are read, but perhaps these.
    None(Vec<String>),
}

/// Which weights there are in the encoder's folder, in the order in which they are looked for when a model is opened.
pub(super) fn weights(names: &BTreeSet<String>, encoder: &str) -> Weights {
    if let Some(name) =
        [CONVERTED, SINGLE].map(|name| inside(encoder, name)).into_iter().find(|name| names.contains(name))
    {
        return Weights::File(name);
    }
    let index = inside(encoder, INDEX);
    if names.contains(&index) {
        return Weights::Shards(index);
    }
    const OTHERS: [&str; 8] = [".bin", ".onnx", ".h5", ".msgpack", ".pt", ".ot", ".gguf", ".safetensors"];
    let mut others: Vec<String> =
        names.iter().filter(|name| OTHERS.iter().any(|end| name.ends_with(end))).cloned().collect();
    others.sort_by_key(|name| name.contains('/'));
    Weights::None(others)
}

/// The shards that an index names.
///
/// # Errors
/// If it is not an index, or a shard is not a plain file name.
pub(super) fn shards(label: &str, bytes: &[u8]) -> Result<BTreeSet<String>> {
    let index = JsonObject::parse(label, bytes)?;
    let shards: BTreeSet<String> = index.string_map("weight_map")?.into_values().collect();
    if shards.is_empty() || !shards.iter().all(|name| is_plain(name) && name.ends_with(".safetensors")) {
        return Err(index.invalid_value("weight_map", "an object of names of safetensors files in the repository"));
    }
    Ok(shards)
}

/// What a model cannot be opened without, of a folder in which these files are. Its encoder's weights are [`weights`]' matter.
pub(super) fn required(has: &dyn Fn(&str) -> bool, modules: &[Module]) -> Vec<String> {
    let encoder = encoder(modules);
    let mut needed = vec![inside(encoder, "config.json")];
    let whole = has(&inside(encoder, VOCABULARIES[0]));
    if !VOCABULARIES.iter().any(|name| has(&inside(encoder, name))) {
        needed.push(inside(encoder, VOCABULARIES[0]));
    } else if !whole && has(&inside(encoder, "vocab.json")) {
        needed.push(inside(encoder, "merges.txt"));
    }
    // Of other classes the model is refused, and Normalize has nothing to configure, and no folder on most repositories.
    for module in modules.iter().skip(1).filter(|module| !module.path.is_empty()) {
        let has_weights = ["Dense", "LayerNorm"].contains(&module.class.as_str());
        if has_weights || ["Pooling", "Dropout"].contains(&module.class.as_str()) {
            needed.push(inside(&module.path, "config.json"));
        }
        if has_weights {
            needed.push(inside(&module.path, SINGLE));
        }
    }
    needed.retain(|name| !has(name));
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn of_a_real_repository() {
        let names = set(&[
            ".gitattributes",
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
            "LICENSE",
            "README.md",
            "adapter_config.json",
            "config.json",
            "config_sentence_transformers.json",
            "data_config.json",
            "model.safetensors",
            "modules.json",
            "onnx/model.onnx",
            "onnx/README.md",
            "openvino/openvino_model.bin",
            "pytorch_model.bin",
            "sentence_bert_config.json",
            "sentence_xlm-roberta_config.json",
            "special_tokens_map.json",
            "tf_model.h5",
            "tokenizer.json",
            "tokenizer_config.json",
            "train_script.py",
            "vocab.txt",
        ]);
        let expected = [
            "LICENSE",
            "README.md",
            "adapter_config.json",
            "config.json",
            "config_sentence_transformers.json",
            "modules.json",
            "sentence_bert_config.json",
            "sentence_xlm-roberta_config.json",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "vocab.txt",
        ];
        assert_eq!(of_any(&names), expected);
        let json = br#"[{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.Pooling"},
                        {"path": "2_Dense/", "type": "a.Dense"}, {"path": "3_Normalize", "type": "a.Normalize"}]"#;
        let modules = modules("modules.json", json).expect("modules");
        let expected = ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"];
        assert_eq!(of_modules(&names, &modules), expected);
        assert_eq!(weights(&names, ""), Weights::File(SINGLE.to_owned()));
        assert_eq!(weights(&set(&[INDEX, "a.safetensors"]), ""), Weights::Shards(INDEX.to_owned()));
        let others = ["pytorch_model.bin", "a/b.onnx"].map(str::to_owned).to_vec();
        assert_eq!(weights(&set(&["a/b.onnx", "pytorch_model.bin", "x.txt"]), ""), Weights::None(others));
    }

    #[test]
    fn an_encoder_in_a_folder_of_its_own() {
        let mut names = set(&[
            "0_Transformer/config.json",
            "0_Transformer/model.safetensors",
            "0_Transformer/pytorch_model.bin",
            "0_Transformer/sentence_bert_config.json",
            "0_Transformer/tokenizer_config.json",
            "0_Transformer/vocab.txt",
            "1_Pooling/config.json",
            "modules.json",
        ]);
        let json =
            br#"[{"path": "0_Transformer", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.Pooling"}]"#;
        let modules = modules(MODULES, json).expect("modules");
        let expected = [
            "0_Transformer/config.json",
            "0_Transformer/sentence_bert_config.json",
            "0_Transformer/tokenizer_config.json",
            "0_Transformer/vocab.txt",
            "1_Pooling/config.json",
        ];
        assert_eq!(of_modules(&names, &modules), expected);
        let single = "0_Transformer/model.safetensors";
        assert_eq!(weights(&names, encoder(&modules)), Weights::File(single.to_owned()));
        names.remove(single);
        let index = "0_Transformer/model.safetensors.index.json";
        names.insert(index.to_owned());
        assert_eq!(weights(&names, encoder(&modules)), Weights::Shards(index.to_owned()));
    }

    #[test]
    fn names_that_lead_elsewhere() {
        for path in ["..", "../x", "/x", "a/../b", "a\\b", "a//b", "ü", "a b", "C:x"] {
            let json = serde_json::json!([{"path": path, "type": "a.Pooling"}]).to_string();
            assert!(modules("modules.json", json.as_bytes()).is_err(), "{path}");
            let json = serde_json::json!({"weight_map": {"w": format!("{path}/x.safetensors")}}).to_string();
            assert!(shards(INDEX, json.as_bytes()).is_err(), "{path}");
        }
        for other in ["{}", r#"{"weight_map": {}}"#, r#"{"weight_map": {"w": "config.json"}}"#, "[]", ""] {
            assert!(shards(INDEX, other.as_bytes()).is_err(), "{other}");
        }
        assert_eq!(of_any(&set(&["../LICENSE", "/README.md", "LICENSE\\x", "LICENSE of ours"])), [""; 0]);
    }
}
