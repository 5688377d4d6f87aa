//! What a request asks of a model of one kind.

use super::batch_model::BatchModel;
use super::blocking::Cancelled;
use super::engine::Engine;
use super::error::InferenceError;
use super::models::ServedModel;
use super::request::ResultRows;
use crate::server::settings::Limits;
use crate::tokenizer::Tokenizer;

/// What a request asks of a model of one kind, in stages: the service runs the batches in between.
pub(super) trait Job: Send + Sync + 'static {
    type Model: BatchModel;

    /// Returns the model, if it can do what the request needs.
    ///
    /// # Errors
    /// If the model is of another kind, or if the request exceeds what it can do.
    fn engine<'m>(&self, model: &'m ServedModel) -> Result<&'m Engine<Self::Model>, InferenceError>;

    /// Tokenizes the inputs.
    ///
    /// # Errors
    /// If an input cannot be tokenized, or if the client has disconnected.
    fn encode(
        &self,
        model: &Self::Model,
        limits: &Limits,
        cancelled: &Cancelled,
    ) -> Result<Vec<<Self::Model as BatchModel>::Input>, InferenceError>;

    /// Returns how many of the first inputs are computed before the others, which need their rows.
    fn first_inputs(&self) -> usize {
        0
    }

    /// Gives the other inputs what they need of the rows of the first.
    ///
    /// # Errors
    /// If the model rejects them.
    fn link(
        &self,
        _model: &Self::Model,
        _first: &[<Self::Model as BatchModel>::Row],
        _others: &mut [<Self::Model as BatchModel>::Input],
    ) -> Result<(), InferenceError> {
        Ok(())
    }

    /// Returns the number of floats in the response, as far as the inputs tell.
    fn response_floats(&self, model: &Self::Model, inputs: &[<Self::Model as BatchModel>::Input]) -> usize;

    /// Turns what the model computed from the inputs, without the first, into the rows of the
    /// response.
    ///
    /// # Errors
    /// If the model rejects them.
    fn finish(
        &self,
        model: &Self::Model,
        rows: Vec<<Self::Model as BatchModel>::Row>,
    ) -> Result<ResultRows, InferenceError>;
}

/// Rejects a text that takes too much memory to tokenize. `subject` names the text in the error.
///
/// # Errors
/// [`InferenceError::Rejected`].
pub(in crate::server) fn check_tokenizing_memory(
    tokenizer: &Tokenizer,
    limits: &Limits,
    subject: impl FnOnce() -> String,
    text: &str,
) -> Result<(), InferenceError> {
    let limit = limits.max_unsplit_characters;
    let Some(characters) = tokenizer.longest_run(text, limit) else { return Ok(()) };
    let subject = subject();
    Err(InferenceError::Rejected(format!(
        "{subject}: contains {characters} characters without a place where its tokenizer can be sure to begin a new \
         token; the limit is {limit} (--max-unsplit-characters); break the text into lines, or send it in parts"
    )))
}
