//! The inputs of sentence similarity, which two APIs share.

use serde_json::Value;

use super::error::ApiError;
use super::fields::{Fields, JsonObject, missing_field, strings, unexpected_value};
use crate::embedder::TextInput;

/// The spellings of the source's key.
pub(super) const SOURCE_KEYS: [&str; 2] = ["source_sentence", "sourceSentence"];

/// The objects of a body that may contain the source and the sentences.
pub(super) fn similarity_fields(root: &JsonObject) -> Fields<'_> {
    let object = |key: &str| root.get(key).and_then(Value::as_object);
    Fields::new([object("inputs"), object("parameters"), Some(root)])
}

/// Reads the source, followed by the sentences to compare with it.
///
/// # Errors
/// 400 if one is missing or has another type.
pub(super) fn similarity_inputs(fields: &Fields<'_>) -> Result<Vec<TextInput>, ApiError> {
    let source = match SOURCE_KEYS.into_iter().find_map(|key| fields.get(key)) {
        Some(Value::String(source)) => source.clone(),
        Some(other) => return Err(unexpected_value("inputs.source_sentence", "a string", other)),
        None => return Err(missing_field("inputs.source_sentence", "a string")),
    };
    let sentences = match fields.get("sentences") {
        Some(Value::Array(list)) => strings("inputs.sentences", list)?,
        Some(other) => return Err(unexpected_value("inputs.sentences", "an array of strings", other)),
        None => return Err(missing_field("inputs.sentences", "an array of strings")),
    };
    Ok(std::iter::once(source).chain(sentences).map(TextInput::Text).collect())
}
