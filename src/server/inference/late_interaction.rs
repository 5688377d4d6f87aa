//! Scores and vectors of tokens, by a late-interaction model.
//!
//! The same requests go to other models too: a ranking to a cross-encoder, and a similarity to an
//! embedder. Here the query or the source is encoded as a query, and all other texts as documents.
//! A score is that of the model's own function, MaxSim, whatever function the request names: σ of a
//! sum of cosines would be nearly 1 for every text.

use std::sync::Arc;

use super::blocking::Cancelled;
use super::embedding::check_token_ids;
use super::engine::Engine;
use super::error::InferenceError;
use super::job::{Job, check_tokenizing_memory};
use super::models::ServedModel;
use super::request::{EmbeddingJob, InferenceRequest, OutputKind, ResultRows, ScoredInputs, ScoringJob};
use crate::embedder::{EncodeOptions, TextInput};
use crate::error::Error;
use crate::multi_vector::{EncodedTokenText, MultiVectorEncoder, Role};
use crate::server::settings::Limits;

/// A request that a late-interaction model can answer.
pub(super) enum LateInteractionJob {
    /// The scores of texts for a query.
    Ranking(Arc<ScoringJob>),
    /// The scores of sentences for a source.
    Similarity(Arc<EmbeddingJob>),
    /// The vectors of tokens.
    Tokens(Arc<EmbeddingJob>),
}

impl LateInteractionJob {
    /// Returns the job of a request, or None if such a model cannot answer it.
    pub(super) fn of(request: &InferenceRequest) -> Option<Self> {
        match request {
            InferenceRequest::Scoring(job) => {
                matches!(job.inputs, ScoredInputs::Ranking { .. }).then(|| Self::Ranking(job.clone()))
            }
            InferenceRequest::Embedding(job) => match job.output {
                OutputKind::Scores => Some(Self::Similarity(job.clone())),
                OutputKind::TokenEmbeddings => Some(Self::Tokens(job.clone())),
                OutputKind::Embeddings { .. } => None,
            },
            InferenceRequest::Sparse(_) => None,
        }
    }
}

impl Job for LateInteractionJob {
    type Model = MultiVectorEncoder;

    fn engine<'m>(&self, model: &'m ServedModel) -> Result<&'m Engine<MultiVectorEncoder>, InferenceError> {
        let engine = model.multi_vector_encoder()?;
        if let Self::Similarity(job) | Self::Tokens(job) = self {
            check_token_ids(model, job.inputs.iter().map(TextInput::ids))?;
        }
        Ok(engine)
    }

    fn encode(
        &self,
        model: &MultiVectorEncoder,
        limits: &Limits,
        cancelled: &Cancelled,
    ) -> Result<Vec<EncodedTokenText>, InferenceError> {
        let encoder = TextEncoder { model, limits, cancelled };
        match self {
            Self::Ranking(job) => {
                let ScoredInputs::Ranking { query, texts } = &job.inputs else { return Ok(Vec::new()) };
                let query = encoder.text(0, "the query", query, Role::Query, &job.encode).map_err(name_query)?;
                let options = of_documents(&job.encode);
                let encode =
                    |(i, text): (usize, &String)| encoder.text(i, &format!("text {i}"), text, Role::Document, &options);
                std::iter::once(Ok(query)).chain(texts.iter().enumerate().map(encode)).collect()
            }
            Self::Similarity(job) => {
                let options = of_documents(&job.encode);
                let encode = |(i, input): (usize, &TextInput)| match i {
                    0 => encoder.input(i, input, Role::Query, &job.encode),
                    _ => encoder.input(i, input, Role::Document, &options),
                };
                job.inputs.iter().enumerate().map(encode).collect()
            }
            Self::Tokens(job) => {
                let role = Role::of_prompt(job.encode.prompt_name.as_deref());
                let encode = |(i, input): (usize, &TextInput)| encoder.input(i, input, role, &job.encode);
                job.inputs.iter().enumerate().map(encode).collect()
            }
        }
    }

    fn first_inputs(&self) -> usize {
        usize::from(!matches!(self, Self::Tokens(_)))
    }

    fn link(
        &self,
        model: &MultiVectorEncoder,
        first: &[Vec<f32>],
        documents: &mut [EncodedTokenText],
    ) -> Result<(), InferenceError> {
        if let [query] = first {
            model.score_with(query, documents);
        }
        Ok(())
    }

    fn response_floats(&self, model: &MultiVectorEncoder, texts: &[EncodedTokenText]) -> usize {
        match self {
            Self::Ranking(_) | Self::Similarity(_) => texts.len(),
            Self::Tokens(_) => texts.iter().map(EncodedTokenText::vector_count).sum::<usize>() * model.width(),
        }
    }

    fn finish(&self, _model: &MultiVectorEncoder, rows: Vec<Vec<f32>>) -> Result<ResultRows, InferenceError> {
        Ok(ResultRows::of_floats(match self {
            Self::Ranking(_) | Self::Tokens(_) => rows,
            Self::Similarity(_) => vec![rows.concat()],
        }))
    }
}

/// Encodes the texts of one request.
struct TextEncoder<'a> {
    model: &'a MultiVectorEncoder,
    limits: &'a Limits,
    cancelled: &'a Cancelled,
}

impl TextEncoder<'_> {
    fn input(
        &self,
        index: usize,
        input: &TextInput,
        role: Role,
        options: &EncodeOptions,
    ) -> Result<EncodedTokenText, InferenceError> {
        match input {
            TextInput::Text(text) => self.text(index, &format!("text {index}"), text, role, options),
            TextInput::Ids(ids) => Ok(self.model.encode_ids(index, ids, options)?),
        }
    }

    fn text(
        &self,
        index: usize,
        subject: &str,
        text: &str,
        role: Role,
        options: &EncodeOptions,
    ) -> Result<EncodedTokenText, InferenceError> {
        self.cancelled.check()?;
        let tokenizer = self.model.runtime().tokenizer();
        check_tokenizing_memory(tokenizer, self.limits, || subject.to_owned(), text)?;
        Ok(self.model.encode_text(index, text, role, options)?)
    }
}

/// Returns the options of the documents of a request: its prompt is that of the query.
fn of_documents(options: &EncodeOptions) -> EncodeOptions {
    EncodeOptions { prompt_name: None, ..options.clone() }
}

/// Says of a query that is too long that it is the query, and not the first text.
fn name_query(error: InferenceError) -> InferenceError {
    match error {
        InferenceError::Library(Error::TooLong { tokens, limit, .. }) => {
            InferenceError::Rejected(format!("the query: too long: expected at most {limit} tokens, found {tokens}"))
        }
        error => error,
    }
}
