//! Selects the files of a repository that a model consists of.

use std::collections::BTreeSet;

use super::cache::is_plain;
use crate::config::JsonObject;
use crate::error::Result;
use crate::model_folder::{
    CONFIG, Condition, Folder, KNOWN_FILES, KnownFile, MERGES, ModuleEntry, ModuleList, ROUTER_CONFIG, Role,
    SPARSE_LAYER, TOKEN_LAYER, TOKENIZER, VOCAB_JSON, VOCABULARIES, file_in, find_weights, is_license_or_readme,
    is_weights, layer_file, module_weights,
};

/// Limits the names of licenses and READMEs. All other names are known.
const MAX_NAME_BYTES: usize = 100;

/// Returns the known files with a role, by their names in the repository. `encoder` is the
/// encoder's subfolder.
fn files_with(role: impl Fn(Role) -> bool, encoder: &str) -> impl Iterator<Item = (String, &'static KnownFile)> {
    KNOWN_FILES.iter().filter(move |file| role(file.role)).map(move |file| {
        let folder = if file.folder == Folder::Encoder { encoder } else { "" };
        (file_in(folder, file.name), file)
    })
}

/// Returns the files that a model opens without, but may give other vectors without, and when they
/// are read.
pub(super) fn optional_files(encoder: &str, modules: Option<&ModuleList>) -> impl Iterator<Item = (String, Condition)> {
    // A table of token vectors has no settings beside it.
    let has_encoder = modules.is_none_or(|modules| modules.static_embedding().is_none());
    files_with(|role| role == Role::Optional, encoder)
        .filter(move |(_, file)| has_encoder || file.folder == Folder::Model)
        .map(|(name, file)| (name, file.condition))
}

/// Returns the files because of which a model is rejected.
pub(super) fn unsupported_files(encoder: &str) -> impl Iterator<Item = String> {
    files_with(|role| matches!(role, Role::Unsupported { .. }), encoder).map(|(name, _)| name)
}

/// Selects the files in the model's own folder, without the weights of the encoder. The layers of
/// bge-m3 are among them.
pub(super) fn select_model_files(names: &BTreeSet<String>) -> Vec<String> {
    let is_license =
        |name: &str| is_license_or_readme(name) && !name.contains('/') && is_plain(name) && name.len() < MAX_NAME_BYTES;
    let layers = [SPARSE_LAYER, TOKEN_LAYER].map(|layer| layer_file(|name| names.contains(name), layer));
    let is_layer = |name: &String| layers.iter().flatten().any(|layer| layer == name);
    let is_selected =
        |name: &&String| KNOWN_FILES.iter().any(|file| file.name == *name) || is_license(name) || is_layer(name);
    names.iter().filter(is_selected).cloned().collect()
}

/// Selects the files in the modules' subfolders, weights last.
///
/// [`select_weights`] selects an encoder's weights.
pub(super) fn select_module_files(names: &BTreeSet<String>, modules: &ModuleList) -> Vec<String> {
    let mut selected = Vec::new();
    for (i, module) in modules.entries.iter().enumerate().filter(|(_, module)| !module.path.is_empty()) {
        let has_own_weights = !modules.is_encoder(i);
        let is_known = |name: &str| KNOWN_FILES.iter().any(|file| file.folder == Folder::Encoder && file.name == name);
        let is_selected = |name: &&String| {
            let rest = name.strip_prefix(module.path.as_str()).and_then(|rest| rest.strip_prefix('/'));
            let is_weights = has_own_weights && **name == module_weights(|name| names.contains(name), &module.path);
            rest.is_some_and(|rest| (is_known(rest) || is_weights) && is_plain(name))
        };
        selected.extend(names.iter().filter(is_selected).cloned());
    }
    selected.sort_by_key(|name| is_weights(name));
    selected
}

/// Parses the modules.json of a repository.
///
/// # Errors
/// If the file is not a list of modules, or a path could leave the repository.
pub(super) fn parse_modules(label: &str, bytes: &[u8]) -> Result<ModuleList> {
    require_plain_paths(ModuleList::parse(label, bytes)?)
}

/// Parses the file of a Router: the modules of all routes.
///
/// # Errors
/// If the file names no modules, or a path could leave the repository.
pub(super) fn parse_router(label: &str, bytes: &[u8]) -> Result<ModuleList> {
    require_plain_paths(ModuleList::of_router(label, bytes)?)
}

