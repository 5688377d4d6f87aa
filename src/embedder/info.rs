//! The description of an opened embedder.

use super::model::Embedder;
use crate::backbone::HeadMemory;
use crate::model_info::{HeadInfo, ModelInfo, ModelOutput};

impl Embedder {
    /// Describes the model and how it is run.
    pub fn info(&self) -> ModelInfo {
        // A text has at least three tokens, two of them special.
        let reads_one_token = self.head.single_token(3, 0).is_some();
        let memory = HeadMemory { bytes: self.head.bytes(), reads_one_token, buffers: 0 };
        let output = ModelOutput::Vector {
            width: self.width(),
            pooling: self.head.pooling_modes().to_vec(),
            similarity: self.similarity,
        };
        let modules = self.head.describe();
        let head = HeadInfo { modules, prompts: &self.prompts, prompt: &self.prompt, output };
        ModelInfo::new(self.token_vectors.info(memory), head)
    }

    /// Returns the floating-point operations of a pass over a text of so many tokens: its linear
    /// layers and the two matrix products of attention, a multiply-add being two. The rest is not
    /// counted, so that static embeddings have none.
    pub fn operations(&self, tokens: usize) -> f64 {
        self.token_vectors.backbone().map_or(0.0, |backbone| backbone.spec().operations(tokens))
    }
}
