//! What a request's body asks for.
//!
//! Years of clients spell the same question in a dozen ways: the source as `source_sentence` or `sourceSentence`,
//! inside `inputs`, inside `parameters` or at the root; options at the root, in `parameters` or in `options`. All of them are
//! accepted. The body is read as JSON whatever its content type says, because curl and old JavaScript clients say nothing
//! useful there. Keys that are not known are ignored and null is absent, as the hosted API does it.

use serde_json::{Map, Value};

use super::error::ApiError;

/// What to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    SentenceSimilarity,
    FeatureExtraction,
}

impl Task {
    /// The task of a name in a path.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "sentence-similarity" => Some(Self::SentenceSimilarity),
            "feature-extraction" => Some(Self::FeatureExtraction),
            _ => None,
        }
    }
}

/// A request's question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) inputs: Inputs,
    pub(super) options: Options,
}

/// What it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Inputs {
    /// How alike is each sentence to the source?
    Similarity { source: String, sentences: Vec<String> },
    /// The vector of a text; the answer is one vector.
    Text(String),
    /// The vectors of some texts; the answer is a list of vectors.
    Texts(Vec<String>),
}

/// How it is to be answered. None where the request says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// Whether an answer may come from the cache.
    pub(super) use_cache: Option<bool>,
    /// Whether to wait for a model that is being loaded.
    pub(super) wait_for_model: Option<bool>,
    /// Whether a text that is too long is cut (true) or refused (false).
    pub(super) truncate: Option<bool>,
    /// Whether vectors have length 1.
    pub(super) normalize: Option<bool>,
    /// The prompt of the model that is put before every text.
    pub(super) prompt_name: Option<String>,
}

/// Reads a body. `task` is what the path asks for, if it says.
///
/// # Errors
/// 400 with what was expected and found.
pub(super) fn parse(body: &[u8], task: Option<Task>) -> Result<Question, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| ApiError::bad(format!("the body is not UTF-8: {error}")))?;
    let value: Value =
        serde_json::from_str(text).map_err(|error| ApiError::bad(format!("the body is not JSON: {error}")))?;
    let Value::Object(root) = value else {
        return Err(ApiError::bad(format!("the body: expected a JSON object, found {}", kind(&value))));
    };
    let places = Places::of(&root);
    let asks_similarity = match task {
        Some(task) => task == Task::SentenceSimilarity,
        // No task in the path: what has sentences is about similarity.
        None => places.find(&["sentences"]).is_some() || places.find(&SOURCE).is_some(),
    };
    let inputs = if asks_similarity { places.similarity()? } else { places.texts()? };
    Ok(Question { inputs, options: places.options()? })
}

/// The names of the source.
const SOURCE: [&str; 2] = ["source_sentence", "sourceSentence"];

/// The objects of a body in which a key may stand.
struct Places<'a> {
    root: &'a Map<String, Value>,
    inputs: Option<&'a Map<String, Value>>,
    parameters: Option<&'a Map<String, Value>>,
    options: Option<&'a Map<String, Value>>,
}

impl<'a> Places<'a> {
    fn of(root: &'a Map<String, Value>) -> Self {
        let object = |key: &str| root.get(key).and_then(Value::as_object);
        Self { root, inputs: object("inputs"), parameters: object("parameters"), options: object("options") }
    }

    /// The first of some names that is present, in `inputs`, `parameters` or the root.
    fn find(&self, names: &[&str]) -> Option<&'a Value> {
        let places = [self.inputs, self.parameters, Some(self.root)];
        let found = |place: &'a Map<String, Value>| names.iter().find_map(|name| place.get(*name));
        places.into_iter().flatten().filter_map(found).find(|value| !value.is_null())
    }

    fn similarity(&self) -> Result<Inputs, ApiError> {
        let source = match self.find(&SOURCE) {
            Some(Value::String(source)) => source.clone(),
            Some(other) => return Err(expected("inputs.source_sentence", "a string", other)),
            None => return Err(missing("inputs.source_sentence", "a string")),
        };
        let sentences = match self.find(&["sentences"]) {
            Some(Value::Array(list)) => strings("inputs.sentences", list)?,
            Some(other) => return Err(expected("inputs.sentences", "an array of strings", other)),
            None => return Err(missing("inputs.sentences", "an array of strings")),
        };
        Ok(Inputs::Similarity { source, sentences })
    }

    fn texts(&self) -> Result<Inputs, ApiError> {
        match self.root.get("inputs") {
            Some(Value::String(text)) => Ok(Inputs::Text(text.clone())),
            Some(Value::Array(list)) => Ok(Inputs::Texts(strings("inputs", list)?)),
            None | Some(Value::Null) => Err(missing("inputs", "a string or an array of strings")),
            Some(other) => Err(expected("inputs", "a string or an array of strings", other)),
        }
    }

    fn options(&self) -> Result<Options, ApiError> {
        // Old clients send the first two in `options`, new ones the others at the root or in `parameters`.
        let find = |key: &str| {
            let places = [Some(self.root), self.parameters, self.options];
            places.into_iter().flatten().filter_map(|place| place.get(key)).find(|value| !value.is_null())
        };
        let flag = |key: &str| match find(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(expected(key, "true or false", other)),
        };
        let prompt_name = match find("prompt_name") {
            None => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(other) => return Err(expected("prompt_name", "a string", other)),
        };
        Ok(Options {
            use_cache: flag("use_cache")?,
            wait_for_model: flag("wait_for_model")?,
            truncate: flag("truncate")?,
            normalize: flag("normalize")?,
            prompt_name,
        })
    }
}

/// A list of strings with at least one.
fn strings(name: &str, list: &[Value]) -> Result<Vec<String>, ApiError> {
    if list.is_empty() {
        return Err(ApiError::bad(format!("`{name}`: expected at least one string, found none")));
    }
    let string = |(i, value): (usize, &Value)| match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(expected(&format!("{name}[{i}]"), "a string", other)),
    };
    list.iter().enumerate().map(string).collect()
}

fn missing(name: &str, what: &str) -> ApiError {
    ApiError::bad(format!("`{name}`: expected {what}, found nothing"))
}

fn expected(name: &str, what: &str, found: &Value) -> ApiError {
    ApiError::bad(format!("`{name}`: expected {what}, found {}", kind(found)))
}

/// What kind of value it is, in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
