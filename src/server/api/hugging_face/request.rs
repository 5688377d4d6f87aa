//! The body of a request to the Inference API.
//!
//! Over the years clients have spelled the same request in a dozen ways. The source is
//! `source_sentence` or `sourceSentence`, inside `inputs`, inside `parameters` or at the root;
//! options are at the root, in `parameters` or in `options`. All spellings are accepted.

use serde_json::Value;

use crate::embedder::TextInput;
use crate::server::api::error::{ApiError, shortened};
use crate::server::api::fields::{Fields, JsonObject, string_or_strings};
use crate::server::api::known_keys::KnownKeys;
use crate::server::api::similarity::{SOURCE_KEYS, similarity_fields, similarity_inputs};
use crate::server::inference::request::{InferenceRequest, OutputKind};

/// What to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    SentenceSimilarity,
    FeatureExtraction,
}

/// A body that has been parsed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ParsedRequest {
    pub(super) request: InferenceRequest,
    /// Whether the response is one row, not a list of rows.
    pub(super) is_single: bool,
}

impl Task {
    /// Returns the task with this name.
    ///
    /// # Errors
    /// 404 if there is no such task.
    pub(super) fn from_name(name: &str) -> Result<Self, ApiError> {
        match name {
            "sentence-similarity" => Ok(Self::SentenceSimilarity),
            "feature-extraction" => Ok(Self::FeatureExtraction),
            _ => Err(ApiError::not_found(format!(
                "task `{}` is not supported: expected sentence-similarity or feature-extraction",
                shortened(name)
            ))),
        }
    }

    /// Returns the task of a body whose path names none: a body with a source or sentences is a
    /// similarity request.
    pub(super) fn of_body(root: &JsonObject) -> Self {
        let texts = similarity_fields(root);
        let is_similarity = ["sentences"].into_iter().chain(SOURCE_KEYS).any(|key| texts.get(key).is_some());
        if is_similarity { Self::SentenceSimilarity } else { Self::FeatureExtraction }
    }

    /// Returns the keys of the task's bodies.
    pub(super) fn known_keys(self) -> &'static KnownKeys {
        match self {
            Self::SentenceSimilarity => &KnownKeys::SIMILARITY,
            Self::FeatureExtraction => &KnownKeys::FEATURES,
        }
    }
}

impl ParsedRequest {
    /// Parses the body of a task.
    ///
    /// # Errors
    /// 400 with what was expected and found.
    pub(super) fn parse(root: &JsonObject, task: Task) -> Result<Self, ApiError> {
        let options = Fields::in_body(root, &["parameters"])?;
        let encode = options.encode_options()?;
        if task == Task::SentenceSimilarity {
            // `normalize` applies to embeddings only: sentence-transformers compares vectors as the
            // model returns them.
            let inputs = similarity_inputs(&similarity_fields(root))?;
            let request = InferenceRequest { inputs, output: OutputKind::Scores, encode };
            return Ok(Self { request, is_single: true });
        }
        let output =
            OutputKind::Embeddings { normalize: options.bool("normalize")?, dimensions: options.size("dimensions")? };
        let inputs = string_or_strings("inputs", root.get("inputs"))?;
        let is_single = root.get("inputs").is_some_and(Value::is_string);
        let inputs = inputs.into_iter().map(TextInput::Text).collect();
        Ok(Self { request: InferenceRequest { inputs, output, encode }, is_single })
    }
}

/// The objects that may contain the options that newer clients send as headers.
pub(super) fn option_fields(root: &JsonObject) -> Result<Fields<'_>, ApiError> {
    Fields::in_body(root, &["parameters", "options"])
}
