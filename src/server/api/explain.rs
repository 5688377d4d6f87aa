//! `/explain`: which tokens of two texts carry their score.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::error::ApiError;
use super::fields::string_or_strings;
use super::json_body::JsonBody;
use super::known_keys::KnownKeys;
use super::response::json_text_response;
use super::state::ApiState;
use super::tei::{Target, option_fields};
use crate::error::Error;
use crate::explanation::{AttentionLayers, Explanation};
use crate::server::inference::blocking::Cancelled;
use crate::server::inference::engine::AnyEngine;
use crate::server::inference::job::check_tokenizing_memory;

/// The most tokens of both texts together. A response has a number for each pair of tokens.
const MAX_TOKENS: usize = 512;

/// POST `/explain`: the score of two texts, and what each pair of tokens contributes to it.
pub(in crate::server) async fn explain(
    State(state): State<Arc<ApiState>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    body.report_unused_keys(&KnownKeys::EXPLAIN);
    let layer = option_fields(&body)?.count("layer")?;
    let texts = string_or_strings("inputs", body.root.get("inputs"))?;
    let [first, second] = <[String; 2]>::try_from(texts).map_err(|texts: Vec<String>| {
        ApiError::unprocessable(format!("`inputs`: expected two texts, found {}", texts.len()))
    })?;
    let target = Target::parse(&body)?;
    drop(body);
    let inference = &state.inference;
    let model = inference.models().get(target.model.as_deref(), target.options.wait_for_model).await?;
    let _admission = inference.admit()?;
    let limits = *inference.limits();
    let work = move |cancelled: &Cancelled| {
        let tokenizer = model.engine.tokenizer();
        let mut tokens = 0;
        for (i, text) in [&first, &second].into_iter().enumerate() {
            check_tokenizing_memory(tokenizer, &limits, || format!("text {i}"), text)?;
            tokens += tokenizer.tokenize(text)?.ids.len();
            cancelled.check()?;
        }
        if tokens > MAX_TOKENS {
            return Err(ApiError::unprocessable(format!(
                "`inputs`: expected at most {MAX_TOKENS} tokens in both texts together, found {tokens}; shorten them"
            )));
        }
        let layers = layer.map_or(AttentionLayers::None, AttentionLayers::One);
        let explanation = run(&model.engine, &first, &second, layers)?;
        let count = explanation.layers;
        if let Some(layer) = layer.filter(|&layer| layer >= count) {
            let expected = if count == 0 { "none for this model".to_owned() } else { format!("0 to {}", count - 1) };
            return Err(ApiError::unprocessable(format!("`layer`: expected {expected}, found {layer}")));
        }
        check_size(&explanation, limits.max_response_floats)?;
        Ok::<_, ApiError>(explanation.to_json())
    };
    Ok(json_text_response(inference.blocking().run(work).await?))
}

/// Explains the score by a model of any kind.
fn run(engine: &AnyEngine, a: &str, b: &str, layers: AttentionLayers) -> Result<Explanation, ApiError> {
    let explanation = match engine {
        AnyEngine::Embedder(engine) => engine.model.explain_with_attention(a, b, layers),
        AnyEngine::SparseEncoder(engine) => engine.model.explain_with_attention(a, b, layers),
        AnyEngine::MultiVectorEncoder(engine) => engine.model.explain_with_attention(a, b, layers),
        AnyEngine::CrossEncoder(_) => {
            return Err(ApiError::unprocessable(
                "this model is a cross-encoder: it reads both texts at once, so its score is no sum over pairs of tokens",
            ));
        }
    };
    explanation.map_err(|error| match error {
        // The model's similarity function is a distance.
        Error::Config { expected, found, .. } => {
            ApiError::unprocessable(format!("this model's similarity: expected {expected}, found {found}"))
        }
        error => ApiError::from(error),
    })
}

/// Rejects a response with too many numbers.
fn check_size(explanation: &Explanation, limit: usize) -> Result<(), ApiError> {
    let attention = explanation
        .texts
        .iter()
        .flat_map(|text| text.attention.iter().map(|layer| layer.heads() * text.tokens.len() * text.tokens.len()));
    let floats = explanation.pairs.len() + explanation.terms.len() * 3 + attention.sum::<usize>();
    if floats <= limit {
        return Ok(());
    }
    Err(ApiError::unprocessable(format!(
        "response would contain {floats} floats; the limit is {limit} (--max-response-floats)"
    )))
}
