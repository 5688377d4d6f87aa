//! The description of an opened model of any kind.

use std::collections::BTreeMap;

use likewise_kernels::Level;
use likewise_kernels::quant::Precision;

use crate::backbone::{Backbone, HeadMemory, MemoryEstimate};
use crate::encoder::Architecture;
use crate::modules::PoolingMode;
use crate::similarity::Similarity;

/// The description of a model and of how it is run. Returned by
/// [`Embedder::info`](crate::Embedder::info) and [`CrossEncoder::info`](crate::CrossEncoder::info).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The model's name: its hub id, its folder's name, or the name that its files were given.
    pub name: String,
    /// The architecture of the encoder and its sizes.
    pub architecture: Architecture,
    /// A description of each module after the encoder, such as "mean pooling".
    pub modules: Vec<String>,
    /// What the model computes.
    pub output: ModelOutput,
    /// The maximum number of tokens of a text or of a pair of texts, special ones included.
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
    /// The prompt that is put before every text, or before the first text of every pair.
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

/// What a model computes. Part of [`ModelInfo`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ModelOutput {
    /// A vector for each text.
    Vector {
        /// The number of elements of a vector.
        width: usize,
        /// The pooling modes, whose results are concatenated.
        pooling: Vec<PoolingMode>,
        /// The function that compares two vectors.
        similarity: Similarity,
    },
    /// A score for each label of a pair of texts.
    Scores {
        /// The names of the labels.
        labels: Vec<String>,
        /// The function that turns the numbers of the head into scores, such as "Sigmoid".
        activation: String,
    },
}

/// The parts of a description that depend on the modules after the encoder.
pub(crate) struct HeadInfo<'a> {
    pub(crate) modules: Vec<String>,
    pub(crate) memory: HeadMemory,
    pub(crate) prompts: &'a BTreeMap<String, String>,
    pub(crate) prompt: &'a str,
    pub(crate) output: ModelOutput,
}

impl ModelInfo {
    /// Describes a model with this backbone.
    pub(crate) fn new(backbone: &Backbone, head: HeadInfo<'_>) -> Self {
        let spec = backbone.spec();
        let precision = backbone.precision();
        let memory = |precision| backbone.memory(precision, head.memory);
        // A converted model can be opened in its own precision only.
        let precisions = Precision::ALL.into_iter().filter(|&other| !backbone.is_converted() || other == precision);
        Self {
            name: backbone.name().to_owned(),
            architecture: spec.architecture(),
            modules: head.modules,
            output: head.output,
            max_length: backbone.tokenizer().max_tokens(),
            dtype: backbone.encoder().dtype(),
            level: backbone.level(),
            precision,
            threads: backbone.thread_pool().size(),
            requested_threads: backbone.thread_pool().requested_size(),
            prompts: head.prompts.clone(),
            prompt: head.prompt.to_owned(),
            parameters: spec.parameters(),
            memory: memory(precision),
            memory_by_precision: precisions.map(|precision| (precision, memory(precision))).collect(),
            converted: backbone.is_converted(),
        }
    }
}
