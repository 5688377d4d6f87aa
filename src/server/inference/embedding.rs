//! Embedding texts, and scores of embeddings.

use super::blocking::Cancelled;
use super::engine::Engine;
use super::error::{InferenceError, UnknownTokenId};
use super::job::{Job, check_tokenizing_memory};
use super::models::ServedModel;
use super::request::{EmbeddingJob, OutputKind, ResultRows};
use crate::embedder::{Embedder, EncodedText, TextInput};
use crate::server::settings::Limits;

impl Job for EmbeddingJob {
    type Model = Embedder;

    fn engine<'m>(&self, model: &'m ServedModel) -> Result<&'m Engine<Embedder>, InferenceError> {
        let engine = model.embedder()?;
        let width = engine.model.width();
        if let OutputKind::Embeddings { dimensions: Some(dimensions), .. } = self.output
            && !(1..=width).contains(&dimensions)
        {
            return Err(InferenceError::Rejected(format!("`dimensions`: expected 1 to {width}, found {dimensions}")));
        }
        check_token_ids(model, self.inputs.iter().map(TextInput::ids))?;
        Ok(engine)
    }

    fn encode(
        &self,
        embedder: &Embedder,
        limits: &Limits,
        cancelled: &Cancelled,
    ) -> Result<Vec<EncodedText>, InferenceError> {
        let keep_tokens = self.output == OutputKind::TokenEmbeddings;
        let encode = |(i, input): (usize, &TextInput)| {
            cancelled.check()?;
            if let TextInput::Text(text) = input {
                check_tokenizing_memory(embedder.runtime().tokenizer(), limits, || format!("text {i}"), text)?;
            }
            Ok(embedder.encode_input(i, input, &self.encode, keep_tokens)?)
        };
        self.inputs.iter().enumerate().map(encode).collect()
    }

    fn response_floats(&self, embedder: &Embedder, texts: &[EncodedText]) -> usize {
        match self.output {
            OutputKind::Scores => texts.len(),
            OutputKind::Embeddings { dimensions, .. } => texts.len() * dimensions.unwrap_or(embedder.width()),
            OutputKind::TokenEmbeddings => {
                texts.iter().map(EncodedText::token_count).sum::<usize>() * embedder.token_width()
            }
        }
    }

    fn finish(&self, embedder: &Embedder, vectors: Vec<Vec<f32>>) -> Result<ResultRows, InferenceError> {
        let rows = match self.output {
            OutputKind::TokenEmbeddings => vectors,
            OutputKind::Embeddings { normalize, dimensions } => {
                vectors.into_iter().map(|vector| embedder.apply_post_modules(vector, normalize, dimensions)).collect()
            }
            OutputKind::Scores => {
                let vectors: Vec<_> =
                    vectors.into_iter().map(|vector| embedder.apply_post_modules(vector, None, None)).collect();
                let score = |vector: &Vec<f32>| embedder.score(&vectors[0], vector);
                vec![vectors[1..].iter().map(score).collect::<crate::Result<Vec<f32>>>()?]
            }
        };
        Ok(ResultRows::of_floats(rows))
    }
}

/// Rejects token ids beyond the vocabulary, those included that truncation would cut.
pub(in crate::server) fn check_token_ids<'a>(
    model: &ServedModel,
    texts: impl IntoIterator<Item = &'a [u32]>,
) -> Result<(), InferenceError> {
    let vocabulary = model.engine.info().architecture.vocabulary_size;
    for (text, ids) in texts.into_iter().enumerate() {
        if let Some(position) = ids.iter().position(|&id| id as usize >= vocabulary) {
            let id = ids[position];
            return Err(InferenceError::UnknownTokenId(UnknownTokenId { text, position, id, vocabulary }));
        }
    }
    Ok(())
}
