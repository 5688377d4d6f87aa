//! sentence_bert_config.json: what the reference's Transformer module is told of texts.
//!
//! Follows sentence-transformers 6.2.0, `base/modules/transformer.py`.

use serde_json::Value;

use super::TruncationSide;
use super::tokenizer_config::Settings;
use crate::config::JsonObject;
use crate::encoder::spec::EncoderSpec;
use crate::error::{Error, Result};
use crate::files::ModelFiles;

/// The file, under whichever of its names it goes; empty if there is none, or no modules.json, without which the reference does
/// not look for it.
pub(super) struct SentenceConfig {
    keys: Option<JsonObject>,
}

impl SentenceConfig {
    pub(super) fn read(files: &ModelFiles, has_modules: bool) -> Result<Self> {
        if !has_modules {
            refuse_chats(files)?;
            return Ok(Self { keys: None });
        }
        for family in ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"] {
            if let Some(keys) = files.json(&format!("sentence_{family}_config.json"))?
                && !keys.is_empty()
            {
                refuse_other_inputs(&keys)?;
                return Ok(Self { keys: Some(keys) });
            }
        }
        Ok(Self { keys: None })
    }

    /// Whether texts are lower-cased before anything else.
    pub(super) fn lower_cases(&self) -> Result<bool> {
        Ok(self.keys.as_ref().map_or(Ok(None), |keys| keys.flag("do_lower_case"))?.unwrap_or(false))
    }
}

/// Refuses templates of chats: without modules.json the reference puts every text through the one that there is.
fn refuse_chats(files: &ModelFiles) -> Result<()> {
    const KEY: &str = "chat_template";
    const FILE: &str = "chat_template.jinja";
    let expected = "nothing: without modules.json each text would be a message of a chat, which is not built";
    if let Some(keys) = files.json("tokenizer_config.json")?
        && keys.get(KEY).is_some()
    {
        return Err(keys.wrong(KEY, expected));
    }
    match files.read(FILE)? {
        Some(_) => Err(Error::config(&files.label(FILE), "(the whole file)", expected, "a template")),
        None => Ok(()),
    }
}

/// Refuses what the reference's Transformer module may be told and is not built: tasks and outputs that compute something
/// else, other lengths for queries and documents, and arguments that change the files' meaning.
fn refuse_other_inputs(keys: &JsonObject) -> Result<()> {
    for (key, only) in [("transformer_task", "feature-extraction"), ("module_output_name", "token_embeddings")] {
        if keys.text(key)?.is_some_and(|value| value != only) {
            return Err(keys.wrong(key, only));
        }
    }
    for key in ["query_length", "document_length", "query_expansion"] {
        if keys.get(key).is_some() {
            return Err(keys.wrong(key, "null: queries and documents are read alike"));
        }
    }
    if keys.get("tokenizer_name_or_path").is_some() {
        return Err(keys.wrong("tokenizer_name_or_path", "null: the tokenizer is the one of this folder"));
    }
    // How the reference computes, and not what: the numbers are those of 32-bit floats whatever they say.
    const HARMLESS: [&str; 7] = [
        "dtype",
        "torch_dtype",
        "attn_implementation",
        "trust_remote_code",
        "low_cpu_mem_usage",
        "use_safetensors",
        "add_pooling_layer",
    ];
    const ARGUMENTS: [&str; 7] = [
        "model_args",
        "model_kwargs",
        "tokenizer_args",
        "processor_kwargs",
        "processing_kwargs",
        "config_args",
        "config_kwargs",
    ];
    for key in ARGUMENTS {
        let harmless = |value: &Value| {
            let nothing = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
            let is = |(name, value): (&String, &Value)| HARMLESS.contains(&name.as_str()) || nothing(value);
            value.as_object().is_some_and(|map| map.iter().all(is))
        };
        if keys.get(key).is_some_and(|value| !harmless(value)) {
            return Err(keys.wrong(key, "nothing: model and texts are read as their own files say"));
        }
    }
    let usual = serde_json::json!({ "method": "forward", "method_output_name": "last_hidden_state" });
    // If there are messages, texts become messages.
    if let Some(modalities) = keys.get("modality_config")
        && (modalities.get("text") != Some(&usual) || modalities.get("message").is_some())
    {
        return Err(keys.wrong("modality_config", "text, by forward, to last_hidden_state, and no messages"));
    }
    Ok(())
}

/// The model's maximum, in tokens with special ones: `max_seq_length` if it is given, whatever the tokenizer says; else the
/// least of the tokenizer's `model_max_length` (once `max_len`) and the tokens that the position table has rows for. `least`: special tokens
/// and one more.
pub(super) fn model_limit(
    sentence: &SentenceConfig,
    settings: &Settings,
    spec: &EncoderSpec,
    least: usize,
) -> Result<usize> {
    let enough = |limit: Option<usize>, keys: &JsonObject, key: &str| match limit {
        Some(limit) if limit < least => {
            Err(keys.wrong(key, format!("at least {least}: {} special tokens and one more", least - 1)))
        }
        limit => Ok(limit),
    };
    if let Some(keys) = &sentence.keys
        && let Some(limit) = enough(keys.size("max_seq_length")?, keys, "max_seq_length")?
    {
        return Ok(limit);
    }
    for key in ["model_max_length", "max_len"] {
        if let Some(keys) = settings.config()
            // Tokenizers without a maximum say 10³⁰.
            && let Some(limit) = enough(keys.positive(key)?.map(|limit| limit as usize), keys, key)?
        {
            return Ok(limit.min(spec.max_tokens));
        }
    }
    Ok(spec.max_tokens)
}

/// From which side a text that is too long is cut, if the tokenizer's settings say so.
pub(super) fn side(settings: &Settings) -> Result<Option<TruncationSide>> {
    let Some(keys) = settings.config() else { return Ok(None) };
    match keys.text("truncation_side")? {
        None => Ok(None),
        Some("right") => Ok(Some(TruncationSide::Right)),
        Some("left") => Ok(Some(TruncationSide::Left)),
        Some(_) => Err(keys.wrong("truncation_side", "left or right")),
    }
}
