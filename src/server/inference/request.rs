//! A request to a model, whichever API it arrived by, and its result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{InferenceError, ServedKind};
use super::models::ServedModel;
use crate::cross_encoder::ScoreFunction;
use crate::embedder::{EncodeOptions, TextInput};
use crate::model_folder::ModelKind;
use crate::tokenizer::TokenUsage;

/// A request to a model of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::server) enum InferenceRequest {
    Embedding(Arc<EmbeddingJob>),
    Scoring(Arc<ScoringJob>),
    Sparse(Arc<SparseJob>),
}

/// A request to an embedder, or to a late-interaction model for scores or vectors of tokens.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::server) struct EmbeddingJob {
    /// The texts. For scores, the first is the source.
    pub(in crate::server) inputs: Vec<TextInput>,
    pub(in crate::server) output: OutputKind,
    pub(in crate::server) encode: EncodeOptions,
}

/// A request to a cross-encoder, or a ranking by a late-interaction model.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::server) struct ScoringJob {
    pub(in crate::server) inputs: ScoredInputs,
    /// What the numbers of the model's head become.
    pub(in crate::server) function: ScoreFunction,
    pub(in crate::server) encode: EncodeOptions,
}

/// What a cross-encoder scores.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::server) enum ScoredInputs {
    /// Each text with the query, by a model with one label.
    Ranking { query: String, texts: Vec<String> },
    /// Each input, by the labels of any model.
    Each(Vec<ScoredInput>),
}

/// A text or a pair of texts.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::server) enum ScoredInput {
    Text(String),
    Pair([String; 2]),
}

/// A request to a sparse encoder.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::server) struct SparseJob {
    pub(in crate::server) inputs: Vec<TextInput>,
    pub(in crate::server) encode: EncodeOptions,
}

impl From<EmbeddingJob> for InferenceRequest {
    fn from(job: EmbeddingJob) -> Self {
        Self::Embedding(Arc::new(job))
    }
}

impl From<ScoringJob> for InferenceRequest {
    fn from(job: ScoringJob) -> Self {
        Self::Scoring(Arc::new(job))
    }
}

impl From<Arc<ScoringJob>> for InferenceRequest {
    fn from(job: Arc<ScoringJob>) -> Self {
        Self::Scoring(job)
    }
}

impl From<SparseJob> for InferenceRequest {
    fn from(job: SparseJob) -> Self {
        Self::Sparse(Arc::new(job))
    }
}

