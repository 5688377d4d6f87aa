//! The description of an opened multi-vector encoder.

use super::model::MultiVectorEncoder;
use crate::backbone::HeadMemory;
use crate::model_info::{HeadInfo, ModelInfo, ModelOutput, TokenVectorInfo};

impl MultiVectorEncoder {
    /// Describes the model and how it is run. `max_length` and `prompt` are those of documents.
    pub fn info(&self) -> ModelInfo {
        let memory = HeadMemory { bytes: self.head.bytes(), reads_one_token: false, buffers: 0 };
        let head = HeadInfo {
            modules: self.head.describe(),
            prompts: &self.prompts,
            prompt: &self.documents.prompt,
            output: ModelOutput::TokenVectors {
                width: self.width,
                similarity: self.similarity,
                max_query_length: self.queries.max_tokens,
                expanded_query_length: self.queries.expansion.map(|expansion| expansion.length),
                query_prompt: self.queries.prompt.clone(),
            },
        };
        let info = ModelInfo::new(TokenVectorInfo::of_encoder(&self.backbone, |_| memory), head);
        ModelInfo { max_length: self.documents.max_tokens, ..info }
    }

    /// Returns the floating-point operations of a pass over a text of so many tokens, as
    /// [`Embedder::operations`](crate::Embedder::operations) does.
    pub fn operations(&self, tokens: usize) -> f64 {
        self.backbone.spec().operations(tokens)
    }
}
