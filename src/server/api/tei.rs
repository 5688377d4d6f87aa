//! The routes of text-embeddings-inference. All accept a `model` in addition, for servers with
//! several models.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use likewise_kernels::quant::Precision;
use serde::Serialize;
use serde_json::{Value, json};

use super::error::{ApiError, unknown_token_id};
use super::fields::{Fields, JsonObject, id_lists, is_flat, string_or_strings, text_inputs};
use super::json_body::JsonBody;
use super::known_keys::KnownKeys;
use super::options::request_options;
use super::response::{inference_response, json_response, json_text_response, to_json};
use super::similarity::{similarity_fields, similarity_inputs};
use super::state::ApiState;
use crate::embedder::{EncodeOptions, TextInput};
use crate::model_info::{ModelInfo, ModelOutput};
use crate::modules::PoolingMode;
use crate::server::inference::blocking::Cancelled;
use crate::server::inference::embedding::check_token_ids;
use crate::server::inference::error::InferenceError;
use crate::server::inference::job::check_tokenizing_memory;
use crate::server::inference::request::{EmbeddingJob, InferenceResponse, OutputKind, RequestOptions};
use crate::tokenizer::TokenSpan;

/// The JSON of a token takes about as many bytes as this many floats.
const FLOATS_PER_TOKEN: usize = 10;

/// The model and the options of a request.
pub(super) struct Target {
    pub(super) model: Option<String>,
    pub(super) options: RequestOptions,
}

impl Target {
    pub(super) fn parse(body: &JsonBody) -> Result<Self, ApiError> {
        let options = request_options(&body.headers, &Fields::in_body(&body.root, &["parameters", "options"])?)?;
        let model = Fields::new([Some(&body.root)]).name("model")?.map(str::to_owned);
        Ok(Self { model, options })
    }
}

/// The objects that may contain the options of a request. text-embeddings-inference has them at the
/// root, the Inference API also in `parameters`.
pub(super) fn option_fields(body: &JsonBody) -> Result<Fields<'_>, ApiError> {
    Fields::in_body(&body.root, &["parameters"])
}

/// POST `/similarity`: the score of each sentence. A late-interaction model takes the source for
/// the query, and scores by MaxSim.
pub(in crate::server) async fn similarity(
    State(state): State<Arc<ApiState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    body.report_unused_keys(&KnownKeys::TEI_SIMILARITY);
    let options = option_fields(&body)?;
    let inputs = similarity_inputs(&similarity_fields(&body.root))?;
    let job = EmbeddingJob { inputs, output: OutputKind::Scores, encode: options.encode_options()? };
    let target = Target::parse(&body)?;
    drop(body);
    let response = state.inference.infer(target.model.as_deref(), job, target.options).await;
    let response = response.map_err(ApiError::of_tei)?;
    Ok(inference_response(&response, &response.result.rows[0])?)
}

/// POST `/embed`: an embedding of each text, of length 1 unless `normalize` is false.
pub(in crate::server) async fn embed(State(state): State<Arc<ApiState>>, body: JsonBody) -> Result<Response, ApiError> {
    body.report_unused_keys(&KnownKeys::TEI_EMBED);
    let fields = option_fields(&body)?;
    let normalize = Some(fields.bool("normalize")?.unwrap_or(true));
    let output = OutputKind::Embeddings { normalize, dimensions: fields.size("dimensions")? };
    let response = infer(&state, body, output).await?;
    Ok(inference_response(&response, &response.result.rows)?)
}

/// POST `/embed_all`: an embedding of each token of each text, of a late-interaction model of each
/// token that it scores.
pub(in crate::server) async fn embed_all(
    State(state): State<Arc<ApiState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    body.report_unused_keys(&KnownKeys::TEI_EMBED_ALL);
    let response = infer(&state, body, OutputKind::TokenEmbeddings).await?;
    let width = response.model.token_width()?;
    let texts: Vec<Vec<&[f32]>> = response.result.rows.iter().map(|row| row.chunks_exact(width).collect()).collect();
    Ok(inference_response(&response, &texts)?)
}

async fn infer(state: &ApiState, body: JsonBody, output: OutputKind) -> Result<InferenceResponse, ApiError> {
    let value = body.root.get("inputs");
    let is_flat = is_flat(value);
    let inputs = text_inputs("inputs", value)?;
    let encode = option_fields(&body)?.encode_options()?;
    check_prompt(&inputs, &encode)?;
    let job = EmbeddingJob { inputs, output, encode };
    let target = Target::parse(&body)?;
    drop(body);
    let response = state.inference.infer(target.model.as_deref(), job, target.options).await;
    response.map_err(|error| error_of_inputs(error, is_flat))
}

