//! The description of an opened cross-encoder.

use std::collections::BTreeMap;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use super::model::CrossEncoder;
use crate::backbone::{HeadMemory, MemoryEstimate};
use crate::encoder::Architecture;
use crate::modules::ClassificationHead;

/// The description of a cross-encoder and of how it is run. Returned by [`CrossEncoder::info`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CrossEncoderInfo {
    /// The model's name: its hub id, its folder's name, or the name that its files were given.
    pub name: String,
    /// The architecture and its sizes.
    pub architecture: Architecture,
    /// A description of each module after the encoder.
    pub modules: Vec<String>,
    /// The function that turns the numbers of the head into scores, such as "Sigmoid".
    pub activation: String,
    /// The names of the labels.
    pub labels: Vec<String>,
    /// The maximum number of tokens of a pair, special ones included.
    pub max_length: usize,
    /// The element type of the token embeddings in the file: "F32", "F16" or "BF16".
    pub dtype: &'static str,
    /// The SIMD level of the computation.
    pub level: Level,
    /// The type of the elements that the linear layers multiply.
    pub precision: Precision,
    /// The number of threads.
    pub threads: usize,
    /// The number of threads that were requested, or the default. It is larger than `threads` if
    /// the operating system did not allow as many.
    pub requested_threads: usize,
    /// The texts of the prompts that the model defines, by name.
    pub prompts: BTreeMap<String, String>,
    /// The prompt that is put before the first text of every pair.
    pub prompt: String,
    /// The number of parameters of the encoder, without unused tensors.
    pub parameters: usize,
    /// The memory that the model takes.
    pub memory: MemoryEstimate,
    /// The memory that the model takes in each precision.
    pub memory_by_precision: Vec<(Precision, MemoryEstimate)>,
}

impl CrossEncoder {
    /// Describes the model and how it is run.
    pub fn info(&self) -> CrossEncoderInfo {
        let backbone = &self.backbone;
        let spec = backbone.spec();
        let classifier_bytes = self.classifier.as_ref().map_or(0, ClassificationHead::bytes);
        let head = HeadMemory {
            bytes: self.pooling.bytes() + classifier_bytes,
            // A pair has at least as many tokens.
            reads_one_token: self.pooling.single_token(3, 0).is_some(),
            buffers: 0,
        };
        let mut modules = self.pooling.describe();
        modules.extend(self.classifier.as_ref().map(ClassificationHead::describe));
        CrossEncoderInfo {
            name: backbone.name().to_owned(),
            architecture: spec.architecture(),
            modules,
            activation: self.activation.to_string(),
            labels: self.labels.clone(),
            max_length: backbone.tokenizer().max_tokens(),
            dtype: backbone.encoder().dtype(),
            level: self.level(),
            precision: self.precision(),
            threads: backbone.thread_pool().size(),
            requested_threads: backbone.thread_pool().requested_size(),
            prompts: self.prompts.clone(),
            prompt: self.prompt.clone(),
            parameters: spec.parameters(),
            memory: backbone.memory(self.precision(), head),
            memory_by_precision: Precision::ALL.map(|precision| (precision, backbone.memory(precision, head))).into(),
        }
    }

    /// Returns the floating-point operations of a pass over a pair of so many tokens, as
    /// [`Embedder::operations`](crate::Embedder::operations) does.
    pub fn operations(&self, tokens: usize) -> f64 {
        self.backbone.spec().operations(tokens)
    }
}