fn require_plain_paths(modules: ModuleList) -> Result<ModuleList> {
    let invalid = modules.entries.iter().find(|module| !module.path.is_empty() && !is_plain(&module.path));
    match invalid {
        Some(module) => {
            let expected = "a folder of the repository, of letters, digits, `.`, `_` and `-`";
            Err(module.keys.invalid_value("path", expected))
        }
        None => Ok(modules),
    }
}

/// Returns the name of the file of the Router, which older versions call config.json.
pub(super) fn router_file(has: &dyn Fn(&str) -> bool) -> &'static str {
    if !has(ROUTER_CONFIG) && has(CONFIG) { CONFIG } else { ROUTER_CONFIG }
}

/// Returns the subfolders of the encoders. Most repositories have one encoder, in "". The routes of
/// a Router have one each.
pub(super) fn encoder_folders(modules: Option<&ModuleList>) -> Vec<&str> {
    let Some(modules) = modules.filter(|modules| !modules.entries.is_empty()) else { return vec![""] };
    let encoders = (0..modules.entries.len()).filter(|&i| modules.is_encoder(i));
    let mut folders: Vec<&str> = encoders.map(|i| modules.entries[i].path.as_str()).collect();
    folders.sort_unstable();
    folders.dedup();
    folders
}

/// Selects an encoder's weights: a file, or the index of shards.
///
/// # Errors
/// Without weights that can be read: the weights in other formats.
pub(super) fn select_weights(names: &BTreeSet<String>, encoder: &str) -> std::result::Result<String, Vec<String>> {
    let found = find_weights(|name| names.contains(&file_in(encoder, name)));
    found.map(|name| file_in(encoder, name)).ok_or_else(|| {
        let mut others: Vec<String> = names.iter().filter(|name| is_weights(name)).cloned().collect();
        others.sort_by_key(|name| name.contains('/'));
        others
    })
}

/// Returns the shards that an index names, whose names have the ending of the index's format.
///
/// # Errors
/// If the file is not an index, or the name of a shard is not a plain file name.
pub(super) fn parse_shard_names(label: &str, bytes: &[u8], ending: &str) -> Result<BTreeSet<String>> {
    let index = JsonObject::parse(label, bytes)?;
    let shards: BTreeSet<String> = index.string_map("weight_map")?.into_values().collect();
    if shards.is_empty() || !shards.iter().all(|name| is_plain(name) && name.ends_with(ending)) {
        let expected = format!("an object of names of {ending} files in the repository");
        return Err(index.invalid_value("weight_map", expected));
    }
    Ok(shards)
}

/// Returns the files that do not exist and that a model cannot be opened without. `has`: whether a
/// file exists.
///
/// The encoders' weights are not among them: see [`find_weights`].
pub(super) fn missing_required_files(has: &dyn Fn(&str) -> bool, modules: Option<&ModuleList>) -> Vec<String> {
    let mut required = Vec::new();
    for encoder in encoder_folders(modules) {
        let has_in_encoder = |name: &str| has(&file_in(encoder, name));
        let module = modules.and_then(|modules| modules.entries.iter().find(|module| module.path == encoder));
        if modules.is_some_and(|modules| modules.static_embedding().is_some()) {
            required.push(file_in(encoder, TOKENIZER));
            continue;
        }
        if module.is_none_or(ModuleEntry::encoder_needs_config) {
            required.push(file_in(encoder, CONFIG));
        }
        required.extend(missing_vocabulary(has_in_encoder, encoder));
    }
    required.extend(modules.into_iter().flat_map(|modules| modules.required_files(has)));
    required.retain(|name| !has(name));
    required
}

