//! OpenAI's API for embeddings.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::error::ApiError;
use super::fields::{Fields, JsonObject, text_inputs, unexpected_value};
use super::json_body::JsonBody;
use super::options::request_options;
use super::response::{inference_response, json_response};
use super::state::ApiState;
use crate::embedder::{EncodeOptions, ModelInfo};
use crate::server::inference::models::ModelState;
use crate::server::inference::request::{InferenceRequest, OutputKind};

/// The response of `/v1/embeddings`.
#[derive(Serialize)]
struct EmbeddingList<'a> {
    object: &'static str,
    data: Vec<EmbeddingObject<'a>>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct EmbeddingObject<'a> {
    object: &'static str,
    index: usize,
    embedding: Embedding<'a>,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// An embedding in one of the two formats.
#[derive(Clone, Copy)]
enum Embedding<'a> {
    Floats(&'a [f32]),
    /// The little-endian bytes of the floats.
    Base64(&'a [f32]),
}

impl Serialize for Embedding<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Floats(floats) => floats.serialize(serializer),
            Self::Base64(floats) => {
                let bytes: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
                serializer.serialize_str(&STANDARD.encode(bytes))
            }
        }
    }
}

/// POST `/v1/embeddings`: an embedding of length 1 for each text.
pub(in crate::server) async fn embeddings(
    State(state): State<Arc<ApiState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let fields = Fields::new([Some(&body.root)]);
    let format = match fields.get("encoding_format") {
        None => Embedding::Floats,
        Some(Value::String(format)) if format == "float" => Embedding::Floats,
        Some(Value::String(format)) if format == "base64" => Embedding::Base64,
        Some(other) => return Err(unexpected_value("encoding_format", "\"float\" or \"base64\"", other)),
    };
    let inputs = text_inputs("input", fields.get("input"))?;
    let output = OutputKind::Embeddings { normalize: Some(true), dimensions: fields.size("dimensions")? };
    let request = InferenceRequest { inputs, output, encode: EncodeOptions::default() };
    let options = request_options(&body.headers, &fields)?;
    let model = fields.string("model")?.map(str::to_owned);
    drop(body);
    let response = state.inference.infer(model.as_deref(), request, options).await?;
    let tokens = response.stats.tokens;
    let object = |(index, row)| EmbeddingObject { object: "embedding", index, embedding: format(row) };
    let list = EmbeddingList {
        object: "list",
        data: response.result.rows.iter().map(Vec::as_slice).enumerate().map(object).collect(),
        model: &response.model.name,
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    };
    Ok(inference_response(&response, &list)?)
}

/// GET `/v1/models`: all models, with the configuration of those that are ready.
pub(in crate::server) async fn models(State(state): State<Arc<ApiState>>) -> Result<Response, ApiError> {
    let created = state.started.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let object = |(name, state): (&str, ModelState)| {
        let mut model = json!({
            "id": name, "object": "model", "created": created, "owned_by": "likewise", "state": state.name(),
        });
        if let ModelState::Failed(reason) = &state {
            model["error"] = json!(reason);
        }
        if let Some((served, object)) = state.loaded().zip(model.as_object_mut()) {
            object.extend(configuration(&served.info));
        }
        model
    };
    let data: Vec<Value> = state.inference.models().states().map(object).collect();
    Ok(json_response(&json!({ "object": "list", "data": data }))?)
}

/// How a model is built and computed.
fn configuration(info: &ModelInfo) -> JsonObject {
    let b = &info.architecture;
    let prompts: Vec<&String> = info.prompts.keys().collect();
    let fields = json!({
        "architecture": b.family.to_string(), "layers": b.layers, "heads": b.heads, "width": b.hidden_size,
        "dimensions": info.width, "vocabulary": b.vocabulary_size, "parameters": info.parameters,
        "max_length": info.max_length, "modules": info.modules, "similarity": info.similarity.to_string(),
        "precision": info.precision.name(), "weights": info.dtype, "simd": info.level.to_string(),
        "threads": info.threads, "prompts": prompts, "prompt": info.prompt,
    });
    match fields {
        Value::Object(fields) => fields,
        _ => JsonObject::new(),
    }
}