/// Returns the error of a request whose `inputs` may be token ids. They are flat if they are the
/// ids of one text.
pub(super) fn error_of_inputs(error: InferenceError, is_flat: bool) -> ApiError {
    match error {
        InferenceError::UnknownTokenId(unknown) => unknown_token_id("inputs", is_flat, unknown),
        error => ApiError::of_tei(error),
    }
}

/// Rejects a prompt before token ids.
pub(super) fn check_prompt(inputs: &[TextInput], encode: &EncodeOptions) -> Result<(), ApiError> {
    let has_ids = inputs.iter().any(|input| matches!(input, TextInput::Ids(_)));
    if has_ids && encode.prompt_name.is_some() {
        return Err(ApiError::unprocessable(
            "`prompt_name`: a prompt cannot be prepended to token ids; send texts, or ids that include it",
        ));
    }
    Ok(())
}

/// A token in a response.
#[derive(Serialize)]
struct Token<'a> {
    id: u32,
    text: &'a str,
    special: bool,
    /// In Unicode characters. `None` for a special token.
    start: Option<usize>,
    stop: Option<usize>,
}

impl<'a> From<&'a TokenSpan> for Token<'a> {
    fn from(span: &'a TokenSpan) -> Self {
        let (start, stop) = span.span.unzip();
        Self { id: span.id, text: &span.text, special: start.is_none(), start, stop }
    }
}

/// The response of `/tokenize`, written list by list. The text takes less memory than the tokens.
struct TokenLists {
    json: String,
    limit: usize,
    remaining: usize,
    lists: usize,
    /// Whether the current list is empty.
    is_empty: bool,
}

impl TokenLists {
    /// Starts a response of at most `limit` tokens.
    fn new(limit: usize) -> Self {
        Self { json: "[".to_owned(), limit, remaining: limit, lists: 0, is_empty: true }
    }

    /// Ends the current list and starts the next one.
    fn start_list(&mut self) {
        self.json.push_str(if self.lists > 0 { "],[" } else { "[" });
        self.lists += 1;
        self.is_empty = true;
    }

    /// Adds tokens to the current list.
    fn push(&mut self, spans: &[TokenSpan]) -> Result<(), ApiError> {
        let limit = self.limit;
        self.remaining = self.remaining.checked_sub(spans.len()).ok_or_else(|| {
            ApiError::unprocessable(format!(
                "response would contain more than {limit} tokens, a tenth of --max-response-floats"
            ))
        })?;
        for span in spans {
            if !std::mem::take(&mut self.is_empty) {
                self.json.push(',');
            }
            self.json.push_str(&to_json(&Token::from(span))?);
        }
        Ok(())
    }

    fn finish(mut self) -> String {
        self.json.push_str(if self.lists > 0 { "]]" } else { "]" });
        self.json
    }
}

/// POST `/tokenize`: all tokens of each text, also those beyond the model's maximum length.
pub(in crate::server) async fn tokenize(
    State(state): State<Arc<ApiState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    body.report_unused_keys(&KnownKeys::TEI_TOKENIZE);
    let fields = option_fields(&body)?;
    let texts = string_or_strings("inputs", body.root.get("inputs"))?;
    let add_special_tokens = fields.bool("add_special_tokens")?.unwrap_or(true);
    let prompt = fields.name("prompt_name")?.map(str::to_owned);
    let inference = &state.inference;
    inference.check_text_count(texts.len())?;
    let target = Target::parse(&body)?;
    drop(body);
    let model = inference.models().get(target.model.as_deref(), target.options.wait_for_model).await?;
    let _admission = inference.admit()?;
    let limits = *inference.limits();
    let work = move |cancelled: &Cancelled| {
        let tokenizer = model.engine.tokenizer_of_prompt(prompt.as_deref())?;
        let mut json = TokenLists::new(limits.max_response_floats / FLOATS_PER_TOKEN);
        for (i, text) in texts.iter().enumerate() {
            check_tokenizing_memory(tokenizer, &limits, || format!("text {i}"), text)?;
            json.start_list();
            model.engine.token_spans(text, prompt.as_deref(), add_special_tokens, |spans| {
                cancelled.check()?;
                json.push(&spans)
            })?;
        }
        Ok::<_, ApiError>(json.finish())
    };
    Ok(json_text_response(inference.blocking().run(work).await?))
}