impl InferenceRequest {
    /// The kinds of models that can answer the request.
    pub(super) fn kinds(&self) -> &'static [ModelKind] {
        match self {
            Self::Embedding(job) => match job.output {
                OutputKind::Embeddings { .. } => &[ModelKind::Embedder],
                OutputKind::Scores | OutputKind::TokenEmbeddings => &[ModelKind::Embedder, ModelKind::MultiVector],
            },
            Self::Scoring(job) => match job.inputs {
                ScoredInputs::Ranking { .. } => &[ModelKind::CrossEncoder, ModelKind::MultiVector],
                ScoredInputs::Each(_) => &[ModelKind::CrossEncoder],
            },
            Self::Sparse(_) => &[ModelKind::SparseEncoder],
        }
    }

    /// The number of inputs: texts to embed, texts to rank, or texts and pairs to classify.
    pub(super) fn input_count(&self) -> usize {
        match self {
            Self::Embedding(job) => job.inputs.len(),
            Self::Scoring(job) => match &job.inputs {
                ScoredInputs::Ranking { texts, .. } => texts.len(),
                ScoredInputs::Each(inputs) => inputs.len(),
            },
            Self::Sparse(job) => job.inputs.len(),
        }
    }

    /// The inputs that are texts or token ids.
    fn text_inputs(&self) -> &[TextInput] {
        match self {
            Self::Embedding(job) => &job.inputs,
            Self::Sparse(job) => &job.inputs,
            Self::Scoring(_) => &[],
        }
    }

    /// Calls a function with each text.
    fn for_each_text(&self, mut use_text: impl FnMut(&str)) {
        for input in self.text_inputs() {
            if let TextInput::Text(text) = input {
                use_text(text);
            }
        }
        let Self::Scoring(job) = self else { return };
        match &job.inputs {
            ScoredInputs::Ranking { query, texts } => {
                use_text(query);
                texts.iter().for_each(|text| use_text(text));
            }
            ScoredInputs::Each(inputs) => inputs.iter().for_each(|input| match input {
                ScoredInput::Text(text) => use_text(text),
                ScoredInput::Pair(pair) => pair.iter().for_each(|text| use_text(text)),
            }),
        }
    }

    /// The number of token ids.
    fn id_count(&self) -> usize {
        self.text_inputs().iter().map(|input| input.ids().len()).sum()
    }

    /// The characters of all texts.
    fn characters(&self) -> usize {
        let mut characters = 0;
        self.for_each_text(|text| characters += text.chars().count());
        characters
    }

    /// A measure of the time to tokenize: the bytes of all texts, and the number of ids. A query
    /// counts for each text, because its tokens are copied.
    pub(super) fn size(&self) -> usize {
        let mut bytes = 0;
        self.for_each_text(|text| bytes += text.len());
        let copies = match self {
            Self::Scoring(job) => match &job.inputs {
                ScoredInputs::Ranking { query, texts } => query.len() * texts.len(),
                ScoredInputs::Each(_) => 0,
            },
            Self::Embedding(_) | Self::Sparse(_) => 0,
        };
        bytes + copies + self.id_count()
    }

    /// The bytes that the request takes in memory, if each of its lists takes `list_overhead`.
    pub(super) fn memory(&self, list_overhead: usize) -> usize {
        let mut bytes = self.id_count() * 4;
        // A list of ids has no text.
        let mut lists = self.input_count();
        self.for_each_text(|text| {
            bytes += text.len() + list_overhead;
            lists = lists.saturating_sub(1);
        });
        bytes + lists * list_overhead
    }
}

/// The output that a request to an embedder needs.
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
    /// One row of scores, or one row of floats for each input.
    pub(in crate::server) rows: Vec<Vec<f32>>,
    /// The index of each float in its vector, if the vectors are sparse; otherwise empty.
    pub(in crate::server) indices: Vec<Vec<u32>>,
    /// The number of tokens of each input, and how many were used.
    pub(in crate::server) usage: Vec<TokenUsage>,
}

/// The rows of a result, before the tokens are counted.
pub(super) struct ResultRows {
    pub(super) floats: Vec<Vec<f32>>,
    /// See [`InferenceResult::indices`].
    pub(super) indices: Vec<Vec<u32>>,
}

impl ResultRows {
    /// Makes the rows of vectors that are not sparse, or of scores.
    pub(super) fn of_floats(floats: Vec<Vec<f32>>) -> Self {
        Self { floats, indices: Vec::new() }
    }
}

/// A result with the model and the statistics of the request.
pub(in crate::server) struct InferenceResponse {
    pub(in crate::server) model: Arc<ServedModel>,
    pub(in crate::server) result: Arc<InferenceResult>,
    pub(in crate::server) stats: ResponseStats,
    /// When the request reached the inference layer.
    pub(in crate::server) started: Instant,
}

impl InferenceResponse {
    /// The names of the model's labels.
    ///
    /// # Errors
    /// If the model has none.
    pub(in crate::server) fn labels(&self) -> Result<&[String], InferenceError> {
        Ok(self.model.cross_encoder(ServedKind::Classifier)?.model.labels())
    }
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
        Self {
            model: model.to_owned(),
            texts: request.input_count(),
            characters: request.characters(),
            tokens: result.usage.iter().map(|usage| usage.used).sum(),
            truncated: result.usage.iter().filter(|usage| usage.truncated()).count(),
            cached,
            times,
        }
    }
}
