//! Scores of texts and pairs of texts, by a cross-encoder.

use super::blocking::Cancelled;
use super::engine::Engine;
use super::error::{InferenceError, ServedKind};
use super::job::{Job, check_tokenizing_memory};
use super::models::ServedModel;
use super::request::{ResultRows, ScoredInput, ScoredInputs, ScoringJob};
use crate::cross_encoder::{CrossEncoder, EncodedPair};
use crate::server::settings::Limits;

impl Job for ScoringJob {
    type Model = CrossEncoder;

    fn engine<'m>(&self, model: &'m ServedModel) -> Result<&'m Engine<CrossEncoder>, InferenceError> {
        model.cross_encoder(match self.inputs {
            ScoredInputs::Ranking { .. } => ServedKind::Reranker,
            ScoredInputs::Each(_) => ServedKind::Classifier,
        })
    }

    fn encode(
        &self,
        model: &CrossEncoder,
        limits: &Limits,
        cancelled: &Cancelled,
    ) -> Result<Vec<EncodedPair>, InferenceError> {
        let check = |text: &str, subject: &dyn Fn() -> String| {
            cancelled.check()?;
            check_tokenizing_memory(model.runtime().tokenizer(), limits, subject, text)
        };
        match &self.inputs {
            ScoredInputs::Ranking { query, texts } => {
                check(query, &|| "the query".to_owned())?;
                let first = model.encode_first(query, &self.encode)?;
                let encode = |(i, text): (usize, &String)| {
                    check(text, &|| format!("text {i}"))?;
                    Ok(model.encode_pair(i, first.clone(), text, &self.encode)?)
                };
                texts.iter().enumerate().map(encode).collect()
            }
            ScoredInputs::Each(inputs) => {
                let encode = |(i, input): (usize, &ScoredInput)| match input {
                    ScoredInput::Text(text) => {
                        check(text, &|| format!("text {i}"))?;
                        Ok(model.encode_text(i, text, &self.encode)?)
                    }
                    ScoredInput::Pair([first, second]) => {
                        check(first, &|| format!("the first text of pair {i}"))?;
                        check(second, &|| format!("the second text of pair {i}"))?;
                        let first = model.encode_first(first, &self.encode)?;
                        Ok(model.encode_pair(i, first, second, &self.encode)?)
                    }
                };
                inputs.iter().enumerate().map(encode).collect()
            }
        }
    }

    fn response_floats(&self, model: &CrossEncoder, pairs: &[EncodedPair]) -> usize {
        pairs.len() * model.labels().len()
    }

    fn finish(&self, model: &CrossEncoder, mut rows: Vec<Vec<f32>>) -> Result<ResultRows, InferenceError> {
        rows.iter_mut().for_each(|row| model.apply(self.function, row));
        Ok(ResultRows::of_floats(rows))
    }
}
