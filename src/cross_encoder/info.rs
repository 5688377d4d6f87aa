//! The description of an opened cross-encoder.

use super::model::CrossEncoder;
use crate::backbone::HeadMemory;
use crate::model_info::{HeadInfo, ModelInfo, ModelOutput, TokenVectorInfo};
use crate::modules::ClassificationHead;

impl CrossEncoder {
    /// Describes the model and how it is run.
    pub fn info(&self) -> ModelInfo {
        let classifier_bytes = self.classifier.as_ref().map_or(0, ClassificationHead::bytes);
        let memory = HeadMemory {
            bytes: self.pooling.bytes() + classifier_bytes,
            // A pair has at least three tokens, as a text has.
            reads_one_token: self.pooling.single_token(3, 0).is_some(),
            buffers: 0,
        };
        let mut modules = self.pooling.describe();
        modules.extend(self.classifier.as_ref().map(ClassificationHead::describe));
        let output = ModelOutput::Scores { labels: self.labels.clone(), activation: self.activation.to_string() };
        let head = HeadInfo { modules, prompts: &self.prompts, prompt: &self.prompt, output };
        ModelInfo::new(TokenVectorInfo::of_encoder(&self.backbone, |_| memory), head)
    }

    /// Returns the floating-point operations of a pass over a pair of so many tokens, as
    /// [`Embedder::operations`](crate::Embedder::operations) does.
    pub fn operations(&self, tokens: usize) -> f64 {
        self.backbone.spec().operations(tokens)
    }
}