/// Returns the file that an encoder's tokenizer lacks.
fn missing_vocabulary(has: impl Fn(&str) -> bool, encoder: &str) -> Option<String> {
    if !VOCABULARIES.iter().any(|name| has(name)) {
        Some(file_in(encoder, TOKENIZER))
    } else {
        (!has(TOKENIZER) && has(VOCAB_JSON)).then(|| file_in(encoder, MERGES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_folder::{MODULES, PYTORCH_INDEX, PYTORCH_WEIGHTS, WEIGHTS, WEIGHTS_INDEX};

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn selection_from_a_typical_repository_has_only_the_files_that_are_read() {
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
        assert_eq!(select_model_files(&names), expected);
        let json = br#"[{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.Pooling"},
                        {"path": "2_Dense/", "type": "a.Dense"}, {"path": "3_Normalize", "type": "a.Normalize"}]"#;
        let modules = parse_modules(MODULES, json).expect("modules");
        let expected = ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"];
        assert_eq!(select_module_files(&names, &modules), expected);
        let selected = |names: &[&str]| select_weights(&set(names), "");
        assert_eq!(select_weights(&names, ""), Ok(WEIGHTS.to_owned()));
        assert_eq!(selected(&[WEIGHTS_INDEX, "a.safetensors", PYTORCH_WEIGHTS]), Ok(WEIGHTS_INDEX.to_owned()));
        assert_eq!(selected(&["a/b.onnx", PYTORCH_WEIGHTS, PYTORCH_INDEX]), Ok(PYTORCH_WEIGHTS.to_owned()));
        assert_eq!(selected(&["a/b.onnx", "a.bin", PYTORCH_INDEX]), Ok(PYTORCH_INDEX.to_owned()));
        let others = ["tf_model.h5", "a/b.onnx"].map(str::to_owned).to_vec();
        assert_eq!(selected(&["a/b.onnx", "tf_model.h5", "x.txt"]), Err(others));
        let pytorch = set(&["2_Dense/config.json", "2_Dense/pytorch_model.bin"]);
        assert_eq!(select_module_files(&pytorch, &modules), ["2_Dense/config.json", "2_Dense/pytorch_model.bin"]);
    }

    #[test]
    fn layers_of_bge_m3_are_selected_once() {
        let names = ["colbert_linear.pt", "config.json", "sparse_linear.pt", "other.pt", "1_Pooling/sparse_linear.pt"];
        assert_eq!(select_model_files(&set(&names)), names[..3]);
        let names = ["sparse_linear.pt", "sparse_linear.safetensors"];
        assert_eq!(select_model_files(&set(&names)), names[1..]);
    }

    #[test]
    fn encoder_in_a_subfolder_is_selected_with_its_weights() {
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
        let modules = parse_modules(MODULES, json).expect("modules");
        let expected = [
            "0_Transformer/config.json",
            "0_Transformer/sentence_bert_config.json",
            "0_Transformer/tokenizer_config.json",
            "0_Transformer/vocab.txt",
            "1_Pooling/config.json",
        ];
        assert_eq!(select_module_files(&names, &modules), expected);
        let single = "0_Transformer/model.safetensors";
        assert_eq!(select_weights(&names, encoder_folders(Some(&modules))[0]), Ok(single.to_owned()));
        names.remove(single);
        let index = "0_Transformer/model.safetensors.index.json";
        names.insert(index.to_owned());
        assert_eq!(select_weights(&names, encoder_folders(Some(&modules))[0]), Ok(index.to_owned()));
    }

    #[test]
    fn routes_of_a_router_are_selected_with_all_their_tokenizers_and_weights() {
        let names = set(&[
            "config_sentence_transformers.json",
            "document_0_Transformer/config.json",
            "document_0_Transformer/model.safetensors",
            "document_0_Transformer/onnx/model.onnx",
            "document_0_Transformer/tokenizer.json",
            "document_1_SpladePooling/config.json",
            "modules.json",
            "query_0_SparseStaticEmbedding/model.safetensors",
            "query_0_SparseStaticEmbedding/tokenizer.json",
            "router_config.json",
        ]);
        let modules = parse_modules(MODULES, br#"[{"path": "", "type": "a.Router"}]"#).expect("modules");
        assert!(modules.has_router() && router_file(&|name| names.contains(name)) == ROUTER_CONFIG);
        assert_eq!(router_file(&|name| name == CONFIG), CONFIG);
        let classes = [
            ("query_0_SparseStaticEmbedding", "SparseStaticEmbedding"),
            ("document_0_Transformer", "Transformer"),
            ("document_1_SpladePooling", "SpladePooling"),
        ];
        let types: serde_json::Map<String, serde_json::Value> = classes
            .map(|(path, class)| (path.to_owned(), format!("sentence_transformers.{class}").into()))
            .into_iter()
            .collect();
        let json = serde_json::json!({ "types": types }).to_string();
        let routes = parse_router(ROUTER_CONFIG, json.as_bytes()).expect("routes");
        let encoders: [&str; 2] = encoder_folders(Some(&routes)).try_into().expect("two encoders");
        assert_eq!(encoders, ["document_0_Transformer", "query_0_SparseStaticEmbedding"]);
        let expected = [
            "document_0_Transformer/config.json",
            "document_0_Transformer/tokenizer.json",
            "document_1_SpladePooling/config.json",
            "query_0_SparseStaticEmbedding/tokenizer.json",
        ];
        assert_eq!(select_module_files(&names, &routes), expected);
        let weights: Vec<String> =
            encoders.iter().map(|encoder| select_weights(&names, encoder).expect("weights")).collect();
        assert_eq!(weights, encoders.map(|encoder| file_in(encoder, WEIGHTS)));
        let without =
            |name: &str| missing_required_files(&|other| other != name && names.contains(other), Some(&routes));
        assert!(without("").is_empty());
        for name in expected {
            assert_eq!(without(name), [name]);
        }
    }

    #[test]
    fn table_needs_no_config_and_no_other_tokenizer() {
        let folder = "0_StaticEmbedding";
        let names = set(&[
            "0_StaticEmbedding/model.safetensors",
            "0_StaticEmbedding/tokenizer.json",
            "README.md",
            "config_sentence_transformers.json",
            "modules.json",
            "onnx/model.onnx",
        ]);
        let json = br#"[{"path": "0_StaticEmbedding", "type": "a.StaticEmbedding"}, {"path": "1_Normalize", "type": "a.Normalize"}]"#;
        let modules = parse_modules(MODULES, json).expect("modules");
        let missing = |names: &BTreeSet<String>, modules| missing_required_files(&|name| names.contains(name), modules);
        assert_eq!(encoder_folders(Some(&modules)), [folder]);
        assert_eq!(select_module_files(&names, &modules), ["0_StaticEmbedding/tokenizer.json"]);
        assert_eq!(select_weights(&names, folder), Ok(format!("{folder}/{WEIGHTS}")));
        assert_eq!(missing(&names, Some(&modules)), [""; 0]);
        assert_eq!(
            missing(&set(&["0_StaticEmbedding/vocab.txt"]), Some(&modules)),
            ["0_StaticEmbedding/tokenizer.json"]
        );
        let with_modules = |(_, condition): &(String, Condition)| *condition != Condition::WithoutModules;
        let optional: Vec<String> =
            optional_files(folder, Some(&modules)).filter(with_modules).map(|(name, _)| name).collect();
        assert_eq!(optional, ["modules.json", "config_sentence_transformers.json"]);
        // Model2Vec's own modules.json, and its folders without one.
        let json = br#"[{"path": ".", "type": "sentence_transformers.models.StaticEmbedding"}]"#;
        let modules = parse_modules(MODULES, json).expect("modules");
        let names = set(&["config.json", "model.safetensors", "modules.json", "tokenizer.json"]);
        assert_eq!(encoder_folders(Some(&modules)), [""]);
        assert_eq!(select_model_files(&names), ["config.json", "modules.json", "tokenizer.json"]);
        assert_eq!(missing(&names, Some(&modules)), [""; 0]);
        assert_eq!(missing(&set(&["config.json", "tokenizer.json"]), None), [""; 0]);
    }

    #[test]
    fn names_outside_of_the_repository_are_rejected() {
        for path in ["..", "../x", "/x", "a/../b", "a\\b", "a//b", "ü", "a b", "C:x"] {
            let json = serde_json::json!([{"path": path, "type": "a.Pooling"}]).to_string();
            assert!(parse_modules(MODULES, json.as_bytes()).is_err(), "{path}");
            let json = serde_json::json!({"weight_map": {"w": format!("{path}/x.safetensors")}}).to_string();
            assert!(parse_shard_names(WEIGHTS_INDEX, json.as_bytes(), ".safetensors").is_err(), "{path}");
        }
        for other in ["{}", r#"{"weight_map": {}}"#, r#"{"weight_map": {"w": "config.json"}}"#, "[]", ""] {
            assert!(parse_shard_names(WEIGHTS_INDEX, other.as_bytes(), ".safetensors").is_err(), "{other}");
        }
        assert_eq!(select_model_files(&set(&["../LICENSE", "/README.md", "LICENSE\\x", "LICENSE of ours"])), [""; 0]);
    }
}
