//! OpenAI's API for embeddings.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::app::App;
use super::ask::{self, Ask, Manner, Want, array, list};
use super::error::ApiError;
use super::fields::{Fields, expected, inputs};
use super::models;
use super::reply;
use super::request::Posted;
use crate::embedder::EncodeOptions;

/// POST `/v1/embeddings`: a vector of length 1 for each text.
pub(super) async fn embeddings(State(app): State<Arc<App>>, posted: Posted) -> Result<Response, ApiError> {
    let fields = Fields::of([Some(&posted.root)]);
    let base64 = match fields.find("encoding_format") {
        None => false,
        Some(Value::String(format)) if format == "float" => false,
        Some(Value::String(format)) if format == "base64" => true,
        Some(other) => return Err(expected("encoding_format", "\"float\" or \"base64\"", other)),
    };
    let inputs = inputs("input", fields.find("input"))?;
    let want = Want::Vectors { length_one: Some(true), dimensions: fields.size("dimensions")? };
    let ask = Ask { inputs, want, reading: EncodeOptions::default() };
    let (manner, model) = (Manner::of(&posted.headers, &fields)?, fields.text("model")?.map(str::to_owned));
    drop(posted);
    let answer = ask::answer(&app, model.as_deref(), ask, manner).await?;
    let embedding = |(index, row): (usize, &Vec<f32>)| {
        let embedding = match base64 {
            true => {
                let bytes: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).collect();
                format!("\"{}\"", STANDARD.encode(bytes))
            }
            false => array(row),
        };
        format!(r#"{{"object":"embedding","index":{index},"embedding":{embedding}}}"#)
    };
    Ok(answer.respond(|answer| {
        let data = list(answer.computed.rows.iter().enumerate().map(embedding));
        let (model, tokens) = (json!(answer.served.name), answer.tokens());
        let usage = format!(r#"{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}"#);
        format!(r#"{{"object":"list","data":{data},"model":{model},"usage":{usage}}}"#)
    }))
}

/// GET `/v1/models`: all models, and how those that are ready compute.
pub(super) async fn models(State(app): State<Arc<App>>) -> Response {
    let created = app.begun.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let model = |(name, state): (&str, models::State)| {
        let mut model = json!({
            "id": name, "object": "model", "created": created, "owned_by": "likewise", "state": state.name(),
        });
        if let models::State::Failed(why) = &state {
            model["error"] = json!(why);
        }
        if let Some((served, told)) = state.ready().zip(model.as_object_mut()) {
            told.extend(details(&served.info));
        }
        model
    };
    let data: Vec<Value> = app.models.states().map(model).collect();
    reply(&json!({ "object": "list", "data": data }))
}

fn details(info: &crate::embedder::ModelInfo) -> super::fields::Object {
    let b = &info.architecture;
    let prompts: Vec<&String> = info.prompts.keys().collect();
    let details = json!({
        "architecture": b.family.to_string(), "layers": b.layers, "heads": b.heads, "width": b.hidden_size,
        "dimensions": info.width, "vocabulary": b.vocabulary_size, "parameters": info.parameters,
        "max_length": info.max_length, "modules": info.modules, "similarity": info.similarity.to_string(),
        "precision": info.precision.name(), "weights": info.dtype, "instructions": info.level.to_string(), "threads": info.threads,
        "prompts": prompts, "prompt": info.prompt,
    });
    match details {
        Value::Object(details) => details,
        _ => super::fields::Object::new(),
    }
}
