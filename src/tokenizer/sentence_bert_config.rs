//! sentence_bert_config.json: the settings of sentence-transformers' Transformer module.
//!
//! Follows sentence-transformers 6.2.0, `base/modules/transformer.py`.

use serde_json::{Value, json};

use crate::config::{InertKeys, JsonObject};
use crate::error::Result;
use crate::files::ModelFiles;
use crate::model_folder::{Manifest, NO_CHAT_TEMPLATE, SENTENCE_BERT_CONFIGS, TOKENIZER_CONFIG, TransformerTask};

/// The keys that the tokenizer reads, and one that selects between implementations of attention.
const OTHER_KEYS: InertKeys =
    InertKeys { any_value: &["do_lower_case", "max_seq_length", "unpad_inputs"], one_value: &[] };

/// The keys that a model of late interaction reads later.
const TEXT_LENGTHS: [&str; 3] = ["query_length", "document_length", "query_expansion"];

/// Reads the file under any of its names.
///
/// `task` is what the encoder's module computes, or None without modules.json. Returns None if the
/// file does not exist, or without modules.json. sentence-transformers ignores
/// the file in a model without modules.json.
///
/// # Errors
/// If the file has settings that are not supported.
pub(super) fn read_sentence_bert_config(
    files: &ModelFiles,
    task: Option<TransformerTask>,
    manifest: &mut Manifest,
) -> Result<Option<JsonObject>> {
    let Some(task) = task else {
        reject_chat_template(files)?;
        return Ok(None);
    };
    for name in SENTENCE_BERT_CONFIGS {
        if let Some(keys) = manifest.json(files, name)?
            && !keys.is_empty()
        {
            reject_unsupported_settings(&keys, task)?;
            return Ok(Some(keys));
        }
    }
    Ok(None)
}

/// Rejects a chat template. Without modules.json sentence-transformers applies the template to
/// every text.
fn reject_chat_template(files: &ModelFiles) -> Result<()> {
    const KEY: &str = "chat_template";
    match files.json(TOKENIZER_CONFIG)? {
        Some(keys) if keys.get(KEY).is_some() => Err(keys.invalid_value(KEY, NO_CHAT_TEMPLATE)),
        _ => Ok(()),
    }
}

/// Rejects settings that change the computation and are not supported.
fn reject_unsupported_settings(keys: &JsonObject, task: TransformerTask) -> Result<()> {
    for (key, supported) in [("transformer_task", task.name()), ("module_output_name", task.module_output())] {
        if keys.string(key)?.is_some_and(|value| value != supported) {
            return Err(keys.invalid_value(key, supported));
        }
    }
    for key in TEXT_LENGTHS {
        if keys.get(key).is_some() && task != TransformerTask::LateInteraction {
            return Err(keys.invalid_value(key, "null: queries and documents are encoded alike"));
        }
    }
    if keys.get("tokenizer_name_or_path").is_some() {
        return Err(keys.invalid_value("tokenizer_name_or_path", "null: the tokenizer must be in this folder"));
    }
    reject_arguments(keys)?;
    let supported = json!({ "method": "forward", "method_output_name": task.method_output() });
    // With messages, texts would become chat messages.
    if let Some(modalities) = keys.get("modality_config")
        && (modalities.get("text") != Some(&supported) || modalities.get("message").is_some())
    {
        let expected = format!("text, by forward, to {}, and no messages", task.method_output());
        return Err(keys.invalid_value("modality_config", expected));
    }
    keys.reject_unread(&[&OTHER_KEYS])
}

/// Rejects arguments for functions of transformers, except those that do not change the vectors.
fn reject_arguments(keys: &JsonObject) -> Result<()> {
    /// These change how transformers computes. This library computes in f32 in any case.
    const HARMLESS_ARGUMENTS: [&str; 7] = [
        "dtype",
        "torch_dtype",
        "attn_implementation",
        "trust_remote_code",
        "low_cpu_mem_usage",
        "use_safetensors",
        "add_pooling_layer",
    ];
    const ARGUMENT_KEYS: [&str; 7] = [
        "model_args",
        "model_kwargs",
        "tokenizer_args",
        "processor_kwargs",
        "processing_kwargs",
        "config_args",
        "config_kwargs",
    ];
    let is_empty_object = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
    let is_harmless =
        |(name, value): (&String, &Value)| HARMLESS_ARGUMENTS.contains(&name.as_str()) || is_empty_object(value);
    for key in ARGUMENT_KEYS {
        let Some(value) = keys.get(key) else { continue };
        if !value.as_object().is_some_and(|arguments| arguments.iter().all(is_harmless)) {
            return Err(keys.invalid_value(key, "nothing: arguments that change the model are not supported"));
        }
    }
    Ok(())
}
