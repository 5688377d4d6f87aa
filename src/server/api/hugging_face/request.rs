//! What a body of the Inference API asks for.
//!
//! Years of clients spell the same question in a dozen ways: the source as `source_sentence` or `sourceSentence`,
//! inside `inputs`, inside `parameters` or at the root; options at the root, in `parameters` or in `options`. All of them are
//! accepted.

use serde_json::Value;

use crate::embedder::TextInput;
use crate::server::api::error::{ApiError, shortened};
use crate::server::api::fields::{Fields, Object, expected, missing, strings};
use crate::server::inference::request::{InferenceRequest, OutputKind};

/// What to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Task {
    SentenceSimilarity,
    FeatureExtraction,
}

impl Task {
    /// The task of a name in a path.
    ///
    /// # Errors
    /// 404 if it is none of the two.
    pub(in crate::server) fn named(name: &str) -> Result<Self, ApiError> {
        match name {
            "sentence-similarity" => Ok(Self::SentenceSimilarity),
            "feature-extraction" => Ok(Self::FeatureExtraction),
            _ => Err(ApiError::not_found(format!(
                "The task `{}` is not served; sentence-similarity and feature-extraction are",
                shortened(name)
            ))),
        }
    }
}

/// A body, understood.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct ParsedRequest {
    pub(in crate::server) ask: InferenceRequest,
    /// Whether the answer is one row, not a list of rows.
    pub(in crate::server) flat: bool,
}

/// The names of the source.
const SOURCE: [&str; 2] = ["source_sentence", "sourceSentence"];

/// Reads a body. `task` is what the path asks for, if it says.
///
/// # Errors
/// 400 with what was expected and found.
pub(in crate::server) fn parse(root: &Object, task: Option<Task>) -> Result<ParsedRequest, ApiError> {
    let object = |key: &str| root.get(key).and_then(Value::as_object);
    let texts = Fields::of([object("inputs"), object("parameters"), Some(root)]);
    let options = Fields::of_body(root, &["parameters"])?;
    let asks_similarity = match task {
        Some(task) => task == Task::SentenceSimilarity,
        // No task in the path: what has sentences is about similarity.
        None => ["sentences"].into_iter().chain(SOURCE).any(|key| texts.find(key).is_some()),
    };
    let reading = options.reading()?;
    if asks_similarity {
        let (source, sentences) = similarity(&texts)?;
        let inputs = std::iter::once(source).chain(sentences).map(TextInput::Text).collect();
        // The reference compares vectors as the model makes them; `normalize` is for those who ask for vectors.
        return Ok(ParsedRequest { ask: InferenceRequest { inputs, want: OutputKind::Scores, reading }, flat: true });
    }
    let want = OutputKind::Vectors { length_one: options.flag("normalize")?, dimensions: options.size("dimensions")? };
    let (inputs, flat) = match root.get("inputs") {
        Some(Value::String(text)) => (vec![text.clone()], true),
        Some(Value::Array(list)) => (strings("inputs", list)?, false),
        None | Some(Value::Null) => return Err(missing("inputs", "a string or an array of strings")),
        Some(other) => return Err(expected("inputs", "a string or an array of strings", other)),
    };
    let inputs = inputs.into_iter().map(TextInput::Text).collect();
    Ok(ParsedRequest { ask: InferenceRequest { inputs, want, reading }, flat })
}

/// The options that old clients send in the body and new ones in headers.
pub(in crate::server) fn manner_fields(root: &Object) -> Result<Fields<'_>, ApiError> {
    Fields::of_body(root, &["parameters", "options"])
}

/// A source and the sentences to compare with it.
///
/// # Errors
/// 400 if one is missing or is something else.
pub(in crate::server) fn similarity(fields: &Fields<'_>) -> Result<(String, Vec<String>), ApiError> {
    let source = match SOURCE.into_iter().find_map(|key| fields.find(key)) {
        Some(Value::String(source)) => source.clone(),
        Some(other) => return Err(expected("inputs.source_sentence", "a string", other)),
        None => return Err(missing("inputs.source_sentence", "a string")),
    };
    match fields.find("sentences") {
        Some(Value::Array(list)) => Ok((source, strings("inputs.sentences", list)?)),
        Some(other) => Err(expected("inputs.sentences", "an array of strings", other)),
        None => Err(missing("inputs.sentences", "an array of strings")),
    }
}
