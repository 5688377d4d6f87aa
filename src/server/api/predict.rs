//! Labels of texts and pairs: `/predict` of text-embeddings-inference, and pairs of texts as
//! SageMaker's clients send them to `/invocations`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::error::ApiError;
use super::fields::{each, missing_field, unexpected_value};
use super::json_body::JsonBody;
use super::known_keys::KnownKeys;
use super::response::inference_response;
use super::scores::ranked_labels;
use super::state::ApiState;
use super::tei::{Target, option_fields};
use crate::cross_encoder::ScoreFunction;
use crate::server::inference::request::{ScoredInput, ScoredInputs, ScoringJob};

/// The forms of `inputs`.
const FORMS: &str = "a string, an array of one or two strings, or an array of such arrays";

/// POST `/predict`: the labels of each text or pair, best first.
pub(in crate::server) async fn predict(
    State(state): State<Arc<ApiState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    body.report_unused_keys(&KnownKeys::TEI_PREDICT);
    let (inputs, is_batch) = inputs(body.root.get("inputs"))?;
    let options = option_fields(&body)?;
    let raw = options.bool("raw_scores")?.unwrap_or(false);
    let function = if raw { ScoreFunction::Identity } else { ScoreFunction::Probabilities };
    let job = ScoringJob { inputs: ScoredInputs::Each(inputs), function, encode: options.encode_options()? };
    let target = Target::parse(&body)?;
    drop(body);
    let response = state.inference.infer(target.model.as_deref(), job, target.options).await;
    let response = response.map_err(ApiError::of_tei)?;
    let labels = response.labels()?;
    let mut lists: Vec<_> = response.result.rows.iter().map(|row| ranked_labels(labels, row, usize::MAX)).collect();
    let http = if is_batch {
        inference_response(&response, &lists)
    } else {
        inference_response(&response, &lists.swap_remove(0))
    };
    Ok(http?)
}

/// POST `/invocations` with `text_pairs`: the score of each pair, in their order.
pub(super) async fn score_pairs(state: &ApiState, body: JsonBody) -> Result<Response, ApiError> {
    const NAME: &str = "text_pairs";
    body.report_unused_keys(&KnownKeys::TEXT_PAIRS);
    let pair = |name: &str, value: &Value| match value.as_array().and_then(|list| texts(list)) {
        Some(ScoredInput::Pair(pair)) => Ok(ScoredInput::Pair(pair)),
        _ => Err(unexpected_value(name, "an array of two strings", value)),
    };
    let inputs = match body.root.get(NAME) {
        Some(Value::Array(list)) => each(NAME, list, pair)?,
        Some(other) => return Err(unexpected_value(NAME, "an array of pairs of strings", other)),
        None => return Err(missing_field(NAME, "an array of pairs of strings")),
    };
    let encode = option_fields(&body)?.encode_options()?;
    let job = ScoringJob { inputs: ScoredInputs::Each(inputs), function: ScoreFunction::Probabilities, encode };
    let target = Target::parse(&body)?;
    drop(body);
    let response = state.inference.infer(target.model.as_deref(), job, target.options).await?;
    let rows = &response.result.rows;
    let is_single = response.labels()?.len() == 1;
    let scores: Value = if is_single { rows.iter().map(|row| row[0]).collect() } else { json!(rows) };
    Ok(inference_response(&response, &json!({ "scores": scores }))?)
}

/// Reads the inputs, and whether they are a batch: `["a", "b"]` is one pair.
fn inputs(value: Option<&Value>) -> Result<(Vec<ScoredInput>, bool), ApiError> {
    const NAME: &str = "inputs";
    match value {
        None | Some(Value::Null) => Err(missing_field(NAME, FORMS)),
        Some(Value::String(text)) => Ok((vec![ScoredInput::Text(text.clone())], false)),
        Some(value @ Value::Array(list)) if list.iter().any(Value::is_string) => match texts(list) {
            Some(input) => Ok((vec![input], false)),
            None => Err(unexpected_value(NAME, FORMS, value)),
        },
        Some(Value::Array(list)) => {
            let input = |name: &str, value: &Value| {
                let input = value.as_array().and_then(|list| texts(list));
                input.ok_or_else(|| unexpected_value(name, "an array of one or two strings", value))
            };
            Ok((each(NAME, list, input)?, true))
        }
        Some(other) => Err(unexpected_value(NAME, FORMS, other)),
    }
}

/// Reads an array of one or two strings.
fn texts(list: &[Value]) -> Option<ScoredInput> {
    match list {
        [Value::String(text)] => Some(ScoredInput::Text(text.clone())),
        [Value::String(first), Value::String(second)] => Some(ScoredInput::Pair([first.clone(), second.clone()])),
        _ => None,
    }
}
