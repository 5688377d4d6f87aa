//! OpenAI's API for embeddings.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::error::{ApiError, unknown_token_id};
use super::fields::{Fields, JsonObject, is_flat, text_inputs, unexpected_value};
use super::json_body::JsonBody;
use super::known_keys::KnownKeys;
use super::model_path::ModelPath;
use super::options::request_options;
use super::response::{inference_response, json_response};
use super::state::ApiState;
use super::tei::check_prompt;
use crate::embedder::{EncodeOptions, TextInput};
use crate::model_info::ModelOutput;
use crate::server::inference::error::InferenceError;
use crate::server::inference::models::{ModelState, ServedModel};
use crate::server::inference::request::{EmbeddingJob, OutputKind};
use crate::tokenizer::TruncationSide;

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

/// POST `/v1/embeddings`: an embedding of each text, of length 1 unless `normalize` is false.
pub(in crate::server) async fn embeddings(
    State(state): State<Arc<ApiState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    body.report_unused_keys(&KnownKeys::OPENAI);
    let fields = Fields::new([Some(&body.root)]);
    let format = match fields.get("encoding_format") {
        None => Embedding::Floats,
        Some(Value::String(format)) if format == "float" => Embedding::Floats,
        Some(Value::String(format)) if format == "base64" => Embedding::Base64,
        Some(other) => return Err(unexpected_value("encoding_format", "\"float\" or \"base64\"", other)),
    };
    let is_flat = is_flat(fields.get("input"));
    let inputs = text_inputs("input", fields.get("input"))?;
    if !state.openai_token_ids {
        reject_token_ids(&inputs, is_flat)?;
    }
    let normalize = Some(fields.bool("normalize")?.unwrap_or(true));
    let output = OutputKind::Embeddings { normalize, dimensions: fields.size("dimensions")? };
    let job = EmbeddingJob { inputs, output, encode: encode_options(&fields)? };
    check_prompt(&job.inputs, &job.encode)?;
    let options = request_options(&body.headers, &fields)?;
    let model = fields.name("model")?.map(str::to_owned);
    drop(body);
    let response = state.inference.infer(model.as_deref(), job, options).await;
    let response = response.map_err(|error| match error {
        InferenceError::UnknownTokenId(unknown) => unknown_token_id("input", is_flat, unknown),
        error => ApiError::from(error),
    })?;
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

/// Rejects token ids: clients send those of OpenAI's tokenizers, which mean other tokens to this
/// model.
fn reject_token_ids(inputs: &[TextInput], is_flat: bool) -> Result<(), ApiError> {
    let Some(text) = inputs.iter().position(|input| matches!(input, TextInput::Ids(_))) else { return Ok(()) };
    let name = if is_flat { "input".to_owned() } else { format!("input[{text}]") };
    Err(ApiError::bad_request(format!(
        "`{name}`: expected a text, found token ids, probably of another model's tokenizer; send texts (in LangChain: \
         OpenAIEmbeddings(check_embedding_ctx_length=False)), or start the server with --openai-token-ids if they are \
         this model's own ids"
    )))
}

/// Reads the options for tokenization. `truncate` may also be one of the words that other embedding
/// services have for it.
fn encode_options(fields: &Fields<'_>) -> Result<EncodeOptions, ApiError> {
    let (truncate, side) = match fields.get("truncate") {
        Some(Value::String(word)) => match word.to_ascii_lowercase().as_str() {
            "none" => (false, None),
            "start" => (true, Some(TruncationSide::Left)),
            "end" => (true, Some(TruncationSide::Right)),
            _ => return Err(unexpected_value("truncate", "true, false, \"none\", \"start\" or \"end\"", &json!(word))),
        },
        _ => return fields.encode_options(),
    };
    let options = fields.encode_options_without_truncate()?;
    Ok(EncodeOptions { truncate: Some(truncate), truncation_side: options.truncation_side.or(side), ..options })
}

/// GET `/v1/models`: all models, with the configuration of those that are ready, then the aliases.
pub(in crate::server) async fn models(State(state): State<Arc<ApiState>>) -> Result<Response, ApiError> {
    let models = state.inference.models();
    let aliases = models.aliases().filter_map(|(alias, name)| {
        let mut object = models.states().find(|(other, _)| *other == name).map(|model| model_object(&state, model))?;
        object["id"] = json!(alias);
        object["alias_of"] = json!(name);
        Some(object)
    });
    let data: Vec<Value> = models.states().map(|model| model_object(&state, model)).chain(aliases).collect();
    Ok(json_response(&json!({ "object": "list", "data": data }))?)
}

/// GET `/v1/models/{id}`: one model. Its `id` is the one of the request if that is an alias.
pub(in crate::server) async fn model(
    State(state): State<Arc<ApiState>>,
    path: ModelPath,
) -> Result<Response, ApiError> {
    let id = path.id().unwrap_or_default();
    let models = state.inference.models();
    let name = models.resolve_name(&id)?;
    let found = models.states().find(|(other, _)| *other == name);
    let mut object = found.map(|model| model_object(&state, model)).unwrap_or_default();
    if models.aliases().any(|(alias, _)| alias == id) {
        object["id"] = json!(id);
        object["alias_of"] = json!(name);
    }
    Ok(json_response(&object)?)
}

/// A model in OpenAI's format.
fn model_object(state: &ApiState, (name, model): (&str, ModelState)) -> Value {
    let created = state.started.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut object = json!({
        "id": name, "object": "model", "created": created, "owned_by": "likewise", "state": model.name(),
    });
    if let ModelState::Failed(reason) = &model {
        object["error"] = json!(reason.client);
    }
    if let Some((served, object)) = model.loaded().zip(object.as_object_mut()) {
        object.extend(configuration(served));
    }
    object
}

/// How a model is built and computed.
fn configuration(model: &ServedModel) -> JsonObject {
    let info = model.engine.info();
    let b = &info.architecture;
    let prompts: Vec<&String> = info.prompts.keys().collect();
    let fields = json!({
        "architecture": b.family.to_string(), "layers": b.layers, "heads": b.heads,
        "width": b.hidden_size, "vocabulary": b.vocabulary_size, "parameters": info.parameters,
        "max_length": info.max_length, "modules": info.modules,
        "precision": info.precision.name(), "weights": info.dtype, "simd": info.level.to_string(),
        "threads": info.threads, "prompts": prompts, "prompt": info.prompt,
        "kind": info.output.kind_name(),
    });
    let of_kind = match &info.output {
        ModelOutput::Vector { width, similarity, .. } => json!({
            "dimensions": width, "similarity": similarity.to_string(),
        }),
        ModelOutput::TokenVectors { width, similarity, max_query_length, expanded_query_length, query_prompt } => {
            json!({
                "dimensions": width, "similarity": similarity.to_string(), "max_query_length": max_query_length,
                "expanded_query_length": expanded_query_length, "query_prompt": query_prompt,
            })
        }
        ModelOutput::Scores { labels, activation } => json!({ "labels": labels, "activation": activation }),
        ModelOutput::SparseVector { width, similarity, max_active_dims } => json!({
            "dimensions": width, "similarity": similarity.to_string(), "max_active_dims": max_active_dims,
        }),
    };
    let objects = [fields, of_kind].into_iter().filter_map(|fields| match fields {
        Value::Object(fields) => Some(fields),
        _ => None,
    });
    objects.flatten().collect()
}
