//! The description of an opened model.

use std::collections::BTreeMap;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use super::model::Embedder;
use crate::backbone::{HeadMemory, MemoryEstimate};
use crate::encoder::Architecture;
use crate::modules::PoolingMode;
use crate::similarity::Similarity;

/// The description of a model and of how it is run. Returned by [`Embedder::info`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The model's name: its hub id, its folder's name, or the name that its files were given.
    pub name: String,
    /// The architecture and its sizes.
    pub architecture: Architecture,
    /// A description of each module of the sentence head, such as "mean pooling".
    pub modules: Vec<String>,
    /// The pooling modes, whose results are concatenated.
    pub pooling: Vec<PoolingMode>,
    /// The similarity function.
    pub similarity: Similarity,
    /// The maximum number of tokens of a text, special ones included.
    pub max_length: usize,
    /// The number of elements of a sentence vector.
    pub width: usize,
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
    /// The prompt that is put before every text.
    pub prompt: String,
    /// The number of parameters of the encoder, without unused tensors.
    pub parameters: usize,
    /// The memory that the model takes.
    pub memory: MemoryEstimate,
    /// The memory that the model takes in each precision in which its files can be opened.
    pub memory_by_precision: Vec<(Precision, MemoryEstimate)>,
    /// Whether the model was converted ([`Builder::convert`](crate::Builder::convert)): processes
    /// share its packed weights.
    pub converted: bool,
}

impl Embedder {
    /// Describes the model and how it is run.
    pub fn info(&self) -> ModelInfo {
        let backbone = &self.backbone;
        let spec = backbone.spec();
        ModelInfo {
            name: backbone.name().to_owned(),
            architecture: spec.architecture(),
            parameters: spec.parameters(),
            modules: self.head.describe(),
            pooling: self.head.pooling_modes().to_vec(),
            similarity: self.similarity,
            max_length: backbone.tokenizer().max_tokens(),
            width: self.width(),
            dtype: backbone.encoder().dtype(),
            level: self.level(),
            precision: self.precision(),
            threads: backbone.thread_pool().size(),
            requested_threads: backbone.thread_pool().requested_size(),
            prompts: self.prompts.clone(),
            prompt: self.prompt.clone(),
            memory: self.memory(self.precision()),
            memory_by_precision: self.precisions().map(|precision| (precision, self.memory(precision))).collect(),
            converted: self.backbone.is_converted(),
        }
    }

    /// Returns the memory that this model takes, or would take in another precision.
    fn memory(&self, precision: Precision) -> MemoryEstimate {
        // A text has at least three tokens, two of them special.
        let reads_one_token = self.head.single_token(3, 0).is_some();
        self.backbone.memory(precision, HeadMemory { bytes: self.head.bytes(), reads_one_token, buffers: 0 })
    }

    /// Returns the precisions in which the model's files can be opened.
    fn precisions(&self) -> impl Iterator<Item = Precision> {
        let only = self.backbone.is_converted().then_some(self.precision());
        Precision::ALL.into_iter().filter(move |&precision| only.is_none_or(|only| only == precision))
    }

    /// Returns the floating-point operations of a pass over a text of so many tokens: its linear
    /// layers and the two matrix products of attention, a multiply-add being two. The rest is not
    /// counted.
    pub fn operations(&self, tokens: usize) -> f64 {
        self.backbone.spec().operations(tokens)
    }
}
