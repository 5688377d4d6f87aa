//! Sparse vectors of texts, by a sparse encoder.

use super::blocking::Cancelled;
use super::embedding::check_token_ids;
use super::engine::Engine;
use super::error::InferenceError;
use super::job::{Job, check_tokenizing_memory};
use super::models::ServedModel;
use super::request::{ResultRows, SparseJob};
use crate::embedder::TextInput;
use crate::modules::SparseVector;
use crate::server::settings::Limits;
use crate::sparse_encoder::{EncodedSparseText, SparseEncoder};

impl Job for SparseJob {
    type Model = SparseEncoder;

    fn engine<'m>(&self, model: &'m ServedModel) -> Result<&'m Engine<SparseEncoder>, InferenceError> {
        let engine = model.sparse_encoder()?;
        check_token_ids(model, self.inputs.iter().map(TextInput::ids))?;
        Ok(engine)
    }

    fn encode(
        &self,
        model: &SparseEncoder,
        limits: &Limits,
        cancelled: &Cancelled,
    ) -> Result<Vec<EncodedSparseText>, InferenceError> {
        let tokenizer = model.tokenizer_of_prompt(self.encode.prompt_name.as_deref())?;
        let encode = |(i, input): (usize, &TextInput)| {
            cancelled.check()?;
            match input {
                TextInput::Text(text) => {
                    check_tokenizing_memory(tokenizer, limits, || format!("text {i}"), text)?;
                    Ok(model.encode_input(i, text, &self.encode)?)
                }
                TextInput::Ids(ids) => Ok(model.encode_ids(i, ids, &self.encode)?),
            }
        };
        self.inputs.iter().enumerate().map(encode).collect()
    }

    /// Only the computation shows how many elements a vector has.
    fn response_floats(&self, _model: &SparseEncoder, texts: &[EncodedSparseText]) -> usize {
        texts.len()
    }

    fn finish(&self, _model: &SparseEncoder, vectors: Vec<SparseVector>) -> Result<ResultRows, InferenceError> {
        let (indices, floats) = vectors.into_iter().map(|vector| (vector.indices, vector.values)).unzip();
        Ok(ResultRows { floats, indices })
    }
}
