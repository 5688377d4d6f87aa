//! `/rerank`, in the two dialects that share the path.
//!
//! text-embeddings-inference takes `texts` and answers with a list of scores. Cohere, Jina, vLLM
//! and Infinity take `documents` and answer with an object, whose `results` have a
//! `relevance_score`. Either way the best text is first, and a score is σ of the number that the
//! model computes, or with `raw_scores` the number itself: clients expect 0 to 1, whatever
//! activation the model's files name.
//!
//! A late-interaction model ranks too. Its score is MaxSim in every case, with and without
//! `raw_scores`: σ of a sum of cosines would be nearly 1 for every text.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::fields::{Fields, JsonObject, each, missing_field, strings, unexpected_value};
use super::json_body::JsonBody;
use super::known_keys::KnownKeys;
use super::options::request_options;
use super::response::inference_response;
use super::scores::{ranked, ranked_texts};
use super::state::ApiState;
use super::tei::{Target, option_fields};
use crate::cross_encoder::ScoreFunction;
use crate::server::inference::request::{ScoredInputs, ScoringJob};

/// The response to `documents`: what the clients of Cohere, Jina, vLLM and Infinity read.
#[derive(Serialize)]
struct RerankResponse<'a> {
    object: &'static str,
    model: &'a str,
    results: Vec<RerankResult<'a>>,
    usage: Usage,
    meta: Value,
}

#[derive(Serialize)]
struct RerankResult<'a> {
    index: usize,
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<&'a Value>,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// POST `/rerank`: the dialect of the body.
pub(in crate::server) async fn rerank(
    State(state): State<Arc<ApiState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    if has_documents(&body.root) {
        rerank_documents(&state, body, None).await
    } else {
        rerank_texts(&state, body).await
    }
}

/// POST `/v1/rerank` and `/v2/rerank`: the dialect of Cohere only, which also takes `texts`.
pub(in crate::server) async fn rerank_as_cohere(
    State(state): State<Arc<ApiState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    rerank_documents(&state, body, None).await
}

/// Whether a body is in the dialect of Cohere.
pub(super) fn has_documents(root: &JsonObject) -> bool {
    root.get("documents").is_some_and(|documents| !documents.is_null())
}

/// Returns the function of a ranking's scores.
pub(super) fn ranking_function(raw_scores: Option<bool>) -> ScoreFunction {
    if raw_scores.unwrap_or(false) { ScoreFunction::Identity } else { ScoreFunction::Sigmoid }
}

/// Reads a query and the texts to rank.
///
/// # Errors
/// 400 if one is missing or has another type.
pub(super) fn ranking_inputs(fields: &Fields<'_>, prefix: &str) -> Result<ScoredInputs, ApiError> {
    let name = format!("{prefix}texts");
    let texts = match fields.get("texts") {
        Some(Value::Array(list)) => strings(&name, list)?,
        Some(other) => return Err(unexpected_value(&name, "an array of strings", other)),
        None => return Err(missing_field(&name, "an array of strings")),
    };
    Ok(ScoredInputs::Ranking { query: query(fields, prefix)?, texts })
}

fn query(fields: &Fields<'_>, prefix: &str) -> Result<String, ApiError> {
    let name = format!("{prefix}query");
    match fields.get("query") {
        Some(Value::String(query)) => Ok(query.clone()),
        Some(other) => Err(unexpected_value(&name, "a string", other)),
        None => Err(missing_field(&name, "a string")),
    }
}

/// The dialect of text-embeddings-inference.
async fn rerank_texts(state: &ApiState, body: JsonBody) -> Result<Response, ApiError> {
    body.report_unused_keys(&KnownKeys::TEI_RERANK);
    let inputs = ranking_inputs(&Fields::new([Some(&body.root)]), "")?;
    let options = option_fields(&body)?;
    let function = ranking_function(options.bool("raw_scores")?);
    let return_text = options.bool("return_text")?.unwrap_or(false);
    let job = Arc::new(ScoringJob { inputs, function, encode: options.encode_options()? });
    let target = Target::parse(&body)?;
    drop(body);
    let response = state.inference.infer(target.model.as_deref(), job.clone(), target.options).await;
    let response = response.map_err(ApiError::of_tei)?;
    let ranking = ranked_texts(&response.result.rows, return_text.then_some(&job));
    Ok(inference_response(&response, &ranking)?)
}

