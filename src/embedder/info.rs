//! The description of an opened embedder.

use super::model::Embedder;
use crate::backbone::HeadMemory;
use crate::model_info::{HeadInfo, ModelInfo, ModelOutput};

impl Embedder {
    /// Describes the model and how it is run.
    pub fn info(&self) -> ModelInfo {
        // A text has at least three tokens, two of them special.
        let reads_one_token = self.head.single_token(3, 0).is_some();
        let head = HeadInfo {
            modules: self.head.describe(),
            memory: HeadMemory { bytes: self.head.bytes(), reads_one_token },
            prompts: &self.prompts,
            prompt: &self.prompt,
            output: ModelOutput::Vector {
                width: self.width(),
                pooling: self.head.pooling_modes().to_vec(),
                similarity: self.similarity,
            },
        };
        ModelInfo::new(&self.backbone, head)
    }

    /// Returns the floating-point operations of a pass over a text of so many tokens: its linear
    /// layers and the two matrix products of attention, a multiply-add being two. The rest is not
    /// counted.
    pub fn operations(&self, tokens: usize) -> f64 {
        self.backbone.spec().operations(tokens)
    }
}
