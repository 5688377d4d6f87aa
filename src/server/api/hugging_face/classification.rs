//! The body of a text-classification request.
//!
//! The schema of the task has a string in `inputs`. The pipeline of transformers also takes objects
//! with `text` and `text_pair`, and lists.

use serde_json::{Value, json};

use crate::cross_encoder::ScoreFunction;
use crate::server::api::error::ApiError;
use crate::server::api::fields::{Fields, JsonObject, each, missing_field, unexpected_value};
use crate::server::inference::request::ScoredInput;

const FORM: &str = "a string, an object with `text` and `text_pair`, or an array of these";

/// Reads the inputs. In a flat array of strings each is a text; `[["a", "b"]]` is a pair.
///
/// # Errors
/// 400 with what was expected and found.
pub(super) fn classification_inputs(value: Option<&Value>) -> Result<Vec<ScoredInput>, ApiError> {
    match value {
        None | Some(Value::Null) => Err(missing_field("inputs", FORM)),
        Some(Value::Array(list)) => each("inputs", list, input),
        Some(one) => Ok(vec![input("inputs", one)?]),
    }
}

fn input(name: &str, value: &Value) -> Result<ScoredInput, ApiError> {
    match value {
        Value::String(text) => Ok(ScoredInput::Text(text.clone())),
        Value::Object(object) => input_of_object(name, object),
        Value::Array(list) => match list.as_slice() {
            [Value::String(first), Value::String(second)] => Ok(ScoredInput::Pair([first.clone(), second.clone()])),
            _ => Err(unexpected_value(name, "an array of two strings", value)),
        },
        other => Err(unexpected_value(name, FORM, other)),
    }
}

fn input_of_object(name: &str, object: &JsonObject) -> Result<ScoredInput, ApiError> {
    let fields = Fields::new([Some(object)]);
    let text = |key: &str| match fields.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(unexpected_value(&format!("{name}.{key}"), "a string", other)),
    };
    let first = text("text")?.ok_or_else(|| missing_field(&format!("{name}.text"), "a string"))?;
    Ok(match text("text_pair")? {
        Some(second) => ScoredInput::Pair([first, second]),
        None => ScoredInput::Text(first),
    })
}

/// Reads the function of the scores. The default is that of the pipeline.
///
/// # Errors
/// 400 if it is another one.
pub(super) fn classification_function(options: &Fields<'_>) -> Result<ScoreFunction, ApiError> {
    const KEY: &str = "function_to_apply";
    match options.name(KEY)? {
        None => Ok(ScoreFunction::OfProblemType),
        Some("sigmoid") => Ok(ScoreFunction::Sigmoid),
        Some("softmax") => Ok(ScoreFunction::Softmax),
        Some("none") => Ok(ScoreFunction::Identity),
        Some(other) => Err(unexpected_value(KEY, "\"sigmoid\", \"softmax\" or \"none\"", &json!(other))),
    }
}
