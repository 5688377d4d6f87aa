//! A request to a model, whichever API it arrived by, and its result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::models::ServedModel;
use crate::embedder::{EncodeOptions, TextInput};
use crate::tokenizer::TokenUsage;

/// A request to a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::server) struct InferenceRequest {
    /// The texts. For scores, the first is the source.
    pub(in crate::server) inputs: Vec<TextInput>,
    pub(in crate::server) output: OutputKind,
    pub(in crate::server) encode: EncodeOptions,
}

/// The output that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::server) enum OutputKind {
    /// The similarity of each text to the first.
    Scores,
    /// The embedding of each text. `normalize: None` keeps the model's own choice.
    Embeddings { normalize: Option<bool>, dimensions: Option<usize> },
    /// The embeddings of each text's tokens.
    TokenEmbeddings,
}

/// How to handle a request. Not part of the cache key, because it does not change the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct RequestOptions {
    /// Whether to wait for a model that is still loading.
    pub(in crate::server) wait_for_model: bool,
    /// Whether the response may come from the cache.
    pub(in crate::server) use_cache: bool,
}

/// The result of a model.
#[derive(Debug, PartialEq)]
pub(in crate::server) struct InferenceResult {
    /// One row of scores, or one row of floats for each text.
    pub(in crate::server) rows: Vec<Vec<f32>>,
    /// The number of tokens of each text, and how many were used.
    pub(in crate::server) usage: Vec<TokenUsage>,
}

/// A result with the model and the statistics of the request.
pub(in crate::server) struct InferenceResponse {
    pub(in crate::server) model: Arc<ServedModel>,
    pub(in crate::server) result: Arc<InferenceResult>,
    pub(in crate::server) stats: ResponseStats,
    /// When the request reached the inference layer.
    pub(in crate::server) started: Instant,
}

/// What the log, the metrics and the response headers report about a response.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct ResponseStats {
    pub(in crate::server) model: String,
    pub(in crate::server) texts: usize,
    pub(in crate::server) characters: usize,
    pub(in crate::server) tokens: usize,
    pub(in crate::server) truncated: usize,
    pub(in crate::server) cached: bool,
    pub(in crate::server) times: StageTimes,
}

/// How long each stage of a computed response took.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::server) struct StageTimes {
    pub(in crate::server) tokenizing: Duration,
    pub(in crate::server) queueing: Duration,
    pub(in crate::server) computing: Duration,
}

impl ResponseStats {
    /// Summarizes a request and its result.
    pub(in crate::server) fn new(
        model: &str,
        request: &InferenceRequest,
        result: &InferenceResult,
        cached: bool,
        times: StageTimes,
    ) -> Self {
        let characters = |input: &TextInput| match input {
            TextInput::Text(text) => text.chars().count(),
            TextInput::Ids(_) => 0,
        };
        Self {
            model: model.to_owned(),
            texts: request.inputs.len(),
            characters: request.inputs.iter().map(characters).sum(),
            tokens: result.usage.iter().map(|usage| usage.used).sum(),
            truncated: result.usage.iter().filter(|usage| usage.truncated()).count(),
            cached,
            times,
        }
    }
}
