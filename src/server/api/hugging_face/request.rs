//! The body of a request to the Inference API.
//!
//! Over the years clients have spelled the same request in a dozen ways. The source is
//! `source_sentence` or `sourceSentence`, inside `inputs`, inside `parameters` or at the root;
//! options are at the root, in `parameters` or in `options`. All spellings are accepted.

use serde_json::Value;

use super::classification::{classification_function, classification_inputs};
use crate::embedder::TextInput;
use crate::model_folder::ModelKind;
use crate::server::api::error::{ApiError, shortened};
use crate::server::api::fields::{Fields, JsonObject, string_or_strings};
use crate::server::api::known_keys::KnownKeys;
use crate::server::api::rerank::{ranking_function, ranking_inputs};
use crate::server::api::similarity::{SOURCE_KEYS, similarity_fields, similarity_inputs};
use crate::server::inference::request::{EmbeddingJob, InferenceRequest, OutputKind, ScoredInputs, ScoringJob};

/// What to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    SentenceSimilarity,
    FeatureExtraction,
    TextRanking,
    TextClassification,
}

/// A body that has been parsed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ParsedRequest {
    pub(super) request: InferenceRequest,
    pub(super) shape: Shape,
}

/// The shape of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The only row.
    Row,
    Rows,
    /// The texts, best first.
    Ranking {
        return_text: bool,
    },
    /// The labels of each input, best first.
    Labels {
        count: usize,
    },
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
            "text-ranking" => Ok(Self::TextRanking),
            "text-classification" => Ok(Self::TextClassification),
            _ => Err(ApiError::not_found(format!(
                "task `{}` is not supported: expected sentence-similarity, feature-extraction, text-ranking or \
                 text-classification",
                shortened(name)
            ))),
        }
    }

    /// Returns the task of a body whose path names none, if the body tells: one with a source or
    /// sentences is a similarity request, one with a query or texts is a ranking.
    pub(super) fn of_body(root: &JsonObject) -> Option<Self> {
        let texts = similarity_fields(root);
        if ["sentences"].into_iter().chain(SOURCE_KEYS).any(|key| texts.get(key).is_some()) {
            return Some(Self::SentenceSimilarity);
        }
        let texts = ranking_fields(root);
        ["query", "texts"].into_iter().any(|key| texts.get(key).is_some()).then_some(Self::TextRanking)
    }

    /// Returns what a model of a kind does with texts alone.
    pub(super) fn of_kind(kind: ModelKind) -> Self {
        match kind {
            // Models of the other kinds then fail with what to use.
            ModelKind::Embedder | ModelKind::SparseEncoder | ModelKind::MultiVector => Self::FeatureExtraction,
            ModelKind::CrossEncoder => Self::TextClassification,
        }
    }

    /// Returns the keys of the task's bodies.
    pub(super) fn known_keys(self) -> &'static KnownKeys {
        match self {
            Self::SentenceSimilarity => &KnownKeys::SIMILARITY,
            Self::FeatureExtraction => &KnownKeys::FEATURES,
            Self::TextRanking => &KnownKeys::RANKING,
            Self::TextClassification => &KnownKeys::CLASSIFICATION,
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
        let (request, shape) = match task {
            Task::SentenceSimilarity => {
                // `normalize` applies to embeddings only: sentence-transformers compares vectors as
                // the model returns them.
                let inputs = similarity_inputs(&similarity_fields(root))?;
                (EmbeddingJob { inputs, output: OutputKind::Scores, encode }.into(), Shape::Row)
            }
            Task::FeatureExtraction => {
                let (normalize, dimensions) = (options.bool("normalize")?, options.size("dimensions")?);
                let inputs = string_or_strings("inputs", root.get("inputs"))?;
                let shape = if root.get("inputs").is_some_and(Value::is_string) { Shape::Row } else { Shape::Rows };
                let inputs = inputs.into_iter().map(TextInput::Text).collect();
                let output = OutputKind::Embeddings { normalize, dimensions };
                (EmbeddingJob { inputs, output, encode }.into(), shape)
            }
            Task::TextRanking => {
                let inputs = ranking_inputs(&ranking_fields(root), "inputs.")?;
                let function = ranking_function(options.bool("raw_scores")?);
                let return_text = options.bool("return_text")?.unwrap_or(false);
                (ScoringJob { inputs, function, encode }.into(), Shape::Ranking { return_text })
            }
            Task::TextClassification => {
                let inputs = ScoredInputs::Each(classification_inputs(root.get("inputs"))?);
                let function = classification_function(&options)?;
                let count = options.size("top_k")?.unwrap_or(usize::MAX);
                (ScoringJob { inputs, function, encode }.into(), Shape::Labels { count })
            }
        };
        Ok(Self { request, shape })
    }
}

/// The objects of a body that may contain the query and the texts.
fn ranking_fields(root: &JsonObject) -> Fields<'_> {
    Fields::new([root.get("inputs").and_then(Value::as_object), Some(root)])
}

/// The objects that may contain the options that newer clients send as headers.
pub(super) fn option_fields(root: &JsonObject) -> Result<Fields<'_>, ApiError> {
    Fields::in_body(root, &["parameters", "options"])
}