/// The dialect of Cohere. `model` is the one of the path, if that has one.
pub(super) async fn rerank_documents(
    state: &ApiState,
    body: JsonBody,
    model: Option<String>,
) -> Result<Response, ApiError> {
    body.report_unused_keys(&KnownKeys::RERANK);
    let fields = Fields::new([Some(&body.root)]);
    let top_n = fields.count("top_n")?.filter(|&count| count > 0).unwrap_or(usize::MAX);
    let Documents { texts, returned } = Documents::read(&fields)?;
    let inputs = ScoredInputs::Ranking { query: query(&fields, "")?, texts };
    let function = ranking_function(fields.bool("raw_scores")?);
    let job = ScoringJob { inputs, function, encode: fields.encode_options()? };
    let options = request_options(&body.headers, &fields)?;
    let model = model.or(fields.name("model")?.map(str::to_owned));
    drop(body);
    let response = state.inference.infer(model.as_deref(), job, options).await?;
    let tokens = response.stats.tokens;
    let result = |(index, relevance_score)| RerankResult {
        index,
        relevance_score,
        document: returned.as_ref().map(|documents| &documents[index]),
    };
    let list = RerankResponse {
        object: "list",
        model: &response.model.name,
        results: ranked(&response.result.rows).into_iter().take(top_n).map(result).collect(),
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
        meta: json!({ "api_version": { "version": "2" }, "tokens": { "input_tokens": tokens } }),
    };
    Ok(inference_response(&response, &list)?)
}

/// The documents of a request.
struct Documents {
    /// What the model reads.
    texts: Vec<String>,
    /// The documents as objects, if the response contains them.
    returned: Option<Vec<Value>>,
}

impl Documents {
    fn read(fields: &Fields<'_>) -> Result<Self, ApiError> {
        const WHAT: &str = "an array of strings, or of objects with `text`";
        let name = if fields.get("documents").is_some() { "documents" } else { "texts" };
        let list = match fields.get(name) {
            Some(Value::Array(list)) => list,
            Some(other) => return Err(unexpected_value(name, WHAT, other)),
            None => return Err(missing_field("documents", WHAT)),
        };
        let rank_fields = match fields.get("rank_fields") {
            None => vec!["text".to_owned()],
            Some(Value::Array(keys)) => strings("rank_fields", keys)?,
            Some(other) => return Err(unexpected_value("rank_fields", "an array of strings", other)),
        };
        let texts = each(name, list, |name, document| match document {
            Value::String(text) => Ok(text.clone()),
            Value::Object(object) => text_of_object(name, object, &rank_fields),
            other => Err(unexpected_value(name, "a string or an object with `text`", other)),
        })?;
        let as_object = |document: &Value| match document {
            Value::String(text) => json!({ "text": text }),
            other => other.clone(),
        };
        let returned = fields.bool("return_documents")?.unwrap_or(false);
        Ok(Self { texts, returned: returned.then(|| list.iter().map(as_object).collect()) })
    }
}

/// Returns the text of a document that is an object: the value of a single key, or otherwise a line
/// `key: value` for each key that it has.
fn text_of_object(name: &str, object: &JsonObject, rank_fields: &[String]) -> Result<String, ApiError> {
    let mut lines = Vec::new();
    for key in rank_fields {
        match object.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if rank_fields.len() == 1 => return Ok(text.clone()),
            Some(Value::String(text)) => lines.push(format!("{key}: {text}")),
            Some(other) if key == "text" => return Err(unexpected_value(&format!("{name}.{key}"), "a string", other)),
            Some(_) => {
                return Err(ApiError::unprocessable(format!(
                    "`{name}.{key}`: expected a string, as `rank_fields` names it"
                )));
            }
        }
    }
    if lines.is_empty() {
        if rank_fields == ["text"] {
            return Err(missing_field(&format!("{name}.text"), "a string"));
        }
        let keys = rank_fields.join(", ");
        return Err(ApiError::unprocessable(format!("`{name}`: expected a text under one of the keys: {keys}")));
    }
    Ok(lines.join("\n"))
}