/// POST `/decode`: the text of each list of token ids.
pub(in crate::server) async fn decode(
    State(state): State<Arc<ApiState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    body.report_unused_keys(&KnownKeys::TEI_DECODE);
    let ids = body.root.get("ids");
    let is_flat = is_flat(ids);
    let lists = id_lists("ids", ids)?;
    let skip_special_tokens = option_fields(&body)?.bool("skip_special_tokens")?.unwrap_or(true);
    let inference = &state.inference;
    inference.check_text_count(lists.len())?;
    let target = Target::parse(&body)?;
    drop(body);
    let model = inference.models().get(target.model.as_deref(), target.options.wait_for_model).await?;
    let _admission = inference.admit()?;
    check_token_ids(&model, lists.iter().map(Vec::as_slice)).map_err(|error| match error {
        InferenceError::UnknownTokenId(unknown) => unknown_token_id("ids", is_flat, unknown),
        error => ApiError::from(error),
    })?;
    // Decoding takes about as much memory for an id as tokenizing does for a character.
    let limit = inference.limits().max_unsplit_characters;
    if let Some(i) = lists.iter().position(|list| list.len() > limit) {
        let count = lists[i].len();
        return Err(ApiError::unprocessable(format!(
            "list {i}: contains {count} token ids; the limit is {limit} (--max-unsplit-characters)"
        )));
    }
    let work = move |cancelled: &Cancelled| {
        let text = |ids: &Vec<u32>| {
            cancelled.check()?;
            Ok::<_, ApiError>(model.engine.tokenizer().decode(ids, skip_special_tokens)?)
        };
        let texts = lists.iter().map(text).collect::<Result<Vec<String>, ApiError>>()?;
        Ok::<_, ApiError>(to_json(&texts)?)
    };
    Ok(json_text_response(inference.blocking().run(work).await?))
}

/// GET `/info`: the default model and the limits.
pub(in crate::server) async fn info(State(state): State<Arc<ApiState>>) -> Result<Response, ApiError> {
    model_info(&state, None).await
}

/// The response of `/info` for one model.
pub(super) async fn model_info(state: &ApiState, model: Option<&str>) -> Result<Response, ApiError> {
    let model = state.inference.models().get(model, false).await?;
    let info = model.engine.info();
    let limits = state.inference.limits();
    Ok(json_response(&json!({
        "model_id": model.name,
        "model_sha": null,
        "model_dtype": dtype_name(info.precision),
        "served_model_name": model.name,
        "model_type": model_type(info),
        "max_concurrent_requests": limits.max_concurrent_requests,
        "max_input_length": info.max_length,
        "max_batch_tokens": limits.max_batch_tokens.max(info.max_length),
        "max_batch_requests": null,
        "max_client_batch_size": limits.max_client_batch_size,
        "auto_truncate": model.engine.truncates_by_default(),
        "tokenization_workers": info.threads,
        "version": env!("CARGO_PKG_VERSION"),
        "sha": null,
        "docker_label": null,
    }))?)
}

/// The kind of a model, as text-embeddings-inference writes it.
fn model_type(info: &ModelInfo) -> Value {
    match &info.output {
        ModelOutput::Vector { pooling, .. } => {
            let pooling: Vec<&str> = pooling.iter().map(|&mode| pooling_name(mode)).collect();
            json!({ "embedding": { "pooling": pooling.join("+") } })
        }
        ModelOutput::Scores { labels, .. } => {
            let names: JsonObject =
                labels.iter().enumerate().map(|(id, label)| (id.to_string(), json!(label))).collect();
            let ids: JsonObject = labels.iter().enumerate().map(|(id, label)| (label.clone(), json!(id))).collect();
            let kind = if labels.len() == 1 { "reranker" } else { "classifier" };
            json!({ kind: { "id2label": names, "label2id": ids } })
        }
        ModelOutput::TokenVectors { .. } => json!({ "embedding": { "pooling": "none" } }),
        ModelOutput::SparseVector { .. } => json!({ "embedding": { "pooling": "splade" } }),
    }
}

/// The name of a pooling mode in text-embeddings-inference. Modes that it lacks have the name of
/// sentence-transformers.
fn pooling_name(mode: PoolingMode) -> &'static str {
    if mode == PoolingMode::LastToken { "last_token" } else { mode.name() }
}

/// The name of the type that the linear layers multiply, as PyTorch and text-embeddings-inference
/// write it.
fn dtype_name(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "float32",
        Precision::Bf16 => "bfloat16",
        Precision::Int8 => "int8",
    }
}
